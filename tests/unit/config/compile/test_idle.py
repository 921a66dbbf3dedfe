"""`requestTTL` and `hooks.on_idle`: bounds, defaults, and what is wrong with them."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest

from modelswap.core.spec import IdleModel, ModelId, TtlBounds
from modelswap.units import Seconds

if TYPE_CHECKING:
    from support.config import LoadText

A = ModelId("a")


def models(**keys: str) -> str:
    """Return models `a` and `b`; the keys are those of `a`."""
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    return (
        f"models: {{a: {{cmd: 'x ${{PORT}}', aliases: [nick]{more}}}, b: {{cmd: 'x ${{PORT}}'}}}}\n"
    )


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        (models(), None),
        (models(ttl="60"), None),
        ("requestTTL: {}\n" + models(ttl="60"), (60, inf)),
        ("requestTTL: {max: 1h}\n" + models(ttl="60"), (60, 3600)),
        ("requestTTL: {min: 0}\n" + models(ttl="60"), (0, inf)),
        ("requestTTL: {min: 5m, max: 1h}\n" + models(), (300, 3600)),
        ("requestTTL: {max: 1m}\n" + models(ttl="600"), (600, 600)),
        ("requestTTL: {min: 5m, max: 1h}\n" + models(requestTTL="{min: 10}"), (10, 3600)),
        ("requestTTL: {min: 5m}\n" + models(requestTTL="{max: 10m}"), (300, 600)),
        ("globalTTL: 60\n" + models(requestTTL="{}"), (60, inf)),
        (models(requestTTL="{min: 1.5}"), (1.5, inf)),
    ],
)
def test_bounds(loaded: LoadText, text: str, bounds: tuple[float, float] | None) -> None:
    """A model's own bounds come first; the least is its `ttl` where nothing is set."""
    found = loaded(text)
    assert found.plan is not None, found.lines()
    wanted = None if bounds is None else TtlBounds(*map(Seconds, bounds))
    assert found.plan.models[A].spec.request_ttl == wanted
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("requestTTL: {min: 2h, max: 1h}\n" + models(), "expected at most `max`, which is 3600 s"),
        ("requestTTL: {min: 2h, max: 1h}\n" + models(requestTTL="{}"), "max"),
        (
            "requestTTL: {max: 1h}\n" + models(requestTTL="{min: 2h}"),
            "expected at most `max`, which is 3600 s",
        ),
        (
            "requestTTL: {min: 2h}\n" + models(requestTTL="{max: 1h}"),
            "expected at least `min`, which is 7200 s",
        ),
        ("requestTTL: 5m\n" + models(), "expected a mapping"),
        ("requestTTL: {min: soon}\n" + models(), "soon"),
        ("requestTTL: {min: -1}\n" + models(), "-1"),
        ("hooks: {on_idle: {}}\n" + models(), "expected the model to load; found none"),
        ("hooks: {on_idle: {model: nik}}\n" + models(), "did you mean 'nick'?"),
        ("hooks: {on_idle: {model: a, after: 0}}\n" + models(), "after"),
        ("hooks: {on_idle: a}\n" + models(), "expected a mapping"),
    ],
)
def test_mistakes(loaded: LoadText, text: str, line: str) -> None:
    """Each is reported at its key."""
    found = loaded(text)
    assert found.plan is None
    assert line in "\n".join(found.lines())
    assert len(found.problems) == 1, found.lines()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("requestTTL: {max: 1h}\n" + models(), "requestTTL"),
        (models(requestTTL="{max: 1h}"), "models.a.requestTTL"),
    ],
)
def test_bounds_without_effect(loaded: LoadText, text: str, place: str) -> None:
    """Requests could only lengthen what has no end: the warning says what to set."""
    found = loaded(text)
    assert found.plan is not None
    (warning,) = found.warnings
    assert place in str(warning)
    assert "set `min`, or a `ttl`" in str(warning)


def test_the_idle_model(loaded: LoadText) -> None:
    """An alias will do; after 5 minutes, unless that is set; its own ttl does not count."""
    hooks = "hooks: {on_idle: {model: ' nick '}}\n"
    found = loaded("globalTTL: 60\nrequestTTL: {min: 0}\n" + hooks + models())
    assert found.plan is not None
    assert found.warnings == ()
    assert found.plan.settings.idle_model == IdleModel(A, Seconds(300))
    spec = found.plan.models[A].spec
    assert (spec.ttl, spec.request_ttl) == (None, None)
    assert found.plan.models[ModelId("b")].spec.ttl == Seconds(60)


def test_the_idle_model_with_a_ttl(loaded: LoadText) -> None:
    """Keys of its own that have no effect are warned of, each at its place."""
    hooks = "hooks: {on_idle: {model: a, after: 1h}}\n"
    found = loaded(hooks + models(ttl="60", requestTTL="{min: 0}"))
    assert found.plan is not None
    assert found.plan.settings.idle_model == IdleModel(A, Seconds(3600))
    said = [str(warning) for warning in found.warnings]
    assert len(said) == 2
    assert all("has no effect: as the model of hooks.on_idle" in one for one in said)
    assert loaded(hooks + models(ttl="0")).warnings == ()
