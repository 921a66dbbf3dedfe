"""What `modelswap devices` prints."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from click.testing import CliRunner

from modelswap.cli.devices import command, described, size
from modelswap.devices.capacity.ram import read_ram
from modelswap.devices.capacity.reader import MachineReader
from modelswap.devices.memory import DeviceMemory
from modelswap.devices.nvml import Nvml
from modelswap.procfs import name_of
from support.recorded_nvml import GIB, GPU_IS_LOST, Card, RecordedNvml

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ME = os.getpid()


def printed(drm: Path, *cards: Card, ours: tuple[int, ...] = (ME,)) -> list[str]:
    library = RecordedNvml(*cards)
    opened = (lambda: Nvml(library)) if cards else (lambda: None)
    return list(described(MachineReader(drm=drm, open_nvml=opened, environ={}), ours))


def test_this_machine() -> None:
    """The command runs, and shows RAM first."""
    result = CliRunner().invoke(command)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split() == ["device", "total", "free", "models", "others"]
    assert lines[1].startswith(f"ram     {size(read_ram().total):>8}")


def test_a_gpu(tmp_path: Path) -> None:
    """What models hold and what others use are told apart, and the others named."""
    card = Card("RTX 3090", "GPU-a", 24 * GIB, 15 * GIB, compute={ME: 4 * GIB, 1: 10 * GIB})
    lines = printed(tmp_path, card)
    (row,) = [line for line in lines if line.startswith("gpu0 ")]
    assert " ".join(row.split()) == "gpu0 24.0 GiB 9.0 GiB 4.0 GiB 11.0 GiB RTX 3090"
    assert f"gpu0: others are {name_of(1)} 10.0 GiB (pid 1)" in lines
    assert not any("?" in line for line in lines)


def test_a_driver_that_does_not_tell(tmp_path: Path) -> None:
    """What cannot be told apart is a question mark with its reason."""
    lines = printed(tmp_path, Card("A100", "GPU-a", 40 * GIB, GIB, compute={ME: None}))
    (row,) = [line for line in lines if line.startswith("gpu0 ")]
    assert row.split()[5:7] == ["?", "?"]
    assert lines[-1].startswith("?: the driver does not tell")


def test_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says why there is none, as far as that is known."""
    monkeypatch.setattr("modelswap.devices.nvml.is_present", lambda: False)
    assert printed(tmp_path)[-1] == "There is no GPU that is known: `ram` is the only device."
    monkeypatch.setattr("modelswap.devices.nvml.is_present", lambda: True)
    assert printed(tmp_path)[-1].startswith("NVIDIA's driver is there")


def test_apple_silicon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apple = DeviceMemory("ram", "memory", 64 * GIB, 32 * GIB, vendor="Apple")
    monkeypatch.setattr("modelswap.devices.capacity.reader.read_ram", lambda _: apple)
    assert printed(tmp_path)[-1] == "The GPU uses the machine's memory: `ram` is the only device."


def test_a_card_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback: the card and the driver's error."""
    lost = RecordedNvml(Card("A100", "GPU-a", 0, 0, memory_error=GPU_IS_LOST))
    machine = MachineReader(open_nvml=lambda: Nvml(lost))
    monkeypatch.setattr("modelswap.devices.capacity.reader.MachineReader", lambda: machine)
    result = CliRunner().invoke(command)
    assert (result.exit_code, lost.is_shut) == (1, True)
    assert "gpu0 (A100) does not answer: NVML error 15" in result.output


def test_sizes() -> None:
    assert [size(number) for number in (0, 5 << 20, GIB, 3 * GIB // 2)] == [
        "0 MiB", "5 MiB", "1.0 GiB", "1.5 GiB",
    ]  # fmt: skip
