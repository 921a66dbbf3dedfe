"""A cache holds a bounded number of entries, and starts anew when it is full."""

from __future__ import annotations

from modelswap.bounded_cache import BoundedCache


def test_a_new_entry_empties_a_full_cache() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache["a"] = 1
    cache["b"] = 2
    cache["c"] = 3
    assert cache == {"c": 3}


def test_a_known_key_gets_a_new_value_in_a_full_cache() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache["a"] = 1
    cache["b"] = 2
    cache["a"] = 3
    assert cache == {"a": 3, "b": 2}


def test_a_lookup_is_that_of_a_dictionary() -> None:
    assert BoundedCache.get is dict.get
