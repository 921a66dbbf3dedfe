"""The table of endpoints: every path that modelswap answers, and everything that it knows about it.

Guarantees: no other module of modelswap names a path of the table. `docs/routes.md` and tests are
made from it. A row's path may end in `{name...}`, which takes the rest, slashes included.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Final

from modelswap.config.schema.schema import KeyScope
from modelswap.deferred import dataclass, regex
from modelswap.observe.captures import KEEP_ALL, CaptureMask
from modelswap.observe.usage.usage import UsageFormat

from .control import models
from .llama_router import handlers as llama_router
from .pages import static_files
from .protocols.stream_dialect import StreamDialect
from .routing.model_selector import names_in_query
from .routing.paths import forwarded_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .control.control_request import ControlRequest, Handler, Reply, StreamReply


class ModelLocation(Enum):
    """Where a request names its model."""

    NONE = ""
    """It names none: a coroutine answers a control route."""
    BODY = "body"
    """JSON, multipart or urlencoded, as the content type says."""
    QUERY = "query"
    PATH = "path"
    """`/upstream/<model>/…`"""
    COMFYUI = "`comfyui_auto`"
    """Always this one; only `/comfyui/` itself starts it."""


class Starts(Enum):
    """Whether a request loads a model that is not ready."""

    NEVER = "never"
    """Where it goes to a model, it takes no lease, and does not count as use for the `ttl`."""
    ALWAYS = "yes"
    UNLESS_POLLED = "yes, unless polled"
    """A client that polls does not load again what its `ttl` unloaded; a poll does not count as use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    method: str
    """`ANY` for all methods. A GET row answers HEAD too."""
    path: str
    scope: KeyScope | None
    """What a key must allow; None: no key is needed."""
    model: ModelLocation = ModelLocation.NONE
    starts: Starts = Starts.NEVER
    handler: Handler | None = None
    changes: bool = False
    """Changes what runs or what is set: refused when another site asks."""
    mixed: bool = False
    """Shows or changes what belongs to all models: not for keys that are limited to some."""
    recorded: bool = False
    """Leaves a row in the activity list."""
    traced_below: bool = False
    """A request below `/upstream/<model>` is in flight and recorded, too: llama-swap's own routes."""
    quiet: bool = False
    """A poll: not worth a line in the log; nor is what only begins with this path."""
    dialect: StreamDialect | None = None
    """Which events the clients expect in a stream; None: unknown, nothing is added to the stream."""
    shows_loading: bool = False
    """`sendLoadingState` has an effect: clients show reasoning text while the model loads."""
    captured: CaptureMask = KEEP_ALL
    """Which bodies captures keep: never sound, images or uploads."""
    usage: UsageFormat = UsageFormat.OBJECT
    """Where a whole response holds its token figures."""

    @property
    def upstream_path(self) -> str:
        """The path that the model server sees."""
        return forwarded_path(self.path.partition("}")[2] or self.path)


def _rows(row: Route, paths: str, handler: Handler | None = None) -> Iterator[Route]:
    for path in paths.split():
        yield replace(row, path=path, handler=handler)


def _deferred(module: str, name: str) -> Handler:
    """Return a coroutine of a module of `control/` that is imported when it is used: 2 ms of the start."""

    async def handler(request: ControlRequest) -> Reply | StreamReply:
        found: Handler = getattr(import_module(f"{__package__}.control.{module}"), name)
        return await found(request)

    handler.__name__ = name
    return handler


_observing = partial(_deferred, "observability")
_explaining = partial(_deferred, "explaining")

UPSTREAM: Final = "/upstream/"
"""Below it are the model servers, each under its model's name."""
UI: Final = "/ui/"
"""Below it is the web page."""

_INFERENCE: Final = Route(method="GET", path="", scope=KeyScope.INFERENCE)
_BODY: Final = replace(
    _INFERENCE, method="POST", model=ModelLocation.BODY, starts=Starts.ALWAYS, recorded=True
)
"""llama-server and vLLM have such routes; llama-swap has them below `/upstream` only."""
_OWN: Final = replace(_BODY, traced_below=True)
"""llama-swap has these itself."""
_QUERY: Final = replace(_BODY, method="GET", model=ModelLocation.QUERY, recorded=False)
_ANY: Final = replace(_BODY, method="ANY", model=ModelLocation.PATH, recorded=False)
_PROBE: Final = replace(_ANY, method="GET", scope=KeyScope.ADMIN, starts=Starts.NEVER)

_OPEN: Final = Route(method="GET", path="", scope=None)
_READ: Final = replace(_OPEN, scope=KeyScope.READ)
_READ_ALL: Final = replace(_READ, mixed=True)
_CHANGE: Final = Route(method="POST", path="", scope=KeyScope.ADMIN, changes=True)
_CHANGE_ALL: Final = replace(_CHANGE, mixed=True)

_NO_RESPONSE_BODY: Final = CaptureMask(response_body=False)
_NO_REQUEST_BODY: Final = CaptureMask(request_body=False)
_NO_BODIES: Final = CaptureMask(request_body=False, response_body=False)

ROUTES: Final[tuple[Route, ...]] = (
    *_rows(replace(_OWN, dialect=StreamDialect.CHAT, shows_loading=True), "/v1/chat/completions"),
    *_rows(replace(_OWN, dialect=StreamDialect.CHAT), "/v/chat/completions"),
    *_rows(replace(_BODY, dialect=StreamDialect.CHAT), "/chat/completions"),
    *_rows(replace(_OWN, dialect=StreamDialect.TEXT), "/v1/completions"),
    *_rows(replace(_OWN, dialect=StreamDialect.RESPONSES), "/v1/responses /v/responses"),
    *_rows(replace(_BODY, dialect=StreamDialect.RESPONSES), "/responses"),
    *_rows(replace(_OWN, dialect=StreamDialect.MESSAGES), "/v1/messages /v/messages"),
    *_rows(replace(_OWN, dialect=StreamDialect.NATIVE), "/v/completions /completion"),
    *_rows(replace(_BODY, dialect=StreamDialect.NATIVE), "/completions"),
    *_rows(replace(_OWN, dialect=StreamDialect.NATIVE, usage=UsageFormat.LAST_OF_LIST), "/infill"),
    *_rows(
        _OWN,
        "/v1/messages/count_tokens /v/messages/count_tokens /v1/embeddings /v/embeddings"
        " /rerank /reranking /v1/rerank /v1/reranking /v/rerank /v/reranking"
        " /audioapi/v1/tasks/run",
    ),
    *_rows(
        replace(_OWN, captured=_NO_RESPONSE_BODY),
        "/v1/audio/speech /v1/images/generations /sdapi/v1/txt2img",
    ),
    *_rows(replace(_OWN, captured=_NO_REQUEST_BODY), "/v1/audio/voices /v1/audio/transcriptions"),
    *_rows(
        replace(_BODY, captured=_NO_REQUEST_BODY), "/v1/audio/translations /audio/transcriptions"
    ),
    *_rows(replace(_OWN, captured=_NO_BODIES), "/v1/images/edits /sdapi/v1/img2img"),
    *_rows(replace(_BODY, captured=_NO_BODIES), "/v1/images/variations"),
    *_rows(
        _BODY,
        "/tokenize /detokenize /apply-template /embedding /embeddings"
        " /v1/chat/completions/input_tokens /chat/completions/input_tokens"
        " /v1/chat/completions/control /responses/input_tokens /v1/responses/{rest...} /v1/score /score /v1/pooling"
        " /pooling /v1/classify /classify /v1/moderations /v1/videos /v1/videos/{rest...}",
    ),
    # these change the model server for every client
    *_rows(replace(_BODY, scope=KeyScope.ADMIN), "/lora-adapters /props /slots/{rest...}"),
    *_rows(replace(_QUERY, traced_below=True, captured=_NO_REQUEST_BODY), "/v1/audio/voices"),
    *_rows(replace(_QUERY, traced_below=True), "/sdapi/v1/loras /props"),
    *_rows(_QUERY, "/v1/realtime /v1/responses/{rest...} /v1/videos/{rest...}"),
    *_rows(replace(_QUERY, starts=Starts.NEVER), "/lora-adapters"),
    # shows the requests of others
    *_rows(replace(_QUERY, starts=Starts.NEVER, scope=KeyScope.READ), "/slots"),
    *_rows(replace(_QUERY, method="DELETE"), "/v1/responses/{rest...} /v1/videos/{rest...}"),
    *_rows(replace(_ANY, scope=KeyScope.ADMIN), "/upstream/{path...}"),
    *_rows(replace(_ANY, model=ModelLocation.COMFYUI), "/comfyui /comfyui/{path...}"),
    *_rows(_INFERENCE, "/v1/models /v1/models/", models.list_models),
    *_rows(_INFERENCE, "/models /models/", llama_router.list_models),
    *_rows(_INFERENCE, "/models/sse", llama_router.events),
    *_rows(replace(_CHANGE, starts=Starts.ALWAYS), "/models/load", llama_router.load),
    *_rows(_CHANGE, "/models/unload", llama_router.unload),
    *_rows(_CHANGE_ALL, "/models", llama_router.pull),
    *_rows(replace(_CHANGE, method="DELETE"), "/models", llama_router.remove),
    *_rows(_INFERENCE, "/v1/models/{id...}", models.one_model),
    *_rows(_READ, "/running", models.running),
    *_rows(replace(_CHANGE_ALL, method="GET"), "/unload", models.unload_get),
    *_rows(_CHANGE_ALL, "/unload", models.unload_get),
    *_rows(_READ_ALL, "/api/models/found", models.found_models),
    *_rows(_CHANGE_ALL, "/api/models/unload", models.unload_all),
    *_rows(_CHANGE, "/api/models/unload/{model...}", models.unload_one),
    *_rows(replace(_CHANGE, starts=Starts.ALWAYS), "/api/models/load/{model...}", models.load_one),
    *_rows(_READ_ALL, "/logs /log", static_files.redirect_browsers(UI, _observing("logs"))),
    *_rows(_READ_ALL, "/logs/stream", _observing("log_stream")),
    *_rows(_READ, "/logs/stream/{id...}", _observing("log_stream")),
    *_rows(_READ_ALL, "/api/events", _observing("events")),
    *_rows(_READ_ALL, "/api/metrics/activity", _observing("activity")),
    *_rows(_READ_ALL, "/api/metrics/stats", _observing("stats")),
    *_rows(_READ_ALL, "/api/metrics/export", _observing("export")),
    *_rows(replace(_READ_ALL, scope=KeyScope.ADMIN), "/api/captures/{id}", _observing("capture")),
    *_rows(_READ_ALL, "/api/inflight", _observing("inflight")),
    *_rows(_CHANGE_ALL, "/api/inflight/{id}/cancel", _observing("cancel")),
    *_rows(replace(_READ, quiet=True), "/api/performance", _observing("performance")),
    *_rows(_READ, "/api/hardware", _observing("hardware")),
    *_rows(_READ_ALL, "/api/plan", _explaining("plan")),
    *_rows(_READ_ALL, "/api/decisions", _explaining("decisions")),
    *_rows(_READ, "/api/version", models.version),
    *_rows(_READ, "/api/session", models.session),
    *_rows(_READ_ALL, "/api/profiles", models.profiles),
    *_rows(replace(_CHANGE_ALL, method="PUT"), "/api/profiles/active", models.set_profile),
    *_rows(_READ_ALL, "/api/config/status", models.config_status),
    *_rows(_CHANGE_ALL, "/api/config/reload", models.reload),
    *_rows(replace(_READ_ALL, quiet=True), "/metrics", _observing("metrics")),
    *_rows(_OPEN, "/health", models.health),
    *_rows(_OPEN, "/v1/health", llama_router.health),
    *_rows(replace(_OPEN, quiet=True), "/wol-health", models.health),
    *_rows(_OPEN, "/ready", models.ready),
    *_rows(_OPEN, "/", static_files.redirect("/ui", 302)),
    *_rows(_OPEN, "/ui", static_files.redirect(UI, 307)),
    *_rows(_READ, "/ui/{name...}", static_files.ui_file),
    *_rows(_OPEN, "/upstream", static_files.redirect(UI + "models", 302)),
    *_rows(replace(_OPEN, method="ANY"), "/upstream", static_files.redirect(UPSTREAM, 307)),
    *_rows(_OPEN, "/favicon.ico", static_files.favicon),
)
NAMED: Final = (replace(_QUERY, path="/metrics", starts=Starts.NEVER, scope=KeyScope.READ),)
"""What a GET of a control route is when its query names a model: it goes to that model's server."""
UNNAMED: Final = (replace(_INFERENCE, path="/props", handler=llama_router.props),)
"""What a GET of a model's route is when its query names none: this server answers for itself."""
PROBES: Final[tuple[Route, ...]] = (
    *_rows(
        replace(_PROBE, starts=Starts.UNLESS_POLLED),
        "/upstream/{model...}/health /upstream/{model...}/v1/health",
    ),
    *_rows(_PROBE, "/upstream/{model...}/metrics /upstream/{model...}/slots"),
)
"""What is different below `/upstream/<model>`: requests that ask for the state of a model server."""

OTHER: Final = _ANY
"""A path of a model server that the table does not name."""
_BY_UPSTREAM_PATH: Final = {
    route.upstream_path: route
    for route in reversed(ROUTES)
    if route.model is not ModelLocation.NONE
}
_NAMED: Final = {route.path: route for route in NAMED}
_UNNAMED: Final = {route.path: route for route in UNNAMED}
_PROBES: Final = {route.upstream_path: route for route in PROBES}
QUIET_PATHS: Final = tuple(route.path for route in ROUTES if route.quiet)


def endpoint_of(path: str) -> Route:
    """Return the row of a path as a model server sees it: for the columns from `dialect` on.

    A path that only matches a pattern gets `OTHER`: it has the same defaults in these columns.
    """
    return _BY_UPSTREAM_PATH.get(path, OTHER)


def starts_below(method: str, path: str) -> Starts:
    """Say whether a request below `/upstream/<model>` starts the model; *path* as its server sees it."""
    route = _PROBES.get(path)
    return route.starts if route is not None and method in {"GET", "HEAD"} else Starts.ALWAYS


_MESSAGE_ROUTES: Final = [r for r in ROUTES if r.dialect is StreamDialect.MESSAGES]
_SENT: Final = "|".join(re.escape(route.path) for route in _MESSAGE_ROUTES)
_SEEN: Final = "|".join(re.escape(route.upstream_path) for route in _MESSAGE_ROUTES)
_MESSAGES: Final = regex(rf"(?:{_SENT}|^(?:{re.escape(UPSTREAM)}[^/]+)?(?:{_SEEN}))(?:/|$)")
"""Matches the messages paths: as clients send them anywhere, as servers see them at the beginning."""


def speaks_anthropic(path: str) -> bool:
    """Say whether the clients of a path expect Anthropic's errors: of `/v1/messages`, and below it.

    The path is as they send it: also under `/upstream/<model>` and any other prefix.
    """
    return _MESSAGES.search(path) is not None


def by_query(route: Route, query: str) -> Route:
    """Return the row of a request whose query decides whether it is about a model or this server."""
    if route.method != "GET" or (route.path not in _NAMED and route.path not in _UNNAMED):
        return route
    other = _NAMED if any(names_in_query(query)) else _UNNAMED
    return other.get(route.path, route)


Methods = dict[str, Route]


class Table:
    """Finds the row of a request: one dictionary lookup for a path without a pattern."""

    def __init__(self, routes: tuple[Route, ...] = ROUTES) -> None:
        self._exact: dict[str, Methods] = {}
        self._patterns: list[tuple[str, str, str, Methods]] = []
        for route in routes:
            self._methods(route.path)[route.method] = route
            if route.method == "GET":
                self._methods(route.path).setdefault("HEAD", route)
        self._patterns.sort(key=lambda pattern: -len(pattern[0]))

    def _methods(self, path: str) -> Methods:
        if "{" not in path:
            return self._exact.setdefault(path, {})
        prefix, _, rest = path.partition("{")
        name, _, suffix = rest.partition("}")
        for known in self._patterns:
            if known[:3] == (prefix, name, suffix):
                return known[3]
        self._patterns.append((prefix, name, suffix, {}))
        return self._patterns[-1][3]

    def find(self, path: str) -> tuple[Methods, dict[str, str]] | None:
        """Return what the path offers and what its pattern matched, still percent-encoded."""
        methods = self._exact.get(path)
        if methods is not None:
            return methods, {}
        for prefix, name, suffix, found in self._patterns:
            if not path.startswith(prefix) or not path.endswith(suffix):
                continue
            value = path[len(prefix) : len(path) - len(suffix)]
            if name.endswith("..."):
                return found, {name.removesuffix("..."): value}
            if value and "/" not in value:
                return found, {name: value}
        return None


def choose(methods: Methods, method: str) -> Route | None:
    return methods.get(method) or methods.get("ANY")


def allowed(methods: Methods) -> str:
    """Return the `Allow` header of a 405."""
    return ", ".join(sorted(methods))
