"""The result of resolving a request: its model, its edits, or why it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from modelswap.core.naming.names import Target
    from modelswap.errors import ReplyError

    from .filters import FormEdits


class ResolvedRequest(msgspec.Struct, eq=False):
    """What a request means. Equal requests share one, so it does not change after `resolve`."""

    name: str = ""
    """The model as the client wrote it; empty when the request names none."""
    model: str = ""
    """The model's id; for a model that is not of this server, the name."""
    target: Target | None = None
    """`None` with a refusal, when nothing here has the name."""
    stream: bool = False
    """The client wants an event stream."""
    body: bytes | None = None
    """The body for the upstream; `None`: as it came."""
    query: str | None = None
    """The query for the upstream; `None`: as it came."""
    form: FormEdits | None = None
    """Edits of a form, which are made while it is sent."""
    failed_edits: tuple[str, ...] = ()
    """Filters that could not be applied."""
    selection: tuple[str, str] | None = None
    """The selector and the target that it counts; give it back with `Selectors.release`."""
    refusal: ReplyError | None = None
    """Why the request ends here."""


UNRESOLVED: Final = ResolvedRequest()
