"""Notifies systemd when the program runs as a service with `Type=notify`.

Guarantees: without `NOTIFY_SOCKET` nothing is sent; a message that cannot be delivered within
`SEND_TIMEOUT` is dropped. Model servers do not get the variables.
Does not: need systemd; the protocol is one datagram a message.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import MutableMapping

SEND_TIMEOUT: Final = Seconds(0.5)
"""For the manager to read earlier messages; a watchdog message does not wait at all."""
_ADDRESS: Final = "NOTIFY_SOCKET"
_WATCHDOG: Final = "WATCHDOG_USEC"
_WATCHED_PID: Final = "WATCHDOG_PID"
_MICROSECONDS: Final = 1e6  # in a second


class ServiceManager:
    """The service manager that started this process, if one did."""

    def __init__(self, variables: MutableMapping[str, str] = os.environ) -> None:
        self.variables = {
            name: variables.pop(name) for name in (_ADDRESS, _WATCHDOG) if name in variables
        }
        """For a process that takes over, which has the same manager."""
        watched = variables.pop(_WATCHED_PID, None)
        is_watched = watched in (None, str(os.getpid()))
        self.watchdog = _seconds(self.variables.get(_WATCHDOG, "")) if is_watched else None
        """The interval in which the manager expects a watchdog message; None: it expects none."""

    def ready(self) -> None:
        """Notify that requests are accepted, or that a reload is over."""
        self._send("READY=1", f"MAINPID={os.getpid()}")

    def reloading(self) -> None:
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def handed_over(self, pid: int) -> None:
        """Notify that another process is the service's main one from now on."""
        self._send(f"MAINPID={pid}", "READY=1")

    async def watch(self) -> None:
        """Send a watchdog message twice an interval, as long as the event loop runs."""
        while self.watchdog is not None:
            self._send("WATCHDOG=1", within=Seconds(0))
            await asyncio.sleep(self.watchdog / 2)

    def _send(self, *fields: str, within: Seconds = SEND_TIMEOUT) -> None:
        address = self.variables.get(_ADDRESS, "")
        if not address or not hasattr(socket, "AF_UNIX"):
            return
        if address.startswith("@"):  # the kernel's own name space
            address = "\0" + address[1:]
        with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.settimeout(within)
            out.sendto("\n".join(fields).encode(), address)


def _seconds(microseconds: str) -> Seconds | None:
    if not microseconds.isdecimal() or not int(microseconds):
        return None
    return Seconds(int(microseconds) / _MICROSECONDS)
