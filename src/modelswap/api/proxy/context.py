"""What the front door found out about a request's head: who asks, and for what.

Law: everything here follows from the head, the client's address and one book,
so equal requests share one passport, and what is derived from it (the head for
the upstream, the ends of the line in the log) is made once. It refuses to know
bodies, and whatever differs between two equal requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.api.auth.client_identity import NO_SWAP
from modelswap.api.auth.credentials import without_any, without_keys
from modelswap.api.pages.model_pages import guard_of
from modelswap.api.pages.model_redirects import redirect_rule
from modelswap.api.routes import UPSTREAM, endpoint_of
from modelswap.api.routing.model_selector import NameLocation, source_of
from modelswap.bounded_cache import BoundedCache
from modelswap.core.naming.names import PeerTarget
from modelswap.http import UpstreamRequest, forward_headers
from modelswap.observe.captures import weight
from modelswap.observe.logs.logs import printable
from modelswap.observe.usage.decoding import readable

from .bodies import readable_codings

if TYPE_CHECKING:
    from modelswap.api.auth.auth import Held, Identity
    from modelswap.api.snapshot import ConfigSnapshot
    from modelswap.core.naming.names import LocalTarget, Target
    from modelswap.core.spec import ClientId
    from modelswap.http import Field, Request, UpstreamPool

_CODINGS: Final = frozenset({b"accept-encoding"})
_CONTENT_CODING: Final = frozenset({b"content-encoding"})
_OURS: Final = frozenset({NO_SWAP})
"""Said to this program; a peer is told what it amounts to."""
_MOST_OUTBOUNDS: Final = 8
_MOST_NAMES: Final = 64


class RequestContext:
    __slots__ = (
        "address",
        "after",
        "background",
        "before",
        "client",
        "codings",
        "direct",
        "endpoint",
        "held",
        "identity",
        "is_form",
        "is_plain",
        "is_recorded",
        "is_tracked",
        "kind",
        "no_swap",
        "path",
        "request",
        "shown_path",
        "snapshot",
        "source",
        "usual",
        "weight",
    )

    def __init__(
        self,
        snapshot: ConfigSnapshot,
        request: Request,
        identity: Identity,
        *,
        address: str,
        client: ClientId,
        background: bool,
        no_swap: bool,
        path: str,
        is_recorded: bool,
        is_tracked: bool,
    ) -> None:
        """`path` is what the upstream gets. *Recorded*: in the activity list; *tracked*: in flight."""
        self.snapshot = snapshot
        self.request = request
        self.identity = identity
        self.held: Held = ()
        """The right keys, to be judged again with each equal request where they have an end or a rate."""
        self.address = address
        """The client's, behind the proxies that are trusted."""
        self.client = client
        self.background = background
        self.no_swap = no_swap
        self.path = path
        self.endpoint = endpoint_of(path)
        """What the table of routes says about `path`."""
        self.shown_path = path if request.path.startswith(UPSTREAM) else request.path
        self.is_recorded = is_recorded
        self.is_tracked = is_tracked
        kind = request.header(b"content-type")
        self.kind = None if kind is None else kind.decode("latin-1")
        self.source = source_of(request.method, self.kind)
        """Where to look for the model."""
        self.is_form = (
            request.has_body
            and self.kind is not None
            and "multipart/form-data" in self.kind.lower()
        )
        self.codings: tuple[bytes, ...] = ()
        """What is taken off the body on its way."""
        self.is_plain = self.source is NameLocation.JSON or not request.has_body
        """The body, if there is one, is JSON as it stands."""
        self.before, self.after = line_ends(request, address)
        self.weight = weight(request.headers)
        self.direct: BoundedCache[str, LocalTarget] = BoundedCache(_MOST_NAMES)
        """Names that lead to a model whatever else happens: without a profile, nothing to check or edit."""
        self.usual: BoundedCache[UpstreamPool, UpstreamRequest] = BoundedCache(_MOST_OUTBOUNDS)
        """What `outbound` made for this very query and a client whose answer has not begun."""

    def take_off_codings(self) -> None:
        """Have the body decoded on its way, if it is coded.

        Raises:
            UnsupportedCodingError: in a way that cannot be taken off.
        """
        values = self.request.header_values(b"content-encoding")
        if values and self.request.has_body:
            self.codings = readable_codings(values)
            self.is_plain = False

    @property
    def is_coded(self) -> bool:
        """Whether the body is sent in a coding, so that nothing can be read in it as it stands."""
        coding = self.request.header(b"content-encoding")
        return coding is not None and coding.strip().lower() not in {b"", b"identity"}

    def remember(self, name: str, target: LocalTarget) -> None:
        """Let `name` be `direct` from now on, unless each request's names are checked."""
        if not self.identity.models:
            self.direct[name] = target

    def outbound(
        self, upstream: UpstreamPool, query: str, target: Target, *, begun: bool
    ) -> UpstreamRequest:
        """The request as a model's server or a peer gets it.

        `begun`: the client has its headers already.
        """
        is_usual = not begun and query == self.request.query
        known = self.usual.get(upstream) if is_usual else None
        if known is None:
            known = self._make_outbound(upstream, query, target, begun=begun)
            if is_usual:
                self.usual[upstream] = known
        return known

    def _make_outbound(
        self, upstream: UpstreamPool, query: str, target: Target, *, begun: bool
    ) -> UpstreamRequest:
        request = self.request
        is_peer = isinstance(target, PeerTarget)
        codings = request.header_values(b"accept-encoding") if self.is_recorded else []
        drop = (
            _OURS | _CODINGS if begun or codings else _OURS
        )  # headers that are out promise no coding
        if self.codings:
            drop |= _CONTENT_CODING
        headers = forward_headers(
            request,
            drop=drop,
            trust_forwarded=True,  # appended to, as every proxy does; the last entry is ours
            forwarded=not is_peer,
            host=upstream.address.authority.encode("ascii") if is_peer else None,
        )
        if codings and not begun:  # figures and captures need an answer that can be read
            headers.append((b"Accept-Encoding", readable(codings)))
        if is_peer and self.no_swap:
            headers.append((b"X-Modelswap-No-Swap", b"true"))
        return UpstreamRequest(
            request.method,
            upstream.address.join(self.path, query),
            self._with_credentials(headers, target),
            request.header(b"upgrade") if request.upgrade else None,
            self.snapshot.origins.cors(request.header(b"origin")),
            guard=guard_of(self.snapshot, request, target),
            leads=redirect_rule(self.snapshot, request, target, self.path),
        )

    def _with_credentials(self, headers: list[Field], target: Target) -> list[Field]:
        """Send the target's own key instead of the client's; without one, what is not a key of ours."""
        snapshot = self.snapshot
        own = snapshot.credentials_of(target)
        if own:
            return [*without_any(headers), *own]
        if snapshot.access.is_open or snapshot.keeps_credentials(target):
            return headers
        return without_keys(headers, snapshot.access.is_ours)


def accept_of(request: Request) -> str | None:
    """Return which form of an answer the client prefers, as it says so."""
    accept = request.header(b"accept")
    return None if accept is None else accept.decode("latin-1")


def line_ends(request: Request, address: str) -> tuple[str, str]:
    """What stands before and behind status and size in a request's line in the log."""
    agent = request.header(b"user-agent") or b""
    return (
        printable(f'Request {address} "{request.method} {request.path} HTTP/{request.version}" '),
        printable(f' "{agent.decode("latin-1")}" '),
    )
