"""The facts of a request's head: who asks, for what, and how its body is to be read.

Guarantees: everything follows from the head, the client's address and one configuration snapshot,
so that equal requests share one context. Only its caches change after the construction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from modelswap.api.auth.client_identity import (
    AUTOLOAD,
    NO_SWAP,
    TTL,
    address_of,
    allows_no_swap,
    is_background,
    may_load,
)
from modelswap.api.auth.credentials import without_any, without_keys
from modelswap.api.pages.model_pages import sandbox_fields
from modelswap.api.pages.model_redirects import redirect_rule
from modelswap.api.responder import line_ends
from modelswap.api.routes import UPSTREAM, endpoint_of
from modelswap.api.routing.model_selector import NameLocation, source_of
from modelswap.bounded_cache import BoundedCache
from modelswap.core.naming.names import LocalTarget, PeerTarget
from modelswap.http import UpstreamPool, UpstreamRequest, forward_headers
from modelswap.observe.captures import weight
from modelswap.observe.usage.decoding import readable

if TYPE_CHECKING:
    from modelswap.api.auth.client_identity import ClientIdentities
    from modelswap.api.auth.identity import Identity
    from modelswap.api.auth.keys import ValidKeys
    from modelswap.api.routing.filters import FormEdits
    from modelswap.api.snapshot import ConfigSnapshot
    from modelswap.core.naming.names import Target
    from modelswap.errors import ReplyError
    from modelswap.http import Field, Request
    from modelswap.units import Seconds


_CODINGS: Final = frozenset({b"accept-encoding"})
_CONTENT_CODING: Final = frozenset({b"content-encoding"})
_OURS: Final = frozenset({NO_SWAP, TTL})
"""Meant for this program; a peer gets headers of its own instead."""
_MOST_UPSTREAMS: Final = 8
"""Upstreams whose request is kept; a head has one for each model that it is used with."""
_MOST_NAMES: Final = 64
"""Names that are kept, so that a client with endless names does not fill the memory."""


class ResolvedRequest(msgspec.Struct, eq=False):
    """What a request means. Equal requests share one, so it does not change after `resolve`."""

    name: str = ""
    """The model as the client wrote it; empty when the request names none."""
    model: str = ""
    """The model's id; for a model that is not of this server, the name."""
    target: Target | None = None
    """`None` with a refusal, when nothing here has the name."""
    stream: bool = False
    body: bytes | None = None
    """The body for the upstream; `None`: as it came."""
    query: str | None = None
    """The query for the upstream; `None`: as it came."""
    form: FormEdits | None = None
    """Edits of a form, which are made while it is sent."""
    failed_edits: tuple[str, ...] = ()
    selection: tuple[str, str] | None = None
    """The selector and the target that it counts; give it back with `Selectors.decrement`."""
    refusal: ReplyError | None = None
    ttl: Seconds | None = None
    """For how long it asks to keep the model loaded; `None`: it does not say, or has no say in it."""
    may_set_ttl: bool = False
    """What the body says of that counts."""
    straight: LocalTarget | None = None
    """The target, when it is a model of this server, and nothing is to be edited, counted or refused."""


UNRESOLVED: Final = ResolvedRequest()


class RequestContext:
    """The facts of all requests with an equal head."""

    def __init__(
        self,
        snapshot: ConfigSnapshot,
        request: Request,
        identity: Identity,
        clients: ClientIdentities,
        *,
        path: str,
        is_recorded: bool = False,
        is_tracked: bool = False,
        valid_keys: ValidKeys = (),
        codings: tuple[bytes, ...] = (),
        named: tuple[str, Target] | None = None,
        unleased: str = "",
    ) -> None:
        """`path` is what the upstream gets. *Recorded*: in the activity list; *tracked*: in flight."""
        self.snapshot: Final = snapshot
        self.request: Final = request
        self.identity: Final = identity
        self.valid_keys: Final = valid_keys
        """The valid keys that expire or have a rate: each equal request is judged by them again."""
        self.address: Final = address_of(request, snapshot.proxies)
        settings = snapshot.plan.settings
        self.client: Final = clients.client_of(request, identity, settings, snapshot.proxies)
        self.background: Final = is_background(request, identity, settings)
        self.no_swap: Final = allows_no_swap(request, identity)
        self.path: Final = path
        self.endpoint: Final = endpoint_of(path)
        self.shown_path: Final = path if request.path.startswith(UPSTREAM) else request.path
        self.is_recorded: Final = is_recorded
        self.is_tracked: Final = is_tracked
        self.named: Final = named
        """The name and the target that the path says."""
        self.unleased: Final = unleased
        """What a request is called that uses a ready model without a lease, and loads none."""
        kind = request.header(b"content-type")
        self.kind: Final = None if kind is None else kind.decode("latin-1")
        if named is not None:
            source = NameLocation.PATH
        else:
            source = NameLocation.QUERY if unleased else source_of(request.method, self.kind)
        self.source: Final = source
        self.is_form: Final = request.has_body and (
            "multipart/form-data" in (self.kind or "").lower()
        )
        self.codings: Final = codings
        self.is_plain: Final = not codings and (
            self.source is NameLocation.JSON or not request.has_body
        )
        """The body, if there is one, is JSON as it stands."""
        self.before, self.after = line_ends(request, self.address)
        self.weight: Final = weight(request.headers)
        self.known: Final[dict[str, ResolvedRequest]] = BoundedCache(_MOST_NAMES)
        """What names lead to whatever else happens: without a profile, nothing to check or edit."""
        self.known_streams: Final[dict[str, ResolvedRequest]] = BoundedCache(_MOST_NAMES)
        """The same for requests of an event stream."""
        self.upstream_requests: Final[dict[UpstreamPool, UpstreamRequest]] = BoundedCache(
            _MOST_UPSTREAMS
        )
        """What `upstream_request` made for this query and a client whose response has not begun."""

    @property
    def is_coded(self) -> bool:
        """Whether the body is sent in a coding, so that nothing can be read in it as it stands."""
        coding = self.request.header(b"content-encoding")
        return coding is not None and coding.strip().lower() not in {b"", b"identity"}

    @property
    def autoload(self) -> bool:
        """Whether the request loads its model where that is not loaded."""
        return may_load(self.request, default=self.snapshot.autoload)

    @property
    def ttl(self) -> bytes:
        """What its header says of how long the model stays loaded; empty: nothing."""
        return self.request.header(TTL) or b""

    @property
    def speaks_router(self) -> bool:
        """Whether its client expects the errors of llama.cpp's router."""
        return AUTOLOAD in self.request.query

    def remember(self, resolved: ResolvedRequest) -> None:
        """Keep the result for equal requests, unless each request's names are checked."""
        if not self.identity.models:
            cache = self.known_streams if resolved.stream else self.known
            cache[resolved.name] = resolved
            if isinstance(resolved.target, LocalTarget) and not self.unleased:
                resolved.straight = resolved.target

    def upstream_request(
        self, pool: UpstreamPool, query: str, target: Target, *, started: bool
    ) -> UpstreamRequest:
        """Return the request as the upstream gets it; `started`: the client has its headers."""
        request = self.request
        is_peer = isinstance(target, PeerTarget)
        codings = request.header_values(b"accept-encoding") if self.is_recorded else []
        # Headers that are out promise no coding.
        drop = _OURS | _CODINGS if started or codings else _OURS
        if self.codings:
            drop |= _CONTENT_CODING
        headers = forward_headers(
            request,
            drop=drop,
            trust_forwarded=True,  # appended to, as every proxy does; the last entry is ours
            forwarded=not is_peer,
            host=pool.address.authority.encode("ascii") if is_peer else None,
        )
        if codings and not started:  # figures and captures need a response that can be read
            headers.append((b"Accept-Encoding", readable(codings)))
        if is_peer and self.no_swap:
            headers.append((b"X-Modelswap-No-Swap", b"true"))
        if is_peer and self.ttl:
            headers.append((b"X-Modelswap-TTL", self.ttl))
        made = UpstreamRequest(
            request.method,
            pool.address.join(self.path, query),
            self._with_credentials(headers, target),
            request.header(b"upgrade") if request.upgrade else None,
            self.snapshot.site_rules.cors(request.header(b"origin")),
            page_guard=sandbox_fields(self.snapshot, request, target),
            may_redirect=redirect_rule(self.snapshot, request, target, self.path),
        )
        if not started and query == request.query:
            self.upstream_requests[pool] = made
        return made

    def _with_credentials(self, headers: list[Field], target: Target) -> list[Field]:
        """Send the target's own key instead of the client's; without one, what is not a key of ours."""
        snapshot = self.snapshot
        own = snapshot.credentials_of(target)
        if own:
            return [*without_any(headers), *own]
        if snapshot.authenticator.is_open or snapshot.keeps_credentials(target):
            return headers
        return without_keys(headers, snapshot.authenticator.is_ours)
