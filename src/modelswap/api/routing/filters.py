"""Edits the requests that go to a model: renames the model, removes and sets members.

Guarantees: what no edit touches goes out byte for byte; `model` changes by rename only. An edit that
cannot be made is left out and named, for the log; it never fails the request.
Does not: edit multipart forms while they are sent (`http.body.forms`); `form_edits` says how.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never
from urllib.parse import parse_qsl, quote_plus, urlencode

import msgspec

from modelswap.core.naming.jsonpath import (
    Delete,
    NotApplicableError,
    Set,
    UnreadableError,
    apply,
    member_value,
    parse_path,
)
from modelswap.core.naming.jsonpath import JsonEdit as Step
from modelswap.deferred import dataclass, regex
from modelswap.errors import ReplyError

from .model_selector import BYTE_ORDER_MARK, NameLocation, find, only_model_key, raw_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelswap.config.plan import Filters
    from modelswap.config.tree.values import Json
    from modelswap.core.naming.names import PeerTarget, Target

_MODEL = "model"
_FORM_MODEL = regex(
    rb"(^|&)(?:m|%6[dD])(?:o|%6[fF])(?:d|%64)(?:e|%65)(?:l|%6[cC])(?:=[^&]*+)?(?=&|$)"
)
WHOLE_BODY = "(body)"
"""Stands in `EditedBody.failed` for a body that is no object: nothing could be edited."""


@dataclass(frozen=True, slots=True)
class RequestEdits:
    model: str | None = None
    """`useModelName`."""
    steps: tuple[Step, ...] = ()
    by_id: Mapping[str, tuple[Step, ...]] = field(default_factory=dict[str, tuple[Step, ...]])
    """Edits for one requested name, made after the others."""
    labels: Mapping[Step, str] = field(default_factory=dict[Step, str])
    """How an edit is called in the configuration."""


@dataclass(frozen=True, slots=True)
class EditedBody:
    body: bytes
    failed: tuple[str, ...] = ()
    """Keys whose edit could not be made: log each once per model."""


class EditedRequest(NamedTuple):
    body: bytes
    query: str
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FormEdits:
    values: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Fields to set, as they go out."""
    remove: frozenset[str] = frozenset()


def compile_filters(filters: Filters, use_model_name: str = "") -> RequestEdits | None:
    """Prepare a model's or peer's filters; `None`: there is nothing to do."""
    labels: dict[Step, str] = {}
    deletes = _steps(dict.fromkeys(filters.strip), labels, lambda path, _: Delete(path))
    sets = _steps(filters.set, labels, _set)
    by_id = {
        name: steps
        for name, params in filters.set_by_id.items()
        if (steps := _steps(params, labels, _set))
    }
    if not (use_model_name or deletes or sets or by_id):
        return None
    return RequestEdits(use_model_name or None, (*deletes, *sets), by_id, labels)


def _steps(
    params: Mapping[str, Json],
    labels: dict[Step, str],
    make: Callable[[tuple[str, ...], Json], Step],
) -> tuple[Step, ...]:
    steps: list[Step] = []
    for key, value in sorted(params.items()):
        path = parse_path(key)
        if key and path[0].removeprefix(":") != _MODEL:
            step = make(path, value)
            labels[step] = key
            steps.append(step)
    return tuple(steps)


def _set(path: tuple[str, ...], value: Json) -> Set:
    return Set(path, msgspec.json.encode(value))


def rewrite(
    edit: RequestEdits | None, target: Target, source: NameLocation, body: bytes, query: str
) -> EditedRequest:
    """Make of a request what its target has to get; multipart bodies stay as they are.

    `useModelName` and the filters touch JSON only; a new name goes wherever the old one was.
    """
    name = target.rewrite
    match source:
        case NameLocation.JSON:
            edited = edit_json(body, edit, requested=target.requested, rename=name)
            return EditedRequest(edited.body, query, edited.failed)
        case NameLocation.QUERY if name is not None:
            return EditedRequest(body, rename_query(query, name))
        case NameLocation.FORM if name is not None:
            return EditedRequest(rename_form(body, name), query)
        case _:
            return EditedRequest(body, query)


def edit_json(
    body: bytes, edit: RequestEdits | None, *, requested: str, rename: str | None = None
) -> EditedBody:
    """Edit a JSON request that `find_in_json` accepted.

    `rename` is what pin, selector or peer made of the name; `useModelName` has the last word.
    """
    if edit is None:
        return EditedBody(body) if rename is None else rename_json(body, rename)
    name = edit.model or rename
    steps = (*edit.steps, *edit.by_id.get(requested, ()))
    if name is not None and not steps:
        return rename_json(body, name)
    if name is not None:
        steps = (_rename(name), *steps)
    return _edit(body, steps, edit.labels) if steps else EditedBody(body)


def rename_json(body: bytes, name: str) -> EditedBody:
    """Put another name into a JSON request that `find_in_json` accepted."""
    after_key = only_model_key(body)
    try:
        start, end = (0, 0) if after_key is None else member_value(body, after_key)
    except UnreadableError:
        start = end = 0
    if not end:
        return _edit(body, (_rename(name),), {})
    encoded = msgspec.json.encode(name)
    if body[start:end] == encoded:
        return EditedBody(body)
    return EditedBody(b"".join((memoryview(body)[:start], encoded, memoryview(body)[end:])))


def _rename(name: str) -> Set:
    return Set((_MODEL,), msgspec.json.encode(name))


def _edit(body: bytes, steps: tuple[Step, ...], labels: Mapping[Step, str]) -> EditedBody:
    try:
        text, failed = apply(body, steps, raw_values)
    except (NotApplicableError, UnreadableError):
        return EditedBody(body, (WHOLE_BODY,))
    return EditedBody(text, tuple(labels.get(step, _MODEL) for step in failed))


def rename_query(query: str, name: str) -> str:
    """Put another model into a query; like llama-swap, with the keys in order afterwards."""
    pairs = [
        (key, value)
        for key, value in parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
        if key != _MODEL
    ]
    pairs.append((_MODEL, name))
    return urlencode(sorted(pairs, key=lambda pair: pair[0]), errors="surrogateescape")


def rename_form(body: bytes, name: str) -> bytes:
    """Put another model into an urlencoded body; every other byte stays."""
    pair = b"model=" + quote_plus(name).encode("ascii")
    renamed, count = _FORM_MODEL.subn(lambda found: found.group(1) + pair, body)
    return renamed if count else b"&".join(filter(None, (body, pair)))


def bare_request(
    target: PeerTarget, method: str, content_type: str | None, query: str, body: bytes
) -> EditedRequest:
    """Put the bare name, which the peer knows, where the qualified one is.

    A body that cannot be read passes as it is; a form is edited while it is sent.
    """
    text = body.removeprefix(BYTE_ORDER_MARK)
    try:
        found = find(method, content_type, query, text)
    except ReplyError:
        return EditedRequest(body, query)
    if found.model != target.requested:
        return EditedRequest(body, query)
    return rewrite(None, target, found.source, text, query)


def bare_form(target: Target, fields: dict[str, bytes]) -> FormEdits:
    """Return the edit of a form that names its model in full."""
    is_qualified = fields.get(_MODEL) == target.requested.encode()
    bare = target.rewrite if is_qualified else None
    return form_edits(None, requested=target.requested, rename=bare)


def form_edits(edit: RequestEdits | None, *, requested: str, rename: str | None) -> FormEdits:
    """Translate filters into edits of a form; `rename` is as for `edit_json`.

    A dotted path into an object is a field of that literal name, as servers that read forms spell
    nested parameters. A text goes in as it is, anything else as JSON.
    """
    edit = edit or RequestEdits()
    name = edit.model or rename
    values: dict[str, bytes] = {} if name is None else {_MODEL: name.encode()}
    remove: set[str] = set()
    for step in (*edit.steps, *edit.by_id.get(requested, ())):
        field_name = edit.labels.get(step, "").replace("\\.", ".")
        match step:
            case Set(_, raw):
                remove.discard(field_name)
                value: Any = msgspec.json.decode(raw)
                values[field_name] = value.encode() if isinstance(value, str) else raw
            case Delete(_):
                remove.add(field_name)
            case _ as never:
                assert_never(never)
    return FormEdits(values, frozenset(remove))
