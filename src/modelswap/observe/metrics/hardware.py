"""What this machine is, for `/api/hardware`.

Law: unknown facts are `null`, never a guess or a sentinel. Slow (it asks
drivers): never on the loop's thread.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, Final

from modelswap.observe.logs.timestamps import rfc3339

from .gpu import amd_cards, open_nvml, read

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
_NOTHING: Final = frozenset({"", "n/a", "unknown", "none"})
_NVIDIA: Final = {
    2: "Fermi", 3: "Kepler", 5: "Maxwell", 6: "Pascal", 9: "Hopper", 10: "Blackwell", 11: "Blackwell", 12: "Blackwell",
}  # fmt: skip
_TURING: Final = 5
_ADA: Final = 9

Facts = dict[str, Any]


def snapshot(version: str, proc: Path = Path("/proc")) -> Facts | None:
    """Everything that can be found out; `None` when not even the memory is known."""
    memory = _memory(proc)
    if memory is None:
        return None
    return {
        "schema_version": 1,
        "captured_at": rfc3339(time.time_ns(), 0),
        "capture": {
            "scope": "inference_host",
            "method": "detected",
            "detector": {"name": "modelswap", "version": version},
        },
        "architecture": _architecture(),
        "operating_system": _system(),
        "environment": _environment(proc),
        "cpu": _cpu(proc),
        "memory": {"capacity_bytes": memory},
        "accelerators": _accelerators(),
    }


def known(text: str | None) -> str | None:
    """The text, unless it only says that nothing is known."""
    cleaned = (text or "").strip()
    return None if cleaned.lower() in _NOTHING else cleaned


def _memory(proc: Path) -> int | None:
    import psutil  # noqa: PLC0415 -- loaded when needed: start-up time counts

    try:
        total = psutil.virtual_memory().total
    except (psutil.Error, OSError, RuntimeError):
        return None
    limits = [total]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = read(proc.parent / "sys/fs/cgroup" / name)
        if text.isdecimal() and int(text) > 0:
            limits.append(int(text))
    return min(limits)


def _architecture() -> Facts:
    machine = platform.machine()
    name, raw = _ARCHITECTURES.get(machine.lower(), ("other", machine))
    return {"name": name, "raw_name": raw}


def _system() -> Facts:
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


def _environment(proc: Path) -> Facts:
    def kind(name: str, shown: str | None = None) -> Facts:
        return {"kind": name, "name": shown, "version": None}

    kernel = platform.release().lower()
    if "microsoft" in kernel or "wsl" in kernel:
        return kind("wsl", "WSL")
    if sys.platform != "linux":
        return kind("unknown")
    if Path("/.dockerenv").exists():
        return kind("container", "Docker")
    if Path("/run/.containerenv").exists():
        return kind("container", "Podman")
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return kind("container", "Kubernetes")
    group = read(proc / "1/cgroup")
    for mark, shown in (("docker", "Docker"), ("lxc", "LXC"), ("kubepods", "Kubernetes")):
        if mark in group:
            return kind("container", shown)
    return _machine(kind)


_VENDORS: Final = {
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


def _machine(kind: Any) -> Facts:
    vendor = read(Path("/sys/class/dmi/id/sys_vendor")).lower()
    product = read(Path("/sys/class/dmi/id/product_name")).lower()
    for mark, shown in _VENDORS.items():
        if mark in vendor or mark in product:
            found: Facts = kind("virtual_machine", shown)
            return found
    if not vendor:
        unsure: Facts = kind("unknown")
        return unsure
    native: Facts = kind("native")
    return native


def _cpu(proc: Path) -> Facts:
    import psutil  # noqa: PLC0415 -- loaded when needed: start-up time counts

    vendor = model = None
    sockets: set[str] = set()
    for line in read(proc / "cpuinfo").splitlines():
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


def _accelerators() -> list[Facts]:
    found = [*_nvidia(), *_amd()]
    found.sort(key=lambda facts: str(facts.pop("bus")))
    return [{"index": index, **facts} for index, facts in enumerate(found)]


def nvidia_architecture(major: int, minor: int) -> str | None:
    """The name of a CUDA compute capability's generation."""
    if major == 7:  # noqa: PLR2004 -- two generations share it
        return "Turing" if minor >= _TURING else "Volta"
    if major == 8:  # noqa: PLR2004 -- likewise
        return "Ada Lovelace" if minor >= _ADA else "Ampere"
    return _NVIDIA.get(major)


def _nvidia() -> list[Facts]:
    nvml = open_nvml()
    if nvml is None:
        return []
    try:
        count = range(nvml.nvmlDeviceGetCount())
        return [_nvidia_card(nvml, nvml.nvmlDeviceGetHandleByIndex(index)) for index in count]
    except nvml.NVMLError:
        return []
    finally:
        nvml.nvmlShutdown()


def _nvidia_card(nvml: Any, handle: Any) -> Facts:
    def ask(function: str, *args: Any) -> Any:
        try:
            value = getattr(nvml, function)(*args)
        except (nvml.NVMLError, AttributeError):
            return None
        return value.decode() if isinstance(value, bytes) else value

    capability = ask("nvmlDeviceGetCudaComputeCapability", handle)
    memory = ask("nvmlDeviceGetMemoryInfo", handle)
    bus = ask("nvmlDeviceGetPciInfo", handle)
    watts = ask("nvmlDeviceGetPowerManagementLimit", handle)
    return {
        "bus": bus.busId if bus else "",
        "kind": "gpu",
        "vendor": "NVIDIA",
        "model": known(ask("nvmlDeviceGetName", handle)),
        "architecture": nvidia_architecture(*capability) if capability else None,
        "memory": {"kind": "dedicated", "capacity_bytes": memory.total} if memory else _no_memory(),
        "driver": {"name": "NVIDIA", "version": known(ask("nvmlSystemGetDriverVersion"))},
        "power_limit_watts": watts / 1000 if watts else None,
    }


def _no_memory() -> Facts:
    return {"kind": "unknown", "capacity_bytes": None}


def _amd() -> list[Facts]:
    return [_amd_card(device) for device in amd_cards()]


def _amd_card(device: Path) -> Facts:
    size = read(device / "mem_info_vram_total")
    cap = next((read(path) for path in sorted(device.glob("hwmon/hwmon*/power1_cap"))), "")
    return {
        "bus": device.resolve().name,
        "kind": "gpu",
        "vendor": "AMD",
        "model": known(read(device / "product_name")),
        "architecture": None,
        "memory": {"kind": "dedicated", "capacity_bytes": int(size)}
        if size.isdecimal()
        else _no_memory(),
        "driver": {"name": "amdgpu", "version": known(read(Path("/sys/module/amdgpu/version")))},
        "power_limit_watts": int(cap) / 1_000_000 if cap.isdecimal() else None,
    }
