"""The machine itself: processor, memory, operating system, and what it runs in.

Guarantees: an unknown fact is `None`, never a guess.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any, Final

from .amd import read_text

_ARCHITECTURES: Final = {
    "x86_64": ("x86_64", "amd64"),
    "amd64": ("x86_64", "amd64"),
    "aarch64": ("arm64", None),
    "arm64": ("arm64", None),
    "armv7l": ("armv7", "arm"),
    "arm": ("armv7", "arm"),
    "ppc64le": ("ppc64le", None),
    "riscv64": ("riscv64", None),
    "s390x": ("s390x", None),
}
_FAMILIES: Final = {"Linux": "linux", "Darwin": "macos", "Windows": "windows", "FreeBSD": "freebsd"}
_UNKNOWN: Final = frozenset({"", "n/a", "unknown", "none"})
_HYPERVISORS: Final = {
    "qemu": "KVM",
    "kvm": "KVM",
    "google": "KVM",
    "amazon ec2": "KVM",
    "vmware": "VMware",
    "innotek": "VirtualBox",
    "virtualbox": "VirtualBox",
    "microsoft corporation": "Hyper-V",
    "xen": "Xen",
}

Facts = dict[str, Any]


def known(text: str | None) -> str | None:
    """Return the text, unless it only says that nothing is known."""
    cleaned = (text or "").strip()
    return None if cleaned.lower() in _UNKNOWN else cleaned


def memory(proc: Path) -> int | None:
    import psutil  # noqa: PLC0415 -- loaded when needed: start-up time counts

    try:
        total = psutil.virtual_memory().total
    except (psutil.Error, OSError, RuntimeError):
        return None
    limits = [total]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = read_text(proc.parent / "sys/fs/cgroup" / name)
        if text.isdecimal() and int(text) > 0:
            limits.append(int(text))
    return min(limits)


def architecture() -> Facts:
    machine = platform.machine()
    name, raw = _ARCHITECTURES.get(machine.lower(), ("other", machine))
    return {"name": name, "raw_name": raw}


def operating_system() -> Facts:
    system = platform.system()
    facts: Facts = {"family": _FAMILIES.get(system, "other"), "name": None, "version": None}
    if system == "Linux":
        try:
            release = platform.freedesktop_os_release()
        except OSError:
            release = {}
        facts["name"], facts["version"] = known(release.get("ID")), known(release.get("VERSION_ID"))
    elif system == "Darwin":
        facts["name"], facts["version"] = "macos", known(platform.mac_ver()[0])
    else:
        facts["name"], facts["version"] = known(system.lower()), known(platform.version())
    if facts["family"] == "other":
        facts["raw_family"] = system
    facts["kernel"] = known(platform.release())
    return facts


def _environment(kind: str, name: str | None = None) -> Facts:
    return {"kind": kind, "name": name, "version": None}


def environment(proc: Path) -> Facts:
    kernel = platform.release().lower()
    if "microsoft" in kernel or "wsl" in kernel:
        return _environment("wsl", "WSL")
    if sys.platform != "linux":
        return _environment("unknown")
    if Path("/.dockerenv").exists():
        return _environment("container", "Docker")
    if Path("/run/.containerenv").exists():
        return _environment("container", "Podman")
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _environment("container", "Kubernetes")
    group = read_text(proc / "1/cgroup")
    for mark, name in (("docker", "Docker"), ("lxc", "LXC"), ("kubepods", "Kubernetes")):
        if mark in group:
            return _environment("container", name)
    return _machine()


def _machine() -> Facts:
    vendor = read_text(Path("/sys/class/dmi/id/sys_vendor")).lower()
    product = read_text(Path("/sys/class/dmi/id/product_name")).lower()
    for mark, name in _HYPERVISORS.items():
        if mark in vendor or mark in product:
            return _environment("virtual_machine", name)
    return _environment("native" if vendor else "unknown")


def cpu(proc: Path) -> Facts:
    import psutil  # noqa: PLC0415 -- loaded when needed: start-up time counts

    vendor = model = None
    sockets: set[str] = set()
    for line in read_text(proc / "cpuinfo").splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        match name:
            case "vendor_id" if vendor is None:
                vendor = known(value)
            case "model name" if model is None:
                model = known(value)
            case "physical id":
                sockets.add(value)
            case _:
                pass
    logical = psutil.cpu_count()
    physical = psutil.cpu_count(logical=False)
    if physical and logical and physical > logical:
        physical = None
    return {
        "vendor": vendor,
        "model": model or known(platform.processor()),
        "socket_count": len(sockets) or None,
        "physical_core_count": physical,
        "logical_thread_count": logical,
    }
