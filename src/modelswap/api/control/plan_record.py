"""The JSON of an explanation: what would happen to a request for one model, device by device.

Units: bytes, seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from modelswap.core.explaining.costs import cost_text
from modelswap.core.explaining.words import compared_text, device_text, need_text, plan_text
from modelswap.core.placement.policy import UNKNOWN_NEED, UNUSED, Facts, PlacementPlan
from modelswap.core.scheduling.admission import Refuse, Serve, Swap, Wait
from modelswap.core.scheduling.explanation import held_after, held_by_device

if TYPE_CHECKING:
    from modelswap.core.placement.policy import DeviceId, DevicePool, Need, Placement
    from modelswap.core.scheduling.admission import Verdict
    from modelswap.core.scheduling.explanation import Explanation
    from modelswap.core.spec import ModelId
    from modelswap.fleet.memory.state import MemoryState, ModelMemory

Record = dict[str, Any]


def plan_record(told: Explanation, memory: MemoryState) -> Record:
    plan = told.plan
    placement = plan.placement if isinstance(plan, PlacementPlan) else None
    facts = _facts(told.facts, memory)
    after = _after(told, facts)
    return {
        "model": told.model,
        "text": plan_text(told),
        **_verdict(told.verdict),
        "state": told.phase.shown,
        "in_flight": told.in_flight,
        "why": plan.why if told.leaving or placement is None else "",
        "evictions": [_eviction(told, model) for model in told.leaving],
        "awaiting": list(told.awaiting),
        "placement": None if placement is None else _placement(placement),
        "need": _need(facts.needs.get(told.model, UNKNOWN_NEED)),
        "memory": _of_model(memory.models.get(told.model)),
        "devices": [_device(facts, pool, after.get(pool.id, 0), memory) for pool in facts.pools],
        **_state(memory),
    }


def devices_record(memory: MemoryState) -> Record:
    """Return the devices as they are now."""
    facts = _facts(memory.facts, memory)
    held = held_by_device(facts.held)
    devices = [_device(facts, pool, held.get(pool.id, 0), memory) for pool in facts.pools]
    return {"devices": devices, **_state(memory)}


def _facts(decisive: Facts, memory: MemoryState) -> Facts:
    """Return the facts as the decisions know them; where these do without, those of the last reading."""
    if decisive.pools:
        return decisive
    return Facts(
        pools=memory.pools,
        needs={model: known.need for model, known in memory.models.items()},
        held={model: known.held for model, known in memory.models.items() if known.held},
    )


def _state(memory: MemoryState) -> Record:
    problem = {"problem": memory.problem} if memory.problem else {}
    return {"decides_by_memory": memory.is_in_use, **problem}


def _verdict(verdict: Verdict) -> Record:
    match verdict:
        case Serve():
            return {"verdict": "serve"}
        case Wait(why):
            return {"verdict": "wait", "waits_for": why.name.lower()}
        case Swap():
            return {"verdict": "swap" if verdict.evictions else "start"}
        case Refuse(reason, why, retry_after):
            after = {} if retry_after is None else {"retry_after_s": round(retry_after, 3)}
            refused = {"reason": reason.name.lower(), "why": why, **after}
            return {"verdict": "refuse", "refused": refused}
        case _ as never:
            assert_never(never)


def _eviction(told: Explanation, model: ModelId) -> Record:
    usage, facts = told.usage.get(model, UNUSED), told.facts
    assert isinstance(told.plan, PlacementPlan)  # no other evicts
    how = next(evict.how for evict in told.plan.evictions if evict.model == model)
    return {
        "model": model,
        "how": how.value,
        "text": f"{model}{cost_text(usage, facts, model)}",
        "idle_s": round(usage.idle, 3),
        "in_flight": usage.in_flight,
        "waiting": usage.waiting,
        "reload_s": facts.reload.get(model),
        "frees": dict(facts.held.get(model, {})),
    }


def _placement(placement: Placement) -> Record:
    return {
        "node": placement.node,
        "devices": list(placement.devices),
        "promised": dict(placement.promised),
    }


def _need(need: Need) -> Record:
    return {
        "source": need.source.value,
        "fixed": dict(need.fixed),
        "movable": need.movable,
        "text": need_text(need),
    }


def _of_model(memory: ModelMemory | None) -> Record:
    """Return what was predicted, learned and measured of a model."""
    if memory is None:
        return {}
    learned = {} if memory.learned is None else dict(memory.learned.peaks)
    found: Record = {"measured": dict(memory.measured), "learned": learned}
    if memory.predicted is None:
        return found
    estimate = memory.predicted
    found["predicted"] = {
        "ram": estimate.ram,
        "gpu": estimate.gpu,
        "parts": [
            {"name": part.name, "bytes": part.bytes, "is_on_gpu": part.is_on_gpu}
            for part in estimate.parts
        ],
    }
    peak = sum(learned.values()) or sum(memory.measured.values())
    if peak:
        found["text"] = compared_text(peak, estimate.ram + estimate.gpu)
    return found


def _after(told: Explanation, facts: Facts) -> dict[DeviceId, int]:
    """Return what models hold of each device once what is said has happened."""
    plan = told.plan
    if isinstance(told.verdict, Refuse) or not isinstance(plan, PlacementPlan):
        return held_by_device(facts.held)
    return held_after(facts, told.leaving, told.model, plan.placement)


def _device(facts: Facts, pool: DevicePool, after: int, memory: MemoryState) -> Record:
    held = held_by_device(facts.held).get(pool.id, 0)
    name = next((device.name for device in memory.devices if device.id == pool.id), "")
    return {
        "id": pool.id,
        "name": name,
        "total": pool.total,
        "reserve": pool.reserve,
        "foreign": pool.foreign,
        "holders": [{"name": holder, "bytes": size} for holder, size in pool.holders],
        "room": pool.room,
        "held": held,
        "after": after,
        "models": {m: sizes[pool.id] for m, sizes in facts.held.items() if sizes.get(pool.id)},
        "text": device_text(pool, held, after),
    }
