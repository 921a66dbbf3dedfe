"""The RAM that processes hold, without the GPU's.

One process counts with its resident size (Rss), read in 20 µs from `/proc/PID/status`. Of several, which may
share pages, each counts with its share (Pss) from `smaps_rollup`; that walks the page tables, 9 µs for each MiB, so
a process above `PSS_LIMIT` counts with its Rss there, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from modelswap import procfs

if TYPE_CHECKING:
    from collections.abc import Collection

PSS_LIMIT: Final = 1 << 30
"""Bytes: about 10 ms of walking, in which the process can hardly change its address space."""


class ProcessMemory(NamedTuple):
    """In bytes."""

    own: int
    """What the kernel cannot take back: anonymous and shared memory, huge pages."""
    file: int
    """Pages of mapped files: they count as free for others, but the process wants them."""


NOTHING: Final = ProcessMemory(0, 0)


def memory_of(processes: Collection[int]) -> ProcessMemory:
    """Return what the processes hold together; one that is gone holds nothing."""
    found = [_resident(pid) for pid in processes]
    if len(found) > 1:
        pairs = zip(processes, found, strict=True)
        found = [one if sum(one) > PSS_LIMIT else _share(pid) or one for pid, one in pairs]
    return ProcessMemory(sum(one.own for one in found), sum(one.file for one in found))


def _resident(pid: int) -> ProcessMemory:
    if not procfs.HAS_PROC:
        return _by_psutil(pid)
    table = procfs.sizes(f"/proc/{pid}/status")
    own = sum(table.get(name, 0) for name in (b"RssAnon:", b"RssShmem:", b"HugetlbPages:"))
    return ProcessMemory(own, table.get(b"RssFile:", 0))


def _share(pid: int) -> ProcessMemory | None:
    """Return the share of one process; `None` where an old kernel, or another user's process, hides it."""
    table = procfs.sizes(f"/proc/{pid}/smaps_rollup")
    if b"Pss_Anon:" not in table:
        return None
    huge = (b"Shared_Hugetlb:", b"Private_Hugetlb:")
    own = sum(table.get(name, 0) for name in (b"Pss_Anon:", b"Pss_Shmem:", *huge))
    return ProcessMemory(own, table.get(b"Pss_File:", 0))


def _by_psutil(pid: int) -> ProcessMemory:
    import psutil  # noqa: PLC0415 - large; Linux does not need it

    try:
        return ProcessMemory(psutil.Process(pid).memory_info().rss, 0)
    except psutil.Error:
        return NOTHING
