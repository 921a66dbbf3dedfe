"""modelswap with the times of one swap written to a file: run in place of `modelswap` by `bench.swap`.

    python bench/traced.py serve …                     the front
    python -I -S bench/traced.py --keeper STATE GRACE  its keeper, started by that front

Guarantees: the program itself holds no code for this. Methods are wrapped from outside, each with
one reading of the clock (which all processes share) and one write.
Does not: trace a server; the time between two points around it is the server's own.
"""

from __future__ import annotations

import os
import sys
import time
from functools import wraps

SRC = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "src")  # noqa: PTH118, PTH120, PTH100 - pathlib would slow the keeper's start
FILE = "MODELSWAP_BENCH_TRACE"
"""Environment variable with the path of the file; one line a point: nanoseconds and name."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _writer() -> Callable[[str], None]:
    file = os.open(os.environ[FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def point(name: str) -> None:
        os.write(file, b"%d %s\n" % (time.perf_counter_ns(), name.encode()))

    return point


def _is(*expected: object) -> Callable[[tuple[Any, ...]], bool]:
    """Whether a call's last positional argument is this, or a message of this kind."""

    def test(arguments: tuple[Any, ...]) -> bool:
        last = arguments[-1]
        return (last["kind"] if isinstance(last, dict) else last) in expected

    return test


def _wrap(
    owner: Any,
    name: str,
    *,
    before: str = "",
    after: str = "",
    when: Callable[[tuple[Any, ...]], bool] = lambda _: True,
) -> None:
    """Write a point before or after each call of a function."""
    plain = getattr(owner, name)

    @wraps(plain)
    def traced(*arguments: Any, **named: Any) -> Any:
        is_meant = when(arguments)
        if before and is_meant:
            _point(before)
        result = plain(*arguments, **named)
        if after and is_meant:
            _point(after)
        return result

    setattr(owner, name, traced)


def _trace_front() -> None:
    from modelswap.api.proxy.proxy_request import ProxyRequest  # noqa: PLC0415 - the keeper loads none of it
    from modelswap.api.proxy.queue_wait import QueueWait  # noqa: PLC0415 - as above
    from modelswap.fleet.fleet import Fleet  # noqa: PLC0415 - as above
    from modelswap.fleet.model_server import ModelServer  # noqa: PLC0415 - as above
    from modelswap.fleet.running_servers import RunningServers  # noqa: PLC0415 - as above
    from modelswap.http.client.connection import UpstreamConnection  # noqa: PLC0415 - as above
    from modelswap.launch import probe  # noqa: PLC0415 - as above
    from modelswap.launch.local.keeper_client import starting  # noqa: PLC0415 - as above
    from modelswap.launch.local.keeper_client.session import KeeperSession  # noqa: PLC0415 - as above
    from modelswap.launch.local.launcher import LocalLauncher  # noqa: PLC0415 - as above
    from modelswap.launch.local.ports import PortAssignment  # noqa: PLC0415 - as above

    _wrap(ProxyRequest, "_on_resolved", before="request read")
    _wrap(Fleet, "enter", before="lease asked for")
    _wrap(RunningServers, "terminate", before="swap decided")
    _wrap(ModelServer, "close", after="connections closed")
    _wrap(KeeperSession, "send", before="stop ordered", when=_is("signal"))
    _wrap(LocalLauncher, "_on_message", before="exit seen by the front", when=_is("exited"))
    _wrap(RunningServers, "start", before="start decided")
    _wrap(PortAssignment, "assign", after="port found")
    _wrap(KeeperSession, "send", before="start ordered", when=_is("spawn"))
    _wrap(LocalLauncher, "_on_message", before="start seen by the front", when=_is("spawned"))
    _wrap(LocalLauncher, "_on_ready", before="answer is the server's own")
    _wrap(QueueWait, "on_granted", before="lease granted")
    _wrap(
        UpstreamConnection,
        "begin",
        before="connected to the server",
        after="request sent to the server",
    )
    _wrap(UpstreamConnection, "data_received", before="response begins")
    _wrap(ProxyRequest, "_finish", after="response passed on")

    _trace_probes(probe)
    _trace_its_keeper(starting)


def _trace_probes(probe: Any) -> None:
    plain = probe.probe_once

    async def probe_once(*arguments: Any) -> Any:
        _point("probe begins")
        result = await plain(*arguments)
        _point("probe passed" if result.is_ready else "probe failed")
        return result

    probe.probe_once = probe_once


def _trace_its_keeper(starting: Any) -> None:
    """Have the front start this file in place of the keeper's."""
    plain = starting._spawn_detached  # noqa: SLF001 - there is no other way in

    def spawn_detached(argv: list[str], *rest: Any) -> Any:
        return plain([*argv[:3], os.path.abspath(__file__), "--keeper", *argv[4:]], *rest)  # noqa: PTH100 - as above

    starting._spawn_detached = spawn_detached  # noqa: SLF001 - as above


def _trace_keeper() -> None:
    from modelswap.keeper import supervisor  # noqa: PLC0415 - the front loads none of it

    keeper = supervisor.Supervisor
    _wrap(keeper, "_on_order", before="stop order read", when=_is("signal"))
    _wrap(keeper, "_signal", after="signal sent")
    _wrap(keeper, "_on_child_exited", before="exit seen by the keeper")
    _wrap(keeper, "_end", after="exit told")
    _wrap(keeper, "_spawn", before="start order read", after="start told")
    _wrap(supervisor, "spawn", after="program runs")


def main() -> None:
    sys.path.append(SRC)
    if sys.argv[1] == "--keeper":
        _trace_keeper()
        supervisor = __import__("modelswap.keeper.supervisor", fromlist=["main"])
        sys.exit(supervisor.main(sys.argv[2:]))
    _trace_front()
    from modelswap.cli import main as serve  # noqa: PLC0415 - as above

    serve()


if __name__ == "__main__":
    _point = _writer()
    main()
