"""How long models stay loaded without use, and which one is loaded then. Imported where the file says so."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from modelswap.core.spec import IdleModel, KeepAlive
from modelswap.units import Seconds

from .name_index import report_unknown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelswap.config.messages.diagnostics import Diagnostics
    from modelswap.config.plan import Model
    from modelswap.config.schema.schema import RawModel
    from modelswap.config.schema.schema_idle import RawKeepAlive, RawOnIdle
    from modelswap.config.tree.node import Path

    from .name_index import NameIndex

_LENGTHENS_NOTHING: Final = "has no effect: a model without `ttl` stays loaded, and without `min` requests may only lengthen that"
_HINT: Final = "set `min`, or a `ttl`"


def lifetime(
    raw: RawModel,
    common: RawKeepAlive | None,
    ttl: Seconds | None,
    path: Path,
    diagnostics: Diagnostics,
    *,
    is_idle_model: bool,
) -> tuple[Seconds | None, KeepAlive | None]:
    """Return a model's `ttl`, and what requests may ask for: its own bounds come before the common ones."""
    own = raw.keep_alive
    if is_idle_model:
        for key, is_set in (("ttl", (raw.ttl or 0) > 0), ("keepAlive", own is not None)):
            if is_set:
                then = "has no effect: as the model of hooks.on_idle it stays loaded without use"
                diagnostics.warn((*path, key), then)
        return None, None
    given = [one for one in (own, common) if one is not None]
    if not given:
        return ttl, None
    least = next((one.min for one in given if one.min is not None), None)
    most = next((one.max for one in given if one.max is not None), inf)
    shortest = least if least is not None else inf if ttl is None else ttl
    if own is not None:
        path = (*path, "keepAlive")
        _check_bounds(own, least, most, path, diagnostics)
        if shortest == inf:
            diagnostics.warn(path, _LENGTHENS_NOTHING, _HINT)
    return ttl, KeepAlive(Seconds(shortest), Seconds(max(shortest, most)))


def _check_bounds(
    raw: RawKeepAlive, least: float | None, most: float, path: Path, diagnostics: Diagnostics
) -> None:
    if least is None or least <= most:
        return
    if raw.min is not None:
        diagnostics.expected((*path, "min"), f"at most `max`, which is {most:g} s")
    elif raw.max is not None:
        diagnostics.expected((*path, "max"), f"at least `min`, which is {least:g} s")


def check_keep_alive(raw: RawKeepAlive, models: Iterable[Model], diagnostics: Diagnostics) -> None:
    """Report what is wrong with the bounds for all models."""
    path: Path = ("keepAlive",)
    _check_bounds(raw, raw.min, inf if raw.max is None else raw.max, path, diagnostics)
    bounds = [model.spec.keep_alive for model in models if model.spec.keep_alive is not None]
    if bounds and all(one.shortest == inf for one in bounds):
        diagnostics.warn(path, _LENGTHENS_NOTHING, _HINT)


def idle_model(raw: RawOnIdle, names: NameIndex, diagnostics: Diagnostics) -> IdleModel | None:
    """Return which model is loaded when none is used, and after how long."""
    path, name = ("hooks", "on_idle", "model"), raw.model.strip()
    real = names.local(name)
    if real is not None:
        return IdleModel(real, Seconds(raw.after))
    if not name:
        diagnostics.problem(path, "expected the model to load; found none")
    elif not diagnostics.report.is_misindented(name):
        report_unknown(path, "a local model", name, names, diagnostics)
    return None
