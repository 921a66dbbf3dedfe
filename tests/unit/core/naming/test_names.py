"""A request's name → what it stands for."""

from __future__ import annotations

import pytest

from modelswap.core.naming.names import (
    LocalTarget,
    Names,
    NoTarget,
    Off,
    PathMatch,
    PeerTarget,
    Unknown,
)
from modelswap.core.spec import ModelId

A, B, SLASH = ModelId("a"), ModelId("b"), ModelId("author/model")


def make() -> Names:
    return Names(
        models=[A, B, SLASH],
        aliases={"gpt": A, "a:tuned": A, "b": A, "": B},
        peers={"p": ["big", "both", "a"], "q": ["both", "x/y"]},
        selectors={"sel": ["gpt", "p/big"], "empty": ["a"]},
        profiles={
            "work": {"llm": "gpt", "a": "b", "img": "", "any": "sel", "far": "p/big", "x/y/z": "a"},
            "home": {"llm": "b"},
        },
        legacy_profiles={"coding": [A, ModelId("gone")], "gpt": [B]},
    )


def first(selector: str) -> str | None:
    return {"sel": "gpt"}.get(selector)


@pytest.mark.parametrize(
    ("name", "profile", "expected"),
    [
        ("a", None, LocalTarget(A, "a")),
        ("gpt", None, LocalTarget(A, "gpt")),
        ("a:tuned", None, LocalTarget(A, "a:tuned")),
        ("b", None, LocalTarget(B, "b")),
        ("p/big", None, PeerTarget("p", "big", "p/big", rewrite="big")),
        ("big", None, PeerTarget("p", "big", "big")),
        ("both", None, Unknown("both")),
        ("q/x/y", None, PeerTarget("q", "x/y", "q/x/y", rewrite="x/y")),
        ("sel", None, LocalTarget(A, "gpt", rewrite="gpt", selector="sel")),
        ("empty", None, NoTarget("empty")),
        ("llm", None, Unknown("llm")),
        ("llm", "work", LocalTarget(A, "gpt", rewrite="gpt")),
        ("llm", "home", LocalTarget(B, "b", rewrite="b")),
        ("a", "work", LocalTarget(B, "b", rewrite="b")),
        ("b", "work", LocalTarget(B, "b")),
        ("img", "work", Off("img")),
        ("any", "work", LocalTarget(A, "gpt", rewrite="gpt", selector="sel")),
        ("far", "work", PeerTarget("p", "big", "p/big", rewrite="big")),
        ("a", "vanished", LocalTarget(A, "a")),
        ("coding:a", None, LocalTarget(A, "a", rewrite="a")),
        ("coding:gpt", None, LocalTarget(A, "gpt", rewrite="gpt")),
        ("coding/a", None, LocalTarget(A, "a", rewrite="a")),
        ("coding:b", None, Unknown("coding:b")),
        ("nobody:a", None, Unknown("nobody:a")),
        ("", None, Unknown("")),
        ("A", None, Unknown("A")),
        ("../a", None, Unknown("../a")),
    ],
)
def test_order_of_resolution(name: str, profile: str | None, expected: object) -> None:
    """Pin, then selector, then model or alias, then peer; everything else is unknown."""
    assert make().resolve(name, profile, first) == expected


def test_a_selector_that_answers_nonsense_is_unknown() -> None:
    """A target that the selector does not have is not served."""
    assert make().resolve("sel", None, lambda _: "b") == Unknown("b")


def test_a_pin_to_a_name_that_is_gone_is_unknown() -> None:
    """A pin's target is resolved when the table is made, and may be missing."""
    names = Names(models=[A], aliases={}, profiles={"p": {"x": "gone"}})
    assert names.resolve("x", "p", first) == Unknown("gone")
    assert names.split_path("x/y", "p") is None


def test_a_lookup_knows_no_selectors() -> None:
    """Only models, aliases and peers' models are looked up."""
    names = make()
    known = [n for n in ("a", "gpt", "big", "sel", "llm", "both") if names.lookup(n)]
    assert known == ["a", "gpt", "big"]


@pytest.mark.parametrize(
    ("path", "profile", "expected"),
    [
        ("/a/v1/x", None, PathMatch("a", LocalTarget(A, "a"), "/v1/x")),
        ("a", None, PathMatch("a", LocalTarget(A, "a"), "")),
        ("a/", None, PathMatch("a", LocalTarget(A, "a"), "/")),
        (
            "//author//model//v1",
            None,
            PathMatch("author/model", LocalTarget(SLASH, "author/model"), "//v1"),
        ),
        ("author", None, None),
        ("sel/x", None, None),
        ("", None, None),
        ("/", None, None),
        ("q/x/y/z", None, PathMatch("q/x/y", PeerTarget("q", "x/y", "q/x/y", rewrite="x/y"), "/z")),
        ("img/x", "work", PathMatch("img", Off("img"), "/x")),
        ("a/x", "work", PathMatch("a", LocalTarget(B, "b", rewrite="b"), "/x")),
        ("any/x", "work", None),
        ("x/y/z/w", "work", PathMatch("x/y/z", LocalTarget(A, "a", rewrite="a"), "/w")),
        ("b/x", "work", PathMatch("b", LocalTarget(B, "b"), "/x")),
    ],
)
def test_names_at_the_beginning_of_a_path(
    path: str, profile: str | None, expected: PathMatch | None
) -> None:
    """The longest run of segments that is a name wins; selectors are not looked at."""
    assert make().split_path(path, profile) == expected


@pytest.mark.parametrize(
    ("path", "name", "rest"),
    [
        ("/author%2Fmodel/v1/a%2Fb", "author/model", "/v1/a%2Fb"),
        ("/author/model/v1/a%2fb", "author/model", "/v1/a%2fb"),
        ("author%2fmodel%2fv1", "author/model", "/v1"),
        ("author%2Fmodel", "author/model", ""),
        ("%61/x%20y", "a", "/x%20y"),
    ],
)
def test_escapes_after_the_name_stay(path: str, name: str, rest: str) -> None:
    """An escaped slash may be part of the name; in the rest every escape stays."""
    found = make().split_path(path, is_encoded=True)
    assert found is not None
    assert (found.name, found.rest) == (name, rest)


def test_double_escapes_are_not_names() -> None:
    """Decoding happens once."""
    assert make().split_path("author%252Fmodel/x", is_encoded=True) is None
