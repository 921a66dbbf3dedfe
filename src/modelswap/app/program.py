"""Builds every object of the program, and runs it from its start to its exit.

Start: configuration, address (a taken port must not leave a model running), keeper and adoption, then
requests. End: stop accepting, let requests finish, stop the models, disconnect from the keeper.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from modelswap import __version__
from modelswap.api.gateway import Gateway
from modelswap.api.reload_status import ReloadStatus
from modelswap.api.services import Services
from modelswap.api.snapshot import ActiveConfig, ConfigSnapshot, UnusableError
from modelswap.config.source.reload_debounce import watch_files
from modelswap.devices.gpus import gpu_memory
from modelswap.fleet import Fleet, MemorySources
from modelswap.fleet.pulls.gate import Pulls
from modelswap.handover.channel import ChannelError
from modelswap.http import ListenError, Server, SpoolFolders, malloc_trim
from modelswap.launch.local.fronts import StatusFile
from modelswap.launch.local.launcher import LocalLauncher
from modelswap.launch.local.state import state_directory
from modelswap.launch.memory_release import MemoryReleaseLauncher
from modelswap.launch.protocol import LaunchError
from modelswap.observe.activity.inflight import Inflight
from modelswap.observe.captures import Captures, most_captures
from modelswap.observe.events import EventBus
from modelswap.observe.logs.logs import Logger, Logs
from modelswap.observe.logs.redaction import HeaderMask
from modelswap.observe.metrics.performance import Performance
from modelswap.observe.metrics.prometheus import Metrics
from modelswap.observe.usage.failure_text import traced
from modelswap.units import Seconds

from .found_log import log_found
from .handover_runner import HandoverRunner
from .options import Options, StartError, certificate_of
from .pulling import PullerOnDemand, PullFollower
from .reload import Reloader, open_store_of
from .shutdown import Shutdown, first_of
from .systemd import ServiceManager

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.config.load import Loaded
    from modelswap.config.plan import Plan
    from modelswap.config.source.watching import Watch
    from modelswap.handover.incoming import OldFront
    from modelswap.http import ListenAddress
    from modelswap.launch.local.keeper_client.starting import StartingKeeper
    from modelswap.launch.protocol import Launcher, Listener

    from .model_watch import ModelWatch

_SWITCH_INTERVAL: Final = Seconds(0.0005)
"""How long a thread may keep the interpreter while the loop wants it. Python's 5 ms would be 5 ms for every
request that arrives while a thread reads a configuration or the output of a failed server."""
LOOPBACK: Final = ("127.0.0.1", "::1")


class Program:
    def __init__(
        self,
        options: Options,
        address: ListenAddress,
        watch: Watch | None,
        models: ModelWatch,
        *,
        old_front: OldFront | None,
        starting: StartingKeeper | None,
    ) -> None:
        """*watch* and *models* saw the files before. *old_front* hands over to this process."""
        self._starting = starting
        self._old_front = old_front
        self._options = options
        self._watch = watch
        self._models = models
        self._address = address
        self._shutdown = Shutdown()
        self._manager = ServiceManager()
        self._reloader = Reloader(
            options,
            watch,
            models,
            self._manager,
            crashed=self._on_crash,
            reloaded=self._on_reloaded,
        )
        self._puller = PullerOnDemand()
        self._pulled = PullFollower(self._reloader, self._on_crash)

    async def run(self, loaded: Loaded, plan: Plan) -> int:
        """Build, serve and shut down; return the exit code."""
        sys.setswitchinterval(_SWITCH_INTERVAL)
        try:
            self._build(loaded, plan)
        except UnusableError as error:
            raise StartError(f"modelswap: {error}") from error
        self._handle_signals()
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        bound = await self._open()
        self._note.write("start" if self._old_front is None else "handover", ok=True)
        self._announce(loaded, bound)
        self._manager.ready()
        if self._old_front is None:
            self._fleet.preload(plan.settings.preload)
        self._begin_pulls(plan)
        gc.freeze()  # these objects stay: the collector need not scan them again
        gc.enable()
        malloc_trim()
        return await self._serve()

    def _begin_pulls(self, plan: Plan) -> None:
        """Pull what is missing, and warm what is here, where that is asked for at the start."""
        models, settings = plan.models.values(), plan.settings
        missing = {model.pull_name for model in models if model.is_missing}
        for source in sorted(missing) if settings.pull.on_start else ():
            self._fleet.pull(source)
        here = [model.source for model in models if model.source and not model.is_missing]
        if here and settings.pull.warm:
            _ = self._services.loop.run_in_executor(None, self._puller.warm, here)

    async def _serve(self) -> int:
        """Reload and hand over when asked; return the exit code after the end."""
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(self._reloader.run(), name="reload"),
                tasks.create_task(self._manager.watch(), name="watchdog"),
                tasks.create_task(self._pulled.run(self._services), name="follow pulls"),
                tasks.create_task(
                    self._models.run(self._reloader.wanted.set), name="look for models"
                ),
                tasks.create_task(
                    self._handover.run(self._reloader.guard, self._not_handed_over),
                    name="hand over",
                ),
            ]
            if self._watch is not None:
                watching = watch_files(
                    self._watch,
                    takes_all=self._reloader.takes_all_models,
                    changed=self._reloader.wanted.set,
                    warn=self._services.log.warning,
                )
                background.append(tasks.create_task(watching, name="watch files"))
            await first_of(self._shutdown.asked.wait(), self._handover.done.wait())
            await self._handover.settled.wait()
            is_handed_over = self._handover.new_front is not None
            for task in background if is_handed_over else ():  # the new process does their work
                task.cancel()
            code = await self._end(is_handed_over=is_handed_over)
            for task in background:
                task.cancel()
        return code

    # Start

    def _build(self, loaded: Loaded, plan: Plan) -> None:
        options = self._options
        settings = plan.settings
        logs = Logs(to_stdout=settings.log_to_stdout)
        log = Logger(logs)
        bus = EventBus()
        logs.on_lines = bus.log
        mask = HeaderMask(settings.redact_headers)
        captures = Captures(settings.capture_buffer, mask, most=most_captures(settings))
        self._services = services = Services(
            loop=asyncio.get_running_loop(),
            config=ActiveConfig(
                ConfigSnapshot(
                    plan,
                    listening=[] if self._address.socket_path else [self._address.host],
                    autoload=options.models_autoload,
                )
            ),
            logs=logs,
            log=log,
            bus=bus,
            inflight=Inflight(bus, mask),
            captures=captures,
            store=open_store_of(settings, captures, log, bus),
            metrics=Metrics(version=__version__),
            performance=Performance(
                every=settings.performance_every, disabled=settings.performance_disabled
            ),
            reload=self._reloader.reload,
            complete=self._reloader.complete,
            puller=self._puller,
            reload_status=ReloadStatus(bus, log, files=plan.files, warnings=loaded.warnings),
        )
        services.configure_logs()
        front = Gateway(services)
        self._tls = certificate_of(options)
        self._server = Server(
            front.handle,
            limits=plan.settings.limits,
            error=front.refusal,
            ssl_context=None if self._tls is None else self._tls.context,
            crashed=self._on_crash,
            is_unbounded=services.config.is_shared_address,
        )
        self._reloader.bind(services, self._server, self._tls, loaded.source)
        services.fleet = self._new_fleet()
        self._handover = HandoverRunner(
            services=services,
            server=self._server,
            manager=self._manager,
            shutdown=self._shutdown,
            old_front=self._old_front,
            new_fleet=self._new_fleet,
        )
        services.metrics.watch_drops(
            activity=lambda: services.store.dropped,
            captures=lambda: captures.refused,
            stdout_bytes=lambda: logs.dropped,
            event_bytes=lambda: bus.dropped,
        )

    def _new_fleet(self) -> Fleet:
        plan = self._services.config.plan
        self._fleet = Fleet(
            plan,
            plan.policy,
            self._launcher,
            self._services.fleet_events,
            pulls=Pulls(self._services.puller, self._pulled.on_pulled),
            memory=MemorySources(store=self._state_directory / "needs.db"),
        )
        return self._fleet

    @cached_property
    def _state_directory(self) -> Path:
        """Of this front: it is found, made and probed once."""
        try:
            return state_directory(self._options.state_dir, str(self._address))
        except LaunchError as error:
            raise StartError(f"modelswap: {error}") from error

    def _launcher(self, listener: Listener) -> Launcher:
        options, address = self._options, str(self._address)
        directory = self._state_directory
        self._services.spool = SpoolFolders(directory / "spool")
        files = [str(f.resolve()) for f in (options.config, options.config_dir) if f is not None]
        self._note = StatusFile(directory, listen=address, config=os.pathsep.join(files))
        grace = self._services.config.plan.settings.keeper_grace
        gpus = gpu_memory()
        starting, self._starting = self._starting, None

        def local(inner: Listener) -> Launcher:
            return LocalLauncher(directory, inner, grace=grace, starting=starting)

        if gpus is None:
            return local(listener)
        return MemoryReleaseLauncher(
            local,
            listener,
            gpus.used,
            is_ending=lambda: self._services.draining,
        )

    async def _open(self) -> tuple[str, int]:
        """Accept requests; return the address."""
        try:
            return await self._accept()
        except (OSError, LaunchError, StartError, ChannelError) as error:
            await self._server.close()
            self._close_observers()
            if isinstance(error, StartError):
                raise
            why = str(error) or "no answer in time"  # a TimeoutError has no text
            if not isinstance(error, LaunchError | ChannelError):
                why = f"the keeper cannot be used: {why}"
            raise StartError(f"modelswap: {why}") from error

    async def _accept(self) -> tuple[str, int]:
        services = self._services
        services.store.open()
        services.store.start()
        services.performance.start()
        try:
            if self._old_front is None:
                bound = await self._server.bind(self._address)
            else:
                bound = await self._server.take(self._old_front.listening, self._address)
        except ListenError as error:
            raise StartError(
                f"modelswap: cannot listen on {self._address.shown}: {error}"
            ) from error
        if self._old_front is None:
            await self._fleet.open()
        else:
            inherited = await self._old_front.take_over()
            services.store.skip_to(self._old_front.next_id, self._old_front.unsettled)
            if self._old_front.profile in services.config.plan.profiles:
                services.set_profile(self._old_front.profile)
            await self._fleet.open(inherited)
        await self._server.accept()
        if self._old_front is not None:
            self._old_front.start_serving(self._fleet)
        return bound

    def _announce(self, loaded: Loaded, bound: tuple[str, int]) -> None:
        log = self._services.log
        for warning in loaded.warnings:
            log.warning(str(warning))
        plan = self._services.config.plan
        log_found(log, plan.discovered)
        self._models.on_plan(looks=plan.discovered is not None)
        for key in loaded.not_active:
            log.info(f"{key}: not active in this version")
        host, port = bound
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        where = f"{'http' if self._tls is None else 'https'}://{shown}"
        if self._address.socket_path:
            where = str(self._address)
        count = len(plan.models)
        log.info(
            f"modelswap {__version__}: {count} {'model' if count == 1 else 'models'} on {where}"
        )
        is_open = host not in LOOPBACK and not self._address.socket_path
        if is_open and not plan.settings.api_keys:
            log.warning(
                f"{shown} can be reached from other machines and no apiKeys are set: "
                "everybody there can use and stop the models"
            )

    def _on_crash(self, bug: BaseException) -> None:
        self._services.log.error(f"internal error, please report: {traced(bug)}")

    def _on_loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log it: asyncio writes to stderr, which may be a pipe without a reader."""
        bug = context.get("exception")
        if isinstance(bug, OSError):  # no descriptors left, a peer that vanished
            self._services.log.once(f"loop {bug.errno}", f"{context.get('message')}: {bug}")
        elif isinstance(bug, BaseException):
            self._on_crash(bug)
        else:
            self._services.log.warning(str(context.get("message")))

    # Signals

    def _handle_signals(self) -> None:
        self._shutdown.handle_signals()
        if sys.platform != "win32":
            loop = asyncio.get_running_loop()
            for number in (signal.SIGHUP, signal.SIGUSR2):
                loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        new_front = self._handover.new_front
        if new_front is not None:
            new_front.forward_signal(number)
        elif number == signal.SIGHUP:
            self._reloader.wanted.set()
        else:
            self._handover.wanted.set()

    def _on_reloaded(self) -> None:
        status = self._services.reload_status
        self._note.write("reload", ok=status.ok, lines=status.problems or status.warnings)

    def _not_handed_over(self, lines: list[str]) -> None:
        self._note.write("handover", ok=False, lines=lines)

    # End

    async def _end(self, *, is_handed_over: bool) -> int:
        code = 0
        if is_handed_over:
            await self._handover.finish_requests()
        else:
            self._manager.stopping()
            others = _no_other if self._old_front is None else self._old_front.wait_until_unused
            code = await self._shutdown.run(self._services, self._server, others)
        self._close_observers()
        return code

    def _close_observers(self) -> None:
        services = self._services
        services.close_events()
        services.performance.close()
        services.completions.flush()
        services.store.close()
        services.logs.close()


async def _no_other() -> None:
    """No other process uses the models."""
