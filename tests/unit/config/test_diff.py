"""What a reload changes: models by identity, settings by name."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest

from modelswap.config.diff import diff, summary
from modelswap.config.plan import Plan, Settings
from modelswap.config.schema.field_types import keys_of
from modelswap.config.schema.schema_root import RawConfig

if TYPE_CHECKING:
    from support.config import LoadText

BASE = "models: {a: {cmd: 'x ${PORT}'}, b: {cmd: 'y ${PORT}'}}"

CHANGES = [
    (BASE, "same", "ab"),
    ("models: {b: {cmd: 'y ${PORT}'}}", "removed", "a"),
    ("models: {a: {cmd: 'x ${PORT}'}, b: {cmd: 'y ${PORT}'}, A: {cmd: 'z ${PORT}'}}", "same", "ab"),
    ("models: {a: {cmd: 'x ${PORT}'}, b: {cmd: 'y ${PORT}'}, A: {cmd: 'z ${PORT}'}}", "added", "A"),
    ("models: {a: {cmd: 'x -c 1 ${PORT}'}, b: {cmd: 'y ${PORT}'}}", "changed", "a"),
    ("models: {a: {cmd: 'x ${PORT}', env: [A=b]}, b: {cmd: 'y ${PORT}'}}", "changed", "a"),
    (
        "models: {a: {cmd: 'x ${PORT}', name: n, ttl: 5, aliases: [z], metadata: {p: 1}}, b: {cmd: 'y ${PORT}'}}",
        "same",
        "ab",
    ),
    ("startPort: 9000\n" + BASE, "same", "ab"),
    ("models: {a: {cmd: 'x ${PORT}', checkEndpoint: none}, b: {cmd: 'y ${PORT}'}}", "changed", "a"),
]


@pytest.mark.parametrize(("text", "kind", "names"), CHANGES)
def test_difference_of_two_files(loaded: LoadText, text: str, kind: str, names: str) -> None:
    """Only what its server was started with makes a model a changed one."""
    old, new = loaded(BASE).plan, loaded(text).plan
    assert old is not None
    assert new is not None
    assert getattr(diff(old, new), kind) == frozenset(names)


def test_difference_of_settings(loaded: LoadText) -> None:
    """Changed settings are named, those that need a restart by their keys."""
    text = "logToStdout: both\nlogLevel: warn\nstore: {path: other.db}"
    old, new = loaded("").plan, loaded(text).plan
    assert old is not None
    assert new is not None
    found = diff(old, new)
    assert set(found.settings) == {"log_level", "log_to_stdout", "store_path"}
    assert found.needs_restart == ("logToStdout",)
    assert diff(old, old).settings == ()


FIRST = "models: {a: {cmd: 'x ${PORT}', ttl: 5}, b: {cmd: 'y ${PORT}'}}\n"
SUMMARIES = [
    ("models: {a: {cmd: 'x ${PORT}', ttl: 6, aliases: [z]}, b: {cmd: 'y ${PORT}'}}",
     "0 models added, 0 changed, 0 removed, 2 same; 1 updated without a restart: a (aliases, ttl)"),
    ("models: {a: {cmd: 'x ${PORT}', ttl: 5, filters: {stripParams: t}}, b: {cmd: 'y ${PORT}'}}", "a (filters)"),
    (FIRST + "groups: {g: {members: [a]}}", "2 same; changed: groups"),
    (FIRST + "matrix: {sets: {s: a & b}}", "changed: matrix"),
    (FIRST + "peers: {p: {proxy: 'http://h', models: [m]}}", "changed: peers"),
    (FIRST + "selectors: {s: {strategy: pin, targets: [a]}}", "changed: selectors"),
    (FIRST + "profiles: {s: {pins: {x: a}}}", "changed: profiles"),
    (FIRST + "logLevel: warn\nlimits: {queue: 5}\nstore: {path: x.db}", "changed: logLevel, store, limits"),
    (FIRST + "keeper: {onRestart: keep}\nloading: {grace: 9}", "changed: loading, keeper"),
    (FIRST + "hooks: {on_idle: {model: b}}", "2 same; changed: hooks"),
    (FIRST + "requestTTL: {min: 0}", "2 updated without a restart: a (requestTTL), b (requestTTL)"),
    (FIRST + "globalTTL: 9", "1 updated without a restart: b (ttl)"),
    (FIRST + "startPort: 7000", "2 same; changed: startPort"),
    ("models: {A: {cmd: 'z ${PORT}'}, a: {cmd: 'x ${PORT}', ttl: 5}, b: {cmd: 'y ${PORT}'}}", "1 model added, 0 changed, 0 removed, 2 same"),
]  # fmt: skip


def test_every_setting_has_its_key() -> None:
    """The summary of a reload names keys of the file, never attributes of the program."""
    keys = {key.name for key in keys_of(RawConfig).values()} | {"routing.scheduler"}
    for one in fields(Settings):
        changed: dict[str, Any] = {one.name: object()}
        (section,) = diff(Plan(), Plan(settings=replace(Settings(), **changed))).sections
        assert section in keys, one.name


@pytest.mark.parametrize(("text", "end"), SUMMARIES)
def test_summary_of_a_reload(loaded: LoadText, text: str, end: str) -> None:
    """Models that go on running with other filters, and sections, are named; a shifted port is not."""
    old, new = loaded(FIRST).plan, loaded(text).plan
    assert old is not None
    assert new is not None
    assert summary(diff(old, new)).endswith(end)
