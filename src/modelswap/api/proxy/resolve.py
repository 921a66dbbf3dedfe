"""Resolves a request: which model it means, how it is edited, whether its key may use the model.

Guarantees: no socket, no timer and no log is touched. A refusal is part of the result, so that the
request is recorded under the name that it gave. The only effect is the count of a selector, which
the holder of the result gives back (`ResolvedRequest.selection`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

import msgspec

from modelswap.api.errors.error_mapping import NO_ROUTER
from modelswap.api.proxy.context import ResolvedRequest
from modelswap.api.routing.filters import (
    bare_form,
    bare_request,
    form_edits,
    rename_query,
    rewrite,
)
from modelswap.api.routing.model_restrictions import check_names_below, check_other_names
from modelswap.api.routing.model_selector import (
    BYTE_ORDER_MARK,
    MOST_NAME,
    NO_MODEL,
    NameLocation,
    find,
    find_in_json,
    find_in_multipart,
    is_marked,
    plain_json,
)
from modelswap.core.naming.names import LocalTarget, NoTarget, Off, PeerTarget, Unknown
from modelswap.errors import (
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    ReplyError,
    RouterError,
    UnavailableError,
)

if TYPE_CHECKING:
    from modelswap.api.routing.model_selector import NamedModel
    from modelswap.api.services import Services
    from modelswap.core.naming.names import Target

    from .context import RequestContext

_JSON: Final = NameLocation.JSON  # looking a member up costs as much as a call


def resolve(context: RequestContext, body: bytes, query: str, state: Services) -> ResolvedRequest:
    """Resolve a request whose whole body is here, or which has none."""
    source = context.source
    text = body
    try:
        if source is _JSON and state.profile is None and (plain := plain_json(body)) is not None:
            cache = context.known_streams if plain.stream else context.known
            known = cache.get(plain.model)
            if known is not None:
                return _as_asked(known, body) if known.may_set_ttl else known
        if source is _JSON:
            found = find_in_json(body)
        elif source is NameLocation.PATH:
            return _resolve_path(context, body, query)
        else:
            text = body.removeprefix(BYTE_ORDER_MARK)
            method = "GET" if source is NameLocation.QUERY else context.request.method
            found = find(method, context.kind, query, text)
    except ReplyError as refusal:
        if source is not _JSON or not is_marked(body):
            return ResolvedRequest(refusal=refusal)
        text = body.removeprefix(BYTE_ORDER_MARK)
        resolved = resolve(context, text, query, state)
    else:
        resolved = _resolve_named(context, found, text, query, state)
    if text is body or resolved.body is not None:
        return resolved
    return msgspec.structs.replace(resolved, body=text)


def _resolve_named(
    context: RequestContext, found: NamedModel, body: bytes, query: str, state: Services
) -> ResolvedRequest:
    """Resolve a request that names its model in body or query, for the first time."""
    resolved = ResolvedRequest(stream=found.stream)
    try:
        target = _find_target(resolved, context, found.model, state)
        check_other_names(context.identity, context.snapshot.names, found, query=query, body=body)
    except ReplyError as refusal:
        resolved.refusal = refusal
        return resolved
    edit = context.snapshot.edit_of(target)
    if edit is not None or target.rewrite is not None:
        edited = rewrite(edit, target, found.source, body, query)
        resolved.body, resolved.failed_edits = edited.body, edited.failed
        resolved.query = None if edited.query is query else edited.query
    elif state.profile is None and resolved.selection is None and isinstance(target, LocalTarget):
        context.remember(resolved)
    if resolved.may_set_ttl and found.source is _JSON:
        return _as_asked(resolved, body)
    return resolved


def _as_asked(resolved: ResolvedRequest, body: bytes) -> ResolvedRequest:
    """Note for how long a JSON body asks to keep the model loaded."""
    from modelswap.api.routing.request_ttl import in_body  # noqa: PLC0415 - few models let requests ask

    try:
        ttl = in_body(body)
    except BadRequestError as refusal:
        return msgspec.structs.replace(resolved, refusal=refusal, straight=None)
    return resolved if ttl is None else msgspec.structs.replace(resolved, ttl=ttl)


def resolve_stream(
    context: RequestContext, beginning: bytes, query: str, state: Services
) -> ResolvedRequest:
    """Resolve a request whose large body is sent as it comes; `beginning` is what was read of it."""
    if context.source is NameLocation.PATH:
        resolved = _resolve_path(context, b"", query)
        resolved.body = None
        return resolved
    resolved = ResolvedRequest()
    try:
        found = find(context.request.method, context.kind, query, beginning)
        resolved.stream = found.stream
        target = _find_target(resolved, context, found.model, state)
    except ReplyError as refusal:
        resolved.refusal = refusal
    else:
        if target.rewrite is not None:
            resolved.query = rename_query(query, target.rewrite)
    return resolved


def resolve_form(
    context: RequestContext, fields: dict[str, bytes], query: str, state: Services
) -> ResolvedRequest:
    """Resolve a multipart form of which `fields` are known; the rest may still come."""
    if context.named is not None:
        resolved = _resolve_path(context, b"", query)
        resolved.body, resolved.form = None, bare_form(context.named[1], fields)
        return resolved
    texts = {name: value.decode("utf-8", "replace") for name, value in fields.items()}
    resolved = ResolvedRequest()
    try:
        found = find_in_multipart(query, texts)
        resolved.stream = found.stream
        target = _find_target(resolved, context, found.model, state)
        field = texts.get("model", "")
        check_other_names(context.identity, context.snapshot.names, found, query=query, field=field)
    except ReplyError as refusal:
        resolved.refusal = refusal
        return resolved
    name = target.rewrite
    if found.source is NameLocation.QUERY and name is not None:
        resolved.query = rename_query(query, name)
        name = None
    edit = context.snapshot.edit_of(target)
    resolved.form = form_edits(edit, requested=target.requested, rename=name)
    return resolved


def _resolve_path(context: RequestContext, body: bytes, query: str) -> ResolvedRequest:
    """Resolve a request whose path named its model; the path's key was checked with it."""
    assert context.named is not None
    name, target = context.named
    if isinstance(target, LocalTarget):
        resolved = ResolvedRequest(name, target.model, target)
        try:
            _note_header(resolved, context, target)
        except BadRequestError as refusal:
            resolved.refusal = refusal
        return resolved
    resolved = ResolvedRequest(name, name, target)
    method = context.request.method
    try:
        check_names_below(
            context.identity,
            context.snapshot.names,
            method=method,
            kind=context.kind,
            query=query,
            body=body,
        )
    except ReplyError as refusal:
        resolved.refusal = refusal
        return resolved
    if target.rewrite is not None:
        kind = None if context.is_coded else context.kind
        resolved.body, resolved.query, _ = bare_request(target, method, kind, query, body)
    return resolved


def _note_header(resolved: ResolvedRequest, context: RequestContext, target: Target) -> None:
    """Note for how long the head asks to keep the model loaded; else the body may.

    Raises:
        BadRequestError: it is no time.
    """
    models = context.snapshot.plan.models
    if not isinstance(target, LocalTarget) or models[target.model].spec.request_ttl is None:
        return
    resolved.may_set_ttl = not context.ttl
    if context.ttl:
        from modelswap.api.routing.request_ttl import in_header  # noqa: PLC0415 - few requests ask for that

        resolved.ttl = in_header(context.ttl)


def _find_target(
    resolved: ResolvedRequest, context: RequestContext, name: str, state: Services
) -> Target:
    """Look the name up, and enter into `resolved` what is known."""
    if len(name) > MOST_NAME:
        raise BadRequestError("the model's name is too long")
    snapshot = context.snapshot

    def select(selector: str) -> str | None:
        chosen = snapshot.selectors.take(selector, lambda t: snapshot.state_of(state.fleet, t))
        if chosen is not None:
            resolved.selection = selector, chosen
        return chosen

    found = snapshot.names.resolve(name, state.profile, select)
    match found:
        case LocalTarget() | PeerTarget():
            resolved.name, resolved.target = name, found
            resolved.model = found.model if isinstance(found, LocalTarget) else name
            if not context.identity.may_use(found.model, found.requested):
                raise ForbiddenError(f"this key may not use the model {name!r}")
            _note_header(resolved, context, found)
            return found
        case Off():
            raise NotFoundError(NO_MODEL)
        case NoTarget(selector):
            raise UnavailableError(
                f'selector "{selector}" has no available spillover targets', retry_after=1
            )
        case Unknown():
            resolved.name = resolved.model = name
            if context.speaks_router:
                raise RouterError(400, f"model '{name}' not found")
            raise NotFoundError(f"{NO_ROUTER}: {name!r}")
        case _ as never:
            assert_never(never)
