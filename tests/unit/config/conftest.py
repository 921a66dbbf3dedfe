"""The fixture that loads a configuration from its text."""

from __future__ import annotations

import pytest

from support.config import LoadText, load_text


@pytest.fixture
def loaded() -> LoadText:
    """Load a configuration from its text."""
    return load_text
