"""Mistakes that are reported once, at their place, with help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.config.checks.preflight import preflight
from modelswap.config.load import load

if TYPE_CHECKING:
    from pathlib import Path

    from support.config import LoadText

MODEL = "models:\n  m:\n    cmd: /bin/sh --port ${PORT}\n"


def lines(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    found = load(file, environ={"PATH": "/usr/bin:/bin"}, check=preflight)
    return [line.replace(f"{file}:", "") for line in found.lines()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'matrix: {sets: {a: "m & x"}}\n' + MODEL,
            "error: 1: matrix.sets.a: 'x' at column 5 is neither a var nor a model",
        ),
        ("matrix: {}\n" + MODEL, "error: 1: matrix.sets: expected at least one set; found none"),
    ],
)
def test_check_looks_at_a_file_whose_matrix_is_wrong(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert lines(tmp_path, text) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("store: x\n", "error: 1: store: expected a mapping; found text 'x'"),
        ("profiles: {p: m}\n", "error: 1: profiles.p: expected a mapping; found text 'm'"),
        (
            "selectors: {s: {strategy: warm, targets: x}}\n",
            "error: 1: selectors.s.targets: expected a list; found text 'x'",
        ),
        ("peers: {p: x}\n", "error: 1: peers.p: expected a mapping; found text 'x'"),
        ("models: {m: {cmd: [a], proxy: http://h:1}}\n", "error: 1: models.m.cmd: expected text"),
        (
            MODEL + "    cmdStop: /bin/sh ${HOME}\n",
            "error: 4: models.m.cmdStop: expected a macro; found an unknown macro 'HOME'",
        ),
    ],
)
def test_what_follows_from_a_mistake_is_not_reported(
    tmp_path: Path, text: str, expected: str
) -> None:
    (line,) = lines(tmp_path, text)
    assert line.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("models:\n\tm: {}\n", "a tab is there; YAML is indented with spaces"),
        ("models:\n  m:\n    cmd: x: y\n", "a value that holds `: ` needs quotes"),
        ("models:\n  m:\n    cmd: @x\n", "write quotes around a value that begins with @"),
        ("models:\n  m:\n    cmd: x\n    cmd: y\n", "4: models.m.cmd: expected each key once"),
        ("l: [{a: 1, a: 2}]\n", "1: l[0].a: expected each key once"),
        ("group: {g: {members: []}}\n", "did you mean 'groups'?"),
        ("apiKeys: [{key: k, noSwap: perhaps}]\n", "expected true or false; found text 'perhaps'"),
    ],
)
def test_a_message_says_where_and_what(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in lines(tmp_path, text)[0]


@pytest.mark.parametrize("value", ["true", '"yes"', "localhost:8080/health"])
def test_a_check_endpoint_that_is_no_path(tmp_path: Path, value: str) -> None:
    (line,) = lines(tmp_path, f"{MODEL}    checkEndpoint: {value}\n")
    assert "checkEndpoint: expected a path, or none; found" in line
    assert "taken as the path /" in line


def test_sections_below_models(tmp_path: Path) -> None:
    """One level too deep: each is reported once, at its place, without a secret."""
    text = MODEL + (
        "  logLevel: debug\n  groups:\n    g:\n      members: [m]\n  apiKeys: sk-very-secret\n"
    )
    found = lines(tmp_path, text)
    assert found == [
        (
            "error: 4: models.logLevel: expected a mapping of the model's keys; found text 'debug' "
            "(logLevel: stands at the beginning of its line)"
        ),
        (
            "error: 8: models.apiKeys: expected a mapping of the model's keys; found text that is not "
            "shown (apiKeys: stands at the beginning of its line)"
        ),
        (
            "warning: 5: models.groups: expected models; found the keys of groups, left out "
            "(groups: stands at the beginning of its line)"
        ),
    ]


def test_a_model_may_have_the_name_of_a_section(tmp_path: Path) -> None:
    assert not lines(tmp_path, "models: {store: {cmd: '/bin/sh ${PORT}'}}\n")


@pytest.mark.parametrize("key", ["a\\nb", "\\e[31m", "a\\u2028b", "\\x7f"])
def test_a_message_is_one_line_without_controls(tmp_path: Path, key: str) -> None:
    """Also where the file's keys hold them."""
    (line,) = lines(tmp_path, f'"{key}": 1\n{MODEL}')
    assert line.isprintable()
    assert line.endswith(": unknown key, ignored")


MISINDENTED = [
    ("groups:\n  a: {cmd: x, ttl: 5}\n  b: {cmd: y}\n  g: {members: [a, b]}", "groups.a", "'a', 'b'", True),
    ("groups:\n  g: {members: [a]}\n  models:\n    a: {cmd: x}\n    b: {cmd: y}", "groups.models", "'a', 'b'", True),
    ("routing:\n  router:\n    settings:\n      groups:\n        a: {cmd: x}", "routing.router.settings.groups.a", "'a'", True),
    ("hooks: {on_idle: {model: a}}\ngroups:\n  a: {cmd: x}", "groups.a", "'a'", True),
    ("a: {cmd: x}\nb: {cmd: y, proxy: 'http://h'}", "a", "'a', 'b'", True),
    ("models:\n  models:\n    a: {cmd: x}", "models.models", "'a'", True),
    ("profiles:\n  a: {cmd: x}\n  b: {cmd: x}", "profiles.a", "'a', 'b'", False),
    ("peers:\n  a: {cmd: x, proxy: 'http://h:1'}", "peers.a", "'a'", False),
    ("macros:\n  a: {cmd: x}\n  b: {cmd: x}", "macros.a", "'a', 'b'", False),
    ("hooks:\n  models:\n    a: {cmd: x}", "hooks.models", "'a'", False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "names", "is_accepted"), MISINDENTED)
def test_misindented_models_are_one_mistake(
    loaded: LoadText, text: str, key: str, names: str, *, is_accepted: bool
) -> None:
    """Models that stand where none belongs are reported once, with their names."""
    found = loaded(text)
    (line,) = found.lines()
    assert f": {key}: expected " in line
    assert names in line
    assert "`models:`" in line
    assert (found.plan is not None) is is_accepted


def test_names_that_are_spelt_like_a_model_s_key(loaded: LoadText) -> None:
    """A var or a set called `cmd` makes no model of its mapping."""
    text = "models: {m: {cmd: 'x ${PORT}'}}\nmatrix: {vars: {cmd: m}, evict_costs: {cmd: 2}, sets: {cmd: m}}"
    assert loaded(text).lines() == []


def test_anchored_mappings_are_no_misindented_models(loaded: LoadText) -> None:
    """Mappings for anchors at the top level are not taken for models."""
    text = "x-a: &a {cmd: 'x ${PORT}'}\n_b: &b {cmd: y}\nmodels: {m: *a, n: {<<: *b, proxy: 'http://h'}}"
    assert [w.key for w in loaded(text).warnings] == ["_b"]
