"""The control routes of llama.cpp's router.

Errors have llama-server's object, where `code` is the status; keys, origins and loads are refused as elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from modelswap import __version__
from modelswap.api.auth.client_identity import allows_no_swap
from modelswap.api.control.control_request import (
    ControlRequest,
    Reply,
    StreamReply,
    as_json,
)
from modelswap.api.control.model_loading import begin_load
from modelswap.api.control.models import listed_records, usable_model
from modelswap.api.hosts.site_checks import check_site
from modelswap.config.schema.schema import KeyScope
from modelswap.core.commands import LeaseRequest
from modelswap.core.models.lifecycle import Phase
from modelswap.core.spec import ClientId
from modelswap.errors import ForbiddenError, RouterError
from modelswap.units import Seconds

from .events import RouterReader, router_frame
from .load_progress import progress_of
from .records import ordered_records, router_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from modelswap.api.auth.identity import Identity
    from modelswap.api.services import Services
    from modelswap.core.spec import ModelId

NOT_FOUND: Final = "not_found_error"
SUCCESS: Final = {"success": True}
LOOK: Final = Seconds(0.25)
"""Between two looks at a load: a client's bar moves smoothly, and a look costs under a millisecond."""
KEEP_ALIVE: Final = Seconds(15.0)
"""Between comments without events, so that no proxy closes the stream as idle."""
_NOT_WANTED: Final = frozenset({"0", "false"})
"""Values of `reload` that ask for none."""
BUILD: Final = f"b0-modelswap-{__version__}"
"""llama.cpp's form: `b`, a number, a name; no build of llama.cpp answers here."""
_LIVE: Final = (("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"))


class _Order(msgspec.Struct):
    model: str = ""


_DECODER: Final = msgspec.json.Decoder(_Order)


def _named(request: ControlRequest) -> str:
    """Return the model that a body names; empty: none."""
    try:
        return _DECODER.decode(request.body).model
    except msgspec.ValidationError as error:
        raise RouterError(400, f"the body is not what is expected here: {error}") from None
    except (msgspec.DecodeError, RecursionError):
        raise RouterError(400, "the body is not valid JSON") from None


async def health(_: ControlRequest) -> Reply:
    return as_json({"status": "ok"})


async def props(request: ControlRequest) -> Reply:
    """Say what this server is; `default_generation_settings` are there for clients that read them."""
    return as_json(
        {
            "role": "router",
            "max_instances": request.services.config.plan.settings.models_max,
            "models_autoload": request.services.config.snapshot.autoload,
            "model_alias": "modelswap",
            "model_path": "none",
            "default_generation_settings": {"params": {}, "n_ctx": 0},
            "ui_settings": {},
            "build_info": BUILD,
            "cors_proxy_enabled": False,
        }
    )


# Models


async def list_models(request: ControlRequest) -> Reply:
    """List the models; with `?reload=1` after a look at configuration and folders."""
    if (request.arg("reload") or "0").lower() not in _NOT_WANTED:
        await _reload(request)
    services, identity = request.services, request.identity
    shows_details = identity.may(KeyScope.READ)
    snapshot = services.config.snapshot
    listed = [
        router_record(record, snapshot, shows_details=shows_details)
        for record in listed_records(request)
    ]
    listed += [
        record
        for record in ordered_records(services.puller, snapshot)
        if identity.may_use(record["id"])
    ]
    loads = await _loads(services, identity)
    for record in listed:
        status = record["status"]
        if status["value"] == "loading" and record["id"] in loads:
            status["progress"] = loads[record["id"]]
        elif shows_details and "failed" in status:
            model = snapshot.local(record["id"])
            status["log"] = [] if model is None else services.fleet_events.last_lines(model)
    return as_json({"data": listed, "object": "list"})


async def _reload(request: ControlRequest) -> None:
    """Reload, where the client may do so: a page of another site may not, although it is a GET."""
    services = request.services
    if not request.identity.may(KeyScope.ADMIN):
        raise ForbiddenError("this key may not reload")
    if request.identity.models:
        raise ForbiddenError("this key is limited to some models, and this concerns them all")
    snapshot = services.config.snapshot
    check_site(request.http_request, snapshot.site_rules, snapshot.proxies)
    await services.reload()
    status = services.reload_status.shown()
    if not status["ok"]:
        raise RouterError(500, f"the reload failed: {status['problems']}", "server_error")


async def load(request: ControlRequest) -> Reply:
    """Begin to load a model; the list and the events tell how it goes."""
    services, identity = request.services, request.identity
    model = usable_model(request, _named(request))
    if model is None:
        raise RouterError(404, "model is not found", NOT_FOUND)
    fleet = services.fleet
    if fleet.listed_phase(model) is not Phase.STOPPED:
        raise RouterError(400, "model is already running")
    if fleet.failure(model) is not None:  # an order to load is one to try again
        await fleet.unload([model])
    no_swap = allows_no_swap(request.http_request, identity)
    wanted = LeaseRequest(model, ClientId(identity.name), no_swap=no_swap)
    begin_load(services, wanted, identity)
    return as_json(SUCCESS)


async def unload(request: ControlRequest) -> Reply:
    """Begin to unload a model, or cancel its pull; the list and the events tell when it is gone."""
    services = request.services
    name, fleet = _named(request), services.fleet
    model = usable_model(request, name)
    if model is None:
        from . import downloads  # noqa: PLC0415 - where models are pulled

        if not downloads.cancel_order(request, name):
            raise RouterError(400, "model is not found")
        return as_json(SUCCESS)
    if fleet.listed_phase(model) is Phase.STOPPED and fleet.pull_of(model) is None:
        raise RouterError(400, "model is not running")
    fleet.begin_unload([model], force=False)
    return as_json(SUCCESS)


async def pull(request: ControlRequest) -> Reply:
    """Begin to pull a model; the list and the events tell how it goes."""
    from . import downloads  # noqa: PLC0415 - where models are pulled

    await downloads.pull(request, _named(request))
    return as_json(SUCCESS)


async def remove(request: ControlRequest) -> Reply:
    """Remove the files of a model of Hugging Face's cache."""
    from . import downloads  # noqa: PLC0415 - where models are pulled

    await downloads.remove(request, request.arg("model") or "")
    return as_json(SUCCESS)


# Events


async def events(request: ControlRequest) -> StreamReply:
    """Stream what happens to models, from now on."""
    identity = request.identity
    reader = RouterReader(identity.may_use, shows_details=identity.may(KeyScope.READ))
    request.services.fleet_events.router.subscribe(reader)
    return StreamReply(_frames(request.services, identity, reader), headers=_LIVE)


async def _frames(
    services: Services, identity: Identity, reader: RouterReader
) -> AsyncIterator[bytes]:
    told: dict[ModelId, dict[str, Any]] = {}
    try:
        yield b": events of models\n\n"
        while True:
            is_loading = any(phase is Phase.STARTING for _, phase, _ in services.fleet.running())
            data = await reader.stream.take(LOOK if is_loading else KEEP_ALIVE)
            if data is None:
                return
            if data:
                yield data
            elif not is_loading:
                yield b": keep-alive\n\n"
            before, told = told, await _loads(services, identity)
            for model, progress in told.items():
                if before.get(model) != progress:
                    state = {"status": "loading", "progress": progress}
                    yield router_frame(model, "model_status", state)
    finally:
        services.fleet_events.router.unsubscribe(reader)


async def _loads(services: Services, identity: Identity) -> dict[ModelId, dict[str, Any]]:
    """Return how far the loads are that a client may know of."""
    found: dict[ModelId, dict[str, Any]] = {}
    for model, phase, pid in services.fleet.running():
        if phase is Phase.STARTING and pid is not None and identity.may_use(model.id):
            progress = await services.loop.run_in_executor(None, progress_of, pid, model.argv)
            if progress is not None and services.fleet.phase(model.id) is Phase.STARTING:
                found[model.id] = progress
    return found
