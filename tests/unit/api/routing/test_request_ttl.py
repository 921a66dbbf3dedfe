"""What a request may write to say how long its model stays loaded."""

from __future__ import annotations

from math import inf

import pytest

from modelswap.api.routing.request_ttl import in_body, in_header
from modelswap.errors import BadRequestError
from modelswap.units import Seconds


def in_json(said: str) -> float | None:
    return in_body(b'{"model":"m",' + said.encode() + b"}")


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ('"keep_alive": 300', 300),
        ('"keep_alive": 0.5', 0.5),
        ('"keep_alive": 0', 0),
        ('"keep_alive": "0"', 0),
        ('"keep_alive": -1', inf),
        ('"keep_alive": "-1"', inf),
        ('"keep_alive": "-1s"', inf),
        ('"keep_alive": "-1m"', inf),
        ('"keep_alive": "5m"', 300),
        ('"keep_alive": " 1h30m "', 5400),
        ('"keep_alive": "24h"', 86_400),
        ('"keep_alive": "300"', 300),
        ('"keep_alive": 1e300', inf),
        ('"keep_alive": "inf"', inf),
        ('"keep_alive": null', None),
        ('"ttl": 60', 60),
        ('"keep_alive": null, "ttl": 60', 60),
        ('"keep_alive": 5, "ttl": 60', 5),
        ('"messages": [{"keep_alive": 5}]', None),
    ],
)
def test_forms(said: str, seconds: float | None) -> None:
    """Ollama's forms, and LM Studio's `ttl`; what is negative or over a century is for ever."""
    assert in_json(said) == seconds


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ('"keep_alive": "soon"', 'keep_alive: expected … found "soon"'),
        ('"keep_alive": ""', 'keep_alive: expected … found ""'),
        ('"keep_alive": "5 minutes"', 'keep_alive: expected … found "5 minutes"'),
        ('"keep_alive": true', "keep_alive: expected … found true"),
        ('"keep_alive": {"a": 1}', 'keep_alive: expected … found {"a": 1}'),
        ('"keep_alive": "nan"', 'keep_alive: expected … found "nan"'),
        ('"keep_alive": 1e999', "keep_alive: expected … found 1e999"),
        ('"ttl": []', "ttl: expected … found []"),
        (f'"ttl": "{"x" * 99}"', f'ttl: expected … found "{"x" * 39}…'),
    ],
)
def test_what_is_no_time(said: str, found: str) -> None:
    """The error names the field, what was expected, and the beginning of what was found."""
    with pytest.raises(BadRequestError) as raised:
        in_json(said)
    before, _, after = found.partition("…")
    assert raised.value.text.startswith(before)
    assert raised.value.text.endswith(after)
    assert "5m" in raised.value.text


def test_any_body_that_names_a_model() -> None:
    """Also where the body is large, unusual, or its keys are spelt with escapes."""
    said = b'"keep_alive":"5m"'
    large = b'{"model":"m","image":"' + b"x" * 200_000 + b'",' + said + b"}"
    assert in_body(large) == Seconds(300)
    assert in_body(b'{"model":7,' + said + b"}") == Seconds(300)
    escaped = b'{"model":"m","a":{"model":1},"keep\\u005falive":"5m"}'
    assert in_body(escaped) == Seconds(300)


def test_a_body_that_only_the_model_server_can_refuse() -> None:
    """A mistake inside a long string, which is skipped when the model is looked for, says nothing."""
    assert in_body(b'{"model":"m","image":"\\q","keep_alive":5}') is None


def test_header() -> None:
    """The same forms; a number is a text there."""
    assert [in_header(text) for text in (b"300", b"5m", b" -1 ", b"0")] == [300, 300, inf, 0]
    with pytest.raises(BadRequestError, match=r"X-Modelswap-TTL: expected .* found later"):
        in_header(b"later")
