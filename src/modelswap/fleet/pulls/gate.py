"""Holds requests back while the files of their model are pulled: the controller hears of none of them.

A pull is no load: nothing is evicted for it, no start timeout runs, and it has a back-off of its own.
Whoever owns the plan makes it complete when files have come (`on_pulled`), and says so by `replace`,
then `pulled`.

Guarantees: a ticket that is held leaves by `admit`, by one refusal, or by `cancel`. Models with one
source share one pull. A pull goes on when nobody waits for it any more.
"""

from __future__ import annotations

from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from modelswap.core.commands import Fail, Reason
from modelswap.core.failure import Cause, failure
from modelswap.core.spec import RequestId
from modelswap.deferred import dataclass
from modelswap.fleet.failures import ModelFailure
from modelswap.units import Seconds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence

    from modelswap.catalog.pulled import PulledModel
    from modelswap.config.plan import Model, Plan
    from modelswap.core.commands import LeaseRequest
    from modelswap.core.failure import Failure
    from modelswap.core.spec import ModelId
    from modelswap.fleet.waiting import Ticket
    from modelswap.pull.progress import Puller, PullProgress

    Held = tuple[Ticket, LeaseRequest]

BACKOFF: Final = Seconds(30.0)
"""After a failed pull, where the source does not say when: requests do not ask a hub without end, and what
a user mends is tried soon; an order tries at once."""
_NOT_USABLE: Final = "what was pulled is not there, or cannot be used"
_NOBODY: Final = RequestId(0)
"""Of a question; requests count from 1."""


@dataclass(frozen=True, slots=True)
class Pulls:
    """What pulls, and who hears that the files of a source have come."""

    puller: Puller
    on_pulled: Callable[[str], None]
    """Hears also that the files of a source are gone. Makes the plan complete, and calls `Fleet.replace`, then `Fleet.gate.pulled`."""


class NoPuller:
    """Pulls nothing: for a fleet of models that are all here."""

    def located(self, source: str) -> None: ...
    def progress(self, source: str) -> None: ...
    def subscribe(self, listener: Callable[[PullProgress], None]) -> None: ...

    def start(self, source: str) -> PullProgress:
        from modelswap.pull.progress import PullPhase, PullProgress  # noqa: PLC0415 - where models are pulled

        return PullProgress(source=source, phase=PullPhase.FAILED)

    def pulls(self) -> list[PullProgress]:
        return []

    def cancel(self, source: str) -> bool:
        del source
        return False


def no_pulls() -> Pulls:
    return Pulls(NoPuller(), lambda _: None)


@dataclass(slots=True)
class _Failed:
    progress: PullProgress
    at: Seconds
    """On the loop's clock."""
    date: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def pause(self) -> Seconds:
        return self.progress.retry_after or BACKOFF


class PullGate:
    def __init__(
        self,
        plan: Plan,
        pulls: Pulls,
        loop: asyncio.AbstractEventLoop,
        *,
        admit: Callable[[Ticket, LeaseRequest], None],
        preload: Callable[[Sequence[ModelId]], None],
    ) -> None:
        """`admit` and `preload` take what needs to wait no longer."""
        self._plan = plan
        self._puller = puller = pulls.puller
        self._loop = loop
        self._admit = admit
        self._preload = preload
        self._on_pulled = pulls.on_pulled
        self._held: dict[RequestId, Held] = {}
        self._preloads: dict[ModelId, None] = {}
        self._looking: set[str] = set()
        """Sources that are looked for on the disk, before they are pulled."""
        self._arrived: set[str] = set()
        """Sources that are here; the plan does not know yet."""
        self._failed: dict[str, _Failed] = {}
        self._is_closed = False
        puller.subscribe(self._on_progress)

    # Requests

    def holds(self, model: ModelId) -> bool:
        """Tell whether a model cannot be started because its files are missing."""
        found = self._plan.models.get(model)
        return found is not None and found.is_missing and not self._is_closed

    def enter(self, ticket: Ticket, request: LeaseRequest, *, is_new: bool) -> None:
        """Hold a ticket of a model that this gate `holds`, and see to it that its pull runs."""
        model = self._plan.models[ticket.model]
        refusal = self._refusal(ticket.id, model, is_new=is_new)
        if refusal is not None:
            ticket.waiter.on_refused(refusal)
            return
        self._held[ticket.id] = ticket, request
        self._begin(model.pull_name)

    def refusal(self, model: ModelId) -> Fail | None:
        """Return why a new request for a model that this gate `holds` would be refused; None: it would wait."""
        return self._refusal(_NOBODY, self._plan.models[model], is_new=True)

    def _refusal(self, id_: RequestId, model: Model, *, is_new: bool) -> Fail | None:
        failed = self._failed.get(model.pull_name)
        if failed is not None:
            left = Seconds(failed.at + failed.pause - self._loop.time())
            if left > 0:
                return _refused(id_, failed, left)
        if is_new and len(self._held) >= self._plan.settings.limits.queue:
            return Fail(id_, Reason.QUEUE_FULL)
        return None

    def cancel(self, ticket: Ticket) -> bool:
        """Stop to hold a ticket, while its pull goes on; False: it is not held."""
        return self._held.pop(ticket.id, None) is not None

    def waiting(self, model: ModelId) -> int:
        return sum(ticket.model == model for ticket, _ in self._held.values())

    # Questions

    def progress(self, model: ModelId) -> PullProgress | None:
        """Return how the pull of a model's files stands while it runs; None: none does."""
        if not self.holds(model):
            return None
        source = self._plan.models[model].pull_name
        if source in self._looking or source in self._arrived:
            from modelswap.pull.progress import PullPhase, PullProgress  # noqa: PLC0415 - where models are pulled

            return PullProgress(source=source, phase=PullPhase.RESOLVING)
        found = self._puller.progress(self._written(source))
        return None if found is None or found.is_over else found

    def failure(self, model: ModelId) -> ModelFailure | None:
        """Return why a model's files are not here, if their last pull failed."""
        found = self._plan.models.get(model)
        failed = (
            None if found is None or not found.is_missing else self._failed.get(found.pull_name)
        )
        if failed is None:
            return None
        left = failed.at + failed.pause - self._loop.time()
        retry_at = failed.date + timedelta(seconds=failed.pause) if left > 0 else None
        return ModelFailure(_why(failed.progress), failed.date, retry_at)

    # Orders

    def pull(self, source: str) -> None:
        """Pull on a user's order: a failure just before is no reason to wait."""
        self._failed.pop(source, None)
        self._begin(source)

    def forget_failure(self, model: ModelId) -> None:
        """Let the next request try at once."""
        found = self._plan.models.get(model)
        if found is not None:
            self._failed.pop(found.pull_name, None)

    def preload(self, models: Iterable[ModelId]) -> list[ModelId]:
        """Return those that can be loaded now; the others follow when their files are here."""
        ready: list[ModelId] = []
        for model in models:
            if self.holds(model):
                self._preloads[model] = None
                self._begin(self._plan.models[model].pull_name)
            else:
                ready.append(model)
        return ready

    def unload(self, models: Iterable[ModelId]) -> None:
        """Cancel the pulls of these models, and refuse what waits for them."""
        for model in models:
            if not self.holds(model):
                continue
            source = self._plan.models[model].pull_name
            self._preloads.pop(model, None)
            self._failed.pop(source, None)
            self.cancel_pull(source)

    def cancel_pull(self, source: str) -> bool:
        """Cancel a pull, and refuse what waits for it; False: none runs."""
        is_looking = source in self._looking
        self._looking.discard(source)
        is_pulling = self._puller.cancel(self._written(source))
        self._refuse(source, lambda id_: Fail(id_, Reason.PULL_CANCELLED))
        return is_looking or is_pulling

    def look_again(self, model: ModelId) -> None:
        """Have the plan made anew: a server did not find the files, so they may be gone."""
        found = self._plan.models.get(model)
        if found is not None and found.pull_name and not found.is_missing:
            self._on_pulled(found.pull_name)

    # Reload, hand-over and end

    def replace(self, plan: Plan) -> None:
        """Go on with another plan: what is complete now is admitted, what is removed is refused.

        The pull of a source that no model has any more is cancelled.
        """
        before, self._plan = self._plan, plan
        wanted = {model.pull_name for model in plan.models.values()}
        for old in before.models.values():
            if old.pull_name not in wanted:
                self._looking.discard(old.pull_name)
                self._failed.pop(old.pull_name, None)
                self._puller.cancel(old.source)
        for id_, (ticket, request) in list(self._held.items()):
            if ticket.model not in plan.models:
                del self._held[id_]
                ticket.waiter.on_refused(Fail(id_, Reason.REMOVED))
            elif not self.holds(ticket.model):
                del self._held[id_]
                self._admit(ticket, request)
            else:
                self._begin(plan.models[ticket.model].pull_name)
        ready = [model for model in self._preloads if not self.holds(model)]
        for model in ready:
            del self._preloads[model]
        self._preload([model for model in ready if model in plan.models])

    def pulled(self, source: str) -> None:
        """Note that the plan has been made complete for a source; what it did not complete is refused."""
        was_pulled = source in self._arrived
        self._arrived.discard(source)
        names = [m.id for m in self._plan.models.values() if m.pull_name == source and m.is_missing]
        if names and was_pulled and not self._is_closed:
            from modelswap.pull.progress import PullPhase, PullProgress  # noqa: PLC0415 - where models are pulled

            self._fail(PullProgress(source=source, phase=PullPhase.FAILED, text=_NOT_USABLE))

    def estate(self) -> tuple[list[Held], tuple[str, ...]]:
        """Return what another front has to know to go on: held tickets, and pulls that run."""
        running = {found.source for found in self._puller.pulls() if not found.is_over}
        return list(self._held.values()), tuple(sorted(running | self._looking))

    def drain(self) -> None:
        """Refuse all that wait; from now on nothing is held."""
        self._is_closed = True
        self._preloads.clear()
        held, self._held = self._held, {}
        for id_, (ticket, _) in held.items():
            ticket.waiter.on_refused(Fail(id_, Reason.SHUTTING_DOWN))

    def close(self) -> None:
        """Cancel all pulls; what came stays for the next try."""
        self._is_closed = True
        self._looking.clear()
        for found in self._puller.pulls():
            if not found.is_over:
                self._puller.cancel(self._written(found.source))

    # Pulling; a source goes by its `pull_name`, which holds no secret

    def _written(self, source: str) -> str:
        """Return a source as the configuration has it, maybe with a secret."""
        models = self._plan.models.values()
        return next((model.source for model in models if model.pull_name == source), source)

    def _begin(self, source: str) -> None:
        """Look whether the files have come in another way; else pull."""
        if source in self._looking or source in self._arrived or self._is_closed:
            return
        now = self._puller.progress(self._written(source))
        if now is not None and not now.is_over:
            return
        self._looking.add(source)
        look = self._loop.run_in_executor(None, self._puller.located, self._written(source))
        look.add_done_callback(lambda done: self._on_looked(source, done))

    def _on_looked(self, source: str, done: asyncio.Future[PulledModel | None]) -> None:
        if source not in self._looking:  # it was cancelled meanwhile
            return
        self._looking.discard(source)
        is_known = not done.cancelled() and done.exception() is None
        if is_known and done.result() is not None:
            self._arrive(source)
        else:
            self._on_progress(self._puller.start(self._written(source)))

    def _on_progress(self, progress: PullProgress) -> None:
        if self._is_closed:
            return
        from modelswap.pull.progress import PullPhase  # noqa: PLC0415 - where models are pulled

        match progress.phase:
            case PullPhase.FINISHED:
                self._arrive(progress.source)
            case PullPhase.FAILED:
                self._fail(progress)
            case PullPhase.CANCELLED:
                self._refuse(progress.source, lambda id_: Fail(id_, Reason.PULL_CANCELLED))
            case _:
                pass

    def _arrive(self, source: str) -> None:
        self._failed.pop(source, None)
        self._arrived.add(source)
        self._on_pulled(source)

    def _fail(self, progress: PullProgress) -> None:
        failed = self._failed[progress.source] = _Failed(progress, Seconds(self._loop.time()))
        self._refuse(progress.source, lambda id_: _refused(id_, failed, failed.pause))

    def _refuse(self, source: str, refusal: Callable[[RequestId], Fail]) -> None:
        for model in self._plan.models.values():
            if model.pull_name == source:
                self._preloads.pop(model.id, None)
        for id_, (ticket, _) in list(self._held.items()):
            found = self._plan.models.get(ticket.model)
            if found is not None and found.pull_name == source:
                del self._held[id_]
                ticket.waiter.on_refused(refusal(id_))


def _refused(id_: RequestId, failed: _Failed, left: Seconds) -> Fail:
    return Fail(id_, Reason.PULL_FAILED, retry_after=left, failure=_why(failed.progress))


def _why(progress: PullProgress) -> Failure:
    kind = progress.failure
    text = progress.text or "the reason is not known"
    return failure(
        Cause.PULL_FAILED,
        text if kind is None else f"{text} ({kind})",
        brief=text if kind is None else f"{text} ({kind})",
        is_lasting=kind is None or kind.is_lasting,
    )
