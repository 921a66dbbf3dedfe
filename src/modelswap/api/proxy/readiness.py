"""Decides which requests below `/upstream/<model>` load a model, and what the others get meanwhile.

* `/health` is llama-server's readiness probe. While the model loads it gets llama-server's own
  503; where the model is down it loads it, as any other request below `/upstream/<model>` does.
* `/metrics` and `/slots` are asked by monitors. They load nothing.
* None of them keeps a ready model loaded: `ttl` does not count them as use. Nor does a monitor
  that polled the health until `ttl` unloaded the model load it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from modelswap.api.routes import Starts, starts_below
from modelswap.bounded_cache import BoundedCache
from modelswap.core.models.lifecycle import Phase
from modelswap.errors import ConflictError, LoadingError
from modelswap.units import Seconds

if TYPE_CHECKING:
    from modelswap.api.services import Services
    from modelswap.core.spec import ModelId
    from modelswap.fleet import Fleet, RemoteFleet
    from modelswap.http import Request

POLLING: Final = Seconds(30.0)
"""A client that asks more often is a monitor. Kubernetes asks every 10 s."""
_MOST_POLLERS: Final = 1024
"""Monitors remembered at once, so that endless user agents do not fill the memory."""
_Poller = tuple[str, str, bytes | None]
"""Model, address, user agent: on one machine a script beside a monitor is told from it."""
SOON: Final = Seconds(1.0)
"""The least `Retry-After`, also where nothing is known of the load: a poll costs little."""
LATEST: Final = Seconds(60.0)
"""The largest `Retry-After`: an estimate beyond it is too rough."""


def check_loaded(fleet: Fleet | RemoteFleet, model: ModelId, what: str) -> None:
    """Refuse what loads no model, where it is not ready; *what* names it."""
    phase = fleet.listed_phase(model)
    if phase is Phase.STARTING:
        left = fleet.load_time_left(model)
        raise LoadingError(retry_after=SOON if left is None else min(max(left, SOON), LATEST))
    if phase is not Phase.READY:
        raise ConflictError(f"model {model} is not loaded; {what} cannot start it")


class Readiness:
    """Remembers which client polls which model's health."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._polled = BoundedCache[_Poller, float](_MOST_POLLERS)
        """When each last polled the health of a ready model (loop clock)."""

    def is_unleased(self, model: ModelId, request: Request, rest: str) -> bool:
        """Tell whether a request is a poll, or raise the refusal of one that may not load it now."""
        fleet = self._services.fleet
        starts = starts_below(request.method, rest)
        polls = starts is not Starts.ALWAYS
        poller = model, request.client, request.header(b"user-agent")
        now = self._services.loop.time()
        if fleet.phase(model) is Phase.READY:
            if starts is Starts.UNLESS_POLLED:
                self._polled[poller] = now
            return polls
        if starts is Starts.NEVER or (polls and fleet.listed_phase(model) is Phase.STARTING):
            check_loaded(fleet, model, rest)
        last = self._polled.get(poller) if polls else None
        if last is not None and now - last < POLLING and fleet.has_idled(model):
            self._polled[poller] = now
            raise ConflictError(
                f"model {model} is not loaded: it was not used for its ttl; "
                "a client that kept polling its health does not load it again"
            )
        plain = unquote(rest)
        if any(
            pattern.search(plain)
            for pattern in self._services.config.snapshot.plan.settings.ignore_paths
        ):
            raise ConflictError(f"model {model} is not loaded; path matches upstream.ignorePaths")
        return False
