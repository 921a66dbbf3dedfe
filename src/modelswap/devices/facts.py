"""What this machine is, for `/api/hardware`.

Guarantees: unknown facts are `null`, never a guess or a sentinel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import host
from .gpus import gpu_facts
from .host import Facts, known


def hardware_facts(version: str, captured_at: str, proc: Path = Path("/proc")) -> Facts | None:
    """Return everything that can be found out; `None` when not even the memory is known."""
    memory = host.memory(proc)
    if memory is None:
        return None
    return {
        "schema_version": 1,
        "captured_at": captured_at,
        "capture": {
            "scope": "inference_host",
            "method": "detected",
            "detector": {"name": "modelswap", "version": version},
        },
        "architecture": host.architecture(),
        "operating_system": host.operating_system(),
        "environment": host.environment(proc),
        "cpu": host.cpu(proc),
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
        "model": known(card["model"]),
        "architecture": card["architecture"],
        "memory": {"kind": kind, "capacity_bytes": size},
        "driver": {"name": driver, "version": known(version)},
        "power_limit_watts": card["power_limit_watts"],
    }
