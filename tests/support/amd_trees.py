"""Folders of AMD's GPUs, and descriptors of processes that use them, as the kernel shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30


def card(drm: Path, number: int, **files: str) -> Path:
    """Write the folder of a card, with 16 GiB; two underscores in a name stand for a folder."""
    bus = drm / f"0000:{number:02x}:00.0"
    bus.mkdir(parents=True)
    (drm / f"card{number}").mkdir()
    (drm / f"card{number}" / "device").symlink_to(bus)
    usual = {"vendor": "0x1002", "mem_info_vram_total": str(16 * GIB), "mem_info_vram_used": "7"}
    for name, text in {**usual, "mem_info_gtt_total": str(32 * GIB), **files}.items():
        path = bus / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return bus


def client(proc: Path, pid: int, fd: int, text: str, target: str = "/dev/dri/renderD128") -> None:
    (proc / str(pid) / "fd").mkdir(parents=True, exist_ok=True)
    (proc / str(pid) / "fdinfo").mkdir(exist_ok=True)
    (proc / str(pid) / "fd" / str(fd)).symlink_to(target)
    (proc / str(pid) / "fdinfo" / str(fd)).write_text(text)


def stats(number: str, vram: str, gtt: str, bus: str = "0000:03:00.0") -> str:
    return (
        "pos:\t0\nflags:\t02100002\ndrm-driver:\tamdgpu\n"
        f"drm-client-id:\t{number}\ndrm-pdev:\t{bus}\n{vram}\n{gtt}\ndrm-engine-gfx:\t5 ns\n"
    )
