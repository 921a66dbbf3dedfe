"""Chooses the port of each server: its usual one, or another when a foreign process has taken it.

Guarantees: a server whose usual port was taken keeps the other one as long as it can.
Does not: give out a port that another server of this launcher was given, or that the specification
reserves: both servers may run together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelswap.core.spec import ServerId
    from modelswap.launch.protocol import LaunchSpec


class PortAssignment:
    def __init__(self) -> None:
        self._moved: dict[ServerId, tuple[int, int]] = {}
        """Usual port and where to begin looking, of servers that could not have the usual one."""

    def assign(self, spec: LaunchSpec, used: Iterable[int]) -> LaunchSpec:
        """Return the specification at a port that is free now and not among *used*.

        Raises:
            NoFreePortError: there is none.
        """
        usual = spec.port
        if usual is None or spec.render is None:
            return spec
        known, first = self._moved.get(spec.server, (usual, usual))
        port = free_port(first if known == usual else usual, {*used, *spec.reserved_ports})
        self.keep(spec, port)
        return spec.at_port(port)

    def keep(self, spec: LaunchSpec, port: int) -> None:
        """Note the port that a server has."""
        if spec.port is None or port == spec.port:
            self._moved.pop(spec.server, None)
        else:
            self._moved[spec.server] = spec.port, port

    def avoid(self, server: ServerId, usual: int, port: int) -> None:
        """Note that a foreign process holds *port*: the next start looks beyond it."""
        self._moved[server] = usual, port + 1
