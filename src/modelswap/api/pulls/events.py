"""Takes the news of pulls to the log, the event streams and the counters.

Guarantees: without readers a step of a pull costs a few dictionary operations. No text holds a secret.
"""

from __future__ import annotations

import asyncio
from dataclasses import field
from typing import TYPE_CHECKING, Any

from modelswap.api.models_endpoint import file_progress
from modelswap.deferred import dataclass
from modelswap.pull.progress import PullPhase

if TYPE_CHECKING:
    from modelswap.api.fleet_events import FleetEvents
    from modelswap.api.snapshot import ActiveConfig
    from modelswap.config.plan import Plan
    from modelswap.observe.events import EventBus
    from modelswap.observe.logs.logs import Logger
    from modelswap.observe.metrics.prometheus import Metrics
    from modelswap.pull.progress import Puller, PullProgress
    from modelswap.units import Seconds

Record = dict[str, Any]


@dataclass(slots=True, kw_only=True, eq=False)
class PullEvents:
    config: ActiveConfig
    puller: Puller
    fleet_events: FleetEvents
    log: Logger
    bus: EventBus
    metrics: Metrics
    _phases: dict[str, PullPhase] = field(default_factory=dict[str, PullPhase])
    """Of the pulls that run."""
    _asked: dict[str, list[asyncio.Future[PullProgress]]] = field(
        default_factory=dict[str, "list[asyncio.Future[PullProgress]]"]
    )
    """Who waits until it is known what there is to pull."""

    def on_progress(self, pull: PullProgress) -> None:
        """Take a step of a pull."""
        before = self._phases.pop(pull.source, None)
        if not pull.is_over:
            self._phases[pull.source] = pull.phase
        self.metrics.pull(pull)
        is_new = pull.phase is not before
        for answer in (
            self._asked.get(pull.source, ()) if pull.phase is not PullPhase.RESOLVING else ()
        ):
            if not answer.done():
                answer.set_result(pull)
        if is_new:
            self._log(pull)
        self.bus.publish("pulls", self.records, remember=is_new)
        for model in names_of(pull, self.config.plan):
            self._tell_router(model, pull, is_begun=before is None)
        if is_new and (before is None or pull.is_over):
            # The fleet may hear of it after this: it has the failure then.
            asyncio.get_running_loop().call_soon(self.fleet_events.publish_statuses)

    async def resolved(self, source: str, within: Seconds) -> PullProgress | None:
        """Return how a pull stands as soon as the hub has said which files there are; None: not yet."""
        answer: asyncio.Future[PullProgress] = asyncio.get_running_loop().create_future()
        asked = self._asked.setdefault(source, [])
        asked.append(answer)
        try:
            async with asyncio.timeout(within):
                return await answer
        except TimeoutError:
            return None
        finally:
            asked.remove(answer)

    def records(self) -> list[Record]:
        """Return the payload of a `pulls` event: what runs, and what ended lately."""
        plan = self.config.plan
        return [pull_record(pull, models_of(pull, plan)) for pull in self.puller.pulls()]

    def _log(self, pull: PullProgress) -> None:
        from .words import pull_words, size_words  # noqa: PLC0415 - where models are pulled

        match pull.phase:
            case PullPhase.RESOLVING:
                self.log.info(f"pulling {pull.source}")
            case PullPhase.DOWNLOADING:
                self.log.info(pull_words(pull))
            case PullPhase.STALLED:
                self.log.warning(pull_words(pull))
            case PullPhase.FINISHED:
                self.log.info(f"pulled {pull.source}, {size_words(pull.done)}")
            case PullPhase.FAILED:
                self.log.warning(f"{pull.source} was not pulled: {pull.text} ({pull.failure})")
            case PullPhase.CANCELLED:
                self.log.info(f"the pull of {pull.source} was cancelled; what came stays")

    def _tell_router(self, model: str, pull: PullProgress, *, is_begun: bool) -> None:
        publish = self.fleet_events.router.publish
        if is_begun and not pull.is_over:
            publish(model, "model_status", {"status": "downloading"})
        match pull.phase:
            case PullPhase.FINISHED:
                publish(model, "download_finished")
                publish(model, "model_status", {"status": "downloaded"})
            case PullPhase.FAILED:
                failure = None if pull.failure is None else pull.failure.value
                publish(model, "download_failed", {"failure": failure, "reason": pull.text})
            case PullPhase.CANCELLED:
                publish(model, "download_failed", {"reason": "it was cancelled"})
            case _ if pull.files:
                publish(model, "download_progress", {"progress": file_progress(pull)})
            case _:
                pass


def models_of(pull: PullProgress, plan: Plan) -> list[str]:
    """Return the models of the configuration that are pulled from there."""
    return [model.id for model in plan.models.values() if model.pull_name == pull.source]


def names_of(pull: PullProgress, plan: Plan) -> list[str]:
    """Return the names that llama.cpp's router has for a pull: its models', else that of its repository."""
    return models_of(pull, plan) or [router_name(pull.source)]


def router_name(source: str) -> str:
    """Return `OWNER/REPO:QUANT` for a source of the hub."""
    return source.removeprefix("hf:")


def pull_record(pull: PullProgress, models: list[str]) -> Record:
    from .words import pull_words  # noqa: PLC0415 - where models are pulled

    left = pull.seconds_left
    return {
        "source": pull.source,
        "models": models,
        "phase": pull.phase.value,
        "done": pull.done,
        "total": pull.total,
        "rate": round(pull.rate),
        "seconds_left": None if left is None else round(left),
        "files": [{"name": one.name, "done": one.done, "total": one.total} for one in pull.files],
        "failure": None if pull.failure is None else pull.failure.value,
        "text": pull.text,
        "words": "" if pull.is_over else pull_words(pull),
    }
