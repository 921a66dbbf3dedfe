"""Wherever our reader finds a model in a body, a plain JSON reader finds the same one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.api.routing import model_selector
from modelswap.errors import ReplyError

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = 3000
LONGEST = 100
NAMES = [
    "model",
    r"\u006dodel",
    r"mod\u0065l",
    "Model",
    "models",
    r"mo\/del",
    "stream",
    "x",
    r"\"model\"",
    "",
]
ENDS = ["", r"\\", r"\"", r"\\\"", r"\\\\", "é", r"\u00e9", '",', r"\","]


@st.composite
def strings(draw: st.DrawFn) -> str:
    """A string as written in JSON, perhaps long, with text that looks like its end."""
    inside = draw(st.sampled_from(['","model":"evil', r"\",\"model\":\"evil", "plain", ""]))
    escaped = inside if "\\" in inside else inside.replace('"', r"\"")
    pad = "y" * draw(st.sampled_from([0, 1, LONG]))
    return f'"{pad}{escaped}{draw(st.sampled_from(ENDS[:7]))}{pad}"'


VALUES = st.recursive(
    st.one_of(strings(), st.sampled_from(["1", "true", "null", '"a"', '"b"'])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda items: f"[{','.join(items)}]"),
        inner.map(lambda one: f'{{"model":{one}}}'),
    ),
    max_leaves=3,
)
MEMBERS = st.tuples(st.sampled_from(NAMES), VALUES).map(lambda pair: f'"{pair[0]}":{pair[1]}')
DAMAGE = st.one_of(
    st.none(), st.tuples(st.integers(0, 200), st.sampled_from(['"', "\\", ",", "{", "\0"]))
)


@pytest.fixture(autouse=True)
def small_bodies_count_as_big(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the short cut for large bodies on all bodies."""
    monkeypatch.setattr(model_selector, "_BIG", 0)
    monkeypatch.setattr(model_selector, "_SMALL", 0)
    monkeypatch.setattr(model_selector, "_LONG", LONGEST)


def plainly(body: bytes) -> tuple[Any, int]:
    """The top-level model as Python reads it, and how often it is there; ValueError for what is no JSON."""
    counts: list[int] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        counts.append([name for name, _ in items].count("model"))
        return dict(items)

    value = json.loads(body, object_pairs_hook=pairs)
    return (value.get("model"), counts[-1]) if isinstance(value, dict) else (None, 0)


def agrees(body: bytes) -> None:
    """Ours is the other reader's model, or none where there is none, several, or an overlong one."""
    try:
        model, count = plainly(body)
    except ValueError:
        return  # no model server takes it either
    try:
        ask = model_selector.find_in_json(body)
    except ReplyError:
        assert count != 1 or not isinstance(model, str) or not 0 < len(model) <= LONGEST
        return
    assert count == 1
    if isinstance(model, str):
        assert ask.model == model


@given(st.lists(MEMBERS, max_size=5), DAMAGE)
def test_one_model_for_both(members: list[str], damage: tuple[int, str] | None) -> None:
    """Long strings, escapes, quotes at the wrong places, damage: never two different models."""
    text = "{" + ",".join(members) + "}"
    if damage is not None:
        at = damage[0] % len(text)
        text = text[:at] + damage[1] + text[at:]
    agrees(text.encode())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_backslashes_before_a_quote(count: int) -> None:
    """An odd number of them goes on with the string, an even one ends it."""
    pad = b"y" * LONG
    agrees(b'{"x":"%b%b","model":"a","z":"%b"}' % (pad, b"\\" * count, pad))
    agrees(b'{"model":"a","x":"%b%b","model":"b"}' % (pad, b"\\" * count))
    escapes = b"\\" * count + b'"'
    agrees(b'{"model":"a","x":"%b"}' % (pad + escapes + pad + escapes + pad))


@pytest.mark.parametrize("short", [False, True])
def test_the_short_cuts_see_two_keys(monkeypatch: pytest.MonkeyPatch, *, short: bool) -> None:
    """Whatever the size, with long strings between the two."""
    if short:
        monkeypatch.setattr(model_selector, "_SMALL", 1 << 20)
    find: Callable[[bytes], object] = model_selector.find_in_json
    pad = b"y" * LONG
    for body in (
        b'{"model":"a","x":"%b","model":"b"}' % pad,
        b'{"model":"a","x":"%b\\"","m\\u006fdel":"b"}' % pad,
        b'{"model":"%b","model":"b"}' % pad,
    ):
        with pytest.raises(ReplyError, match="more than one"):
            find(body)
