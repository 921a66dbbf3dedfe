"""The control routes: what runs, stop it, which profile, is it alive.

They ask the fleet and the plan; none of them starts a model, except `load`,
which says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from modelswap import __version__
from modelswap.api.auth.auth import EVERY_SCOPE
from modelswap.api.auth.client_identity import allows_no_swap
from modelswap.config.commands.secrets import shown_command
from modelswap.core.spec import ClientId
from modelswap.errors import ForbiddenError, UnavailableError

from .control_request import ControlRequest, Refusal, Reply, as_json, as_text
from .models_endpoint import failures, record_of, records

if TYPE_CHECKING:
    from modelswap.core.spec import ModelId


async def health(_: ControlRequest) -> Reply:
    """The program is alive; says nothing about models."""
    return as_text("OK")


async def ready(call: ControlRequest) -> Reply:
    """The program takes requests: 503 while it shuts down."""
    if call.services.draining:
        raise UnavailableError("shutting down", retry_after=1)
    return as_text("OK")


async def version(_: ControlRequest) -> Reply:
    return as_json({"build_date": "unknown", "commit": "unknown", "version": __version__})


async def session(call: ControlRequest) -> Reply:
    """Say what the caller's key may do, so that a page offers nothing else."""
    identity = call.identity
    scopes = sorted(scope for scope in EVERY_SCOPE if identity.may(scope))
    return as_json({"key": identity.name, "scopes": scopes, "models": list(identity.models)})


async def list_models(call: ControlRequest) -> Reply:
    services = call.services
    shows_line = call.identity.may("read")
    listed = records(services.plan, services.fleet, services.profile, shows_line=shows_line)
    visible = [record for record in listed if call.identity.may_use(*_names_of(record))]
    return as_json({"data": visible, "object": "list"})


def _names_of(record: dict[str, Any]) -> tuple[str, ...]:
    """Return the names by which a key may be allowed to use what is listed."""
    of = record["meta"]["llamaswap"].get("modelID")
    return (record["id"],) if of is None else (record["id"], of)


async def one_model(call: ControlRequest) -> Reply:
    """One record of the list, unlisted models and aliases included."""
    wanted = unquote(call.params["id"]).rstrip("/")
    services = call.services
    shows_line = call.identity.may("read")
    record = record_of(
        services.plan, services.fleet, services.profile, wanted, shows_line=shows_line
    )
    if record is None or not call.identity.may_use(*_names_of(record)):
        raise Refusal(404, f"model {wanted!r} not found", "not_found")
    return as_json(record)


async def running(call: ControlRequest) -> Reply:
    services = call.services
    items: list[dict[str, Any]] = [
        {
            "model": model.id,
            "state": phase.shown,
            "cmd": shown_command(services.plan, model.cmd),
            "proxy": shown_command(services.plan, model.proxy),
            "ttl": int(model.spec.ttl or 0),
            "name": model.name,
            "description": model.description,
            "pid": pid,
            "in_flight": services.fleet.in_flight(model.id),
            "waiting": services.fleet.waiting(model.id),
        }
        for model, phase, pid in services.fleet.running()
        if call.identity.may_use(model.id)
    ]
    known = [model for model in sorted(services.plan.models) if call.identity.may_use(model)]
    failed = failures(services.fleet, known)  # llama-swap's answer has `running` alone
    return as_json({"running": items, "failed": failed} if failed else {"running": items})


def _is_forced(call: ControlRequest) -> bool:
    return call.arg("force") in {"1", "true", "yes"}


async def unload_get(call: ControlRequest) -> Reply:
    await call.services.unload(sorted(call.services.plan.models), force=_is_forced(call))
    return as_text("OK")


async def unload_all(call: ControlRequest) -> Reply:
    await call.services.unload(sorted(call.services.plan.models), force=_is_forced(call))
    return as_json({"msg": "ok"})


def _local(call: ControlRequest) -> ModelId:
    name = unquote(call.params["model"])
    model = call.services.snapshot.local(name)
    if model is None:
        raise Refusal(404, "model not found", "not_found")
    if not call.identity.may_use(model, name):
        raise ForbiddenError(f"this key may not use the model {name!r}")
    return model


async def unload_one(call: ControlRequest) -> Reply:
    await call.services.unload([_local(call)], force=_is_forced(call))
    return as_text("OK")


async def load_one(call: ControlRequest) -> Reply:
    """Start a model and answer when it is ready, or why it is not."""
    model = _local(call)
    identity = call.identity
    await call.services.load(
        model,
        ClientId(identity.name),
        identity,
        no_swap=allows_no_swap(call.request, identity),
    )
    return as_json({"msg": "ok"})


async def profiles(call: ControlRequest) -> Reply:
    services = call.services
    shown = [
        {"id": p.id, "description": p.description, "pins": dict(p.pins)}
        for p in sorted(services.plan.profiles.values(), key=lambda p: p.id)
    ]
    return as_json({"active": services.profile, "profiles": shown})


async def set_profile(call: ControlRequest) -> Reply:
    try:
        wanted = msgspec.json.decode(call.body, type=dict[str, Any])
    except msgspec.DecodeError:
        raise Refusal(400, "invalid profile request") from None
    if "name" not in wanted:
        raise Refusal(400, "profile name is required")
    name = wanted["name"]
    if name is not None and not isinstance(name, str):
        raise Refusal(400, "profile name must be a string or null")
    if name and name not in call.services.plan.profiles:
        raise Refusal(404, f'profile "{name}" not found')
    call.services.set_profile(name or None)
    return as_json({"active": call.services.profile})


async def config_status(call: ControlRequest) -> Reply:
    """Say whether the file on disk is what runs, and if not, why."""
    return as_json(call.services.config_status())


async def reload(call: ControlRequest) -> Reply:
    """Load the configuration again, as SIGHUP does."""
    await call.services.reload()
    status = call.services.config_status()
    return as_json(status, 200 if status["ok"] else 409)
