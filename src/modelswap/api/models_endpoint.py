"""The records of `GET /v1/models`, and the statuses of models.

A model counts as starting as soon as a request waits for its load. The parts that only the
configuration says are made once for each snapshot; the rest at each call.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from modelswap.core.models.lifecycle import ALIVE, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from modelswap.config.plan import Capabilities, FoundEntry, Model, Plan
    from modelswap.core.spec import ModelId
    from modelswap.fleet import Fleet, ModelFailure, RemoteFleet
    from modelswap.pull.progress import PullProgress
    from modelswap.units import Seconds

    from .snapshot import ConfigSnapshot

Record = dict[str, Any]

_FURTHEST = (Phase.READY, Phase.STARTING)
"""A selector shows the phase of its target that is nearest to ready."""


def _status_in(phase: Phase) -> Record:
    """Say how far a model is; one that stops counts as loaded until it is gone."""
    if phase is Phase.STARTING:
        return {"value": "loading"}
    return {"value": "loaded" if phase in ALIVE else "unloaded"}


def status_of(fleet: Fleet | RemoteFleet, model: ModelId, *, shows_details: bool) -> Record:
    """Return what a model does now, and why it does not run where that is a failure.

    *shows_details*: the reader may see the server's output, which may hold paths.
    """
    phase = fleet.listed_phase(model)
    pull = fleet.pull_of(model)
    if pull is not None:
        return {"value": "downloading", "progress": file_progress(pull)}
    failed = None if phase is Phase.STARTING else fleet.failure(model)
    if failed is None:
        return _status_in(phase)
    reason = _reason(failed, shows_details=shows_details)
    code = failed.why.exit_code
    exit_code: Record = {} if code is None else {"exit_code": code}
    return {"value": "failed", "failed": True, **reason, **exit_code}


def file_progress(pull: PullProgress) -> Record:
    """Return how far each file of a pull is, as llama.cpp's router tells it."""
    return {one.name: {"done": one.done, "total": one.total or 0} for one in pull.files}


def failures(fleet: Fleet | RemoteFleet, models: Iterable[ModelId]) -> list[Record]:
    """Return the models that are down because their last server failed, for `/running`."""
    return [
        {"model": model} | _reason(failed, shows_details=True)
        for model in models
        if (failed := fleet.failure(model)) is not None
    ]


def _reason(failed: ModelFailure, *, shows_details: bool) -> Record:
    why = failed.why
    text = why.text if shows_details else why.brief
    return {"reason": text, "class": why.cause.value, **_times(failed)}


def _times(failed: ModelFailure) -> Record:
    times = {"failed_at": _timestamp(failed.at)}
    return times if failed.retry_at is None else times | {"retry_at": _timestamp(failed.retry_at)}


def date_in(time: Seconds | None) -> str | None:
    """Return the date after a time; `None` for none, and for one that no calendar has."""
    try:
        return None if time is None else _timestamp(datetime.now(UTC) + timedelta(seconds=time))
    except OverflowError:
        return None


def _timestamp(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds")


def _present(**fields: Any) -> Record:
    """Return the fields that say something."""
    return {name: value for name, value in fields.items() if value}


def abilities(capabilities: Capabilities) -> dict[str, bool]:
    """Name what the configured modalities amount to; only what is true."""
    inputs, outputs = capabilities.inputs, capabilities.outputs
    return _present(
        vision="image" in inputs,
        audio_transcriptions="audio" in inputs and "text" in outputs,
        audio_speech="text" in inputs and "audio" in outputs,
        image_generation="text" in inputs and "image" in outputs,
        image_to_image="image" in inputs and "image" in outputs,
        function_calling=capabilities.tools,
        reranker=capabilities.reranker,
        embedding=capabilities.embedding,
        reasoning=capabilities.reasoning,
    )


def _capability_fields(capabilities: Capabilities) -> Record:
    inputs, outputs = list(capabilities.inputs), list(capabilities.outputs)
    architecture = _present(
        input_modalities=inputs,
        modality=inputs and outputs and f"{'+'.join(inputs)}->{'+'.join(outputs)}",
        output_modalities=outputs,
    )
    return _present(
        architecture=architecture,
        capabilities=abilities(capabilities),
        supported_parameters=["tools", "tool_choice"] if capabilities.tools else None,
        context_length=capabilities.context,
    )


_CAPABILITY_FIELDS = ("architecture", "capabilities", "supported_parameters", "context_length")
"""Metadata keys that are left out when the model's capabilities are configured."""


def _record(
    id_: str,
    internal: Record,
    status: Record,
    *,
    name: str = "",
    description: str = "",
    capabilities: Capabilities | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Record:
    fields = {} if capabilities is None else _capability_fields(capabilities)
    dropped = _CAPABILITY_FIELDS if fields else ()
    meta = {key: value for key, value in (metadata or {}).items() if key not in dropped}
    return {
        "id": id_,
        "object": "model",
        "created": _now(),
        "owned_by": "llama-swap",
        **_present(name=name.strip(), description=description.strip()),
        **fields,
        "meta": {"llamaswap": meta | internal} | _present(n_ctx=fields.get("context_length")),
        "status": status,
    }


def _now() -> int:
    return int(datetime.now(UTC).timestamp())


def _listed(snapshot: ConfigSnapshot, model: Model, name: str, status: Record, now: int) -> Record:
    """Return the record of a model by a name under which it is listed."""
    found = snapshot.records.get((model.id, name))
    if found is None:
        found = snapshot.records[model.id, name] = _of_model(model, name, status)
    return {**found, "created": now, "status": status}


def _of_model(model: Model, name: str, status: Record) -> Record:
    """Return the record of a model by its id or another name."""
    if name == model.id:
        internal = {"type": "model"} | _present(aliases=list(model.aliases))
    else:
        internal = {"type": "alias", "modelID": model.id}
    return _record(
        name,
        internal,
        status,
        name=model.name,
        description=model.description,
        capabilities=model.capabilities,
        metadata=model.metadata,
    )


def _local(
    snapshot: ConfigSnapshot, fleet: Fleet | RemoteFleet, *, shows_details: bool
) -> Iterator[Record]:
    plan, now = snapshot.plan, _now()
    for model in plan.models.values():
        if model.unlisted:
            continue
        status = status_of(fleet, model.id, shows_details=shows_details)
        yield _listed(snapshot, model, model.id, status, now)
        if plan.settings.include_aliases_in_list:
            for alias in filter(None, map(str.strip, model.aliases)):
                yield _listed(snapshot, model, alias, status, now)


def _peer_models(plan: Plan) -> Iterator[tuple[str, str]]:
    for peer in plan.peers.values():
        for model in dict.fromkeys(peer.models):
            yield peer.id, model


def _peers(plan: Plan) -> Iterator[Record]:
    status = _status_in(Phase.STOPPED)
    for peer, model in _peer_models(plan):
        internal = {"type": "peer", "peerID": peer}
        yield _record(f"{peer}/{model}", internal, status, name=f"{peer}: {model}")


def _selectors(snapshot: ConfigSnapshot, fleet: Fleet | RemoteFleet) -> Iterator[Record]:
    for selector in snapshot.plan.selectors.values():
        if selector.unlisted:
            continue
        internal: Record = {
            "type": "selector",
            "strategy": selector.strategy,
            "targets": list(selector.targets),
        }
        if selector.strategy == "spillover":
            internal["spillover"] = selector.spillover
        looked_at = selector.targets[:1] if selector.strategy == "pin" else selector.targets
        ids = map(snapshot.local, looked_at)
        phases = {fleet.listed_phase(model) for model in ids if model is not None}
        yield _record(
            selector.id,
            internal,
            _status_in(next((p for p in _FURTHEST if p in phases), Phase.STOPPED)),
            name=selector.name,
            description=selector.description,
            metadata=selector.metadata,
        )


def _pins(
    snapshot: ConfigSnapshot, fleet: Fleet | RemoteFleet, profile: str | None
) -> Iterator[Record]:
    active = None if profile is None else snapshot.plan.profiles.get(profile)
    for pin, target in () if active is None else active.pins.items():
        if target and not snapshot.names.is_known(pin):
            model = snapshot.local(target)
            phase = Phase.STOPPED if model is None else fleet.listed_phase(model)
            yield _record(pin, {"type": "profile"}, _status_in(phase))


def records(
    snapshot: ConfigSnapshot,
    fleet: Fleet | RemoteFleet,
    profile: str | None,
    *,
    shows_details: bool,
) -> list[Record]:
    """Return everything that is listed, by id."""
    found = [
        *_local(snapshot, fleet, shows_details=shows_details),
        *_peers(snapshot.plan),
        *_selectors(snapshot, fleet),
        *_pins(snapshot, fleet, profile),
    ]
    return sorted(found, key=lambda record: record["id"].encode())


def record_of(
    snapshot: ConfigSnapshot,
    fleet: Fleet | RemoteFleet,
    profile: str | None,
    name: str,
    *,
    shows_details: bool,
) -> Record | None:
    """Return one record of the list, or of a model or alias that the list leaves out."""
    for record in records(snapshot, fleet, profile, shows_details=shows_details):
        if record["id"] == name:
            return record
    model = snapshot.local(name)
    if model is None:
        return None
    status = status_of(fleet, model, shows_details=shows_details)
    return _of_model(snapshot.plan.models[model], name, status)


def found_record(entry: FoundEntry) -> Record:
    """Return what is known of a model that was found on disk, and why it is not served."""
    model = entry.model
    return {
        "id": entry.id,
        "path": path_text(model.path),
        "size": model.size,
        "source": model.source.value,
        "format": model.format.value,
        "kind": model.kind.value,
        "served": not entry.reason,
        **_present(
            reason=entry.reason,
            mmproj=model.mmproj and path_text(model.mmproj),
            architecture=model.architecture,
            quantization=model.quantization,
            parameters=model.parameters,
            context_length=model.context_length,
            vision=model.vision,
            function_calling=model.tools,
            reasoning=model.reasoning,
        ),
    }


def path_text(path: Path) -> str:
    """Return a path as text that JSON can hold."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def statuses(
    snapshot: ConfigSnapshot,
    fleet: Fleet | RemoteFleet,
    last_lines: Callable[[ModelId], list[str]],
) -> list[Record]:
    """Return the payload of a `modelStatus` event: every model, then every peer's.

    *last_lines* returns the end of the output of a server that failed.
    """
    if not snapshot.statuses:
        snapshot.statuses = _unknown_statuses(snapshot.plan)
    found: list[Record] = []
    for unknown in snapshot.statuses:
        item = unknown.copy()
        found.append(item)
        if item["peerID"]:
            continue
        item["state"] = fleet.phase(item["id"]).shown
        if failed := fleet.failure(item["id"]):
            item["failure"] = failed.why.text
            item["failure_class"] = failed.why.cause.value
            item["failure_log"] = last_lines(item["id"])
            item |= _times(failed)
    return found


def _unknown_statuses(plan: Plan) -> list[Record]:
    """Return the statuses as far as the configuration says them."""
    models: list[Record] = [
        {
            "id": model.id,
            "name": model.name,
            "description": model.description,
            "state": "",
            "unlisted": model.unlisted,
            "peerID": "",
            **_present(
                aliases=list(model.aliases),
                capabilities=abilities(model.capabilities),
                context_length=model.capabilities.context,
            ),
        }
        for model in sorted(plan.models.values(), key=lambda m: m.id)
    ]
    unknown = {"name": "", "description": "", "state": "", "unlisted": False}
    peers = [
        {"id": f"{peer}/{name}", **unknown, "peerID": peer} for peer, name in _peer_models(plan)
    ]
    return models + peers
