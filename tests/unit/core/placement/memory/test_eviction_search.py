"""The cheapest cover of shortages, against trying every set."""

from __future__ import annotations

from itertools import chain, combinations
from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st

from modelswap.core.placement.memory.eviction_search import (
    EXACT,
    MARGIN,
    approximate_cover,
    cheapest_cover,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

COSTS = st.floats(0.001, 100) | st.sampled_from([1.0, 2.0, 4.0])


@st.composite
def shortages(draw: st.DrawFn) -> tuple[list[float], list[tuple[int, ...]], tuple[int, ...]]:
    """Draw what models cost, what they free on one to three devices, and what is missing there."""
    devices = draw(st.integers(1, 3))
    frees = draw(st.lists(st.tuples(*[st.integers(0, 20)] * devices), min_size=0, max_size=9))
    costs = draw(st.lists(COSTS, min_size=len(frees), max_size=len(frees)))
    return costs, frees, draw(st.tuples(*[st.integers(1, 40)] * devices))


def covers(chosen: Sequence[int], frees: Sequence[Sequence[int]], short: Sequence[int]) -> bool:
    return all(sum(frees[i][at] for i in chosen) >= size for at, size in enumerate(short))


def least_cost(
    costs: Sequence[float], frees: Sequence[Sequence[int]], short: Sequence[int]
) -> float | None:
    """Try every set."""
    everything = range(len(costs))
    sets = chain.from_iterable(combinations(everything, n) for n in range(len(costs) + 1))
    return min(
        (sum(costs[i] for i in one) for one in sets if covers(one, frees, short)), default=None
    )


@given(shortages())
def test_the_cheapest_of_few_models(
    drawn: tuple[list[float], list[tuple[int, ...]], tuple[int, ...]],
) -> None:
    """The set covers each shortage, and no other does at a cost that is lower by more than the margin."""
    costs, frees, short = drawn
    found, best = cheapest_cover(costs, frees, short), least_cost(costs, frees, short)
    if best is None:
        assert found is None
        return
    assert found is not None
    assert covers(found, frees, short)
    assert sum(costs[i] for i in found) * (1 - MARGIN) <= best


@given(shortages())
def test_approximation_is_within_its_factor(
    drawn: tuple[list[float], list[tuple[int, ...]], tuple[int, ...]],
) -> None:
    """Without the search, a cover costs at most twice the least for each shortage."""
    costs, frees, short = drawn
    best = least_cost(costs, frees, short)
    if best is None:
        return
    found = approximate_cover(range(len(costs)), costs, frees, short)
    assert covers(found, frees, short)
    assert sum(costs[i] for i in found) <= 2 * len(short) * best * (1 + 1e-9)


@given(
    st.lists(st.tuples(st.floats(0.001, 100), st.integers(1, 20)), min_size=EXACT + 1, max_size=60)
)
@example([(1, 1), (1, 2), (5, 1), (5, 1), (5, 2), (5, 4), (8, 7), *[(1, 1)] * 10])  # by an exchange
def test_many_models(models: list[tuple[float, int]]) -> None:
    """Beyond the exact search a cover is found too, without a model that is not needed."""
    costs, frees = [cost for cost, _ in models], [(freed,) for _, freed in models]
    short = (max(1, sum(freed for _, freed in models) // 2),)
    found = cheapest_cover(costs, frees, short)
    assert found is not None
    assert covers(found, frees, short)
    assert not any(covers([i for i in found if i != one], frees, short) for one in found)


def test_an_exchange_makes_no_model_needless() -> None:
    """Where models that free more came in the place of dearer ones, what is not needed any more stays."""
    frees = [*[1] * 8, 3, 6, 2, 2, 4, 4, 4, 2, 2, 6, 13]
    costs = [*[1.0] * 9, 4.0, *[1.0] * 5, 2.0, 2.0, 4.0, 7.0]
    found = cheapest_cover(costs, [(freed,) for freed in frees], (28,))
    assert found == [8, 12, 13, 14, 18]


def test_ties_are_decided_by_position() -> None:
    """Of equal models the first ones leave, however often it is asked."""
    for count in (4, EXACT + 4):
        assert cheapest_cover([1.0] * count, [(5,)] * count, (10,)) == [0, 1]


def test_huge_numbers_of_models_are_not_exchanged() -> None:
    """Where comparing pairs would take long, the first approximation stays."""
    costs = [1.0 + i / 1000 for i in range(200)]
    assert cheapest_cover(costs, [(1,)] * 200, (150,)) == list(range(150))


def test_a_search_that_would_take_long_ends() -> None:
    """Equal models that are short on two devices in unlike ways still have a cover in bounded time."""
    frees = [(2000, 97 * i % 89 * 30) for i in range(EXACT)]
    short = (16_007, sum(freed for _, freed in frees) * 2 // 3)
    found = cheapest_cover([1.0] * EXACT, frees, short)
    assert found is not None
    assert covers(found, frees, short)


def test_what_helps_no_more_is_left_out() -> None:
    """A second model for a shortage that is covered is not tried."""
    frees = [(10, 0), (10, 0), (0, 10), (0, 10)]
    assert cheapest_cover([1.0, 1.0, 5.0, 4.0], frees, (10, 10)) == [0, 3]
