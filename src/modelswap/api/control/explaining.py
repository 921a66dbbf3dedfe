"""Control routes that explain: what would happen to a request for a model, and what was decided.

Does not: change anything, count a selector, or ask a peer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from modelswap.api.pulls.events import pull_record
from modelswap.api.pulls.words import plan_words
from modelswap.api.routing.model_selector import MOST_NAME
from modelswap.config.messages.hints import nearest
from modelswap.core.explaining.words import plan_text
from modelswap.core.naming.names import LocalTarget, NoTarget, Off, PeerTarget, Unknown
from modelswap.core.scheduling.explanation import refused
from modelswap.errors import UnavailableError
from modelswap.fleet import Fleet
from modelswap.observe.activity.store import StoreFailedError
from modelswap.observe.decisions.table import EXISTS, decisions_in, question

from .control_request import ControlError, ControlRequest, Reply, as_json
from .plan_record import devices_record, plan_record

if TYPE_CHECKING:
    from modelswap.api.services import Services
    from modelswap.core.naming.names import Target
    from modelswap.observe.decisions.decision import Decision

MOST_DECISIONS: Final = 500
"""Of one answer: about half a megabyte."""
USUAL_DECISIONS: Final = 25
"""Without a limit: a screen full."""
_DIGITS: Final = 4
"""Of a limit: more than `MOST_DECISIONS` has."""


async def plan(request: ControlRequest) -> Reply:
    """Say what would happen to a request for a model now, and why; without a model, what the devices hold."""
    name, services = request.arg("model"), request.services
    if name is None:
        if "model" in request.query:
            raise ControlError(400, "which model? expected ?model=NAME")
        return as_json(devices_record(await services.fleet.read_memory()))
    selectors: list[str] = []

    def first_target(selector: str) -> str | None:
        selectors.append(selector)
        return next(iter(services.config.plan.selectors[selector].targets), None)

    found = services.config.snapshot.names.resolve(name, services.profile, first_target)
    if selectors:
        return as_json({"requested": name, **await _selector(services, selectors[0])})
    match found:
        case Unknown() | NoTarget():
            near = nearest(name, services.config.snapshot.names) if len(name) <= MOST_NAME else ""
            hint = f"; {near}" if near else ""
            raise ControlError(404, f"model {name!r} not found{hint}", "not_found")
        case Off():
            text = f"{name} would be refused: the active profile switches it off."
            return as_json({"requested": name, "model": name, "verdict": "refuse", "text": text})
        case LocalTarget() | PeerTarget():
            return as_json({"requested": name, **await _plan_of(services, found)})


async def _plan_of(services: Services, target: Target) -> dict[str, Any]:
    if isinstance(target, PeerTarget):
        text = f"{target.requested} is served by the peer {target.peer}, which decides for itself."
        return {"model": target.requested, "verdict": "peer", "peer": target.peer, "text": text}
    fleet = services.fleet
    memory = await fleet.read_memory(
        [target.model]
    )  # as a request's load has the devices read first
    told = fleet.explain(target.model)
    if told is None or not isinstance(fleet, Fleet):
        raise UnavailableError("another process has taken over; ask again", retry_after=1)
    if not fleet.needs_pull(target.model):
        return plan_record(told, memory)
    refusal = fleet.gate.refusal(target.model)
    if refusal is not None:
        return plan_record(refused(told, refusal), memory)
    source = services.config.plan.models[target.model].pull_name
    pull = fleet.pull_of(target.model)
    text = plan_words(told.model, source, pull, plan_text(told))
    record = None if pull is None else pull_record(pull, [told.model])
    return {**plan_record(told, memory), "text": text, "verdict": "pull", "pull": record}


async def _selector(services: Services, selector: str) -> dict[str, Any]:
    """Say what each target of a selector would lead to; which one it is depends on the request."""
    configured = services.config.plan.selectors[selector]
    targets = [services.config.snapshot.names.lookup(target) for target in configured.targets]
    plans = [await _plan_of(services, target) for target in targets if target is not None]
    rule = f"{selector} is a selector ({configured.strategy}); each request goes to one of its targets."
    text = " ".join((rule, *(each["text"] for each in plans)))
    return {"model": selector, "verdict": "selector", "text": text, "targets": plans}


async def decisions(request: ControlRequest) -> Reply:
    """List the newest decisions, the newest first; those that are not done come before the others."""
    limit, model = _limit(request), request.arg("model") or ""
    services = request.services
    local = services.config.snapshot.local(model) if model else None
    found = await _decisions(services, limit, local or model)
    return as_json({"data": [decision.shown() for decision in found]})


def _limit(request: ControlRequest) -> int:
    text = request.arg("limit") or str(USUAL_DECISIONS)
    is_number = text.isascii() and text.isdecimal() and len(text) <= _DIGITS
    if not is_number or not 1 <= int(text) <= MOST_DECISIONS:
        raise ControlError(400, f"limit must be between 1 and {MOST_DECISIONS}")
    return int(text)


async def _decisions(services: Services, limit: int, model: str) -> list[Decision]:
    """Join what this process remembers with what the store's file holds."""
    known = services.decisions.in_memory(limit, model)
    store = services.store
    if not store.is_in_file:
        return known

    def ask() -> list[Decision]:
        if not store.rows(EXISTS, ()):
            return []
        return decisions_in(store.rows(*question(limit, model)))

    try:
        kept = await store.run_query(ask)
    except StoreFailedError as error:
        services.log.warning(f"activity store: {error}")
        raise ControlError(500, "failed to get decisions") from error
    ids = {decision.id for decision in known}
    return [*known, *(decision for decision in kept if decision.id not in ids)][:limit]
