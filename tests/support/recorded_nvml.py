"""NVML as recorded: what the library answers on machines of several kinds, behind the bindings' interface."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

GIB = 1 << 30
NOT_SUPPORTED, NOT_FOUND, GPU_IS_LOST = 3, 6, 15


class NVMLError(Exception):
    """As the bindings raise it: with the library's code."""

    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


class Card:
    """One card, or one MIG instance of a card."""

    def __init__(
        self,
        name: str,
        uuid: str,
        total: int,
        used: int,
        *,
        compute: dict[int, int | None] | None = None,
        graphics: dict[int, int | None] | None = None,
        instances: list[Card | None] | None = None,
        memory_error: int = 0,
    ) -> None:
        self.name, self.uuid, self.total, self.used = name, uuid, total, used
        self.compute, self.graphics = compute or {}, graphics or {}
        self.instances, self.memory_error = instances, memory_error


def _processes(table: dict[int, int | None]) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in table.items()]


class RecordedNvml:
    """The functions of `pynvml` that are used; a card that is `None` does not answer at all."""

    NVMLError = NVMLError

    def __init__(self, *cards: Card | None, names: dict[int, str] | None = None) -> None:
        self.cards = cards
        self.names = names or {}
        self.is_shut = False

    def nvmlShutdown(self) -> None:  # noqa: N802 - the bindings' name
        self.is_shut = True

    def __getattr__(self, function: str) -> Any:
        answers = {
            "nvmlDeviceGetCount": lambda: len(self.cards),
            "nvmlDeviceGetHandleByIndex": lambda index: _there(self.cards[index], GPU_IS_LOST),
            "nvmlDeviceGetName": lambda card: card.name.encode(),
            "nvmlDeviceGetUUID": lambda card: card.uuid,
            "nvmlDeviceGetMemoryInfo": _memory,
            "nvmlDeviceGetComputeRunningProcesses": lambda card: _processes(card.compute),
            "nvmlDeviceGetGraphicsRunningProcesses": lambda card: _processes(card.graphics),
            "nvmlDeviceGetMigMode": lambda card: [_instances(card) is not None, 1],
            "nvmlDeviceGetMaxMigDeviceCount": lambda _: 7,
            "nvmlDeviceGetMigDeviceHandleByIndex": _instance,
            "nvmlSystemGetProcessName": lambda pid: _there(self.names.get(pid), NOT_FOUND).encode(),
        }
        return answers[function]


def _there(found: Any, error: int) -> Any:
    if found is None:
        raise NVMLError(error)
    return found


def _memory(card: Card) -> SimpleNamespace:
    if card.memory_error:
        raise NVMLError(card.memory_error)
    return SimpleNamespace(total=card.total, free=card.total - card.used, used=card.used)


def _instances(card: Card) -> list[Card | None] | None:
    if card.instances is None and card.name.startswith("GeForce"):
        raise NVMLError(NOT_SUPPORTED)
    return card.instances


def _instance(card: Card, index: int) -> Any:
    instances = _instances(card) or []
    return _there(instances[index] if index < len(instances) else None, NOT_FOUND)


H100 = "NVIDIA H100 80GB HBM3"
H100_TOTAL = 85_520_809_984
H100_RESERVED = 548_536_320
"""In use on an idle card: the driver's own, which no process holds."""


def idle_h100(uuid: str = "GPU-6a0b", **more: Any) -> Card:
    return Card(H100, uuid, H100_TOTAL, H100_RESERVED, **more)
