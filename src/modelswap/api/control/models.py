"""Control routes about models, profiles and the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from modelswap import __version__
from modelswap.api.auth.client_identity import allows_no_swap
from modelswap.api.models_endpoint import date_in, failures, found_record, record_of, records
from modelswap.config.commands.secrets import shown_command
from modelswap.config.schema.schema import KeyScope
from modelswap.core.commands import LeaseRequest
from modelswap.core.spec import ClientId, ModelId
from modelswap.errors import ForbiddenError, UnavailableError

from .control_request import ControlError, ControlRequest, Reply, as_json, as_text
from .model_loading import load, unload

if TYPE_CHECKING:
    from collections.abc import Sequence


async def health(_: ControlRequest) -> Reply:
    """Say that the program is alive; nothing about models."""
    return as_text("OK")


async def ready(request: ControlRequest) -> Reply:
    """Say that the program accepts requests: 503 while it shuts down."""
    if request.services.draining:
        raise UnavailableError("shutting down", retry_after=1)
    return as_text("OK")


async def version(_: ControlRequest) -> Reply:
    return as_json({"build_date": "unknown", "commit": "unknown", "version": __version__})


async def session(request: ControlRequest) -> Reply:
    """Say what the client's key may do, so that a page offers nothing else."""
    identity = request.identity
    scopes = sorted(scope for scope in KeyScope if identity.may(scope))
    return as_json({"key": identity.name, "scopes": scopes, "models": list(identity.models)})


def listed_records(request: ControlRequest) -> list[dict[str, Any]]:
    """Return the records of everything listed that the client's key may use."""
    services = request.services
    shows_details = request.identity.may(KeyScope.READ)
    listed = records(
        services.config.snapshot, services.fleet, services.profile, shows_details=shows_details
    )
    return [record for record in listed if request.identity.may_use(*_names_of(record))]


async def list_models(request: ControlRequest) -> Reply:
    return as_json({"data": listed_records(request), "object": "list"})


def _names_of(record: dict[str, Any]) -> tuple[str, ...]:
    """Return the names by which a key may be allowed to use what is listed."""
    id_ = record["id"]
    return id_, record["meta"]["llamaswap"].get("modelID", id_)


async def found_models(request: ControlRequest) -> Reply:
    """List what was found on disk: what is served, and what is not, with the reason."""
    discovered = request.services.config.plan.discovered
    entries = () if discovered is None else discovered.models
    return as_json({"data": [found_record(entry) for entry in entries]})


async def one_model(request: ControlRequest) -> Reply:
    """One record of the list, unlisted models and aliases included."""
    wanted = unquote(request.params["id"]).rstrip("/")
    services = request.services
    record = record_of(
        services.config.snapshot,
        services.fleet,
        services.profile,
        wanted,
        shows_details=request.identity.may(KeyScope.READ),
    )
    if record is None or not request.identity.may_use(*_names_of(record)):
        raise ControlError(404, f"model {wanted!r} not found", "not_found")
    return as_json(record)


async def running(request: ControlRequest) -> Reply:
    plan, fleet = request.services.config.plan, request.services.fleet
    items: list[dict[str, Any]] = [
        {
            "model": model.id,
            "state": phase.shown,
            "cmd": shown_command(plan, model.cmd),
            "proxy": shown_command(plan, model.proxy),
            "ttl": int(model.spec.ttl or 0),
            "name": model.name,
            "description": model.description,
            "pid": pid,
            "in_flight": fleet.in_flight(model.id),
            "waiting": fleet.waiting(model.id),
            "expires_at": date_in(fleet.expires_in(model.id)),
        }
        for model, phase, pid in fleet.running()
        if request.identity.may_use(model.id)
    ]
    failed = failures(fleet, filter(request.identity.may_use, sorted(plan.models)))
    # llama-swap's response has `running` alone
    return as_json({"running": items, "failed": failed} if failed else {"running": items})


async def _unload(request: ControlRequest, models: Sequence[ModelId] | None = None) -> None:
    services = request.services
    wanted = sorted(services.config.plan.models) if models is None else models
    is_forced = request.arg("force") in {"1", "true", "yes"}
    await unload(services.fleet, services.fleet_events, wanted, force=is_forced)


async def unload_get(request: ControlRequest) -> Reply:
    await _unload(request)
    return as_text("OK")


async def unload_all(request: ControlRequest) -> Reply:
    await _unload(request)
    return as_json({"msg": "ok"})


def usable_model(request: ControlRequest, name: str) -> ModelId | None:
    """Return the model of that name, if it is one of this server, or raise `ForbiddenError`."""
    model = request.services.config.snapshot.local(name)
    if model is not None and not request.identity.may_use(model, name):
        raise ForbiddenError(f"this key may not use the model {name!r}")
    return model


def _in_path(request: ControlRequest) -> ModelId:
    model = usable_model(request, unquote(request.params["model"]))
    if model is None:
        raise ControlError(404, "model not found", "not_found")
    return model


async def unload_one(request: ControlRequest) -> Reply:
    await _unload(request, [_in_path(request)])
    return as_text("OK")


async def load_one(request: ControlRequest) -> Reply:
    """Load a model; respond when it is ready, or say why it is not."""
    services, identity = request.services, request.identity
    no_swap = allows_no_swap(request.http_request, identity)
    wanted = LeaseRequest(_in_path(request), ClientId(identity.name), no_swap=no_swap)
    await load(services, wanted, identity)
    return as_json({"msg": "ok"})


async def profiles(request: ControlRequest) -> Reply:
    services = request.services
    shown = [
        {"id": id_, "description": profile.description, "pins": dict(profile.pins)}
        for id_, profile in sorted(services.config.plan.profiles.items())
    ]
    return as_json({"active": services.profile, "profiles": shown})


async def set_profile(request: ControlRequest) -> Reply:
    try:
        wanted = msgspec.json.decode(request.body, type=dict[str, Any])
    except msgspec.DecodeError:
        raise ControlError(400, "invalid profile request") from None
    if "name" not in wanted:
        raise ControlError(400, "profile name is required")
    name = wanted["name"]
    if name is not None and not isinstance(name, str):
        raise ControlError(400, "profile name must be a string or null")
    if name and name not in request.services.config.plan.profiles:
        raise ControlError(404, f'profile "{name}" not found')
    request.services.set_profile(name or None)
    return as_json({"active": request.services.profile})


async def config_status(request: ControlRequest) -> Reply:
    return as_json(request.services.reload_status.shown())


async def reload(request: ControlRequest) -> Reply:
    """Load the configuration again, as SIGHUP does."""
    await request.services.reload()
    status = request.services.reload_status.shown()
    return as_json(status, 200 if status["ok"] else 409)
