"""`GET /v1/models`: what the clients may ask for.

Reads the plan and the phases (a model counts as starting as soon as a request
waits for its load), never starts anything. Records are built anew
at each call: they are few, and polls come every few seconds at most.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from modelswap.config.redact import redact
from modelswap.core.lifecycle import ALIVE, Phase
from modelswap.core.spec import ModelId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from modelswap.config.plan import Capabilities, Model, Plan

Record = dict[str, Any]

SHADOWED = ("architecture", "capabilities", "supported_parameters", "context_length")
"""Metadata keys that give way when the model's capabilities are configured."""


def status_of(phase: Phase) -> Record:
    """Say how far a model is; one that stops counts as loaded until it is gone."""
    if phase is Phase.STARTING:
        return {"value": "loading"}
    return {"value": "loaded" if phase in ALIVE else "unloaded"}


def abilities(capabilities: Capabilities) -> dict[str, bool]:
    """Name what the configured modalities amount to; only what is true."""
    sees, says = capabilities.inputs, capabilities.outputs
    found = {
        "vision": "image" in sees,
        "audio_transcriptions": "audio" in sees and "text" in says,
        "audio_speech": "text" in sees and "audio" in says,
        "image_generation": "text" in sees and "image" in says,
        "image_to_image": "image" in sees and "image" in says,
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
    if able := abilities(capabilities):
        fields["capabilities"] = able
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
    phase: Phase = Phase.STOPPED,
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
    record["status"] = status_of(phase)
    return record


def _of_model(model: Model, phase: Phase, created: int, *, alias: str | None = None) -> Record:
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
        phase=phase,
    )


def _local(plan: Plan, phase: Callable[[ModelId], Phase], created: int) -> Iterator[Record]:
    for model in plan.models.values():
        if model.unlisted:
            continue
        yield _of_model(model, phase(model.id), created)
        if plan.settings.include_aliases_in_list:
            for alias in model.aliases:
                if alias.strip():
                    yield _of_model(model, phase(model.id), created, alias=alias.strip())


def _peers(plan: Plan, created: int) -> Iterator[Record]:
    for peer in plan.peers.values():
        for model in dict.fromkeys(peer.models):
            yield _record(
                f"{peer.id}/{model}",
                created,
                name=f"{peer.id}: {model}",
                internal={"type": "peer", "peerID": peer.id},
            )


def _selectors(plan: Plan, phase: Callable[[ModelId], Phase], created: int) -> Iterator[Record]:
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
        phases = {phase(m) for m in ids if m is not None}
        yield _record(
            selector.id,
            created,
            name=selector.name,
            description=selector.description,
            metadata=selector.metadata,
            internal=internal,
            phase=next((p for p in (Phase.READY, Phase.STARTING) if p in phases), Phase.STOPPED),
        )


def _pins(
    plan: Plan, phase: Callable[[ModelId], Phase], profile: str | None, created: int
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
                phase=Phase.STOPPED if model is None else phase(model),
            )


def records(plan: Plan, phase: Callable[[ModelId], Phase], profile: str | None) -> list[Record]:
    """Return everything that is listed, by id."""
    created = int(datetime.now(UTC).timestamp())
    found = [
        *_local(plan, phase, created),
        *_peers(plan, created),
        *_selectors(plan, phase, created),
        *_pins(plan, phase, profile, created),
    ]
    return sorted(found, key=lambda record: record["id"].encode())


def record_of(
    plan: Plan, phase: Callable[[ModelId], Phase], profile: str | None, name: str
) -> Record | None:
    """Return one record of the list, or of a model or alias that the list leaves out."""
    for record in records(plan, phase, profile):
        if record["id"] == name:
            return record
    created = int(datetime.now(UTC).timestamp())
    model = plan.models.get(ModelId(name))
    if model is not None:
        return _of_model(model, phase(model.id), created)
    real = plan.aliases.get(name)
    if real is not None:
        return _of_model(plan.models[real], phase(real), created, alias=name)
    return None


def statuses(
    plan: Plan,
    phase: Callable[[ModelId], Phase],
    failure: Callable[[ModelId], str | None],
) -> list[Record]:
    """Return the payload of a `modelStatus` event: every model, then every peer's."""
    found: list[Record] = []
    for model in sorted(plan.models.values(), key=lambda m: m.id):
        item: Record = {
            "id": model.id,
            "name": model.name,
            "description": model.description,
            "state": phase(model.id).shown,
            "unlisted": model.unlisted,
            "peerID": "",
        }
        if model.aliases:
            item["aliases"] = list(model.aliases)
        if able := abilities(model.capabilities):
            item["capabilities"] = able
        if model.capabilities.context:
            item["context_length"] = model.capabilities.context
        if why := failure(model.id):
            item["failure"] = redact(plan, why)
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
