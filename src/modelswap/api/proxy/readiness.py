"""What may be asked of a model that is not ready: which paths load it, and what the others get.

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

if TYPE_CHECKING:
    from modelswap.api.services import Services
    from modelswap.core.spec import ModelId
    from modelswap.fleet import Fleet, RemoteFleet
    from modelswap.http import Request

POLLING: Final = 30.0
"""Seconds: who asks more often is a monitor. Kubernetes asks every 10 s."""
_MOST_POLLERS: Final = 1024
_Poller = tuple[str, str, bytes | None]
"""Model, address, user agent: on one machine a script beside a monitor is told from it."""
SOON: Final = 1.0
"""Seconds until the next look, when nothing is known of the load: a look costs little."""
LATEST: Final = 60.0
"""Seconds: nobody is told to look later than this."""


def check_loaded(fleet: Fleet | RemoteFleet, model: ModelId, what: str) -> None:
    """Refuse what loads no model, where it is not ready; *what* names it.

    Raises:
        LoadingError: it is on its way up.
        ConflictError: it is down.
    """
    phase = fleet.listed_phase(model)
    if phase is Phase.STARTING:
        left = fleet.load_time_left(model)
        raise LoadingError(retry_after=SOON if left is None else min(max(left, SOON), LATEST))
    if phase is not Phase.READY:
        raise ConflictError(f"model {model} is not loaded; {what} cannot start it")


class Readiness:
    """Decides what a request below `/upstream/<model>` does; remembers who polls which health."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._polled: BoundedCache[_Poller, float] = BoundedCache(_MOST_POLLERS)
        """When each last asked for the health of a ready model."""

    def is_peek(self, model: ModelId, request: Request, rest: str) -> bool:
        """Say whether a request passes as a poll: without a lease, to a server that is ready.

        Raises:
            ReplyError: the model is not ready, and this request may not load it.
        """
        fleet = self._services.fleet
        starts = starts_below(request.method, rest)
        polls = starts is not Starts.ALWAYS
        if fleet.phase(model) is Phase.READY:
            if starts is Starts.UNLESS_POLLED:
                poller = model, request.client, request.header(b"user-agent")
                self._polled[poller] = self._services.loop.time()
            return polls
        if polls:
            self._check_poll(fleet, model, request, rest, starts)
        plain = unquote(rest)
        if any(
            pattern.search(plain) for pattern in self._services.config.plan.settings.ignore_paths
        ):
            raise ConflictError(f"model {model} is not loaded; path matches upstream.ignorePaths")
        return False

    def _check_poll(
        self,
        fleet: Fleet | RemoteFleet,
        model: ModelId,
        request: Request,
        rest: str,
        starts: Starts,
    ) -> None:
        if starts is Starts.NEVER or fleet.listed_phase(model) is Phase.STARTING:
            check_loaded(fleet, model, rest)
        poller = model, request.client, request.header(b"user-agent")
        last = self._polled.get(poller)
        now = self._services.loop.time()
        if last is not None and now - last < POLLING and fleet.has_idled(model):
            self._polled[poller] = now
            raise ConflictError(
                f"model {model} is not loaded: nobody used it for its ttl; "
                "whoever polls its health all the while does not load it again"
            )
