"""The memory limits of this process's control groups, of version 1 and 2.

Guarantees: every ancestor's limit counts; a group that cannot be read limits nothing.
Does not: count swap. The model servers are taken to be in the groups of this process, which started their keeper.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap import procfs

if TYPE_CHECKING:
    from collections.abc import Iterator

_V2_LIMITS: Final = ("memory.max", "memory.high")
"""Above `memory.high` the kernel slows the group down until it is hardly usable: no less a limit."""
_V2_RECLAIMABLE: Final = frozenset({b"inactive_file", b"active_file", b"slab_reclaimable"})
"""Lines of `memory.stat`: what the kernel takes back before it refuses memory."""
_V1_RECLAIMABLE: Final = frozenset({b"total_inactive_file", b"total_active_file"})
"""The same of version 1, with the groups below; those of slabs are not told."""
_MAPPED: Final = frozenset({b"file_mapped", b"total_mapped_file"})
"""What programs have mapped of files, in version 2 and 1, with the groups below."""


class Limit(NamedTuple):
    """What one group may use, in bytes."""

    group: str
    """Its path below the mount."""
    total: int
    free: int
    """Until the limit, when all that can be reclaimed is."""
    folder: Path
    mapped: int = 0
    """What programs in it have mapped of files; `free` counts these pages as reclaimable."""

    def processes(self) -> list[int]:
        """Return the processes of the group and of those below it, as far as we can see them."""
        lists = [self.folder / "cgroup.procs", *self.folder.glob("**/cgroup.procs")]
        lines = [line for path in set(lists) for line in procfs.read_bytes(str(path)).split()]
        return [int(line) for line in lines if line != b"0"]  # 0: of another pid namespace


class _Group(NamedTuple):
    """A folder of a hierarchy that counts memory."""

    folder: Path
    name: str
    limits: tuple[str, ...]
    usage: str
    reclaimable: frozenset[bytes]

    def limit_below(self, most: int) -> Limit | None:
        """Return its limit, or `None` where it has none below *most* bytes."""
        values = [_number(self.folder / name) for name in self.limits]
        total = min((value for value in values if value is not None), default=most)
        usage = _number(self.folder / self.usage) if total < most else None
        if usage is None:
            return None
        stat = self.folder / "memory.stat"
        free = min(total, max(0, total - usage + _sum(stat, self.reclaimable)))
        return Limit(self.name, total, free, self.folder, _sum(stat, _MAPPED))


def limits_below(most: int, proc: Path = Path("/proc")) -> list[Limit]:
    """Return the limits of this process's groups that are below *most* bytes, the innermost first."""
    found = [group.limit_below(most) for group in _groups(proc)]
    return [limit for limit in found if limit is not None]


def _groups(proc: Path) -> Iterator[_Group]:
    paths = _paths(procfs.read_bytes(f"{proc}/self/cgroup").decode("utf-8", "replace"))
    mounts = procfs.read_bytes(f"{proc}/self/mountinfo").decode("utf-8", "replace")
    for kind, root, mount in _mounts(mounts):
        path = paths.get(kind)
        if path is None:
            continue
        for folder, name in _folders(path, root, mount):
            if kind == "":
                yield _Group(folder, name, _V2_LIMITS, "memory.current", _V2_RECLAIMABLE)
            else:
                limits, usage = ("memory.limit_in_bytes",), "memory.usage_in_bytes"
                yield _Group(folder, name, limits, usage, _V1_RECLAIMABLE)


def _paths(text: str) -> dict[str, str]:
    """Read cgroups(7) `/proc/self/cgroup`: the controller `memory`, and `""` of version 2, to its path."""
    lines = [line.split(":", 2) for line in text.splitlines() if line.count(":") > 1]
    return {name: path for _, names, path in lines for name in names.split(",")}


def _mounts(text: str) -> Iterator[tuple[str, str, Path]]:
    """Read proc(5) `mountinfo`: yield which hierarchy is mounted (as in `_paths`), its root, and where."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        mount, system = before.split(" "), after.split(" ")
        if len(mount) > 4 and len(system) > 2:  # noqa: PLR2004 - fields that are used below
            where = Path(mount[4].replace("\\040", " "))
            if system[0] == "cgroup2":
                yield "", mount[3], where
            elif system[0] == "cgroup" and "memory" in system[2].split(","):
                yield "memory", mount[3], where


def _folders(path: str, root: str, mount: Path) -> Iterator[tuple[Path, str]]:
    """Yield the group's folder and those above it, up to the mount."""
    # In a container the path may be the host's, and the mount shows only the part from its root on.
    inside = path.removeprefix(root.rstrip("/")) if path.startswith(root) else "/"
    parts = [part for part in inside.split("/") if part]
    if ".." in parts:  # the group is outside of what is mounted
        parts = []
    for end in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:end]), "/" + "/".join(parts[:end])


def _number(path: Path) -> int | None:
    text = procfs.read_bytes(str(path)).strip()
    return int(text) if text.isdigit() else None


def _sum(path: Path, names: frozenset[bytes]) -> int:
    lines = (line.split() for line in procfs.read_bytes(str(path)).splitlines())
    return sum(int(words[1]) for words in lines if len(words) > 1 and words[0] in names)
