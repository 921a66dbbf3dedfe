"""The records of `GET /v1/models`, and the statuses of models.

A model counts as starting as soon as a request waits for its load. Records are built anew at each
call: they are few, and polls come every few seconds at most.
Does not: start a model.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from modelswap.core.models.lifecycle import ALIVE, Phase
from modelswap.core.spec import ModelId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from modelswap.config.plan import Capabilities, Model, Plan
    from modelswap.fleet import Fleet, ModelFailure, RemoteFleet

Record = dict[str, Any]

SHADOWED = ("architecture", "capabilities", "supported_parameters", "context_length")
"""Metadata keys that are left out when the model's capabilities are configured."""
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
    failed = None if phase is Phase.STARTING else fleet.failure(model)
    if failed is not None:
        why = failed.why
        status: Record = {
            "value": "failed",
            "failed": True,
            **_reason(failed, shows_details=shows_details),
        }
        return status if why.exit_code is None else status | {"exit_code": why.exit_code}
    return _status_in(phase)


def failures(fleet: Fleet | RemoteFleet, models: Iterable[ModelId]) -> list[Record]:
    """Return the models that are down because their last server failed, for `/running`."""
    found = ((model, fleet.failure(model)) for model in models)
    return [
        {"model": model} | _reason(failed, shows_details=True)
        for model, failed in found
        if failed is not None
    ]


def _reason(failed: ModelFailure, *, shows_details: bool) -> Record:
    why = failed.why
    reason: Record = {"reason": why.text if shows_details else why.brief, "class": why.cause.value}
    return reason | _times(failed)


def _times(failed: ModelFailure) -> Record:
    times = {"failed_at": _timestamp(failed.at)}
    return times if failed.retry_at is None else times | {"retry_at": _timestamp(failed.retry_at)}


def _timestamp(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds")


def abilities(capabilities: Capabilities) -> dict[str, bool]:
    """Name what the configured modalities amount to; only what is true."""
    inputs, outputs = capabilities.inputs, capabilities.outputs
    found = {
        "vision": "image" in inputs,
        "audio_transcriptions": "audio" in inputs and "text" in outputs,
        "audio_speech": "text" in inputs and "audio" in outputs,
        "image_generation": "text" in inputs and "image" in outputs,
        "image_to_image": "image" in inputs and "image" in outputs,
        "function_calling": capabilities.tools,
        "reranker": capabilities.reranker,
    }
    return {name: True for name, has in found.items() if has}


def _capability_fields(capabilities: Capabilities) -> Record:
    fields: Record = {}
    architecture: Record = {}
    if capabilities.inputs:
        architecture["input_modalities"] = list(capabilities.inputs)
    if capabilities.inputs and capabilities.outputs:
        architecture["modality"] = (
            f"{'+'.join(capabilities.inputs)}->{'+'.join(capabilities.outputs)}"
        )
    if capabilities.outputs:
        architecture["output_modalities"] = list(capabilities.outputs)
    if architecture:
        fields["architecture"] = architecture
    if names := abilities(capabilities):
        fields["capabilities"] = names
    if capabilities.tools:
        fields["supported_parameters"] = ["tools", "tool_choice"]
    if capabilities.context:
        fields["context_length"] = capabilities.context
    return fields


def _record(
    id_: str,
    created: int,
    *,
    name: str = "",
    description: str = "",
    capabilities: Capabilities | None = None,
    metadata: Mapping[str, Any] | None = None,
    internal: Record,
    status: Record | None = None,
) -> Record:
    record: Record = {"id": id_, "object": "model", "created": created, "owned_by": "llama-swap"}
    if name.strip():
        record["name"] = name.strip()
    if description.strip():
        record["description"] = description.strip()
    fields = {} if capabilities is None else _capability_fields(capabilities)
    record |= fields
    meta = dict(metadata or {})
    if fields:
        meta = {key: value for key, value in meta.items() if key not in SHADOWED}
    shown: Record = {"llamaswap": meta | internal}
    if capabilities is not None and capabilities.context:
        shown["n_ctx"] = capabilities.context
    record["meta"] = shown
    record["status"] = {"value": "unloaded"} if status is None else status
    return record


def _of_model(model: Model, status: Record, created: int, *, alias: str | None = None) -> Record:
    internal: Record
    if alias is None:
        internal = {"type": "model"}
        if model.aliases:
            internal["aliases"] = list(model.aliases)
    else:
        internal = {"type": "alias", "modelID": model.id}
    return _record(
        model.id if alias is None else alias,
        created,
        name=model.name,
        description=model.description,
        capabilities=model.capabilities,
        metadata=model.metadata,
        internal=internal,
        status=status,
    )


def _local(
    plan: Plan, fleet: Fleet | RemoteFleet, created: int, *, shows_details: bool
) -> Iterator[Record]:
    for model in plan.models.values():
        if model.unlisted:
            continue
        status = status_of(fleet, model.id, shows_details=shows_details)
        yield _of_model(model, status, created)
        if plan.settings.include_aliases_in_list:
            for alias in model.aliases:
                if alias.strip():
                    yield _of_model(model, status, created, alias=alias.strip())


def _peers(plan: Plan, created: int) -> Iterator[Record]:
    for peer in plan.peers.values():
        for model in dict.fromkeys(peer.models):
            yield _record(
                f"{peer.id}/{model}",
                created,
                name=f"{peer.id}: {model}",
                internal={"type": "peer", "peerID": peer.id},
            )


def _selectors(plan: Plan, fleet: Fleet | RemoteFleet, created: int) -> Iterator[Record]:
    for selector in plan.selectors.values():
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
        ids = [ModelId(t) if t in plan.models else plan.aliases.get(t) for t in looked_at]
        phases = {fleet.listed_phase(m) for m in ids if m is not None}
        yield _record(
            selector.id,
            created,
            name=selector.name,
            description=selector.description,
            metadata=selector.metadata,
            internal=internal,
            status=_status_in(next((p for p in _FURTHEST if p in phases), Phase.STOPPED)),
        )


def _pins(
    plan: Plan, fleet: Fleet | RemoteFleet, profile: str | None, created: int
) -> Iterator[Record]:
    if profile is None or profile not in plan.profiles:
        return
    bare = [m for peer in plan.peers.values() for m in dict.fromkeys(peer.models)]
    known = {
        *plan.models,
        *plan.aliases,
        *plan.selectors,
        *(f"{p.id}/{m}" for p in plan.peers.values() for m in p.models),
        *(m for m in bare if bare.count(m) == 1),
    }
    for pin, target in plan.profiles[profile].pins.items():
        if target and pin not in known:
            model = ModelId(target) if target in plan.models else plan.aliases.get(target)
            yield _record(
                pin,
                created,
                internal={"type": "profile"},
                status=_status_in(Phase.STOPPED if model is None else fleet.listed_phase(model)),
            )


def records(
    plan: Plan, fleet: Fleet | RemoteFleet, profile: str | None, *, shows_details: bool
) -> list[Record]:
    """Return everything that is listed, by id."""
    created = int(datetime.now(UTC).timestamp())
    found = [
        *_local(plan, fleet, created, shows_details=shows_details),
        *_peers(plan, created),
        *_selectors(plan, fleet, created),
        *_pins(plan, fleet, profile, created),
    ]
    return sorted(found, key=lambda record: record["id"].encode())


def record_of(
    plan: Plan, fleet: Fleet | RemoteFleet, profile: str | None, name: str, *, shows_details: bool
) -> Record | None:
    """Return one record of the list, or of a model or alias that the list leaves out."""
    for record in records(plan, fleet, profile, shows_details=shows_details):
        if record["id"] == name:
            return record
    created = int(datetime.now(UTC).timestamp())
    model = plan.models.get(ModelId(name))
    if model is not None:
        return _of_model(model, status_of(fleet, model.id, shows_details=shows_details), created)
    real = plan.aliases.get(name)
    if real is not None:
        status = status_of(fleet, real, shows_details=shows_details)
        return _of_model(plan.models[real], status, created, alias=name)
    return None


def statuses(plan: Plan, fleet: Fleet | RemoteFleet) -> list[Record]:
    """Return the payload of a `modelStatus` event: every model, then every peer's."""
    found: list[Record] = []
    for model in sorted(plan.models.values(), key=lambda m: m.id):
        item: Record = {
            "id": model.id,
            "name": model.name,
            "description": model.description,
            "state": fleet.phase(model.id).shown,
            "unlisted": model.unlisted,
            "peerID": "",
        }
        if model.aliases:
            item["aliases"] = list(model.aliases)
        if names := abilities(model.capabilities):
            item["capabilities"] = names
        if model.capabilities.context:
            item["context_length"] = model.capabilities.context
        if failed := fleet.failure(model.id):
            item["failure"] = failed.why.text
            item["failure_class"] = failed.why.cause.value
            item |= _times(failed)
        found.append(item)
    found += [
        {
            "id": f"{p.id}/{m}",
            "name": "",
            "description": "",
            "state": "",
            "unlisted": False,
            "peerID": p.id,
        }
        for p in plan.peers.values()
        for m in dict.fromkeys(p.models)
    ]
    return found
