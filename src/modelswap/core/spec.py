"""The facts of one configured model that the decisions need; `None` is "unset"."""

from __future__ import annotations

from typing import NewType

from modelswap.deferred import dataclass
from modelswap.units import Seconds

ModelId = NewType("ModelId", str)
ClientId = NewType("ClientId", str)
RequestId = NewType("RequestId", int)
ServerId = NewType("ServerId", str)
"""One running server. A model has one server today, whose id is the model's own."""


@dataclass(frozen=True, slots=True)
class TtlBounds:
    """How long a request may ask to keep its model loaded after its end; infinite: for ever."""

    shortest: Seconds
    longest: Seconds
    """Not less than the shortest."""


@dataclass(frozen=True, slots=True)
class IdleModel:
    """The model that is loaded when none was used for a while."""

    model: ModelId
    after: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model as configured. Compiled once per configuration; never changed."""

    id: ModelId
    start_timeout: Seconds = Seconds(120.0)
    """`healthCheckTimeout`: from the start of the process until its probe passes."""
    stop_grace: Seconds = Seconds(10.0)
    """`unloadTimeout`: how long running requests, then the process, get to end by themselves."""
    ttl: Seconds | None = None
    """Unload after this long without use; counted from ready or the last end of use."""
    request_ttl: TtlBounds | None = None
    """What requests may ask for instead of the `ttl`; `None`: nothing."""
    concurrency: int | None = None
    """Running requests at once; more wait or are refused (429)."""
    priority: int = 0
    """Among waiting requests, the higher goes first."""
    restore_on_failure: bool = False
    """When this model fails to start, bring back what was evicted for it."""
