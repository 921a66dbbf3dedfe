"""What the program tells systemd when it runs as a service with `Type=notify`.

Guarantees: without `NOTIFY_SOCKET` nothing is sent; a message that cannot be delivered is dropped,
waited for `PATIENCE` at most. The variables are taken out of our environment: model servers do not get them.
Does not: need systemd; the protocol is one datagram per message.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import MutableMapping

PATIENCE: Final = 0.5
"""Seconds that a manager gets to read what came before; a sign of life does not wait at all."""
_ADDRESS: Final = "NOTIFY_SOCKET"
_WATCHDOG: Final = "WATCHDOG_USEC"
_WATCHED_PID: Final = "WATCHDOG_PID"
_MICROSECONDS: Final = 1e6


class Service:
    """The service manager that started us, if one did."""

    def __init__(self, variables: MutableMapping[str, str] = os.environ) -> None:
        self.variables = {
            name: variables.pop(name) for name in (_ADDRESS, _WATCHDOG) if name in variables
        }
        """For a successor, which speaks to the same manager."""
        watched = variables.pop(_WATCHED_PID, None)
        is_watched = watched in (None, str(os.getpid()))
        self.watchdog = _seconds(self.variables.get(_WATCHDOG, "")) if is_watched else None
        """Within how many seconds the manager wants a sign of life; None: it does not."""

    def ready(self) -> None:
        """Say that requests are accepted, or that a reload is over."""
        self._send("READY=1", f"MAINPID={os.getpid()}")

    def reloading(self) -> None:
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def handed_over(self, pid: int) -> None:
        """Say that another process is the service's main one from now on."""
        self._send(f"MAINPID={pid}", "READY=1")

    async def watch(self) -> None:
        """Say for ever that the loop is alive, twice as often as the manager looks."""
        while self.watchdog is not None:
            self._send("WATCHDOG=1", within=0)
            await asyncio.sleep(self.watchdog / 2)

    def _send(self, *fields: str, within: float = PATIENCE) -> None:
        address = self.variables.get(_ADDRESS, "")
        if not address or not hasattr(socket, "AF_UNIX"):
            return
        if address.startswith("@"):  # the kernel's own name space
            address = "\0" + address[1:]
        with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.settimeout(within)
            out.sendto("\n".join(fields).encode(), address)


def _seconds(microseconds: str) -> float | None:
    return (
        int(microseconds) / _MICROSECONDS
        if microseconds.isdecimal() and int(microseconds)
        else None
    )
