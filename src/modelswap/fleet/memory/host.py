"""What the watch has to know of the fleet, and whom it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.core.models.lifecycle import Phase
    from modelswap.core.placement.policy import Facts
    from modelswap.core.spec import ModelId
    from modelswap.units import Seconds


class Host(Protocol):
    def servers(self) -> Mapping[ModelId, tuple[Phase, int | None]]:
        """Return phase and pid of each model that may have a process."""
        ...

    def is_room_waited_for(self) -> bool:
        """Say whether a queued request waits for room."""
        ...

    def in_flight(self, model: ModelId) -> int: ...

    def used(self, model: ModelId) -> Seconds:
        """Return when the model became ready, or its last request ended."""
        ...

    def on_facts(self, facts: Facts) -> None: ...
    def on_note(self, level: str, text: str) -> None: ...
