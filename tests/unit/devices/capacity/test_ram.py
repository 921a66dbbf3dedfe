"""The machine's memory from `/proc`, cgroups and OpenZFS."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import psutil
import pytest

from modelswap.devices.capacity.ram import free_unmapped, read_ram, sharing_processes
from modelswap.devices.memory import DeviceMemory
from modelswap.procfs import all_pids

if TYPE_CHECKING:
    from pathlib import Path

MEMINFO = "MemTotal:       16384 kB\nMemFree:         1024 kB\nMemAvailable:   {} kB\nHugePages_Total:       0\n"
KIB = 1 << 10


def a_proc(tmp_path: Path, available: int) -> Path:
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text(MEMINFO.format(available))
    return tmp_path


def test_this_machine() -> None:
    """The figures are those that psutil reads, unless a cgroup limits them."""
    found = read_ram()
    assert (found.id, found.key, found.vendor, found.holders) == ("ram", "", "", ())
    assert 0 < found.free <= found.total <= psutil.virtual_memory().total


def test_what_the_kernel_calls_available_is_free(tmp_path: Path) -> None:
    assert read_ram(a_proc(tmp_path, 8192)) == DeviceMemory(
        "ram", "memory", 16384 * KIB, 8192 * KIB
    )


def test_the_cache_of_openzfs_counts_as_free(tmp_path: Path) -> None:
    """What the cache holds above its least size is given up under pressure."""
    proc = a_proc(tmp_path, 8192)
    stats = proc / "spl/kstat/zfs/arcstats"
    stats.parent.mkdir(parents=True)
    stats.write_text(
        f"9 1 0x01 1 2 3 4\nname                            type data\nc_min                           4    {KIB}\n"
        f"size                            4    {1025 * KIB}\n"
    )
    assert read_ram(proc).free == (8192 + 1024) * KIB
    stats.write_text(f"size 4 {99999 * KIB}\n")
    assert read_ram(proc).free == 16384 * KIB


def test_a_cgroup_sets_the_size(tmp_path: Path) -> None:
    """The smaller of two free amounts counts, and the name says what limits."""
    proc = a_proc(tmp_path, 8192)
    (proc / "self/cgroup").write_text("0::/small\n")
    (proc / "self/mountinfo").write_text(f"1 2 0:3 / {tmp_path} rw - cgroup2 none rw\n")
    (tmp_path / "small").mkdir()
    for name, value in {"max": 12288 * KIB, "current": 10240 * KIB}.items():
        (tmp_path / "small" / f"memory.{name}").write_text(f"{value}\n")
    assert read_ram(proc) == DeviceMemory(
        "ram", "memory, limited by the cgroup /small", 12288 * KIB, 2048 * KIB
    )
    (tmp_path / "small" / "cgroup.procs").write_text("4711\n")
    assert sharing_processes(proc) == [4711]
    (tmp_path / "small" / "memory.current").write_text("0\n")
    assert sharing_processes(proc) == all_pids()


def test_mapped_weights_are_not_driven_out(tmp_path: Path) -> None:
    """What programs have mapped is not to be filled, though the kernel calls it available."""
    assert free_unmapped(tmp_path) is None
    proc = a_proc(tmp_path, 8192)
    with (proc / "meminfo").open("a") as file:
        file.write("Mapped: 2048 kB\n")
    assert free_unmapped(proc) == 6144 * KIB


@pytest.mark.parametrize(
    ("groups", "system", "names", "mapped"),
    [
        ("0::/a\n", "cgroup2 none rw", ("memory.max", "memory.current"), "file_mapped"),
        (
            "4:memory:/a\n",
            "cgroup none rw,memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            "total_mapped_file",
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_what_a_cgroup_may_read(
    tmp_path: Path, groups: str, system: str, names: tuple[str, str], mapped: str
) -> None:
    """Its limit counts, wherever the group is, less what is mapped inside."""
    proc = a_proc(tmp_path, 8192)
    (proc / "self/cgroup").write_text(groups)
    (proc / "self/mountinfo").write_text(f"1 2 0:3 / {tmp_path} rw - {system}\n")
    (tmp_path / "a").mkdir()
    for name, value in zip(names, (4096 * KIB, 3072 * KIB), strict=True):
        (tmp_path / "a" / name).write_text(f"{value}\n")
    (tmp_path / "a" / "memory.stat").write_text(
        f"inactive_file {2048 * KIB}\ntotal_inactive_file {2048 * KIB}\n{mapped} {1024 * KIB}\n"
    )
    assert free_unmapped(proc) == 2048 * KIB


def test_without_figures_of_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `/proc/meminfo` says nothing of use, psutil is asked; where that fails it is an OSError."""
    known = SimpleNamespace(total=100, available=40)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: known)
    assert read_ram(tmp_path)[2:4] == (100, 40)

    def broken() -> None:
        raise RuntimeError("no such table")

    monkeypatch.setattr(psutil, "virtual_memory", broken)
    with pytest.raises(OSError, match="no such table"):
        read_ram(tmp_path)


def test_apple_silicon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is the GPU's, too, and says so."""
    monkeypatch.setattr("modelswap.devices.capacity.ram.sys.platform", "darwin")
    monkeypatch.setattr("modelswap.devices.capacity.ram.platform.machine", lambda: "arm64")
    assert read_ram(a_proc(tmp_path, 1)).vendor == "Apple"
