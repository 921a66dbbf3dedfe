"""Renames the model in requests below `/upstream/<peer>/<model>/…`: the peer knows its bare name.

Guarantees: only a `model` that equals the qualified name is changed, and nothing else. A body that
cannot be read (a coded one: without a content type) passes as it is.
Does not: rename in requests that name their model in the body; `filters` does, for every target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.errors import ReplyError

from .filters import EditedRequest, rewrite
from .form_filters import form_edits
from .model_selector import BYTE_ORDER_MARK, find

if TYPE_CHECKING:
    from modelswap.core.naming.names import PeerTarget, Target

    from .form_filters import FormEdits


def bare_request(
    target: PeerTarget, method: str, content_type: str | None, query: str, body: bytes
) -> EditedRequest:
    """Return body and query with the bare name; a form is edited while it is sent (`bare_form`)."""
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
    is_qualified = fields.get("model") == target.requested.encode()
    bare = target.rewrite if is_qualified else None
    return form_edits(None, requested=target.requested, rename=bare)
