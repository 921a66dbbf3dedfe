"""Messages: what was expected, what was found, by the paths of the file, without secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from modelswap.config.schema.field_types import (
    Anything,
    Bool,
    Duration,
    Either,
    GoDuration,
    Int,
    ListOf,
    MapOf,
    OneOrMore,
    Record,
    Short,
    Size,
    Text,
    keys_of,
)
from modelswap.config.schema.schema_root import RawConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelswap.config.schema.field_types import Shape
    from support.config import LoadText

Steps = tuple[str | None, ...]
"""Keys from the top to a field; None: one item of a list."""


def _fields(cls: type, above: Steps) -> Iterator[tuple[Steps, Shape]]:
    for one in keys_of(cls).values():
        if not one.hidden:
            yield from _field((*above, one.name), one.shape)


def _field(here: Steps, shape: Shape) -> Iterator[tuple[Steps, Shape]]:
    yield here, shape
    if isinstance(shape, MapOf):
        yield from _field((*here, "n"), shape.value)
    elif isinstance(shape, ListOf | OneOrMore):
        yield from _field((*here, None), shape.item)
    elif isinstance(shape, Record | Either | Short):
        yield from _fields(shape.cls, here)


SCALARS = (Bool, Int, GoDuration, Duration, Size)
WRONG = [
    ("a list", ["zz"], (*SCALARS, Text, MapOf, Record)),
    ("a mapping", {"zz": 1}, (*SCALARS, Text, ListOf)),
    ("text 'zz'", "zz", (*SCALARS, ListOf, MapOf, Record)),
    ("5", 5, (Bool, ListOf, MapOf, Record, GoDuration)),
    ("true", True, (Int, ListOf, MapOf, Record, GoDuration, Duration, Size)),
]
CASES = [
    pytest.param(steps, value, words, id=f"{'.'.join(str(s) for s in steps)}-{words}")
    for steps, shape in _fields(RawConfig, ())
    for words, value, kinds in WRONG
    if isinstance(shape, kinds) and not isinstance(shape, Anything)
    if (steps, words) != (("profiles", "n"), "a list")  # the earliest form
]


def _document(steps: Steps, value: object) -> str:
    for step in reversed(steps):
        value = [value] if step is None else {step: value}
    return json.dumps(value)


@pytest.mark.parametrize(("steps", "value", "words"), CASES)
def test_every_key_names_what_was_found(
    loaded: LoadText, steps: Steps, value: object, words: str
) -> None:
    """A value of a wrong kind is named beside what was expected, whatever the key."""
    found = loaded(_document(steps, value))
    messages = [p.message for p in (*found.problems, *found.warnings)]
    hides = words.startswith("text") and (steps[0] == "apiKeys" or "apiKey" in steps)
    expected = "text " if hides else words
    assert any(
        m.startswith("expected ") and ("found " + expected in m or "found a value that is not" in m)
        for m in messages
    ), messages


MESSAGES = [
    ("routing: {router: {use: carousel}}", "routing.router.use: expected one of group, matrix, memory; found 'carousel'"),
    ("routing: {scheduler: {use: lifo}}", "routing.scheduler.use: expected fifo; found 'lifo'"),
    ("logToStdout: all", "logToStdout: expected one of proxy, upstream, both, none; found 'all'"),
    ("logLevel: loud", "expected one of debug, info, warn, error; found 'loud', taken as info"),
    ("startPort: 70000", "startPort: expected a port of at most 65535; found 70000"),
    ("globalTTL: -1", "globalTTL: expected a whole number of at least 0; found -1"),
    ("globalTTL: '5'", "expected a whole number; found text '5' (remove the quotes)"),
    ("globalTTL: 5m", "expected a whole number; found text '5m'"),
    ("limits: {body: big}", "expected a size; found text 'big'"),
    ("selectors: {s: {strategy: hot, targets: [m]}}", "expected one of warm, pin, spillover; found 'hot'"),
    ("macros: {a: ~}", "expected text, a number, true or false; found null, taken as text"),
    ("models: [a]", "expected a mapping of ids to models; found a list"),
    ("models: {m: [a]}", "models.m: expected a mapping of the model's keys; found a list"),
    ("groups: {g: {members: [zz]}}", "groups.g.members[0]: expected a model; found 'zz', left out"),
    ("groups: {g: {swap: 3}}", "groups.g.swap: expected true or false; found 3"),
    ("matrix: {sets: {s: m}, vars: {v: zz}}", "matrix.vars.v: expected a model; found 'zz'"),
    ("matrix: {sets: 5}", "matrix.sets: expected a mapping; found 5"),
    ("routing: {router: {settings: {groups: {g: {swap: 3}}}}}", "routing.router.settings.groups.g.swap: expected"),
    ("models: {x: {cmd_stop: [a]}}", "models.x.cmd_stop: expected text; found a list"),
    ("models: {x: {filters: {strip_params: [a]}}}", "models.x.filters.strip_params: expected text"),
    ("trustedProxies: [lan]", "expected an address or a network; found 'lan'"),
    ("apiKeys: [{key: abcdef, scopes: [root]}]", "expected one of inference, read, admin; found 'root'"),
    ("apiKeys: [{key: abcdef, expires: soon}]", "found 'soon'"),
    ("apiKeys: [{key: abcdef, keyFile: /x}]", "exactly one of key, keyHash, keyFile; found key and keyFile"),
    ("- a", "expected a mapping of keys in the file; found a list"),
    ("globalTTL: " + "z" * 200, "found text '" + "z" * 59 + "…'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), MESSAGES)
def test_message(loaded: LoadText, text: str, message: str) -> None:
    """The message names the file's own path, what was expected, and what was found."""
    assert message in "\n".join(loaded(text).lines())


SECRET = "sk-live-0123456789"
HIDING = [
    f"apiKeys: {SECRET}",
    f"apiKeys: {{{SECRET}: 1}}",
    f"apiKeys: [[{SECRET}]]",
    f"apiKeys: ['{SECRET} x']",
    f"apiKeys: [{{keyHash: {SECRET}}}]",
    f"peers: {{p: {{apiKey: [{SECRET}], proxy: 'http://h', models: [m]}}}}",
    f"peers: {{p: {{proxy: 'http://u:{SECRET}@h', models: [m]}}}}",
    f"peers: {{p: {{proxy: 'ftp://h/?key={SECRET}', models: [m]}}}}",
    f"models: {{m: {{cmd: x, env: [{SECRET}]}}}}",
    f"models: {{m: {{cmd: x, env: {SECRET}}}}}",
    "globalTTL: ${env.KEY}",
    "globalTTL: x${env.KEY}",
    "macros: {k: '${env.KEY}'}\nglobalTTL: ${k}",
    "macros: {k: '${env.KEY}'}\nglobalTTL: '" + "p" * 50 + "${k}'",
    "logLevel: ${env.KEY}",
    "groups: {g: {members: ['${env.KEY}']}}",
    f"macros: {{hf_token: [{SECRET}]}}",
    f"apiKeys: [{SECRET}]\nglobalTTL: {SECRET}",
    f"apiKeys: [{SECRET}]\nglobalTTL: {'p' * 50}{SECRET}",
]


@pytest.mark.parametrize("text", HIDING)
def test_secrets_are_never_shown(loaded: LoadText, text: str) -> None:
    """A key, a value from the environment, a password of an address: never, and not a part of one."""
    found = loaded(text, {"KEY": SECRET})
    assert found.lines()
    assert SECRET[:10] not in "\n".join(found.lines())


def test_documents_are_what_they_are_taken_for() -> None:
    """The documents of the cases are YAML, too."""
    assert yaml.safe_load(_document(("a", None, "b"), 1)) == {"a": [{"b": 1}]}


def test_an_item_behind_a_null_is_the_one_that_is_shown(loaded: LoadText) -> None:
    """Nulls in a list are left out; what is shown is what is meant."""
    found = loaded("groups: {g: {members: [~, zz]}}\nallowedHosts: [~, a/b]")
    message = "\n".join(found.lines())
    assert "found 'zz'" in message
    assert "found 'a/b'" in message
