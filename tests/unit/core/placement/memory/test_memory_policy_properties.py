"""What is true of every answer, on machines of any kind."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from modelswap.core.models.experience import reload_time
from modelswap.core.placement.memory.costs import eviction_cost
from modelswap.core.placement.memory.eviction_search import MARGIN
from modelswap.core.placement.policy import (
    RAM,
    UNKNOWN_NEED,
    DeviceId,
    NeverFits,
    NotYet,
    PlacementPlan,
    Usage,
)
from modelswap.core.spec import ModelId
from modelswap.units import Seconds
from support.memory_questions import Machine, Rules, check_capacity, held, need, pool

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = "target"
USAGE = st.builds(
    Usage,
    idle=st.floats(0, 1000).map(Seconds),
    rate=st.floats(0, 2),
    waiting=st.integers(0, 2),
    in_flight=st.sampled_from([0, 0, 0, 1]),
    resident=st.sampled_from([Seconds(0.0), Seconds(1.0), Seconds(100.0)]),
)


@st.composite
def machines(draw: st.DrawFn, *, most_gpus: int = 3, is_calm: bool = False) -> Machine:
    """Draw devices with models on them, which may hold too much; *is_calm*: nothing forbids an eviction."""
    gpus = [f"gpu{n}" for n in range(draw(st.integers(0, most_gpus)))]
    pools = [pool(RAM, draw(st.integers(8, 64)), reserve=1, foreign=draw(st.integers(0, 4)))]
    pools += [
        pool(name, draw(st.sampled_from([8, 24])), foreign=draw(st.sampled_from([0, 0, 3])))
        for name in gpus
    ]
    names = [f"m{n}" for n in range(draw(st.integers(0, 6)))]
    needs, holds = {}, {}
    for name in names:
        ram = draw(st.integers(0, 8))
        on = draw(st.sampled_from(gpus)) if gpus else RAM
        gpu = draw(st.integers(0, 10))
        needs[name] = need(ram=ram, **({on: gpu} if gpus else {}))
        holds[name] = held(**{RAM: ram} | ({on: gpu} if gpus else {}))
    fixed = {draw(st.sampled_from(gpus)): draw(st.integers(0, 4))} if gpus else {}
    needs[TARGET] = need(gpu=draw(st.integers(0, 40)), ram=draw(st.integers(0, 10)), **fixed)
    usage = {name: draw(USAGE) for name in names}
    if is_calm:
        usage = {name: Usage(idle=one.idle, rate=one.rate) for name, one in usage.items()}
    reload = {name: draw(st.floats(0.1, 60)) for name in names if draw(st.booleans())}
    pinned = frozenset(name for name in names if draw(st.integers(0, 5)) == 0)
    rules = Rules(strategy=draw(st.sampled_from(["spread", "pack"])))
    return Machine(tuple(pools), needs, holds, usage, reload, rules, pinned)


@given(machines(most_gpus=5))
def test_capacity_is_never_exceeded(one: Machine) -> None:
    """What an answer lets run fits on every device that the target uses, and pinned models stay."""
    for is_overdue in (False, True):
        answer = one.ask(TARGET, is_overdue=is_overdue)
        if isinstance(answer, PlacementPlan):
            check_capacity(one, TARGET, answer)
            assert not answer.evicted & one.pinned


@given(machines())
def test_the_same_question_has_the_same_answer(one: Machine) -> None:
    """In whatever order its facts are listed."""
    tables = (dict(reversed([*table.items()])) for table in (one.needs, one.usage, one.reload))
    needs, usage, reload = tables
    other = replace(one, needs=needs, usage=usage, reload=reload)
    assert other.ask(TARGET) == one.ask(TARGET)


@given(machines())
def test_time_is_no_way_around(one: Machine) -> None:
    """An overdue request waits for nothing but memory that others hold."""
    answer = one.ask(TARGET, is_overdue=True)
    if isinstance(answer, NotYet):
        assert answer.refuse_after == one.rules.wait
        assert answer.again_in is None
        assert any(one_pool.foreign for one_pool in one.pools)


def _subsets(names: list[str]) -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))


def _fits(one: Machine, leaving: tuple[str, ...], gpu: DeviceId | None) -> bool:
    """Say whether the target fits with its movable part on one GPU (`None`: in `ram`)."""
    wanted = one.needs[TARGET]
    amounts = dict(wanted.fixed)
    at = gpu or RAM
    amounts[at] = amounts.get(at, 0) + wanted.movable  # type: ignore[assignment] # bytes
    for device in one.pools:
        staying = sum(
            sizes.get(device.id, 0) for name, sizes in one.holds.items() if name not in leaving
        )
        if amounts.get(device.id) and staying + amounts[device.id] > device.room:
            return False
    return True


@given(machines(is_calm=True))
def test_the_cheapest_set_leaves(one: Machine) -> None:
    """No other set makes room at a cost that is lower by more than the margin, on whichever GPU."""
    gpus: list[DeviceId | None] = [p.id for p in one.pools if p.id != RAM] or [None]
    facts = one.question(TARGET).facts

    def cost(name: str) -> float:
        reload = reload_time(ModelId(name), facts)
        return eviction_cost(reload, one.usage[name], is_overdue=False)

    movable = [name for name in one.holds if name not in one.pinned]
    best = min(
        (
            sum(map(cost, leaving))
            for leaving in _subsets(movable)
            if any(_fits(one, leaving, gpu) for gpu in gpus)
        ),
        default=None,
    )
    answer = one.ask(TARGET)
    if best is None:  # then it may be split, or not fit at all
        return
    assert isinstance(answer, PlacementPlan)
    assert sum(map(cost, answer.evicted)) * (1 - MARGIN) <= best


@given(machines())
def test_never_means_never(one: Machine) -> None:
    """What never fits does not fit when every model but the pinned ones has left, and others are gone."""
    if isinstance(one.ask(TARGET), NeverFits):
        kept = {name: sizes for name, sizes in one.holds.items() if name in one.pinned}
        alone = tuple(
            pool(p.id, p.total / (1 << 30), reserve=p.reserve / (1 << 30)) for p in one.pools
        )
        emptied = Machine(alone, one.needs, kept, {}, {}, one.rules, one.pinned)
        assert isinstance(emptied.ask(TARGET, is_overdue=True), NeverFits)


@given(machines())
def test_a_model_of_unknown_need_is_alone(one: Machine) -> None:
    """All but pinned ones leave for it, and it leaves for the others."""
    unknown = replace(one, needs={**one.needs, TARGET: UNKNOWN_NEED})
    answer = unknown.ask(TARGET, is_overdue=True)
    assert isinstance(answer, PlacementPlan)
    assert answer.evicted == one.holds.keys() - one.pinned
