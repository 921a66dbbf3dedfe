"""How long models stay loaded without use, where not the `ttl` alone says so. Imported for such files."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from modelswap.core.spec import TtlBounds
from modelswap.units import Seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelswap.config.messages.diagnostics import Diagnostics
    from modelswap.config.plan import Model
    from modelswap.config.schema.schema import RawModel
    from modelswap.config.schema.schema_idle import RawRequestTtl
    from modelswap.config.tree.node import Path

_LENGTHENS_NOTHING: Final = "has no effect: a model without `ttl` stays loaded, and without `min` requests may only lengthen that"
_HINT: Final = "set `min`, or a `ttl`"


def lifetime(
    raw: RawModel,
    common: RawRequestTtl | None,
    ttl: Seconds | None,
    path: Path,
    diagnostics: Diagnostics,
    *,
    is_idle_model: bool,
) -> tuple[Seconds | None, TtlBounds | None]:
    """Return a model's `ttl`, and what requests may ask for: its own bounds come before the common ones."""
    own = raw.request_ttl
    if is_idle_model:
        for key, is_set in (("ttl", (raw.ttl or 0) > 0), ("requestTTL", own is not None)):
            if is_set:
                then = "has no effect: as the model of hooks.on_idle it stays loaded without use"
                diagnostics.warn((*path, key), then)
        return None, None
    given = [one for one in (own, common) if one is not None]
    least = next((one.min for one in given if one.min is not None), None)
    most = next((one.max for one in given if one.max is not None), inf)
    shortest = least if least is not None else inf if ttl is None else ttl
    if own is not None:
        path = (*path, "requestTTL")
        _check_bounds(own, least, most, path, diagnostics)
        if shortest == inf:
            diagnostics.warn(path, _LENGTHENS_NOTHING, _HINT)
    return ttl, TtlBounds(Seconds(shortest), Seconds(max(shortest, most)))


def _check_bounds(
    raw: RawRequestTtl, least: float | None, most: float, path: Path, diagnostics: Diagnostics
) -> None:
    if least is None or least <= most:
        return
    if raw.min is not None:
        diagnostics.expected((*path, "min"), f"at most `max`, which is {most:g} s")
    elif raw.max is not None:
        diagnostics.expected((*path, "max"), f"at least `min`, which is {least:g} s")


def check_request_ttl(
    raw: RawRequestTtl, models: Iterable[Model], diagnostics: Diagnostics
) -> None:
    """Report what is wrong with the bounds for all models."""
    path: Path = ("requestTTL",)
    _check_bounds(raw, raw.min, inf if raw.max is None else raw.max, path, diagnostics)
    bounds = [model.spec.request_ttl for model in models if model.spec.request_ttl is not None]
    if bounds and all(one.shortest == inf for one in bounds):
        diagnostics.warn(path, _LENGTHENS_NOTHING, _HINT)
