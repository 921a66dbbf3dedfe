"""The composition root: build everything, serve, reload, shut down.

Order at the start: configuration, address (a taken port must not leave a model
running), keeper and adoption, then requests. Order at the end: stop accepting,
let requests finish, stop the models, let go of the keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelswap import __version__
from modelswap.api.book import Book, UnusableError, policy_of
from modelswap.api.front import Front
from modelswap.api.house import ConfigStatus, House
from modelswap.config.load import diff, load, summary
from modelswap.config.watching import Watch
from modelswap.fleet import Fleet
from modelswap.http import CertificateError, Server, give_back, tune_allocator
from modelswap.launch import LaunchError
from modelswap.launch.descriptors import fill_standard_streams, raise_limit
from modelswap.launch.first import stay_behind_if_first
from modelswap.launch.local import LocalLauncher
from modelswap.launch.memory import SettlingLauncher, devices
from modelswap.launch.state import state_directory
from modelswap.observe.captures import Captures
from modelswap.observe.events import Bus
from modelswap.observe.inflight import Inflight
from modelswap.observe.logs import Logger, Logs
from modelswap.observe.opening import most_captures, store_of
from modelswap.observe.performance import Performance
from modelswap.observe.prometheus import Metrics
from modelswap.observe.redaction import HeaderMask
from modelswap.options import Options, StartError, certificate_of, parse_listen
from modelswap.patience import watch_files

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from modelswap.config.load import Loaded
    from modelswap.config.plan import Plan
    from modelswap.launch import Launcher, Listener

LOOPBACK = ("127.0.0.1", "::1")
KILLED = 3
"""Exit code when something had to be killed."""


def serve(options: Options) -> int:
    """Serve until told to stop; return the exit code.

    Raises:
        StartError: something the user can mend is wrong.
    """
    fill_standard_streams()
    address = parse_listen(options.listen, tls=options.tls_cert is not None)
    watch = _watch_of(options)  # before the files are read: a change after that is seen
    loaded = load(options.config, options.config_dir)
    if loaded.plan is None:
        raise StartError(
            *loaded.lines(), f"modelswap: not started: {len(loaded.problems)} problem(s)"
        )
    ended = stay_behind_if_first()
    if ended is not None:
        return ended
    tune_allocator()
    raise_limit()
    if watch is not None:
        watch.look_also_at([Path(file) for file in loaded.plan.key_files])
    return _run(Program(options, address, watch).run(loaded, loaded.plan))


def _watch_of(options: Options) -> Watch | None:
    if not options.watch:
        return None
    files = [options.config, options.tls_cert, options.tls_key]
    return Watch([f for f in files if f is not None], options.config_dir)


def _run(main: Coroutine[None, None, int]) -> int:
    try:
        import uvloop  # noqa: PLC0415 - not there on every system
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


class Program:
    """One run of `serve`."""

    def __init__(self, options: Options, address: tuple[str, int], watch: Watch | None) -> None:
        """*watch*: has looked at the files before they were loaded."""
        self._options = options
        self._watch = watch
        self._host, self._port = address
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reload_wanted = asyncio.Event()
        self._reloading = asyncio.Lock()

    async def run(self, loaded: Loaded, plan: Plan) -> int:
        """Build, serve, take down; return the exit code."""
        try:
            self._build(loaded, plan)
        except UnusableError as error:
            raise StartError(f"modelswap: {error}") from error
        self._on_signals()
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        try:
            bound = await self._open()
        except (OSError, LaunchError, StartError) as error:
            await self._server.close()
            self._close_observers()
            if isinstance(error, StartError):
                raise
            why = str(error) or "no answer in time"  # the words of a TimeoutError
            said = why if isinstance(error, LaunchError) else f"the keeper cannot be used: {why}"
            raise StartError(f"modelswap: {said}") from error
        self._announce(loaded, bound)
        self._fleet.preload(plan.settings.preload)
        gc.freeze()  # what is there now stays: the collector need not look at it again
        give_back()
        async with asyncio.TaskGroup() as tasks:
            helpers = [tasks.create_task(self._reload_when_wanted(), name="reload")]
            if self._watch is not None:
                watching = watch_files(
                    self._watch,
                    takes_all=self._takes_all_models,
                    changed=self._reload_wanted.set,
                    warn=self._house.log.warning,
                )
                helpers.append(tasks.create_task(watching, name="watch files"))
            await self._asked.wait()
            code = await self._shut_down()
            for helper in helpers:
                helper.cancel()
        return code

    # Start

    def _build(self, loaded: Loaded, plan: Plan) -> None:
        options = self._options
        settings = plan.settings
        logs = Logs(to_stdout=settings.log_to_stdout)
        log = Logger(logs)
        bus = Bus()
        logs.on_lines = bus.log
        mask = HeaderMask(settings.redact_headers)
        captures = Captures(settings.capture_buffer, mask, most=most_captures(settings))
        self._house = house = House(
            loop=asyncio.get_running_loop(),
            plan=plan,
            book=Book(plan, listening=[self._host]),
            logs=logs,
            log=log,
            bus=bus,
            inflight=Inflight(bus, mask),
            captures=captures,
            store=store_of(settings, captures, log, bus),
            metrics=Metrics(version=__version__),
            performance=Performance(
                every=settings.performance_every, disabled=settings.performance_disabled
            ),
            reload=self.reload,
            status=ConfigStatus(files=plan.files, warnings=tuple(map(str, loaded.warnings))),
        )
        house.configure_logs()
        front = Front(house)
        self._tls = certificate_of(options)
        self._server = Server(
            front,
            limits=plan.settings.limits,
            error=front.error_body,
            ssl_context=None if self._tls is None else self._tls.context,
            crashed=self._on_crash,
        )
        self._fleet = house.fleet = Fleet(plan, policy_of(plan), self._launcher, house)
        house.metrics.watch_drops(
            activity=lambda: house.store.dropped,
            captures=lambda: captures.refused,
            stdout_bytes=lambda: logs.dropped,
            event_bytes=lambda: bus.dropped,
        )

    def _launcher(self, listener: Listener) -> Launcher:
        try:
            directory = state_directory(self._options.state_dir, f"{self._host}:{self._port}")
        except LaunchError as error:
            raise StartError(f"modelswap: {error}") from error
        grace = self._house.plan.settings.keeper_grace
        gpus = devices()
        if gpus is None:
            return LocalLauncher(directory, listener, grace=grace)
        return SettlingLauncher(
            lambda inner: LocalLauncher(directory, inner, grace=grace),
            listener,
            gpus.used,
            is_ending=lambda: self._house.draining,
        )

    async def _open(self) -> tuple[str, int]:
        house = self._house
        house.store.open()
        house.store.start()
        house.performance.start()
        try:
            bound = await self._server.bind(self._host, self._port)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            where = f"{self._host}:{self._port}"
            raise StartError(f"modelswap: cannot listen on {where}: {why.lower()}") from error
        await self._fleet.open()
        await self._server.accept()
        return bound

    def _announce(self, loaded: Loaded, bound: tuple[str, int]) -> None:
        log = self._house.log
        for warning in loaded.warnings:
            log.warning(str(warning))
        for key in loaded.not_active:
            log.info(f"{key}: not active in this version")
        scheme = "http" if self._tls is None else "https"
        host, port = bound
        shown = f"[{host}]" if ":" in host else host
        plan = self._house.plan
        log.info(f"modelswap {__version__}: {len(plan.models)} models on {scheme}://{shown}:{port}")
        if host not in LOOPBACK and not plan.settings.api_keys:
            log.warning(
                f"{shown}:{port} can be reached from other machines and no apiKeys are set: "
                "everybody there can use and stop the models"
            )

    def _on_crash(self, bug: BaseException) -> None:
        self._house.log.error(f"internal error, please report: {_traced(bug)}")

    def _on_loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log it: the loop's own way writes to stderr, which may be a pipe that nobody reads."""
        bug = context.get("exception")
        if isinstance(bug, OSError):  # no descriptors left, a peer that vanished
            self._house.log.once(f"loop {bug.errno}", f"{context.get('message')}: {bug}")
        elif isinstance(bug, BaseException):
            self._on_crash(bug)
        else:
            self._house.log.warning(str(context.get("message")))

    # Signals

    def _on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, self._on_stop)
        if sys.platform != "win32":
            loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)

    def _on_stop(self) -> None:
        """Take a signal: the first asks, the second hurries."""
        if self._asked.is_set():
            self._hurry.set()
        self._asked.set()

    # Reload

    async def _reload_when_wanted(self) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            try:
                await self.reload()
            except Exception as bug:  # noqa: BLE001 - a border: a reload must not end the program
                self._on_crash(bug)
                self._house.reject_plan([f"internal error: {bug!r}"])

    async def reload(self) -> None:
        """Load the configuration again; an invalid one changes nothing."""
        async with self._reloading:
            options = self._options
            loaded = await asyncio.to_thread(load, options.config, options.config_dir)
            house = self._house
            if loaded.plan is None:
                house.reject_plan([str(problem) for problem in loaded.problems])
                return
            try:
                settings = self._replace(loaded, loaded.plan)
            except UnusableError as error:
                house.reject_plan([str(error)])
                return
            if "store_path" in settings:
                await self._change_store(loaded.plan)

    async def _change_store(self, plan: Plan) -> None:
        """Go on in another store; the rows of the old one stay there."""
        house, old = self._house, self._house.store
        if old.is_at(plan.settings.store_path):
            return
        new = store_of(plan.settings, house.captures, house.log, house.bus)
        await new.begin()
        new.dropped = old.dropped
        house.ledger.settle()
        house.store = house.ledger.store = new
        await asyncio.to_thread(old.close, is_hurried=False)
        house.captures.clear()

    def _replace(self, loaded: Loaded, plan: Plan) -> tuple[str, ...]:
        """Take the plan over; return which settings differ."""
        house = self._house
        change = diff(house.plan, plan)
        house.adopt_plan(loaded, plan)
        self._fleet.replace(
            plan, policy_of(plan), changed=set(change.changed), removed=set(change.removed)
        )
        self._server.set_limits(plan.settings.limits)
        self._reload_tls()
        for model in change.removed:
            self._house.logs.forget(model)
        log = self._house.log
        log.info(f"configuration reloaded: {summary(change)}")
        for key in change.needs_restart:
            log.warning(f"{key}: takes effect at the next start")
        fresh = change.added | change.changed
        self._fleet.preload([m for m in plan.settings.preload if m in fresh])
        if self._watch is not None:
            self._watch.look_also_at([Path(file) for file in plan.key_files])
        return change.settings

    def _reload_tls(self) -> None:
        if self._tls is not None:
            try:
                self._tls.reload()
            except CertificateError as error:
                self._house.log.warning(f"the TLS certificate was not reloaded: {error}")

    async def _takes_all_models(self) -> bool:
        loaded = await asyncio.to_thread(load, self._options.config, self._options.config_dir)
        return loaded.plan is not None and not loaded.plan.models and bool(self._house.plan.models)

    # End

    async def _shut_down(self) -> int:
        """Let requests finish, stop the models; a second signal cuts both short."""
        house = self._house
        house.draining = True
        log = self._house.log
        log.info("stopping: finishing running requests")
        killed_before = self._fleet.killed
        self._fleet.drain()
        house.bus.close()
        house.logs.end_tails()
        timeout = house.plan.settings.shutdown_timeout
        finished = await self._unless_hurried(self._server.drain(timeout))
        if not finished:
            log.warning("requests were still running and are cut")
        if not await self._unless_hurried(self._stop_models()):
            self._fleet.kill_all()
        await self._server.close()
        await self._fleet.close()
        self._close_observers()
        return KILLED if self._fleet.killed > killed_before else 0

    def _close_observers(self) -> None:
        house = self._house
        house.bus.close()
        house.performance.close()
        house.ledger.settle()
        house.store.close()
        house.logs.close()

    async def _stop_models(self) -> bool:
        await self._fleet.stop_all()
        return True

    async def _unless_hurried(self, work: Coroutine[None, None, bool]) -> bool:
        """Return what *work* says; False when the user is in a hurry first."""
        async with asyncio.TaskGroup() as tasks:
            doing = tasks.create_task(work)
            hurried = tasks.create_task(self._hurry.wait())
            await asyncio.wait({doing, hurried}, return_when=asyncio.FIRST_COMPLETED)
            doing.cancel()
            hurried.cancel()
        return doing.done() and not doing.cancelled() and doing.result()


def _traced(bug: BaseException) -> str:
    """Return the exception and where it came from, in one line."""
    frames = traceback.extract_tb(bug.__traceback__)[-4:]
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
    return f"{bug!r} at {where}"
