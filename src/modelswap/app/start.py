"""Starts the program: from the options to the running event loop.

The keeper starts while the configuration is read; where the program does not start, it is ended again.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from modelswap.handover.incoming import find_old_front
from modelswap.http import tune_allocator
from modelswap.launch.local.keeper_client.starting import start_ahead
from modelswap.launch.local.pid1 import run_as_pid1
from modelswap.net.descriptors import fill_standard_streams, raise_limit
from modelswap.net.tls import import_uvloop

from .found_log import nothing_found
from .model_watch import ModelWatch
from .options import Options, StartError, parse_listen
from .program import Program

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from modelswap.config.plan import Plan
    from modelswap.config.source.watching import Watch
    from modelswap.handover.incoming import OldFront
    from modelswap.http import ListenAddress
    from modelswap.launch.local.keeper_client.starting import StartingKeeper


def serve(options: Options) -> int:
    """Serve until told to stop; return the exit code. StartError: the user can correct it."""
    fill_standard_streams()
    old_front = find_old_front()
    try:
        return _serve(options, old_front)
    except StartError as error:
        if old_front is not None:
            old_front.report_failure(error.lines)
        raise


def _serve(options: Options, old_front: OldFront | None) -> int:
    address = parse_listen(options.listen, tls=options.tls_cert is not None)
    ended = run_as_pid1()
    if ended is not None:
        return ended
    watch = options.watched()  # before the files are read: a change after that is seen
    starting = None
    if old_front is None:
        starting = start_ahead(options.state_dir, str(address))  # while the configuration is read
    try:
        return _run_program(options, address, watch, old_front, starting)
    finally:
        if starting is not None:
            starting.abandon()


def _run_program(
    options: Options,
    address: ListenAddress,
    watch: Watch | None,
    old_front: OldFront | None,
    starting: StartingKeeper | None,
) -> int:
    models = ModelWatch()
    loaded = options.load(models.find)
    if loaded.plan is None:
        raise StartError(
            *loaded.lines(), f"modelswap: not started: {len(loaded.problems)} problem(s)"
        )
    if options.asks_for_nothing and not loaded.plan.models:
        raise StartError(*nothing_found(loaded.plan))
    tune_allocator()
    raise_limit()
    if watch is not None:
        watch.watch_also([Path(file) for file in loaded.plan.named_files])
    is_tls_used = options.tls_cert is not None or _has_https(loaded.plan)
    program = Program(options, address, watch, models, old_front=old_front, starting=starting)
    return _run(program.run(loaded, loaded.plan), is_tls_used=is_tls_used)


def _has_https(plan: Plan) -> bool:
    """Tell whether there are upstreams with TLS, by their addresses."""
    models, peers = plan.models.values(), plan.peers.values()
    proxies = *(model.proxy for model in models), *(peer.proxy for peer in peers)
    return any(proxy.lower().startswith("https") for proxy in proxies)


def _run(main: Coroutine[None, None, int], *, is_tls_used: bool) -> int:
    try:
        uvloop = import_uvloop(is_tls_used=is_tls_used)
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
