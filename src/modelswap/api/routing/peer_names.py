"""Requests below `/upstream/<peer>/<model>/…`: the peer knows its model by the bare name.

Law: only a `model` that equals the qualified name is changed, and nothing else.
A body that cannot be read (a coded one: without a content type) passes as it is,
except a malformed form, which is refused as the other routes refuse it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.api.proxy.bodies import MARK
from modelswap.errors import BadRequestError, ReplyError
from modelswap.http import FormEdit, FormScan

from .filters import Rewritten, rewrite
from .model_selector import NameLocation, find, source_of

if TYPE_CHECKING:
    from modelswap.core.naming.names import PeerTarget


def made_bare(
    target: PeerTarget, method: str, content_type: bytes | None, query: str, body: bytes
) -> Rewritten:
    """Put the bare name where the qualified one is.

    Raises:
        BadRequestError: a malformed form.
    """
    kind = None if content_type is None else content_type.decode("latin-1")
    if target.rewrite is None:
        return Rewritten(body, query)
    if content_type is not None and body and source_of(method, kind) is NameLocation.MULTIPART:
        return Rewritten(_form(target.rewrite, target.requested, content_type, body), query)
    text = body.removeprefix(MARK)
    try:
        ask = find(method, kind, query, text)
    except ReplyError:
        return Rewritten(body, query)
    if ask.model != target.requested:
        return Rewritten(body, query)
    return rewrite(None, target, ask.source, text, query)


def _form(name: str, qualified: str, content_type: bytes, body: bytes) -> bytes:
    try:
        scan = FormScan(content_type)
        scan.feed(body)
        scan.finish()
        if scan.fields.get("model") != qualified.encode():
            return body
        edit = FormEdit(content_type, values={"model": name.encode()}, remove=frozenset())
        made = edit.feed(body)
        edit.finish()
    except ValueError as error:
        raise BadRequestError(f"could not parse multipart form: {error}") from error
    return made
