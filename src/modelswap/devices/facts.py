"""What this machine is, for `/api/hardware`. An unknown fact is `None`, never a guess or a sentinel."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any, Final

from .amd import read_text
from .capacity.ram import read_ram
from .gpus import gpu_facts

_ARCHITECTURES: Final = {
    **dict.fromkeys(("x86_64", "amd64"), ("x86_64", "amd64")),
    **dict.fromkeys(("aarch64", "arm64"), ("arm64", None)),
    **dict.fromkeys(("armv7l", "arm"), ("armv7", "arm")),
    **{name: (name, None) for name in ("ppc64le", "riscv64", "s390x")},
}
_FAMILIES: Final = {"Linux": "linux", "Darwin": "macos", "Windows": "windows", "FreeBSD": "freebsd"}
_UNKNOWN: Final = frozenset({"", "n/a", "unknown", "none"})
_HYPERVISORS: Final = {
    **dict.fromkeys(("qemu", "kvm", "google", "amazon ec2"), "KVM"),
    **dict.fromkeys(("innotek", "virtualbox"), "VirtualBox"),
    "vmware": "VMware",
    "microsoft corporation": "Hyper-V",
    "xen": "Xen",
}

Facts = dict[str, Any]


def hardware_facts(version: str, captured_at: str, proc: Path = Path("/proc")) -> Facts | None:
    """Return everything that can be found out; `None` when not even the memory is known."""
    memory = _memory(proc)
    if memory is None:
        return None
    kind, name = _environment(proc)
    return {
        "schema_version": 1,
        "captured_at": captured_at,
        "capture": {
            "scope": "inference_host",
            "method": "detected",
            "detector": {"name": "modelswap", "version": version},
        },
        "architecture": _architecture(),
        "operating_system": _operating_system(),
        "environment": {"kind": kind, "name": name, "version": None},
        "cpu": _cpu(proc),
        "memory": {"capacity_bytes": memory},
        "accelerators": [_accelerator(index, card) for index, card in enumerate(gpu_facts())],
    }


def _accelerator(index: int, card: dict[str, Any]) -> Facts:
    size, (driver, version) = card["memory"], card["driver"]
    kind = "unknown" if size is None else "dedicated"
    return {
        "index": index,
        "kind": "gpu",
        "vendor": card["vendor"],
        "model": _known(card["model"]),
        "architecture": card["architecture"],
        "memory": {"kind": kind, "capacity_bytes": size},
        "driver": {"name": driver, "version": _known(version)},
        "power_limit_watts": card["power_limit_watts"],
    }


def _known(text: str | None) -> str | None:
    """Return the text, unless it only says that nothing is known."""
    cleaned = (text or "").strip()
    return None if cleaned.lower() in _UNKNOWN else cleaned


def _memory(proc: Path) -> int | None:
    try:
        return read_ram(proc).total
    except OSError:
        return None


def _architecture() -> Facts:
    machine = platform.machine()
    name, raw = _ARCHITECTURES.get(machine.lower(), ("other", machine))
    return {"name": name, "raw_name": raw}


def _operating_system() -> Facts:
    system = platform.system()
    if system == "Linux":
        try:
            release = platform.freedesktop_os_release()
        except OSError:
            release = {}
        name, version = release.get("ID"), release.get("VERSION_ID")
    elif system == "Darwin":
        name, version = "macos", platform.mac_ver()[0]
    else:
        name, version = system.lower(), platform.version()
    facts: Facts = {"family": _FAMILIES.get(system, "other"), "name": _known(name)}
    facts |= {"version": _known(version), "kernel": _known(platform.release())}
    if facts["family"] == "other":
        facts["raw_family"] = system
    return facts


def _environment(proc: Path) -> tuple[str, str | None]:
    kernel = platform.release().lower()
    if "microsoft" in kernel or "wsl" in kernel:
        return "wsl", "WSL"
    if sys.platform != "linux":
        return "unknown", None
    if Path("/.dockerenv").exists():
        return "container", "Docker"
    if Path("/run/.containerenv").exists():
        return "container", "Podman"
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "container", "Kubernetes"
    group = read_text(proc / "1/cgroup")
    for mark, name in (("docker", "Docker"), ("lxc", "LXC"), ("kubepods", "Kubernetes")):
        if mark in group:
            return "container", name
    vendor = read_text(Path("/sys/class/dmi/id/sys_vendor")).lower()
    product = read_text(Path("/sys/class/dmi/id/product_name")).lower()
    for mark, name in _HYPERVISORS.items():
        if mark in vendor or mark in product:
            return "virtual_machine", name
    return ("native" if vendor else "unknown"), None


def _cpu(proc: Path) -> Facts:
    import psutil  # noqa: PLC0415 -- loaded when needed: start-up time counts

    lines = [line.partition(":") for line in read_text(proc / "cpuinfo").splitlines()]
    pairs = [(name.strip(), value.strip()) for name, _, value in lines]
    first = dict(reversed(pairs))
    sockets = {value for name, value in pairs if name == "physical id"}
    logical = psutil.cpu_count()
    physical = psutil.cpu_count(logical=False)
    if physical and logical and physical > logical:
        physical = None
    return {
        "vendor": _known(first.get("vendor_id")),
        "model": _known(first.get("model name")) or _known(platform.processor()),
        "socket_count": len(sockets) or None,
        "physical_core_count": physical,
        "logical_thread_count": logical,
    }
