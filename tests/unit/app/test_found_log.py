"""What was found on disk, in the log."""

from __future__ import annotations

from modelswap.app.found_log import log_found, nothing_found
from modelswap.config.plan import Discovered, FoundEntry, Plan
from modelswap.observe.logs.logs import PROXY, Logger, Logs
from support.found_models import found_model


def _logged(now: Discovered | None, before: Discovered | None = None) -> list[str]:
    logs = Logs(to_stdout="none")
    log_found(Logger(logs), now, before)
    return logs.history(PROXY).decode().splitlines()


GOOD = FoundEntry(found_model("good"), "good")
BROKEN = FoundEntry(found_model("bad", problem="is cut off"), "bad", "is cut off")
WRITTEN = FoundEntry(found_model("mine"), "mine", "the configuration has a model of this name")


def test_what_is_served_and_what_is_not() -> None:
    """A model has its name and path; a broken file is a warning with its reason."""
    assert _logged(Discovered(models=(BROKEN, GOOD, WRITTEN))) == [
        "[INFO] found good: /models/good.gguf",
        "[INFO] not served: /models/mine.gguf: the configuration has a model of this name",
        "[WARN] not served: /models/bad.gguf: is cut off",
    ]


def test_a_reload_says_what_is_new() -> None:
    """What was said at the plan before is not said again."""
    assert _logged(Discovered(models=(BROKEN, GOOD)), Discovered(models=(BROKEN,))) == [
        "[INFO] found good: /models/good.gguf"
    ]


def test_many_models_are_a_few_lines() -> None:
    """Beyond a number of lines it says where the rest is."""
    entries = tuple(FoundEntry(found_model(f"m{n}"), f"m{n}") for n in range(1000))
    lines = _logged(Discovered(models=entries))
    assert len(lines) == 51
    assert lines[-1] == "[INFO] and 950 more: GET /api/models/found"


def test_nothing_was_found() -> None:
    """An empty folder is named once, at the start; nothing is said where nothing was looked for."""
    empty = Discovered(folders=("/models",))
    assert _logged(empty) == ["[WARN] no models were found in /models"]
    assert _logged(empty, empty) == []
    assert _logged(None) == []


def test_a_start_without_any_model_says_what_to_do() -> None:
    """What is there and cannot be served comes first."""
    lines = nothing_found(Plan(discovered=Discovered(models=(BROKEN,))))
    assert lines[0] == "not served: /models/bad.gguf: is cut off"
    assert "--models-dir DIR" in lines[-1]
