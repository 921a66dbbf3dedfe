"""The keys that say how long models stay loaded without use, and which one is loaded then."""

from __future__ import annotations

from modelswap.deferred import dataclass

from .field_types import Duration, Text, key


@dataclass(frozen=True, repr=False, eq=False)
class RawRequestTtl:
    min: float | None = key(
        "min",
        Duration(),
        None,
        "The least that a request may ask for; 0: it may have its model unloaded at its end.",
        shown="the model's `ttl`",
    )
    max: float | None = key(
        "max", Duration(), None, "The most that a request may ask for.", shown="for ever"
    )


@dataclass(frozen=True, repr=False, eq=False)
class RawOnIdle:
    model: str = key(
        "model",
        Text(),
        "",
        "Loaded when no model was used for `after`; its own `ttl` does not count. Required.",
    )
    after: float = key(
        "after", Duration(takes_zero=False), 300.0, "How long no model was used.", shown="`5m`"
    )
