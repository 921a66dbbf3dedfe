"""What the handlers share: the plan of the moment and everything built from it.

One `Services` per program, made by `app`. It answers questions and passes news
on; it owns no model server and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from modelswap.core.models.lifecycle import Phase
from modelswap.http import is_local
from modelswap.observe.activity.completion_batcher import CompletionBatcher
from modelswap.observe.activity.store_factory import most_captures
from modelswap.observe.logs.redaction import line_redactor

from .control.models_endpoint import statuses
from .errors.error_mapping import refusal
from .pages.model_pages import loopback_port
from .snapshot import ConfigSnapshot

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Sequence

    from modelswap.config.load import Loaded
    from modelswap.config.plan import Plan
    from modelswap.core.controller import Fail
    from modelswap.core.spec import ClientId, ModelId
    from modelswap.fleet import Fleet, ModelServer, RemoteFleet
    from modelswap.http import SpoolFolders
    from modelswap.observe.activity.inflight import Inflight
    from modelswap.observe.activity.store import Store
    from modelswap.observe.captures import Captures
    from modelswap.observe.events import EventBus
    from modelswap.observe.logs.logs import Logger, Logs
    from modelswap.observe.metrics.performance import Performance
    from modelswap.observe.metrics.prometheus import Metrics

    from .auth.auth import Identity


@dataclass(slots=True)
class ReloadStatus:
    """What became of the last attempt to load the configuration."""

    ok: bool = True
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    tried_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    files: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def shown(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "loaded_at": self.loaded_at.isoformat(),
            "tried_at": self.tried_at.isoformat(),
            "files": list(self.files),
            "problems": list(self.problems),
            "warnings": list(self.warnings),
        }


@dataclass(slots=True, kw_only=True, eq=False)
class Services:
    loop: asyncio.AbstractEventLoop
    plan: Plan
    snapshot: ConfigSnapshot
    logs: Logs
    log: Logger
    bus: EventBus
    inflight: Inflight
    captures: Captures
    store: Store
    metrics: Metrics
    performance: Performance
    reload: Callable[[], Awaitable[None]]
    status: ReloadStatus
    completions: CompletionBatcher = field(init=False)
    fleet: Fleet | RemoteFleet = field(init=False)
    """After a hand-over it is the other front's."""
    spool: SpoolFolders | None = None
    """Where forms go that are too large for memory; None: the system's temporary folder."""
    profile: str | None = None
    draining: bool = False
    shows_requests: bool = True

    def __post_init__(self) -> None:
        self.completions = CompletionBatcher(
            self.store, self.captures, self.metrics, self.loop.call_later
        )

    # Questions

    def statuses(self) -> list[dict[str, Any]]:
        """Return the payload of a `modelStatus` event."""
        return statuses(self.plan, self.fleet)

    def stands_for_many(self, address: str) -> bool:
        """Tell whether an address is no single client: this machine's, or a trusted proxy's."""
        return is_local(address) or self.snapshot.origins.trusts(address)

    def config_status(self) -> dict[str, Any]:
        return self.status.shown()

    # News

    def access_line(self, before: str, status: int, sent: int, after: str, seconds: float) -> None:
        """Log one finished request; `before` and `after` are what `line_ends` gives."""
        if self.shows_requests:
            self.logs.request_line(before, status, sent, after, seconds)

    def on_phase(self, model: ModelId, phase: Phase, why: str) -> None:
        """Take the fleet's news to the log, the watchers and the counters."""
        failed = self.fleet.failure(model) is not None
        self.metrics.phase(model, phase.shown, self.loop.time(), failed=failed)
        if phase is Phase.READY:
            self._distrust(self.fleet.server(model))
        if phase is Phase.STOPPED:
            self.logs.model_ended(model)
            if model not in self.plan.models:  # its last words came after the reload
                self.logs.forget(model)
        said = f"<{model}> {phase.shown}" + (f": {why}" if why else "")
        if failed:
            self.log.warning(said)
        else:
            self.log.info(said)
        self.bus.publish("modelStatus", self.statuses())

    def _distrust(self, server: ModelServer | None) -> None:
        """Keep the pages at a server's port from our API, also when the port is not the usual one."""
        if server is not None and not server.model.trust_page:
            port = loopback_port(server.model.proxy)
            if port is not None:
                self.snapshot.origins.add_server(port)

    def on_output(self, model: ModelId, data: bytes) -> None:
        self.logs.model_output(model, data)

    def on_note(self, level: str, text: str) -> None:
        self.logs.proxy_line(level, text)

    # Changes

    def set_profile(self, name: str | None) -> None:
        if name != self.profile:
            self.profile = name
            self.bus.publish("profileChanged", {"active": name})
            self.bus.publish("modelStatus", self.statuses())

    async def load(
        self, model: ModelId, client: ClientId, identity: Identity, *, no_swap: bool = False
    ) -> None:
        """Start a model and return when it is ready; *identity* is told what it may know.

        Raises:
            ReplyError: it cannot be loaded now.
        """
        waiter = _Starter(self.loop, self.fleet, identity)
        ticket = self.fleet.ask(model, waiter, client=client, no_swap=no_swap)
        try:
            await waiter.answer
        finally:
            self.fleet.cancel(ticket)

    async def unload(self, models: Sequence[ModelId], *, force: bool) -> None:
        """Unload and return when they are gone; their failures are forgiven, and watchers see that."""
        failed = any(self.fleet.failure(model) is not None for model in models)
        await self.fleet.unload(models, force=force)
        if failed:
            self.bus.publish("modelStatus", self.statuses())

    def adopt_plan(self, loaded: Loaded, plan: Plan) -> None:
        """Go on with another plan: everything that is not the fleet's."""
        settings = plan.settings
        snapshot = ConfigSnapshot(
            plan, listening=self.snapshot.listening, failures=self.snapshot.failures
        )
        self.snapshot.close()
        self.plan, self.snapshot = plan, snapshot
        for model, _, _ in self.fleet.running():
            self._distrust(self.fleet.server(model.id))
        self.completions.flush()
        self.inflight.mask.configure(settings.redact_headers)
        self.captures.resize(settings.capture_buffer, most=most_captures(settings))
        self.store.configure(
            max_rows=settings.metrics_max_in_memory,
            retention=settings.store_retention,
            file_rows=settings.store_rows,
        )
        self.performance.configure(
            every=settings.performance_every, disabled=settings.performance_disabled
        )
        self.configure_logs()
        if self.profile is not None and self.profile not in plan.profiles:
            self.set_profile(None)
        self.status = ReloadStatus(
            files=plan.files, warnings=tuple(str(w) for w in loaded.warnings)
        )
        self.bus.publish("configStatus", self.config_status())
        # After the fleet has taken the plan over: that forgives failures of changed models.
        self.loop.call_soon(lambda: self.bus.publish("modelStatus", self.statuses()))

    def configure_logs(self) -> None:
        """Apply what the plan says about the logs."""
        plan = self.plan
        self.logs.configure(
            level=plan.settings.log_level,
            time_format=plan.settings.log_time_format,
            redact=line_redactor(secret.reveal() for secret in plan.secrets),
        )
        self.shows_requests = self.logs.shows("info")

    def reject_plan(self, problems: Sequence[str]) -> None:
        """Go on as before: the new configuration is not valid, and this says why."""
        self.status = replace(
            self.status, ok=False, tried_at=datetime.now(UTC), problems=tuple(problems)
        )
        self.log.warning("the configuration was not reloaded; the running one stays")
        for problem in problems:
            self.log.warning(problem)
        self.bus.publish("configStatus", self.config_status())


class _Starter:
    """A waiter that only wants to know.

    It gives the lease back at once: who awaits the answer may be cancelled before it is read.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fleet: Fleet | RemoteFleet, identity: Identity
    ) -> None:
        self._identity = identity
        self.answer: asyncio.Future[None] = loop.create_future()
        self._fleet = fleet

    def on_granted(self, server: ModelServer) -> None:
        self._fleet.release(server.model.id)
        if not self.answer.done():
            self.answer.set_result(None)

    def on_refused(self, refused: Fail) -> None:
        if not self.answer.done():
            self.answer.set_exception(refusal(refused, self._identity))

    def on_position(self, position: int) -> None:
        """Nobody is told."""
