"""What `/api/hardware` says of this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from modelswap.devices.facts import hardware_facts

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_hardware_is_described() -> None:
    """Every section is there, and nothing in it is a sentinel."""
    facts = hardware_facts("1", "now")
    assert facts is not None
    assert facts["captured_at"] == "now"
    assert facts["memory"]["capacity_bytes"] > 0
    assert facts["architecture"]["name"] in {"x86_64", "arm64"}
    assert '"unknown"' not in json.dumps({k: v for k, v in facts.items() if k != "environment"})


def test_a_limit_of_a_cgroup_below_the_mount(tmp_path: Path) -> None:
    """The capacity is what programs here may use, as for the device `ram`."""
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text("MemTotal: 16384 kB\nMemAvailable: 8192 kB\n")
    (tmp_path / "self/cgroup").write_text("0::/small\n")
    (tmp_path / "self/mountinfo").write_text(f"1 2 0:3 / {tmp_path} rw - cgroup2 none rw\n")
    (tmp_path / "small").mkdir()
    (tmp_path / "small/memory.max").write_text(f"{4096 << 10}\n")
    (tmp_path / "small/memory.current").write_text("0\n")
    facts = hardware_facts("1", "now", tmp_path)
    assert facts is not None
    assert facts["memory"] == {"capacity_bytes": 4096 << 10}


def test_a_card_of_unknown_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a card does not tell is null, and its kind of memory unknown."""
    card = {
        "bus": "0000:01:00.0",
        "vendor": "AMD",
        "model": "N/A",
        "architecture": None,
        "memory": None,
        "driver": ("amdgpu", ""),
        "power_limit_watts": None,
    }
    monkeypatch.setattr("modelswap.devices.facts.gpu_facts", lambda: [card])
    facts = hardware_facts("1", "now")
    assert facts is not None
    (shown,) = facts["accelerators"]
    assert (shown["index"], shown["model"], shown["driver"]["version"]) == (0, None, None)
    assert shown["memory"] == {"kind": "unknown", "capacity_bytes": None}
