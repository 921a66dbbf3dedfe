"""Who leaves, and where the target goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelswap.core.placement.memory.memory_policy import ROUNDING, memory_policy
from modelswap.core.placement.memory.wording import NOT_READ
from modelswap.core.placement.policy import (
    NO_EVICTIONS,
    RAM,
    DeviceId,
    Need,
    NeedSource,
    NeverFits,
    NotYet,
    Placement,
    PlacementPlan,
    Question,
    Usage,
)
from modelswap.core.spec import ModelId
from modelswap.units import Bytes, Seconds
from support.memory_questions import (
    GPU0,
    GPU1,
    GPU2,
    RAM_ONLY,
    Machine,
    Rules,
    evicted,
    held,
    machine,
    need,
    pool,
    size,
)

IDLE = Usage(idle=Seconds(100.0), resident=Seconds(500.0))
TWO = (pool(RAM, 64), pool("gpu0", 24), pool("gpu1", 24))


def small(**more: object) -> Machine:
    """Return a machine with 15 GiB for models, of which `a` and `b` hold 6 each."""
    needs = {name: need(ram=6) for name in "abc"}
    holds = {name: held(ram=6) for name in "ab"}
    usage = dict.fromkeys("ab", IDLE)
    return machine(*RAM_ONLY, **{"needs": needs, "holds": holds, "usage": usage} | more)


def placement(answer: object) -> tuple[DeviceId, ...]:
    assert isinstance(answer, PlacementPlan), answer
    return answer.placement.devices


# Whether it fits


def test_beside_the_others_while_it_fits() -> None:
    """Nothing leaves, and its memory is promised."""
    answer = small(holds={"a": held(ram=6)}).ask("c")
    assert answer == PlacementPlan(placement=Placement(promised=((RAM, size(6)),)))


def test_nothing_is_known_of_the_devices() -> None:
    """Without pools one model runs at a time, beside pinned ones; an overdue request has the others leave."""
    blind = replace(small(), pools=())
    assert blind.ask("a") == replace(blind, holds={}).ask("c") == NO_EVICTIONS
    assert blind.ask("c") == NotYet(NOT_READ)
    assert evicted(blind.ask("c", is_overdue=True)) == {"a", "b"}
    assert replace(blind, pinned=frozenset("ab")).ask("c") == NO_EVICTIONS


def test_a_model_that_runs_stays_beside_the_others() -> None:
    """Even where all together hold more than there is room: it is not asked to move now."""
    crowded = small(holds={name: held(ram=9) for name in "abc"})
    assert crowded.ask("c") == NO_EVICTIONS
    leaving = crowded.ask("c", leaving=frozenset({ModelId("c")}))
    assert evicted(leaving) == {"a"}


def test_a_model_without_figures_counts_by_its_need() -> None:
    """What runs and is not in the facts' figures holds what it needs."""
    crowded = small(holds={"a": held(ram=6)})
    question = crowded.question("c")
    question = replace(question, live=[ModelId("a"), ModelId("b")])
    answer = memory_policy(Rules())(question)
    assert len(evicted(answer)) == 1


def test_a_device_without_a_pool_does_not_count() -> None:
    """A need on a GPU of which nothing is known bounds nothing."""
    one = small(needs={"c": need(gpu7=900)}, holds={})
    assert one.ask("c") == NO_EVICTIONS


# Who leaves


def test_the_one_that_is_wanted_least_leaves() -> None:
    """Of two alike, the one that was not used for longer."""
    assert evicted(small(usage={"a": IDLE, "b": replace(IDLE, idle=Seconds(5))}).ask("c")) == {"a"}
    assert evicted(small(usage={"b": IDLE, "a": replace(IDLE, idle=Seconds(5))}).ask("c")) == {"b"}


def test_the_one_that_is_used_often_stays() -> None:
    """A rate counts as much as the last use."""
    usage = {"a": replace(IDLE, rate=0.5), "b": replace(IDLE, idle=Seconds(60))}
    assert evicted(small(usage=usage).ask("c")) == {"b"}


def test_the_one_that_loads_quickly_leaves() -> None:
    """A learned reload time counts; else the size says how long it takes."""
    assert evicted(small(reload={"a": 60, "b": 2}).ask("c")) == {"b"}
    sizes = small(holds={"a": held(ram=8), "b": held(ram=6)}, needs={"c": need(ram=5)})
    assert evicted(replace(sizes, needs={**small().needs, **sizes.needs}).ask("c")) == {"b"}


def test_the_one_that_requests_wait_for_stays() -> None:
    """Each waiting request would wait for a reload."""
    assert evicted(small(usage={"a": replace(IDLE, waiting=3), "b": IDLE}).ask("c")) == {"b"}


def test_waiting_requests_do_not_save_it_from_an_overdue_request() -> None:
    """They may wait for its sake: else it would be saved by being held back."""
    usage = {"a": replace(IDLE, waiting=3, rate=9.0), "b": replace(IDLE, idle=Seconds(99))}
    assert evicted(small(usage=usage).ask("c", is_overdue=True)) == {"a"}


def test_a_busy_one_leaves_only_if_nothing_else_helps() -> None:
    """A model with running requests drains only where no set of the others is enough."""
    usage = {"a": replace(IDLE, in_flight=1, idle=Seconds(0)), "b": IDLE}
    assert evicted(small(usage=usage, reload={"a": 0.1, "b": 900}).ask("c")) == {"b"}
    answer = small(usage=usage, needs={**small().needs, "c": need(ram=14)}).ask("c")
    assert evicted(answer) == {"a", "b"}


def test_a_loading_one_counts_as_busy() -> None:
    """A load for which a request waits is not thrown away for another one's."""
    loading = frozenset({ModelId("a")})
    assert evicted(small(reload={"a": 0.1, "b": 900}).ask("c", loading=loading)) == {"b"}


def test_one_that_leaves_anyway_costs_nothing() -> None:
    """Its memory is waited for, instead of another model's."""
    usage = {"a": replace(IDLE, in_flight=1), "b": IDLE}
    answer = small(usage=usage).ask("c", leaving=frozenset({ModelId("a")}))
    assert evicted(answer) == {"a"}


def test_two_small_ones_rather_than_a_dear_one() -> None:
    """The sum of the costs counts, not the number."""
    holds = {"a": held(ram=3), "b": held(ram=3), "d": held(ram=9)}
    needs = {name: need(ram=3) for name in "abd"} | {"c": need(ram=6)}
    one = small(holds=holds, needs=needs, reload={"a": 1, "b": 1, "d": 20})
    assert evicted(one.ask("c")) == {"a", "b"}


def test_a_pinned_model_never_leaves() -> None:
    """Others leave in its place; where they are not enough, the target never fits."""
    one = small(pinned=frozenset({"a"}))
    assert evicted(one.ask("c")) == {"b"}
    needs = {**one.needs, "c": need(ram=10)}
    answer = replace(one, needs=needs).ask("c")
    assert isinstance(answer, NeverFits)
    assert answer.why == (
        "c needs 10 GiB on ram, which has 9 GiB for it at most (declared): 1 GiB too much; "
        "loaded pinned models hold 6 GiB of ram"
    )


# Unknown needs


def test_a_model_of_unknown_need_runs_alone() -> None:
    """It evicts all others but pinned ones; nothing is promised to it."""
    one = small(needs={"a": need(ram=6), "b": need(ram=6)})
    answer = one.ask("c")
    assert evicted(answer) == {"a", "b"}
    assert answer.placement == Placement()  # type: ignore[union-attr] # said above
    assert "runs alone" in answer.why
    assert evicted(replace(one, pinned=frozenset({"a"})).ask("c")) == {"b"}
    assert replace(one, holds={}).ask("c") == NO_EVICTIONS


def test_nothing_joins_a_model_of_unknown_need() -> None:
    """It leaves for the target, though there seems to be room: it may not have all its memory yet."""
    one = small(needs={"c": need(ram=1)}, holds={"a": held(ram=1)})
    answer = one.ask("c")
    assert evicted(answer) == {"a"}
    assert "not known" in answer.why
    assert evicted(replace(one, pinned=frozenset({"a"})).ask("c")) == set()


def test_a_model_of_unknown_need_is_measured_first() -> None:
    """Just ready, it is protected, so that the target can join it once it was measured."""
    usage = {"a": Usage(resident=Seconds(1.0))}
    one = small(needs={"c": need(ram=1)}, holds={"a": held(ram=1)}, usage=usage)
    answer = one.ask("c")
    assert isinstance(answer, NotYet)
    assert (answer.again_in, answer.refuse_after) == (2.0, None)


# Protection against thrash


@pytest.mark.parametrize(
    ("resident", "reload", "again_in"),
    [
        (1.0, {}, 2.0),  # three seconds in all
        (1.0, {"a": 1.5}, 0.5),  # no longer than its reload takes
        (3.0 - ROUNDING / 2, {}, None),
        (3.0, {}, None),
        (0.0, {}, None),  # it is not ready
    ],
)
def test_min_residency(resident: float, reload: dict[str, float], again_in: float | None) -> None:
    """A model that became ready a moment ago is not evicted, for so long."""
    needs = {"a": need(ram=6), "c": need(ram=12)}
    usage = {"a": replace(IDLE, resident=Seconds(resident))}
    one = small(needs=needs, holds={"a": held(ram=6)}, usage=usage, reload=reload)
    answer = one.ask("c")
    if again_in is None:
        assert evicted(answer) == {"a"}
    else:
        assert answer == NotYet(
            "a became ready only a moment ago (minResidency)", Seconds(again_in)
        )
    assert evicted(one.ask("c", is_overdue=True)) == {"a"}
    assert evicted(one.ask("c", leaving=frozenset({ModelId("a")}))) == {"a"}


def test_another_one_leaves_for_a_protected_one() -> None:
    """Protection chooses another victim where there is one."""
    usage = {"a": replace(IDLE, resident=Seconds(1.0)), "b": IDLE}
    assert evicted(small(usage=usage, reload={"a": 9, "b": 99}).ask("c")) == {"b"}


# Room that others hold


def test_other_programs_hold_the_room() -> None:
    """The target waits for a bounded time; the answer says who holds it."""
    shared = replace(
        pool(RAM, 16, reserve=1, foreign=8), holders=(("vllm", size(7)), ("x", Bytes(1 << 20)))
    )
    one = machine(shared, needs={"c": need(ram=12)})
    assert one.ask("c") == NotYet(
        "c needs 12 GiB on ram, which has 7 GiB for it (declared); other programs hold 8 GiB of "
        "ram (vllm 7 GiB, x 1 MiB)",
        refuse_after=Seconds(60.0),
    )


def test_a_server_that_does_not_exit_holds_the_room() -> None:
    """It is not evicted again: it cannot be; others are, where that is enough."""
    stuck = frozenset({ModelId("a")})
    assert evicted(small(reload={"a": 1, "b": 99}).ask("c", stuck=stuck)) == {"b"}
    answer = small(needs={**small().needs, "c": need(ram=12)}).ask("c", stuck=stuck)
    assert isinstance(answer, NotYet)
    assert "a was killed but does not exit" in answer.why


def test_never_fits_by_a_prediction() -> None:
    """The answer says how to say better what the model needs."""
    wanted = replace(need(ram=20), source=NeedSource.PREDICTED)
    answer = small(needs={"c": wanted}).ask("c")
    assert isinstance(answer, NeverFits)
    assert answer.why == (
        "c needs 20 GiB on ram, which has 15 GiB for it at most (predicted): 5 GiB too much; "
        "the key memory: of the model says otherwise"
    )


# Several GPUs


def test_one_gpu_of_several() -> None:
    """`spread` takes the one with the most room, `pack` the one with the least that is enough."""
    needs = {"a": need(gpu=10), "c": need(gpu=8)}
    one = machine(*TWO, needs=needs, holds={"a": held(gpu0=10)})
    answer = one.ask("c")
    assert placement(answer) == (GPU1,)
    assert answer.placement.promised == ((GPU1, size(8)),)  # type: ignore[union-attr] # said above
    assert placement(replace(one, rules=Rules(strategy="pack")).ask("c")) == (GPU0,)
    large = replace(one, needs={**needs, "c": need(gpu=20)}, rules=Rules(strategy="pack"))
    assert placement(large.ask("c")) == (GPU1,)


def test_split_rather_than_evict() -> None:
    """Where no GPU has the room, two share it in proportion to what is free."""
    needs = {"a": need(gpu=14), "b": need(gpu=14), "c": need(gpu=15)}
    pools = (*TWO, pool("gpu2", 4))
    one = machine(*pools, needs=needs, holds={"a": held(gpu0=14), "b": held(gpu1=14)})
    answer = one.ask("c")
    assert evicted(answer) == set()
    assert placement(answer) == (GPU0, GPU1)
    assert answer.placement.promised == ((GPU0, size(7.5)), (GPU1, size(7.5)))  # type: ignore[union-attr]


def test_all_gpus_need_no_choice() -> None:
    """A model on all GPUs, as on the only one, sees them without being told."""
    one = machine(*TWO, needs={"c": need(gpu=40, ram=1)})
    answer = one.ask("c")
    assert answer == PlacementPlan(
        placement=Placement(promised=((RAM, size(1)), (GPU0, size(20)), (GPU1, size(20))))
    )
    assert placement(machine(*TWO[:2], needs={"c": need(gpu=4)}).ask("c")) == ()


def test_evict_on_the_gpu_where_it_is_cheapest() -> None:
    """One GPU with evictions comes before several with evictions."""
    needs = {name: need(gpu=20) for name in "abc"}
    holds = {"a": held(gpu0=20), "b": held(gpu1=20)}
    usage = {"a": IDLE, "b": IDLE}
    one = machine(*TWO, needs=needs, holds=holds, usage=usage, reload={"a": 30, "b": 3})
    answer = one.ask("c")
    assert (evicted(answer), placement(answer)) == ({"b"}, (GPU1,))


def test_evict_for_a_split() -> None:
    """A model larger than each GPU evicts what it must, on as few GPUs as are enough."""
    pools = (*TWO, pool("gpu2", 24))
    needs = {name: need(gpu=20) for name in "abd"} | {"c": need(gpu=40)}
    holds = {"a": held(gpu0=20), "b": held(gpu1=20), "d": held(gpu2=20)}
    one = machine(*pools, needs=needs, holds=holds, reload={"a": 30, "b": 3, "d": 3})
    answer = one.ask("c")
    assert (evicted(answer), placement(answer)) == ({"b", "d"}, (GPU1, GPU2))
    assert isinstance(replace(one, needs=needs | {"c": need(gpu=80)}).ask("c"), NeverFits)


def test_both_memories_count() -> None:
    """A GPU with room is not enough where `ram` has none, and one eviction may free both."""
    needs = {name: need(gpu=10, ram=30) for name in "abc"}
    holds = {"a": held(gpu0=10, ram=30), "b": held(gpu1=10, ram=30)}
    one = machine(*TWO, needs=needs, holds=holds, reload={"a": 30, "b": 3})
    assert evicted(one.ask("c")) == {"b"}


def test_named_gpus_are_not_chosen() -> None:
    """A need on GPUs that the command names is only counted; the movable part goes beside it."""
    one = machine(*TWO, needs={"c": need(gpu0=20)}, holds={})
    assert one.ask("c") == PlacementPlan(placement=Placement(promised=((GPU0, size(20)),)))
    both = machine(*TWO, pool("gpu2", 24), needs={"c": need(gpu=20, gpu0=20)}).ask("c")
    assert placement(both) == (GPU0, GPU1)
    pools = (pool("gpu0", 24), pool("gpu1", 20))
    answer = machine(*pools, needs={"c": need(gpu=21, gpu0=20)}).ask("c")
    assert answer == PlacementPlan(
        placement=Placement(promised=((GPU0, size(23.5)), (GPU1, size(17.5))))
    )


def test_without_a_gpu_the_movable_part_is_in_ram() -> None:
    """As on a machine whose memory is one."""
    answer = machine(*RAM_ONLY, needs={"c": need(gpu=4, ram=1)}).ask("c")
    assert answer == PlacementPlan(placement=Placement(promised=((RAM, size(5)),)))


def test_a_model_that_might_run_is_assumed_where_most_is_free() -> None:
    """The scheduler asks whether one that is not there yet would be evicted."""
    needs = {"a": need(gpu=20), "b": need(gpu=20), "c": need(gpu=20)}
    one = machine(*TWO, needs=needs, holds={"a": held(gpu0=20)})
    question = one.question("c")
    beside = Question(ModelId("c"), [ModelId("a"), ModelId("b")], question.facts)
    answer = memory_policy(Rules())(beside)
    assert evicted(answer) in ({"a"}, {"b"})


def test_a_full_gpu_can_be_assumed_too() -> None:
    """Where nothing is free, what is assumed still counts."""
    needs = {"a": need(gpu=24), "b": need(gpu=24), "c": need(gpu=1)}
    one = machine(*TWO[:2], needs=needs, holds={"a": held(gpu0=24)})
    question = replace(one.question("c"), live=[ModelId("a"), ModelId("b")])
    assert evicted(memory_policy(Rules())(question)) == {"a", "b"}


# Servers that fit themselves


def fitted(gpu: float = 0, **fixed: float) -> Need:
    return replace(need(gpu, **fixed), source=NeedSource.PREDICTED, is_fitted=True)


def test_a_server_that_fits_itself_takes_what_others_leave() -> None:
    """Other programs and pinned models make it smaller, and it is not refused; others leave as for any."""
    desktop = (pool(RAM, 64), pool("gpu0", 8, foreign=1))
    needs = {"c": fitted(gpu=20, ram=1), "a": need(gpu=3), "b": need(gpu=2)}
    one = machine(*desktop, needs=needs, holds={"a": held(gpu0=3), "b": held(gpu0=2)})
    answer = replace(one, pinned=frozenset("a")).ask("c")
    assert evicted(answer) == {"b"}
    assert isinstance(answer, PlacementPlan)
    assert dict(answer.placement.promised) == held(ram=1, gpu0=4)


def test_a_server_that_fits_itself_with_nothing_left() -> None:
    """It is not refused even then, on settled devices neither; it takes the machine's memory."""
    full = machine(pool(RAM, 64), pool("gpu0", 8), holds={"a": held(gpu0=9)}, pinned=frozenset("a"))
    for wanted, ram in (
        (fitted(gpu=20, ram=1), 1),
        (fitted(gpu0=20, ram=1), 1),
        (fitted(gpu=20), 0),
    ):
        answer = replace(full, needs={"c": wanted, "a": need(gpu=8)}).ask("c")
        assert isinstance(answer, PlacementPlan), answer
        assert sum(one for _, one in answer.placement.promised) == size(ram)


def test_a_server_that_fits_itself_waits_for_its_weights() -> None:
    """Other programs hold what it cannot do without; what pinned models hold it does not wait for."""
    wanted = replace(fitted(ram=15), least_ram=size(6))
    one = machine(pool(RAM, 16, reserve=1, foreign=10), needs={"c": wanted})
    assert isinstance(one.ask("c"), NotYet)
    one = machine(pool(RAM, 16, reserve=1, foreign=9), needs={"c": wanted})
    assert one.ask("c") == PlacementPlan(placement=Placement(promised=((RAM, size(6)),)))
    pinned = replace(one, holds={"a": held(ram=12)}, pinned=frozenset("a"), pools=RAM_ONLY)
    assert pinned.ask("c") == PlacementPlan(placement=Placement(promised=((RAM, size(3)),)))


def test_what_is_short_already_is_not_told_as_negative() -> None:
    """Models that grew beyond what there is leave nothing free."""
    grown = machine(
        *RAM_ONLY, needs={"c": need(ram=6), "a": need(ram=1)}, holds={"a": held(ram=20)}
    )
    answer = grown.ask("c")
    assert isinstance(answer, PlacementPlan)
    assert "where 0 bytes are free" in answer.why
