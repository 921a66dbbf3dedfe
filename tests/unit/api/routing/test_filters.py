"""A model's edits of the requests that go to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.api.routing.filters import (
    WHOLE_BODY,
    EditedBody,
    EditedRequest,
    bare_form,
    bare_request,
    compile_filters,
    edit_json,
    rename_form,
    rename_json,
    rename_query,
    rewrite,
)
from modelswap.api.routing.model_selector import NameLocation
from modelswap.config.plan import Filters
from modelswap.core.naming.names import LocalTarget, PeerTarget
from modelswap.core.spec import ModelId

if TYPE_CHECKING:
    from modelswap.config.tree.values import Json


def edited(body: bytes, filters: Filters, name: str = "", requested: str = "m") -> bytes:
    return edit_json(body, compile_filters(filters, name), requested=requested).body


@pytest.mark.parametrize(
    "filters",
    [
        Filters(),
        Filters(strip=("model", ""), set={"model": "x", "model.x": 1, ":model": 2}),
        Filters(set_by_id={"alias": {}}),
    ],
)
def test_nothing_to_do(filters: Filters) -> None:
    """Without edits there is nothing compiled, and `model` is protected, also as a path."""
    assert compile_filters(filters) is None


def test_the_order_of_edits() -> None:
    """Rename, strip, set, then what the requested name sets."""
    filters = Filters(
        strip=("top_p", "temperature"),
        set={"temperature": 0.5, "b": 1, "a": [True, None]},
        set_by_id={"alias": {"b": 2}, "other": {"b": 3}},
    )
    body = b'{ "temperature" : 1, "model" : "alias", "top_p":0.10, "x":1.50 }'
    assert edited(body, filters, "real", "alias") == (
        b'{ "model" : "real", "x":1.50,"a":[true,null],"b":2,"temperature":0.5 }'
    )
    assert edited(body, filters, "", "m").endswith(b'"a":[true,null],"b":1,"temperature":0.5 }')


def test_nested_keys() -> None:
    """Dots descend and create, elements can be stripped, an escaped dot is part of the key."""
    filters = Filters(
        strip=("messages.0", "nested.inner", r"a\.b"),
        set={"chat_template_kwargs.enable_thinking": False},
    )
    body = b'{"model":"m","messages":[{"a":1},{"b":2}],"nested":{"inner":1},"a.b":1}'
    assert edited(body, filters) == (
        b'{"model":"m","messages":[{"b":2}],"nested":{},'
        b'"chat_template_kwargs":{"enable_thinking":false}}'
    )


def test_strips_go_in_ascending_order() -> None:
    """As in llama-swap, deleting one element moves those behind it."""
    assert edited(b'{"l":[1,2,3]}', Filters(strip=("l.1", "l.0"))) == b'{"l":[2]}'


def test_what_cannot_be_edited_stays_and_is_named() -> None:
    """An edit that does not apply is left out and named; a body that is no object stays whole."""
    edit = compile_filters(Filters(set={"a.b": 1, "c": 2}), "")
    assert edit_json(b'{"a":"s"}', edit, requested="m") == EditedBody(b'{"a":"s","c":2}', ("a.b",))
    assert edit_json(b"[1]", edit, requested="m") == EditedBody(b"[1]", (WHOLE_BODY,))
    assert rename_json(b"[1]", "x") == EditedBody(b"[1]", (WHOLE_BODY,))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a"}', b'{"model":"n"}'),
        (b'{"x": 1.0 , "model" :\t"a" , "y":[ ]}', b'{"x": 1.0 , "model" :\t"n" , "y":[ ]}'),
        (b'{"mod\\u0065l":"a"}', b'{"mod\\u0065l":"n"}'),
        (b'{"m":"model","model":"a"}', b'{"m":"model","model":"n"}'),
        (b'{"x":{"model":1},"model":5}', b'{"x":{"model":1},"model":"n"}'),
        (b'{"model":"n"}', b'{"model":"n"}'),
    ],
)
def test_renaming_keeps_every_other_byte(body: bytes, expected: bytes) -> None:
    """Only the value of the top-level `model` changes."""
    assert rename_json(body, "n") == EditedBody(expected)


def test_a_name_in_a_value_alone_is_no_key() -> None:
    """A text whose only `"model"` is a value is renamed by its structure."""
    assert rename_json(b'{"x":"model"}', "n") == EditedBody(b'{"x":"model","model":"n"}')


def test_names_are_encoded() -> None:
    """A name with quotes and control characters stays one string."""
    assert json.loads(rename_json(b'{"model":"a"}', 'q"\\\n').body) == {"model": 'q"\\\n'}


def test_queries() -> None:
    """All models give way to the new one, keys come in order, values are escaped again."""
    assert rename_query("z=1&model=a&b=%20&model=c&e=", "x/y z") == "b=+&e=&model=x%2Fy+z&z=1"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"model=a&x=%ff+%2a", b"model=x%2Fy+z&x=%ff+%2a"),
        (b"x=1&mo%64el=a&supermodel=b&model", b"x=1&model=x%2Fy+z&supermodel=b&model=x%2Fy+z"),
        (b"modela=1", b"modela=1&model=x%2Fy+z"),
        (b"", b"model=x%2Fy+z"),
    ],
)
def test_forms(body: bytes, expected: bytes) -> None:
    """Only the pairs named `model` change, however they are escaped."""
    assert rename_form(body, "x/y z") == expected


LOCAL = LocalTarget(ModelId("m"), "alias")
RENAMED = LocalTarget(ModelId("m"), "alias", rewrite="alias")
EDIT = compile_filters(Filters(set={"x": 1}), "real")


@pytest.mark.parametrize(
    ("target", "source", "body", "query", "expected"),
    [
        (
            LOCAL,
            NameLocation.JSON,
            b'{"model":"a"}',
            "q=1",
            EditedRequest(b'{"model":"real","x":1}', "q=1"),
        ),
        (LOCAL, NameLocation.QUERY, b"", "model=a", EditedRequest(b"", "model=a")),
        (RENAMED, NameLocation.QUERY, b"", "model=a", EditedRequest(b"", "model=alias")),
        (LOCAL, NameLocation.FORM, b"model=a", "", EditedRequest(b"model=a", "")),
        (RENAMED, NameLocation.FORM, b"model=a", "", EditedRequest(b"model=alias", "")),
        (RENAMED, NameLocation.MULTIPART, b"raw", "", EditedRequest(b"raw", "")),
    ],
)
def test_rewriting(
    target: LocalTarget, source: NameLocation, body: bytes, query: str, expected: EditedRequest
) -> None:
    """The name changes where it stands; filters touch JSON only."""
    assert rewrite(EDIT, target, source, body, query) == expected


def test_without_filters() -> None:
    """A peer's model gets its own name; whatever needs no change is the same object."""
    peer = PeerTarget("p", "big", "p/big", rewrite="big")
    body = b'{"model":"p/big" }'
    assert rewrite(None, peer, NameLocation.JSON, body, "").body == b'{"model":"big" }'
    assert rewrite(None, LOCAL, NameLocation.JSON, body, "").body is body
    only_by_id = compile_filters(Filters(set_by_id={"other": {"a": 1}}))
    assert rewrite(only_by_id, LOCAL, NameLocation.JSON, body, "").body is body


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(
    body=st.dictionaries(st.sampled_from(["model", "a", "b", "c"]), values, max_size=4),
    strip=st.lists(st.sampled_from(["a", "b", "model", "z"])),
    put=st.dictionaries(st.sampled_from(["a", "c", "d", "model"]), values),
    name=st.sampled_from(["", "real"]),
    indent=st.sampled_from([None, 2]),
)
def test_editing_is_what_it_is_on_the_tree(
    body: dict[str, object],
    strip: list[str],
    put: dict[str, Json],
    name: str,
    indent: int | None,
) -> None:
    """Reading, editing and writing the tree gives the same; no key moves that stays."""
    filters = Filters(strip=tuple(strip), set=put)
    made = edited(json.dumps(body, indent=indent).encode(), filters, name)
    tree = dict(body)
    if name:
        tree["model"] = name
    for key in strip:
        if key != "model":
            tree.pop(key, None)
    for key in sorted(put):
        if key != "model":
            tree[key] = put[key]
    assert json.loads(made) == tree
    assert list(json.loads(made)) == list(tree)


FAR = PeerTarget("far", "big", "far/big", rewrite="big")


@pytest.mark.parametrize(
    ("method", "content_type", "query", "body", "expected"),
    [
        (
            "POST",
            "application/json",
            "",
            b'{"model":"far/big","x":1}',
            EditedRequest(b'{"model":"big","x":1}', ""),
        ),
        (
            "POST",
            "application/json",
            "a=1",
            b'{"model":"other"}',
            EditedRequest(b'{"model":"other"}', "a=1"),
        ),
        ("POST", "application/json", "", b"no JSON", EditedRequest(b"no JSON", "")),
        ("POST", None, "", b"\x1f\x8b", EditedRequest(b"\x1f\x8b", "")),
        ("GET", None, "model=far%2Fbig", b"", EditedRequest(b"", "model=big")),
        ("GET", None, "model=x&model=far/big", b"", EditedRequest(b"", "model=x&model=far/big")),
    ],
)
def test_only_the_name_in_full_is_changed(
    method: str, content_type: str | None, query: str, body: bytes, expected: EditedRequest
) -> None:
    assert bare_request(FAR, method, content_type, query, body) == expected


def test_only_the_name_in_full_is_changed_in_a_form() -> None:
    assert bare_form(FAR, {"model": b"far/big"}).values == {"model": b"big"}
    assert bare_form(FAR, {"model": b"big"}).values == {}
    assert bare_form(FAR, {}).values == {}
