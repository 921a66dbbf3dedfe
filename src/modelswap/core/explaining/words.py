"""What would happen, and what was decided, in words: for the log, the API, the page and the command line.

Guarantees: these are the only words for it, so two readers of one decision read the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, assert_never

from modelswap.core.commands import Reason
from modelswap.core.models.lifecycle import Phase
from modelswap.core.placement.policy import UNUSED, NeedSource
from modelswap.core.scheduling.admission import Refuse, Serve, Swap, Wait, WaitReason

from .costs import cost_text
from .quantities import count_text, duration_text, list_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelswap.core.placement.policy import DevicePool, Need, Placement
    from modelswap.core.scheduling.explanation import Explanation
    from modelswap.units import Bytes, Seconds

_SOURCES: Final = {
    NeedSource.DECLARED: "declared",
    NeedSource.LEARNED: "learned from its last runs",
    NeedSource.PREDICTED: "predicted from its files and its command",
}


def plan_text(told: Explanation) -> str:
    """Say what would happen to a request that came now, and why."""
    model, verdict = told.model, told.verdict
    match verdict:
        case Serve():
            return f"{model} serves it now: it is loaded{_load(told)}."
        case Wait():
            return _waiting(told, verdict)
        case Swap():
            text = _sentences(_swapping(told), told.facts.needs.get(model), verdict.placement)
            return f"{text} {_contest(told)}" if told.competing else text
        case Refuse():
            return f"{model} would be refused: {_refusal(told, verdict)}."
        case _ as never:
            assert_never(never)


def _load(told: Explanation) -> str:
    if told.concurrency is None:
        return f" and runs {count_text(told.in_flight, 'request')}" if told.in_flight else ""
    return f" and runs {told.in_flight} of at most {count_text(told.concurrency, 'request')}"


def _waiting(told: Explanation, wait: Wait) -> str:
    model = told.model
    match wait.why:
        case WaitReason.LEAVING:
            return f"{model} is stopping; it starts again when it has stopped."
        case WaitReason.LOADING:
            if told.awaiting:
                return f"{model} starts as soon as {list_text(told.awaiting)} has stopped."
            return f"{model} is starting; it serves the request when it is ready."
        case WaitReason.NO_ROOM:
            need = told.facts.needs.get(model)
            text = f"{model} waits for free memory: {wait.detail}."
            return text if need is None else f"{text} {need_text(need)}"
        case WaitReason.FULL:
            limit = count_text(told.in_flight, "request")
            return f"{model} waits: it runs {limit}, as many as it may."
        case WaitReason.HELD | WaitReason.SETTLING | WaitReason.KEPT | WaitReason.BUSY:
            text = f"{model} waits{_for_room(told, wait.why, wait.until)}."
            return f"{text} Then {_leaving(told)}." if told.leaving else text
        case _ as never:
            assert_never(never)


def _for_room(
    told: Explanation,
    why: Literal[WaitReason.HELD, WaitReason.SETTLING, WaitReason.KEPT, WaitReason.BUSY],
    until: Seconds,
) -> str:
    """Say what keeps the models from leaving that have to."""
    match why:
        case WaitReason.HELD:
            return f": older requests for {list_text(told.blocking)} come first"
        case WaitReason.SETTLING:
            young = [m for m in told.leaving if told.phases.get(m) is not Phase.READY]
            return f": {list_text(young)} is still starting"
        case WaitReason.KEPT:
            span = duration_text(max(0.0, until - told.now))
            kept = list_text(told.leaving)
            return f" for up to {span}: the next request for {kept} is expected at once"
        case WaitReason.BUSY:
            busy = [
                f"{m} has finished {count_text(told.usage[m].in_flight, 'request')}"
                for m in told.leaving
                if told.usage.get(m, UNUSED).in_flight
            ]
            return f" until {list_text(busy)}"
        case _ as never:
            assert_never(never)


def _swapping(told: Explanation) -> str:
    if told.leaving:
        return f"{told.model} would start after {_leaving(told)}"
    if told.live:
        return f"{told.model} would start at once, beside {list_text(sorted(told.live))}"
    return f"{told.model} would start at once"


def _contest(told: Explanation) -> str:
    others = list_text(told.competing)
    return f"Requests for {others} wait, too: of all swaps the best is done first."


def _leaving(told: Explanation) -> str:
    """Name those that leave, what it costs to lose each, and why they are chosen."""
    why = told.plan.why
    costly = [
        f"{model}{cost_text(told.usage.get(model, UNUSED), told.facts, model)}"
        for model in told.leaving
    ]
    is_said = all(each in why for each in costly)  # as the policy by memory does
    victims = told.leaving if is_said else costly
    leave = "leaves" if len(victims) == 1 else "leave"
    return f"{list_text(victims)} {leave}" + (f": {why}" if why else "")


def _refusal(told: Explanation, refused: Refuse) -> str:
    why = refused.why
    if refused.reason is Reason.BACKING_OFF and refused.retry_after is not None:
        span = duration_text(refused.retry_after)
        return f"its last start failed, and it may start again in {span}" + (
            f": {why}" if why else ""
        )
    if refused.reason is Reason.PULL_FAILED and refused.retry_after is not None:
        span = duration_text(refused.retry_after)
        return f"its last pull failed, and it may be pulled again in {span}: {why}"
    if refused.reason is Reason.WOULD_SWAP:
        return f"{why} would have to leave"
    if refused.reason is Reason.OVER_LIMIT:
        return f"it runs {count_text(told.in_flight, 'request')}, as many as it may"
    return why or refused.reason.value


def _sentences(first: str, need: Need | None, placement: Placement) -> str:
    """Join what happens with what it needs and where it goes."""
    where = placement_text(placement)
    text = f"{first}, on {where}." if where else f"{first}."
    return f"{text} {need_text(need)}" if need is not None else text


def placement_text(placement: Placement) -> str:
    """Name node and devices; empty where nothing was chosen."""
    devices = list_text(placement.devices) if placement.devices else ""
    node = placement.node or ""
    return f"{devices} of {node}" if devices and node else devices or node


def need_text(need: Need) -> str:
    """Say how much a model needs, where, and how that is known."""
    if need.source is NeedSource.UNKNOWN:
        return "Its need of memory is not known: it runs alone until it was measured once."
    parts = [
        f"{size_text(size)} of {device}" for device, size in sorted(need.fixed.items()) if size
    ]
    if need.movable:
        parts.append(f"{size_text(need.movable)} of the GPUs")
    return f"It needs {list_text(parts) or 'no memory'} ({_SOURCES[need.source]})."


def compared_text(measured: Bytes | int, predicted: Bytes | int) -> str:
    """Compare what a model holds, or held at most, with what was predicted."""
    text = f"{size_text(measured)} measured, {size_text(predicted)} predicted"
    if not measured:
        return text
    off = round(100 * (predicted - measured) / measured)
    return f"{text} ({abs(off)} % {'more' if off > 0 else 'less'})" if off else text


def device_text(pool: DevicePool, held: Bytes | int, after: Bytes | int) -> str:
    """Say what a device has, who uses it, and what our models hold now and afterwards."""
    parts = [f"{size_text(pool.total)} in all"]
    if pool.reserve:
        parts.append(f"{size_text(pool.reserve)} kept free")
    if pool.foreign:
        holders = list_text(f"{name} {size_text(size)}" for name, size in pool.holders)
        parts.append(
            f"{size_text(pool.foreign)} used by other programs"
            + (f" ({holders})" if pool.holders else "")
        )
    parts.append(f"{size_text(held)} held by models")
    if after != held:
        parts.append(f"{size_text(after)} afterwards")
    left = pool.room - after
    parts.append(f"{size_text(left)} left" if left >= 0 else f"{size_text(-left)} too little")
    return f"{pool.id}: {', '.join(parts)}"


def swap_text(
    *, model: str, asked_by: str, left: Iterable[str], why: str, where: str, ending: str
) -> str:
    """Say what was decided, who asked for it, why, and how it ended."""
    gone = [*left]
    who = f" for {asked_by}" if asked_by else ""
    leave = "leaves" if len(gone) == 1 else "leave"
    parts = [f"{list_text(gone)} {leave}" + (f" ({why})" if why else "") if gone else "none leaves"]
    if where:
        parts.append(f"placed on {where}")
    if ending:
        parts.append(ending)
    return f"{model}{who}: {'; '.join(parts)}"
