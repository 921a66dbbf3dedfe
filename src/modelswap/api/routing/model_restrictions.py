"""Rejects requests with a limited key that name another model beside the selected one.

`model_selector` decides which name counts, but a peer may read another place. With a key that is
limited to some models, every place that can be read has to name a granted model, and none may be
unreadable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.api.routing.model_selector import (
    BYTE_ORDER_MARK,
    NamedModel,
    NameLocation,
    find,
    names_in_query,
)
from modelswap.errors import ForbiddenError, ReplyError

if TYPE_CHECKING:
    from modelswap.api.auth.identity import Identity
    from modelswap.core.naming.names import Names

_UNREADABLE = "this key is limited to some models: name the model in the body"


def check_other_names(
    identity: Identity,
    names: Names,
    ask: NamedModel,
    *,
    query: str,
    field: str = "",
    body: bytes = b"",
) -> None:
    """Check the other names in a request; `field` is a form's model, `body` a body that is no form."""
    if not identity.models:
        return
    if ask.source is NameLocation.QUERY and body:
        raise ForbiddenError(_UNREADABLE)
    for name in (*names_in_query(query), field):
        target = names.lookup(name)
        known = () if target is None else (target.model,)
        if name and not identity.may_use(name, *known):
            raise ForbiddenError(f"this key may not use the model {name!r}")


def check_names_below(
    identity: Identity, names: Names, *, method: str, kind: str | None, query: str, body: bytes
) -> None:
    """Do the same for a request to a peer by its path, which may name a model again within."""
    if not identity.models:
        return
    ask = NamedModel("", stream=False, source=NameLocation.JSON)
    if body:
        try:
            ask = find(method, kind, query, body.removeprefix(BYTE_ORDER_MARK))
        except ReplyError:
            raise ForbiddenError(_UNREADABLE) from None
    check_other_names(identity, names, ask, query=query, field=ask.model, body=body)
