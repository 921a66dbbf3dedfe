"""The description of the machine."""

from __future__ import annotations

import json

from modelswap.observe.metrics.hardware import nvidia_architecture, snapshot


def test_the_hardware_is_described() -> None:
    """The snapshot has every section, and nothing in it is a sentinel."""
    facts = snapshot("1")
    assert facts is not None
    assert facts["memory"]["capacity_bytes"] > 0
    assert facts["architecture"]["name"] in {"x86_64", "arm64"}
    assert '"unknown"' not in json.dumps({k: v for k, v in facts.items() if k != "environment"})
    assert (nvidia_architecture(8, 9), nvidia_architecture(9, 0)) == ("Ada Lovelace", "Hopper")
