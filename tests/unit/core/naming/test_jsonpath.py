"""Edits of a JSON text that leave every other byte alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.core.naming import jsonpath
from modelswap.core.naming.jsonpath import (
    Delete,
    JsonEdit,
    NotApplicableError,
    Set,
    UnreadableError,
    apply,
    keys_of,
    member_value,
    parse_path,
    skip_value,
)


def put(text: str, path: str, value: str) -> str:
    made, failed = apply(text.encode(), [Set(parse_path(path), value.encode())])
    assert not failed
    return made.decode()


def cut(text: str, path: str) -> str:
    made, failed = apply(text.encode(), [Delete(parse_path(path))])
    assert not failed
    return made.decode()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.b", ("a", "b")),
        (r"a\.b", ("a.b",)),
        (r"a\\b", ("a\\b",)),
        ("a\\", ("a",)),
        (":1.x", (":1", "x")),
        ("", ("",)),
    ],
)
def test_paths(text: str, path: tuple[str, ...]) -> None:
    """A dot descends, a backslash takes the next character as it is."""
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("text", "path", "value", "expected"),
    [
        ("{}", "a", "1", '{"a":1}'),
        ("{ }", "a", "1", '{"a":1 }'),
        (' {"b" : 1.50 } ', "a", "1", ' {"b" : 1.50,"a":1 } '),
        ('{"a":1,"b":2}', "a", "3", '{"a":3,"b":2}'),
        ('{"a" :\n1 , "b":2}', "a", "3", '{"a" :\n3 , "b":2}'),
        ("{}", "a.b.c", "1", '{"a":{"b":{"c":1}}}'),
        ('{"a":{"x":1}}', "a.b", "2", '{"a":{"x":1,"b":2}}'),
        ('{"a":null}', "a.b", "2", '{"a":{"b":2}}'),
        ('{"a":[1,2]}', "a.0", "9", '{"a":[9,2]}'),
        ('{"a":[1, 2 ]}', "a.-1", "9", '{"a":[1, 2,9 ]}'),
        ('{"a":[1]}', "a.3", "9", '{"a":[1,null,null,9]}'),
        ("{}", "a.1", "9", '{"a":[null,9]}'),
        ("{}", "a.-1", "9", '{"a":[9]}'),
        ("{}", "a.:1", "9", '{"a":{"1":9}}'),
        ('{"a":[{"b":1}]}', "a.0.b", "2", '{"a":[{"b":2}]}'),
        ('{"1":0}', "1", "2", '{"1":2}'),
        ('{"a":1,"a":2}', "a", "3", '{"a":3,"a":3}'),
        ('{"\\u0061":1}', "a", "3", '{"\\u0061":3}'),
        ('{"s":"}\\"{[","n":[{"x":"]"}]}', "a", "1", '{"s":"}\\"{[","n":[{"x":"]"}],"a":1}'),
        ("{}", "é", "1", '{"é":1}'),
    ],
)
def test_set(text: str, path: str, value: str, expected: str) -> None:
    """A known key gets its value in place, a new one comes last, missing containers are made."""
    assert put(text, path, value) == expected


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ('{"a":1}', "a", "{}"),
        ('{"a":1, "b":2}', "a", '{ "b":2}'),
        ('{"a":1 , "b":2 , "c":3}', "b", '{"a":1 , "c":3}'),
        ('{"a":1 , "b":2}', "b", '{"a":1}'),
        ('{"a":1,"b":2,"a":3}', "a", '{"b":2}'),
        ('{"a":{"b":1,"c":2}}', "a.b", '{"a":{"c":2}}'),
        ('{"a":[1,2,3]}', "a.0", '{"a":[2,3]}'),
        ('{"a":[1,2,3]}', "a.-1", '{"a":[1,2]}'),
        ('{"a":[1]}', "a.5", '{"a":[1]}'),
        ('{"a":[1]}', "a.x", '{"a":[1]}'),
        ('{"a":[]}', "a.-1", '{"a":[]}'),
        ('{"a":1}', "z.y", '{"a":1}'),
        ('{"a.b":1,"a":{"b":2}}', r"a\.b", '{"a":{"b":2}}'),
    ],
)
def test_delete(text: str, path: str, expected: str) -> None:
    """What is named goes, with its comma; what is not there is no problem."""
    assert cut(text, path) == expected


@pytest.mark.parametrize(
    "edit",
    [
        Set(("a", "b"), b"1"),
        Set(("l", "x"), b"1"),
        Set(("l", "5000"), b"1"),
        Delete(("a", "b")),
    ],
)
def test_what_cannot_be_edited_is_named(edit: Set | Delete) -> None:
    """A path through a scalar, or to a place no array has, changes nothing and is reported."""
    text = b'{"a":"s", "l":[1]}'
    assert apply(text, [edit, Set(("z",), b"1")]) == (b'{"a":"s", "l":[1],"z":1}', (edit,))


def test_edits_below_one_object() -> None:
    """A second edit in an object finds what the first one left there."""
    edits: list[JsonEdit] = [Set(("a", "b"), b"1"), Set(("a", "c"), b"2"), Delete(("a", "d"))]
    assert apply(b'{"a": {"d": 3, "e": 4}}', edits) == (b'{"a": { "e": 4,"b":1,"c":2}}', ())


@pytest.mark.parametrize("text", [b"[1]", b'"x"', b"", b" 5"])
def test_other_texts_are_not_edited(text: bytes) -> None:
    """Only objects can be edited."""
    with pytest.raises(NotApplicableError):
        apply(text, [])
    with pytest.raises(NotApplicableError):
        keys_of(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a"',
        b'{"a":',
        b'{"a":1',
        b'{"a":1 "b":2}',
        b"{a:1}",
        b'{"a" 1}',
        b'{"a":[1',
        b'{"a":["x]}',
        b'{"\\u12":1}',
        b'{"a":"x}',
    ],
)
def test_broken_texts_are_refused(text: bytes) -> None:
    """A text that ends too early or misses a sign is not read."""
    with pytest.raises(UnreadableError):
        apply(text, [])


def test_the_walk_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value with more brackets than honest requests have is refused."""
    monkeypatch.setattr(jsonpath, "BUDGET", 10)
    assert skip_value(b"[[],[]]", 0) == 7
    with pytest.raises(UnreadableError, match="too many"):
        skip_value(b"[" + b"[]," * 20 + b"1]", 0)


def test_a_quick_reader_is_believed_only_where_it_is_right() -> None:
    """A reader that knows only the last of two duplicates is not trusted."""
    text = b'{"k":"a","b":12,"k":"a\\"xyz","n":1}'
    edits: list[JsonEdit] = [Set(("n",), b"5"), Delete(("b",))]
    known = {"k": b'"a\\"xyz"', "b": b"1", "n": b"1"}
    assert apply(text, edits, lambda _: known) == apply(text, edits)
    assert apply(text, edits, lambda _: None) == apply(text, edits)
    assert keys_of(text, lambda _: known) == ["k", "b", "k", "n"]


def test_member_value() -> None:
    """The value after a key is found across blanks."""
    text = b'{"model" : "x" }'
    assert member_value(text, 8) == (11, 14)
    with pytest.raises(UnreadableError):
        member_value(text, 7)


scalars = st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=4)
keys = st.sampled_from(["a", "b", "c", "0", "1", 'q"\\', "é\n", "x.y"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(keys, values, max_size=5)


def expected_set(tree: Any, path: list[str], value: object) -> bool:
    """Do on the tree what `Set` does on the text; False where that cannot be done."""
    here, *rest = path
    if isinstance(tree, dict):
        if rest and tree.get(here) is not None:
            return expected_set(tree[here], rest, value)
        tree[here] = build(rest, value)
        return True
    if isinstance(tree, list) and here.isdigit():
        while len(tree) <= int(here):
            tree.append(None)
        if rest and tree[int(here)] is not None:
            return expected_set(tree[int(here)], rest, value)
        tree[int(here)] = build(rest, value)
        return True
    return False


def build(path: list[str], value: object) -> object:
    for piece in reversed(path):
        value = [None] * int(piece) + [value] if piece.isdigit() else {piece: value}
    return value


@given(objects, st.lists(keys, min_size=1, max_size=3), values, st.sampled_from([None, 2]))
def test_setting_is_what_it_is_on_the_tree(
    tree: dict[str, Any], path: list[str], value: object, indent: int | None
) -> None:
    """Reading, changing and writing the tree gives what the edit of the text gives."""
    text = json.dumps(tree, indent=indent).encode()
    made, failed = apply(text, [Set(tuple(path), json.dumps(value).encode())])
    if expected_set(tree, path, value):
        assert not failed
        assert json.loads(made) == tree
    else:
        assert failed
        assert made == text


@given(tree=objects, key=keys, indent=st.sampled_from([None, 1]), quick=st.booleans())
def test_deleting_is_what_it_is_on_the_tree(
    tree: dict[str, Any], key: str, indent: int | None, *, quick: bool
) -> None:
    """Deleting a key from the text leaves what deleting it from the tree leaves."""
    text = json.dumps(tree, indent=indent).encode()
    known = {k: json.dumps(v).encode() for k, v in tree.items()}
    made, failed = apply(text, [Delete((key,))], (lambda _: known) if quick else None)
    tree.pop(key, None)
    assert not failed
    assert json.loads(made) == tree


@given(objects, st.sampled_from([None, 2]))
def test_no_edit_changes_no_byte(tree: dict[str, Any], indent: int | None) -> None:
    """Without edits the text comes back as it was."""
    text = json.dumps(tree, indent=indent).encode()
    assert apply(text, []) == (text, ())
