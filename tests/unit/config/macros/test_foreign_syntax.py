"""Placeholders in the syntax of other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.config import LoadText

FOREIGN = [
    "{PORT}", "{port}", "{{PORT}}", "{{ .Port }}", "$PORT", "%PORT%", "<PORT>", "${PORT:-8080}",
    "$(PORT)", "${ PORT }", "${{PORT}}",
]  # fmt: skip


@pytest.mark.parametrize("written", FOREIGN)
def test_placeholder_of_another_program(loaded: LoadText, written: str) -> None:
    """A text that means `${PORT}` in other programs has one warning."""
    found = loaded(f"models:\n  m:\n    cmd: 'x --port {written}'")
    assert found.plan is not None
    (line,) = found.lines()
    assert "c.yaml:3: models.m.cmd: expected ${PORT}; found" in line
    assert written in line


def test_foreign_forms_of_the_environment(loaded: LoadText) -> None:
    """`${env:X}` stays as it is, with a warning."""
    found = loaded("models: {m: {cmd: 'x ${PORT} ${env:HOME}'}}\nlogTimeFormat: $env:FORMAT")
    assert [w.hint for w in found.warnings if w.hint.startswith("write")] == [
        "write ${env.HOME}",
        "write ${env.FORMAT}",
    ]


INTENDED = [
    "x ${PORT} --chat-template-kwargs '{\"port\": 1}'",
    "docker run --format {{.Port}} -p ${PORT}:80 i",
    "sh -c 'PORT=1; x $PORT' ${PORT}",
]


@pytest.mark.parametrize("command", INTENDED)
def test_text_that_is_intended(loaded: LoadText, command: str) -> None:
    """Braces beside the real macro, and variables that the command sets, have no warning."""
    assert loaded(f"models:\n  m:\n    cmd: |\n      {command}\n").lines() == []
