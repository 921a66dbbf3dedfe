"""The objects that the handlers of all requests share; a new plan is applied to them here."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from modelswap.deferred import dataclass
from modelswap.fleet.pulls.gate import NoPuller
from modelswap.observe.activity.completion_batcher import CompletionBatcher
from modelswap.observe.captures import most_captures
from modelswap.observe.logs.redaction import line_redactor

from .fleet_events import FleetEvents

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from modelswap.config.plan import Plan
    from modelswap.fleet import Fleet, RemoteFleet
    from modelswap.http import SpoolFolders
    from modelswap.observe.activity.inflight import Inflight
    from modelswap.observe.activity.store import Store
    from modelswap.observe.captures import Captures
    from modelswap.observe.decisions.events import DecisionEvents
    from modelswap.observe.events import EventBus
    from modelswap.observe.logs.logs import Logger, Logs
    from modelswap.observe.metrics.performance import Performance
    from modelswap.observe.metrics.prometheus import Metrics
    from modelswap.pull.progress import Puller, PullProgress

    from .pulls.events import PullEvents
    from .reload_status import ReloadStatus
    from .snapshot import ActiveConfig


@dataclass(slots=True, kw_only=True, eq=False)
class Services:
    loop: asyncio.AbstractEventLoop
    config: ActiveConfig
    logs: Logs
    log: Logger
    bus: EventBus
    inflight: Inflight
    captures: Captures
    store: Store
    metrics: Metrics
    performance: Performance
    reload: Callable[[], Awaitable[None]]
    complete: Callable[[], Awaitable[None]]
    """Makes the plan anew of the files in use: other models may be pulled now."""
    reload_status: ReloadStatus
    completions: CompletionBatcher = field(init=False)
    fleet: Fleet | RemoteFleet = field(init=False)
    """After a hand-over it is the other front's."""
    _decisions: DecisionEvents | None = field(default=None, init=False)
    fleet_events: FleetEvents = field(init=False)
    puller: Puller = field(default_factory=NoPuller)
    _pull_events: PullEvents | None = field(default=None, init=False)
    spool: SpoolFolders | None = None
    """Where forms go that are too large for memory; None: the system's temporary folder."""
    profile: str | None = None
    draining: bool = False
    """The program shuts down."""
    shows_requests: bool = True
    """The log shows a line for each request."""

    def __post_init__(self) -> None:
        self.completions = CompletionBatcher(
            self.store, self.captures, self.metrics, self.logs, self.loop.call_later
        )
        self.fleet_events = FleetEvents(
            decisions=lambda: self.decisions,
            config=self.config,
            fleet=lambda: self.fleet,
            logs=self.logs,
            log=self.log,
            bus=self.bus,
            metrics=self.metrics,
            now=self.loop.time,
        )
        self.puller.subscribe(self._on_pull)

    @property
    def decisions(self) -> DecisionEvents:
        """Made at the first decision: the start needs none."""
        if self._decisions is None:
            from modelswap.observe.decisions.events import DecisionEvents  # noqa: PLC0415 - as said above

            self._decisions = DecisionEvents(
                settings=lambda: self.config.plan.settings,
                fleet=lambda: self.fleet,
                store=lambda: self.store,
                log=self.log,
                bus=self.bus,
                metrics=self.metrics,
                now=self.loop.time,
            )
        return self._decisions

    @property
    def pull_events(self) -> PullEvents:
        """Made when a model is pulled, or somebody asks: most configurations have none to pull."""
        if self._pull_events is None:
            from .pulls.events import PullEvents  # noqa: PLC0415 - as said above

            self._pull_events = PullEvents(
                config=self.config,
                puller=self.puller,
                fleet_events=self.fleet_events,
                log=self.log,
                bus=self.bus,
                metrics=self.metrics,
            )
        return self._pull_events

    def _on_pull(self, progress: PullProgress) -> None:
        self.pull_events.on_progress(progress)

    def set_profile(self, name: str | None) -> None:
        if name != self.profile:
            self.profile = name
            self.bus.publish("profileChanged", {"active": name})
            self.fleet_events.publish_statuses()

    def adopt(self, plan: Plan) -> None:
        """Apply another plan to everything but the fleet."""
        settings = plan.settings
        self.config.replace(plan)
        for model, _, _ in self.fleet.running():
            if (server := self.fleet.server(model.id)) is not None:
                self.config.snapshot.deny_page(server.model)
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
        # After the fleet has taken the plan over: that resets failures of changed models.
        self.loop.call_soon(self.fleet_events.publish_statuses)
        self.loop.call_soon(self.fleet_events.publish_reload)

    def close_events(self) -> None:
        """End every stream of events."""
        self.bus.close()
        self.fleet_events.router.close()

    def configure_logs(self) -> None:
        plan = self.config.plan
        self.logs.configure(
            level=plan.settings.log_level,
            time_format=plan.settings.log_time_format,
            redact=line_redactor(secret.reveal() for secret in plan.secrets),
        )
        self.shows_requests = self.logs.shows("info")
