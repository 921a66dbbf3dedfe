"""The records of `GET /models`: those of `/v1/models`, and what clients of llama.cpp's router look for.

What only the configuration says is made once for each snapshot.
Does not: change the records of `/v1/models`, which llama-swap's clients know.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from modelswap.api.models_endpoint import file_progress, path_text
from modelswap.config.commands.secrets import shown_command
from modelswap.config.commands.words import split
from modelswap.core.models.lifecycle import Phase
from modelswap.deferred import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.api.snapshot import ConfigSnapshot
    from modelswap.config.plan import FoundEntry, Model
    from modelswap.core.spec import ModelId
    from modelswap.fleet import ModelFailure
    from modelswap.pull.progress import Puller

Record = dict[str, Any]

_TEXT: Final = ("text",)
"""The modalities of a model of which nothing else is known, as llama.cpp's router says it."""
_SOURCES: Final = {"preset": "preset", "folder": "models_dir"}
"""The router's words for values of `ModelSource`; any other is a store. The catalog is not imported for it."""
_HUB: Final = "huggingface"
"""The value of `ModelSource` for Hugging Face's cache."""
_OWN: Final = frozenset({"host", "port", "alias", "a", "tags"})
"""Options that a preset does not have: the router sets them."""


@dataclass(frozen=True, slots=True)
class RouterFields:
    """What the router's record of a model has beside that of `/v1/models`."""

    shown: Record
    """For every client."""
    details: Record
    """For those who may read commands and paths."""
    args: tuple[str, ...]
    preset: str


def router_record(record: Record, snapshot: ConfigSnapshot, *, shows_details: bool) -> Record:
    """Return a record of `/v1/models` as llama.cpp's router has it."""
    internal = record["meta"]["llamaswap"]
    model = snapshot.plan.models.get(internal.get("modelID", record["id"]))
    status = _status(record["status"])
    if model is None:  # a peer's, a selector, a pin
        return {**record, "aliases": [], "tags": [], "can_remove": False, "status": status}
    fields = fields_of(snapshot, model)
    architecture = {**fields.shown["architecture"], **record.get("architecture", {})}
    found = {**record, **fields.shown, "architecture": architecture, "status": status}
    found["meta"] = fields.shown["meta"] | record["meta"]
    if record["id"] != model.id:
        found["aliases"] = []
    if shows_details:
        found |= fields.details
        status["args"] = list(fields.args)
        status["preset"] = fields.preset
    return found


def _status(status: Record) -> Record:
    """Say of a model that failed what the router says: it is unloaded, and it failed."""
    return status | ({"value": "unloaded"} if status["value"] == "failed" else {})


def fields_of(snapshot: ConfigSnapshot, model: Model) -> RouterFields:
    fields: RouterFields | None = snapshot.router_fields.get(model.id)
    if fields is None:
        fields = snapshot.router_fields[model.id] = _made(snapshot, model)
    return fields


def _made(snapshot: ConfigSnapshot, model: Model) -> RouterFields:
    entry = snapshot.found.get(model.id)
    args = split(shown_command(snapshot.plan, model.cmd))
    meta: Record = {}
    details: Record = {}
    if entry is not None:
        found = entry.model
        meta = {
            "n_ctx_train": found.context_length,
            "n_params": found.parameters,
            "size": found.size,
        }
        if found.path.name:  # a preset may name a repository instead
            details = {"path": path_text(found.path)}
    return RouterFields(
        {
            "model": _router_name(model, entry),
            "aliases": [alias for alias in map(str.strip, model.aliases) if alias],
            "tags": [],
            "source": "cache" if model.pull_name else _source(entry),
            "can_remove": removable(snapshot, model),
            "architecture": {"input_modalities": _TEXT, "output_modalities": _TEXT},
            "meta": {name: value for name, value in meta.items() if value},
        },
        details,
        args,
        preset_of(model.id, args),
    )


def _source(entry: FoundEntry | None) -> str:
    """Say where a model comes from, in the router's words; what is written in the file is a preset."""
    return _SOURCES.get("preset" if entry is None else entry.model.source.value, "cache")


def _router_name(model: Model, entry: FoundEntry | None) -> str:
    """Return the name that llama.cpp's router gives a model: in a cache `OWNER/REPO:QUANT`, where it has that."""
    if model.pull_name:
        return model.pull_name.removeprefix("hf:")
    if _source(entry) == "cache":
        return next((alias for alias in model.aliases if "/" in alias and ":" in alias), model.id)
    return model.id


def removable(snapshot: ConfigSnapshot, model: Model) -> bool:
    """Tell whether a model's files lie in Hugging Face's cache."""
    if model.pull_name:
        return model.pull_name.startswith("hf:") and not model.is_missing
    entry = snapshot.found.get(model.id)
    return entry is not None and entry.model.source.value == _HUB


def ordered_records(puller: Puller, snapshot: ConfigSnapshot) -> list[Record]:
    """Return the records of what is pulled on a client's order, and is no model yet."""
    plan = snapshot.plan
    found: list[Record] = []
    entries = snapshot.found.values()
    repositories = {alias.partition(":")[0] for one in entries for alias in one.model.aliases}
    for pull in puller.pulls():
        from modelswap.pull.progress import PullPhase  # noqa: PLC0415 - where models are pulled

        name = pull.source.removeprefix("hf:")
        is_shown = not pull.is_over or pull.phase is PullPhase.FINISHED
        repository = name.partition(":")[0]
        is_known = (
            snapshot.names.is_known(name)
            or (pull.is_over and repository in repositories)
            or any(model.pull_name == pull.source for model in plan.models.values())
        )
        if is_shown and not is_known:
            value = "downloaded" if pull.is_over else "downloading"
            found.append(
                {
                    "id": name,
                    "model": name,
                    "object": "model",
                    "owned_by": "llama-swap",
                    "created": int(time.time()),  # noqa: TID251 - the wire format has wall time in it
                    "aliases": [],
                    "tags": [],
                    "source": "cache",
                    "can_remove": False,
                    "architecture": {"input_modalities": _TEXT, "output_modalities": _TEXT},
                    "meta": {},
                    "status": {"value": value}
                    | ({} if pull.is_over else {"progress": file_progress(pull)}),
                }
            )
    return found


def preset_of(model: ModelId, args: Sequence[str]) -> str:
    """Write the options of a command as a section of a preset (INI); switches are true."""
    lines = [f"[{model}]"]
    at = 1
    while at < len(args):
        word, at = args[at], at + 1
        if not word.startswith("-"):
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals and at < len(args) and not _is_option(args[at]):
            value, at = args[at], at + 1
        if name and name not in _OWN:
            lines.append(f"{name} = {value or 'true'}")
    return "\n".join(lines) + "\n"


def _is_option(word: str) -> bool:
    """Tell an option from a value; `-1` is a value."""
    return word.startswith("-") and not word[1:2].isdigit()


def loaded_info(snapshot: ConfigSnapshot, model: ModelId) -> Record:
    """Return what is known of a loaded model, for the event that tells it."""
    configured = snapshot.plan.models.get(model)
    if configured is None:
        return {}
    shown = fields_of(snapshot, configured).shown
    context = configured.capabilities.context
    meta = shown["meta"] | ({"n_ctx": context} if context else {})
    return {"id": model, "object": "model", **shown, "meta": meta}


def status_data(phase: Phase, failed: ModelFailure | None) -> Record | None:
    """Return the data of a `model_status` event; None: the phase is none of the router's."""
    match phase:
        case Phase.STARTING:
            return {"status": "loading"}
        case Phase.READY:
            return {"status": "loaded"}
        case Phase.STOPPED:
            if failed is None:
                return {"status": "unloaded", "exit_code": 0}
            why = failed.why
            return {
                "status": "unloaded",
                "exit_code": 1 if why.exit_code is None else why.exit_code,
                "failed": True,
                "reason": why.brief,
                "class": why.cause.value,
            }
        case _:
            return None
