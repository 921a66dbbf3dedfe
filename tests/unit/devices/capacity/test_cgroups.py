"""Limits of control groups, read from trees as the kernel shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.devices.capacity.cgroups import Limit, limits_below

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30
MACHINE = 64 * GIB
V2_STAT = (
    "anon 1000\nfile 9000\ninactive_file {0}\nactive_file 1000\nslab_reclaimable 500\nslab 800\n"
)
UNLIMITED = "9223372036854771712"


def processes_in(tmp_path: Path, groups: str, mounts: str) -> Path:
    """Write the two files of `/proc/self`; return the folder that stands for `/proc`."""
    folder = tmp_path / "proc" / "self"
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(groups)
    (folder / "mountinfo").write_text(mounts)
    return folder.parent


def v2_mount(root: str, where: Path) -> str:
    return f"30 25 0:26 {root} {where} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def v2_group(folder: Path, limit: str, usage: int, *, cached: int = 0, high: str = "max") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(limit + "\n")
    (folder / "memory.high").write_text(high + "\n")
    (folder / "memory.current").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(V2_STAT.format(cached))


def v1_group(folder: Path, limit: str, usage: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(limit + "\n")
    (folder / "memory.usage_in_bytes").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(
        f"cache 5\ninactive_file 7\ntotal_inactive_file {cached}\ntotal_active_file 100\n"
    )


def test_a_service_of_systemd(tmp_path: Path) -> None:
    """The service's limit and its slice's count, the pages of files and slabs as free."""
    mount = tmp_path / "cgroup"
    v2_group(mount / "app.slice", str(8 * GIB), 5 * GIB, cached=GIB)
    v2_group(mount / "app.slice/m.service", "max", 3 * GIB, cached=GIB, high=str(4 * GIB))
    proc = processes_in(tmp_path, "0::/app.slice/m.service\n", v2_mount("/", mount))
    assert limits_below(MACHINE, proc) == [
        Limit("/app.slice/m.service", 4 * GIB, 2 * GIB + 1500, mount / "app.slice/m.service"),
        Limit("/app.slice", 8 * GIB, 4 * GIB + 1500, mount / "app.slice"),
    ]


def test_a_container_with_a_view_of_its_own(tmp_path: Path) -> None:
    """In a cgroup namespace the container's group is the root, and has its limit there."""
    mount = tmp_path / "my cgroup"
    v2_group(mount, str(2 * GIB), GIB)
    where = v2_mount("/", mount).replace("my cgroup", "my\\040cgroup")
    assert limits_below(MACHINE, processes_in(tmp_path, "0::/\n", where)) == [
        Limit("/", 2 * GIB, GIB + 1500, mount)
    ]


def test_a_container_that_is_told_the_path_of_the_host(tmp_path: Path) -> None:
    """Version 1: the mount shows the container's own part of the path alone."""
    mount = tmp_path / "memory"
    v1_group(mount, str(6 * GIB), 4 * GIB, GIB)
    mounts = f"35 30 0:30 /docker/abc {mount} ro - cgroup cgroup rw,memory\n"
    mounts += f"36 30 0:31 /docker/abc {tmp_path}/cpu ro - cgroup cgroup rw,cpu\n"
    groups = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n"
    assert limits_below(MACHINE, processes_in(tmp_path, groups, mounts)) == [
        Limit("/", 6 * GIB, 3 * GIB + 100, mount)
    ]


def test_no_limit(tmp_path: Path) -> None:
    """Neither "max", nor version 1's largest number, nor more than the machine has is a limit."""
    mount, old = tmp_path / "unified", tmp_path / "memory"
    v2_group(mount / "a", "max", GIB)
    v1_group(old / "a", UNLIMITED, GIB, 0)
    v1_group(old, str(MACHINE), GIB, 0)
    mounts = v2_mount("/", mount) + f"35 30 0:30 / {old} rw - cgroup cgroup rw,memory\n"
    assert limits_below(MACHINE, processes_in(tmp_path, "0::/a\n4:memory:/a\n", mounts)) == []


def test_a_group_outside_of_the_mount(tmp_path: Path) -> None:
    """A path that leads out of what is mounted is taken for the mount itself."""
    mount = tmp_path / "cgroup"
    v2_group(mount, str(GIB), 2 * GIB)
    proc = processes_in(tmp_path, "0::/../other\n", v2_mount("/", mount))
    assert limits_below(MACHINE, proc) == [Limit("/", GIB, 0, mount)]


def test_what_cannot_be_read_limits_nothing(tmp_path: Path) -> None:
    """A group without files, odd lines and a missing `/proc` are no errors."""
    assert limits_below(MACHINE, tmp_path / "nothing") == []
    proc = processes_in(tmp_path, "odd\n0::/a\n", "odd\n" + v2_mount("/", tmp_path / "gone"))
    assert limits_below(MACHINE, proc) == []
    v2_group(tmp_path / "gone", str(GIB), GIB)
    (tmp_path / "gone" / "memory.current").unlink()
    assert limits_below(MACHINE, proc) == []


def test_the_processes_of_a_group(tmp_path: Path) -> None:
    """Those of the groups below count; those of another pid namespace have no number here."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "cgroup.procs").write_text("12\n0\n")
    (tmp_path / "a/b/cgroup.procs").write_text("7\n")
    assert sorted(Limit("/", 1, 1, tmp_path).processes()) == [7, 12]
