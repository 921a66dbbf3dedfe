"""What was accepted in silence: it is still accepted, and said; and bounds on what a few lines stand for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from modelswap.config.load import diff, load, summary

if TYPE_CHECKING:
    from pathlib import Path

    from support.config import LoadText

M = "models:\n  m:\n    cmd: x ${PORT}\n"
PEER = "peers:\n  p:\n    proxy: http://h:1%s\n    models: [a, b]\n"
IDS = "    filters: {setParamsByID: {%s: {x: 1}}}\n"

WARNED = [
    ("models: {a: {cmd: x, proxy: 'http://h', aliases: [b]}, b: {cmd: x, proxy: 'http://h'}}",
     "models.a.aliases[0]: expected a name that is no model's id; found 'b', which goes to that model"),
    (M + "    checkEndpoint: http://localhost:5800/healthz?a=b", "models.m.checkEndpoint: expected a path, or none; found 'http://localhost:5800/healthz?a=b', taken as /healthz?a=b".replace("'http://localhost:5800/healthz?a=b'", "an address that is not shown")),
    (M + "    checkEndpoint: https://h/up", "found 'https://h/up', taken as /up"),
    (M + "    checkEndpoint: None", "found 'None', taken as the path /None"),
    (M + "    checkEndpoint: false", "found false, taken as the path /false"),
    (M + "    checkEndpoint: 'off'", "no check is written: none"),
    (M + "    checkEndpoint: /health%zz", "c.yaml:4: models.m.checkEndpoint: expected a path with whole escapes (%XX); found '/health%zz'"),
    (M + "    checkEndpoint: /100%", "whole escapes"),
    (M + "    proxy: ''", "c.yaml:4: models.m.proxy: expected an address; found an empty text, so the model cannot be started"),
    (M + "    proxy: ' '", "expected an address"),
    (PEER % "/v1", "c.yaml:3: peers.p.proxy: expected an address without /v1; found 'http://h:1/v1'"),
    (PEER % "/v1/", "expected an address without /v1"),
    (PEER % "/api/v1", "expected an address without /v1"),
    (PEER % "/v1/chat/completions", "expected an address without /v1"),
    ("models: {m: {cmd: x, proxy: 'http://h/v1'}}", "models.m.proxy: expected an address without /v1"),
    (PEER % "" + IDS % "gone", "c.yaml:5: peers.p.filters.setParamsByID.gone: expected a name by which a model of this peer is asked for; found 'gone', which has no effect"),
    (PEER % "" + IDS % "q/a", "found 'q/a'"),
    (PEER % "" + IDS % "a" + "models: {a: {cmd: x, proxy: 'http://h'}}", "found 'a', which has no effect"),
    ("allowedHosts:\n  - https://example.org/path", "c.yaml:2: allowedHosts[0]: expected a host's name, or *.NAME for all below it; found 'https://example.org/path', which never matches (write 'example.org'"),
    ("allowedHosts: [example.org/path]", "which never matches"),
    ("allowedHosts: ['*example.org']", "which never matches"),
    ("allowedHosts: ['example.*']", "which never matches"),
    ("allowedHosts: ['example.org:*']", "which never matches"),
    ("allowedHosts: ['']", "which never matches"),
    ("allowedHosts: ['a b']", "which never matches"),
    ("allowedHosts: [10.0.0.0/8]", "which never matches"),
    ("allowedHosts: [bücher.example]", "xn--"),
    ("allowedHosts: [..example.org]", "which never matches"),
    ("allowedOrigins: [https://example.org/path]", "which never matches (without a path: https://example.org)"),
    ("allowedOrigins: [example.org]", "an origin has a scheme"),
    ("allowedOrigins: ['http://*']", "there are no patterns"),
    ("allowedOrigins: ['https://*.example.org']", "there are no patterns"),
    ("allowedOrigins: ['http://localhost:*']", "there are no patterns"),
    ("allowedOrigins: ['https://example.org:443']", "browsers leave the usual port out: https://example.org"),
    ("allowedOrigins: ['http://example.org:80']", "browsers leave the usual port out"),
    ("allowedOrigins: ['https://.example.org']", "which never matches"),
    ("allowedOrigins: ['https://bücher.example']", "xn--"),
    ("allowedOrigins: ['']", "an origin has a scheme"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WARNED)
def test_it_is_accepted_and_said(loaded: LoadText, text: str, said: str) -> None:
    """The file loads as before, with a warning at the place."""
    found = loaded(text)
    assert found.plan is not None, found.lines()
    assert said in "\n".join(found.lines())
    assert not found.is_good(strict=True)


FINE = [
    "allowedHosts: [example.org, '*.example.org', '.example.org', '*', EXAMPLE.org, 'example.org:8443', example.org.]",
    "allowedHosts: [192.168.1.5, '[::1]', '::1', my_host, a]",
    "allowedOrigins: [https://example.org, 'https://example.org/', 'http://a:8080', 'null', app://x, 'http://[::1]:3']",
    "allowedOrigins: ['chrome-extension://*', 'https://EXAMPLE.org']",
    M + "    checkEndpoint: none",
    M + "    checkEndpoint: /v1/models?a=%20b",
    M + "    aliases: [m]",
    PEER % "/v1beta" + IDS % "a",
    PEER % "/openai" + IDS % "p/b",
]  # fmt: skip


@pytest.mark.parametrize("text", FINE)
def test_what_can_match_is_not_said(loaded: LoadText, text: str) -> None:
    """Nothing is said about what works."""
    assert loaded(text).lines() == []


def test_a_leading_dot_is_a_domain_and_all_below_it(loaded: LoadText) -> None:
    """`.example.org` means what it means to cookies and to other servers."""
    plan = loaded("allowedHosts: [.Example.org, b]").plan
    assert plan is not None
    assert plan.settings.allowed_hosts == ("example.org", "*.example.org", "b")


@pytest.mark.parametrize(
    ("text", "found_"),
    [
        *[(text, "an empty file") for text in ("", "\n\n", "# nothing\n", "---\n")],
        *[(text, "none, as in an empty file") for text in ("just words\n", "models = 3\n", "{}\n")],
    ],
)
def test_an_empty_file(tmp_path: Path, text: str, found_: str) -> None:
    """A file without keys is accepted, and an error under strict."""
    file = tmp_path / "c.yaml"
    file.write_text(text)
    found = load(file, environ={})
    assert found.is_good()
    assert not found.is_good(strict=True)
    assert f"{file}:1: expected keys, such as models; found {found_}" in found.lines()[0]


BIG = "x" * 100_000
ALIASES = ", ".join(["*a"] * 20_000)
MANY = ", ".join(f"k{n}: '{'y' * 4000}'" for n in range(24))
BOMBS = {
    "texts": f"models:\n  m:\n    cmd: x ${{PORT}}\n    metadata: {{a: &a {BIG}, b: [{ALIASES}]}}\n",
    "unknown key": f"x-a: &a {BIG}\nx-b: [{ALIASES}]\n",
    "commands": f"x-a: &a x ${{PORT}} {BIG}\nmodels:\n" + "".join(f"  m{n}: {{cmd: *a}}\n" for n in range(20_000)),
    "environment": f"x-a: &a A={BIG}\nmodels: {{m: {{cmd: 'x ${{PORT}}', env: [{ALIASES}]}}}}\n",
    "keys": f"x-a: &a {BIG}\napiKeys: [{ALIASES}]\n",
    "models": f"x-a: &a {{cmd: 'x ${{PORT}}', metadata: {{{MANY}}}}}\nmodels:\n" + "".join(f"  m{n}: *a\n" for n in range(20_000)),
    "merges": f"x-a: &a {{cmd: 'x ${{PORT}}', metadata: {{{MANY}}}}}\nmodels:\n" + "".join(f"  m{n}: {{<<: *a}}\n" for n in range(20_000)),
    "laughs": "a0: &a0 x\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
    "merge laughs": "a0: &a0 {k: x}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}], k{n}: {{<<: *a{n - 1}}}}}\n" for n in range(1, 12)),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_aliases_stand_for_a_bounded_amount(loaded: LoadText, name: str) -> None:
    """Some lines that stand for gigabytes are one mistake, found at once."""
    begun = time.process_time()
    found = loaded(BOMBS[name])
    assert time.process_time() - begun < 3
    (problem,) = found.problems
    assert "excessive aliasing" in problem.message


def test_macros_become_a_bounded_amount(loaded: LoadText) -> None:
    """Many uses of one long macro are one mistake."""
    uses = ", ".join(["'${q}'"] * 20_000)
    begun = time.process_time()
    found = loaded(
        f"macros: {{q: {BIG}}}\nmodels: {{m: {{cmd: 'x ${{PORT}}', metadata: {{b: [{uses}]}}}}}}"
    )
    assert time.process_time() - begun < 3
    (problem,) = found.problems
    assert (problem.key, "at most 64 MiB" in problem.message) == ("macros", True)


def test_shared_defaults_for_many_models_load(loaded: LoadText) -> None:
    """A thousand models that share their defaults are a file as any other."""
    text = "x-d: &d {cmd: 'x ${PORT}', ttl: 5, env: [A=b], metadata: {a: 1, b: 2}}\nmodels:\n"
    plan = loaded(text + "".join(f"  m{n}: {{<<: *d}}\n" for n in range(1000))).plan
    assert plan is not None
    assert len(plan.models) == 1000


BASE = "models: {a: {cmd: 'x ${PORT}', ttl: 5}, b: {cmd: 'y ${PORT}'}}\n"
CHANGES = [
    ("models: {a: {cmd: 'x ${PORT}', ttl: 6, aliases: [z]}, b: {cmd: 'y ${PORT}'}}",
     "0 models added, 0 changed, 0 removed, 2 same; 1 updated without a restart: a (aliases, ttl)"),
    ("models: {a: {cmd: 'x ${PORT}', ttl: 5, filters: {stripParams: t}}, b: {cmd: 'y ${PORT}'}}", "a (filters)"),
    (BASE + "groups: {g: {members: [a]}}", "2 same; changed: groups"),
    (BASE + "matrix: {sets: {s: a & b}}", "changed: matrix"),
    (BASE + "peers: {p: {proxy: 'http://h', models: [m]}}", "changed: peers"),
    (BASE + "selectors: {s: {strategy: pin, targets: [a]}}", "changed: selectors"),
    (BASE + "profiles: {s: {pins: {x: a}}}", "changed: profiles"),
    (BASE + "logLevel: warn\nlimits: {queue: 5}\nstore: {path: x.db}", "changed: logLevel, store, limits"),
    (BASE + "globalTTL: 9", "1 updated without a restart: b (ttl)"),
    (BASE + "startPort: 7000", "2 same; changed: startPort"),
    ("models: {A: {cmd: 'z ${PORT}'}, a: {cmd: 'x ${PORT}', ttl: 5}, b: {cmd: 'y ${PORT}'}}", "1 models added, 0 changed, 0 removed, 2 same"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), CHANGES)
def test_a_reload_says_what_changed(loaded: LoadText, text: str, said: str) -> None:
    """Models that go on running with other filters, and sections, are named; a shifted port is not."""
    old, new = loaded(BASE).plan, loaded(text).plan
    assert old is not None
    assert new is not None
    assert summary(diff(old, new)).endswith(said)
