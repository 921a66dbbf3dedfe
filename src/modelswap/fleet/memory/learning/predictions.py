"""Has the needs of models predicted, each once, on a thread."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from modelswap.core.spec import ModelId
    from modelswap.fleet.memory.readings.worker import Worker
    from modelswap.memory.estimate import Estimate

    from .model_needs import ModelNeeds


class Predictions:
    def __init__(self, needs: ModelNeeds, worker: Worker, done: Callable[[], None]) -> None:
        """*done* is called after each."""
        self._needs = needs
        self._worker = worker
        self._done = done
        self._asked: set[str] = set()
        """Identities whose prediction is under way."""

    def ask(self, models: Iterable[ModelId]) -> None:
        """Predict the needs that were not predicted yet."""
        for model in models:
            identity = self._needs.identity(model)
            if self._needs.is_predicted(model) or identity in self._asked:
                continue
            self._asked.add(identity)
            done = partial(self._on_predicted, identity)
            self._worker.run(self._needs.prediction(model), done, partial(_failed, done))

    def _on_predicted(self, identity: str, estimate: Estimate | None) -> None:
        self._asked.discard(identity)
        self._needs.on_predicted(identity, estimate)
        self._done()


def _failed(done: Callable[[None], None], _: Exception) -> None:
    """Take a prediction that raised as one that says nothing."""
    done(None)
