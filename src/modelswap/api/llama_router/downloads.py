"""The orders of llama.cpp's router about files: a model is pulled, or its files are removed.

Guarantees: nothing is removed but what lies in Hugging Face's cache; nothing is pulled that would not be
served afterwards.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from modelswap.api.control.models import usable_model
from modelswap.api.pulls.events import router_name
from modelswap.errors import ForbiddenError, RouterError, UnavailableError
from modelswap.fleet import Fleet
from modelswap.pull.progress import PullFailure, PullPhase
from modelswap.units import Seconds

from .records import removable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modelswap.api.control.control_request import ControlRequest
    from modelswap.api.services import Services
    from modelswap.api.snapshot import ConfigSnapshot
    from modelswap.core.spec import ModelId
    from modelswap.pull.progress import PullProgress

NOT_FOUND: Final = "not_found_error"
ANSWER_WITHIN: Final = Seconds(10.0)
"""For the hub to say which files there are: until then a mistake in the name is the order's error. A
client's own limit is rarely shorter."""
_STATUS: Final = {
    PullFailure.NOT_FOUND: (404, NOT_FOUND),
    PullFailure.AMBIGUOUS: (400, "invalid_request_error"),
    PullFailure.TOKEN_MISSING: (400, "invalid_request_error"),
}
"""What llama-server's errors are for a name that cannot be pulled; any other failure is a 502."""


async def pull(request: ControlRequest, name: str) -> None:
    """Begin to pull `OWNER/REPO[:QUANT]`, or what a configured model is pulled from."""
    services = request.services
    if not name:
        raise RouterError(400, "model must be a non-empty string")
    fleet = own_fleet(services)
    source = _source_of(request, name)
    fleet.pull(source)
    progress = await services.pull_events.resolved(source, ANSWER_WITHIN)
    if progress is not None and progress.phase is PullPhase.FAILED:
        raise _error_of(progress)


def own_fleet(services: Services) -> Fleet:
    if not isinstance(services.fleet, Fleet):
        raise UnavailableError("another process has taken over; ask again", retry_after=1)
    return services.fleet


def _error_of(progress: PullProgress) -> RouterError:
    failure = progress.failure
    status, kind = (
        (502, "server_error") if failure is None else _STATUS.get(failure, (502, "server_error"))
    )
    return RouterError(status, f"{progress.text} ({failure})", kind)


def _source_of(request: ControlRequest, name: str) -> str:
    """Return what to pull for a name, or raise the reason why nothing is."""
    from modelswap.catalog.pull_source import HubSource, parse_source  # noqa: PLC0415 - where models are pulled

    snapshot = request.services.config.snapshot
    model = usable_model(request, name)
    if model is not None:
        return _missing_source(snapshot, model, name)
    if snapshot.names.is_known(name):
        raise RouterError(400, f"model '{name}' already exists")
    if request.identity.models:
        raise ForbiddenError("this key is limited to some models, and this would be another one")
    try:
        source = parse_source(f"hf:{name.removeprefix('hf:')}")
    except ValueError as wrong:
        raise RouterError(400, str(wrong)) from None
    assert isinstance(source, HubSource)
    for one in snapshot.plan.models.values():
        if one.pull_name == source.text:
            return _missing_source(snapshot, one.id, name)
    discovered = snapshot.plan.discovered
    if discovered is None or not discovered.sees_hub:
        raise RouterError(
            400,
            f"'{name}' would not be served: Hugging Face's cache is not looked at. Set "
            f"`discover.stores: [huggingface]`, or give a model `source: {source.text}`",
        )
    return source.text


def _missing_source(snapshot: ConfigSnapshot, model: ModelId, name: str) -> str:
    found = snapshot.plan.models[model]
    if not found.is_missing:
        raise RouterError(400, f"model '{name}' already exists")
    return found.pull_name


def cancel_order(request: ControlRequest, name: str) -> bool:
    """Cancel a pull of something that is no model yet; False: there is none of that name."""
    services = request.services
    for pull in services.puller.pulls():
        if not pull.is_over and name in (router_name(pull.source), pull.source):
            if not request.identity.may_use(name):
                raise ForbiddenError(f"this key may not use the model {name!r}")
            return own_fleet(services).gate.cancel_pull(pull.source)
    return False


async def remove(request: ControlRequest, name: str) -> None:
    """Remove the files of a model from Hugging Face's cache; cancel its pull, unload it before."""
    services = request.services
    if not name:
        raise RouterError(400, "model must be a non-empty string")
    model = usable_model(request, name)
    if model is None:
        if not cancel_order(request, name):
            raise RouterError(404, f"model name={name} is not found", NOT_FOUND)
        services.fleet_events.router.publish(name, "model_remove")
        return
    snapshot = services.config.snapshot
    configured = snapshot.plan.models[model]
    if not configured.pull_name.startswith("hf:") and not removable(snapshot, configured):
        raise RouterError(400, f"model name={name} is not removable (not from cache)")
    fleet = own_fleet(services)
    same = [
        one.id
        for one in snapshot.plan.models.values()
        if one.id == model or (one.pull_name and one.pull_name == configured.pull_name)
    ]
    await fleet.unload(same)
    await asyncio.to_thread(_remove_files, services, snapshot, model)
    await services.complete()
    if not configured.pull_name:
        await services.reload()
    for one in same:
        services.fleet_events.router.publish(one, "model_remove")


def _remove_files(services: Services, snapshot: ConfigSnapshot, model: ModelId) -> None:
    from modelswap.pull import removal  # noqa: PLC0415 - seldom used

    files = _files_of(services, snapshot, model)
    try:
        freed = removal.remove(files) if files else 0
    except removal.NotInCacheError:
        raise RouterError(400, f"model name={model} is not removable (not from cache)") from None
    except OSError as problem:
        why = f"the files of {model} cannot be removed: {problem.strerror}"
        raise RouterError(500, why, "server_error") from problem
    services.log.info(f"<{model}> its files were removed, {freed} bytes")


def _files_of(services: Services, snapshot: ConfigSnapshot, model: ModelId) -> Sequence[Path]:
    configured = snapshot.plan.models[model]
    if configured.source:
        pulled = services.puller.located(configured.source)
        return () if pulled is None else pulled.all_files
    found = snapshot.found[model].model
    return (*found.files, *(() if found.mmproj is None else (found.mmproj,)))
