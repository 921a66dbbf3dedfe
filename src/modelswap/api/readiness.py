"""What may be asked of a model that is not ready: which paths load it, and what the others get.

* `/health` is llama-server's readiness probe. While the model loads it gets llama-server's own
  503; where the model is down it loads it, as any other request below `/upstream/<model>` does.
* `/metrics` and `/slots` are asked by monitors. They load nothing.
* None of them keeps a ready model loaded: `ttl` does not count them as use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.core.lifecycle import Phase
from modelswap.errors import ConflictError, LoadingError

if TYPE_CHECKING:
    from modelswap.core.spec import ModelId
    from modelswap.fleet import Fleet, RemoteFleet

    from .house import House

HEALTH: Final = frozenset({"/health", "/v1/health"})
MONITORS: Final = frozenset({"/metrics", "/slots"})
_POLLS: Final = HEALTH | MONITORS
SOON: Final = 1.0
"""Seconds until the next look, when nothing is known of the load: a look costs little."""
LATEST: Final = 60.0
"""Seconds: nobody is told to look later than this."""


def is_poll(method: str, rest: str) -> bool:
    """Whether a request below `/upstream/<model>` asks for the state of its server only."""
    return rest in _POLLS and method in {"GET", "HEAD"}


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


def check_start(house: House, model: ModelId, method: str, rest: str) -> None:
    """Refuse a request below `/upstream/<model>` that may not load its model, which is not ready.

    Raises:
        ReplyError: it may not.
    """
    fleet = house.fleet
    if is_poll(method, rest) and (rest in MONITORS or fleet.listed_phase(model) is Phase.STARTING):
        check_loaded(fleet, model, rest)
    if any(pattern.search(rest) for pattern in house.plan.settings.ignore_paths):
        raise ConflictError(f"model {model} is not loaded; path matches upstream.ignorePaths")
