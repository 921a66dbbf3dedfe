"""Values that are accepted with another meaning: each has a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
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
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WARNED)
def test_it_is_accepted_with_a_warning(loaded: LoadText, text: str, message: str) -> None:
    """The file loads as before, with a warning at the place."""
    found = loaded(text)
    assert found.plan is not None, found.lines()
    assert message in "\n".join(found.lines())
    assert not found.is_good(strict=True)


FINE = [
    M + "    checkEndpoint: none",
    M + "    checkEndpoint: /v1/models?a=%20b",
    M + "    aliases: [m]",
    PEER % "/v1beta" + IDS % "a",
    PEER % "/openai" + IDS % "p/b",
]  # fmt: skip


@pytest.mark.parametrize("text", FINE)
def test_what_works_has_no_warning(loaded: LoadText, text: str) -> None:
    """There is no warning of what works."""
    assert loaded(text).lines() == []
