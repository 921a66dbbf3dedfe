"""Which port each model has: its own as long as it may, another when a stranger took it.

A port that the command of another model names is never given out: both may run together.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from modelswap.config.compile.addresses import fixed_ports
from modelswap.launch.local.ports import NoFreePortError, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.config.plan import Model
    from modelswap.core.spec import ModelId


class Ports:
    def __init__(self, models: Mapping[ModelId, Model]) -> None:
        self._ports = {m.id: m.port for m in models.values() if m.port is not None}
        self._fixed = fixed_ports(models)

    def keep(self, model: ModelId, port: int) -> None:
        """Note the port that a running server has."""
        self._ports[model] = port

    def choose(self, model: ModelId, usual: int, beyond: int | None) -> int:
        """Choose a free port: the model's own, or one after *beyond*, which was taken.

        Raises:
            NoFreePortError: there is none.
        """
        others = {port for other, port in self._ports.items() if other != model} | self._fixed
        wanted = self._ports.get(model, usual) if beyond is None else beyond + 1
        self._ports[model] = port = free_port(wanted, others)
        return port

    def replace(self, models: Mapping[ModelId, Model], same: frozenset[ModelId]) -> None:
        """Go on with other models: those that are the *same* keep their ports."""
        self._ports = {m: p for m, p in self._ports.items() if m in same}
        self._fixed = fixed_ports(models)
        for model in models.values():
            if model.port is not None and model.id not in self._ports:
                with suppress(NoFreePortError):  # said when the model is to be started
                    self._ports[model.id] = free_port(
                        model.port, {*self._ports.values(), *self._fixed}
                    )
