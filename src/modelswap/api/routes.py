"""The table of routes: every path that answers, and what it needs.

One row says method, path, where the model is, which scope it needs, and who
handles it. A row's path may end in `{name...}`, which takes the rest, slashes
included. The table is data: `docs/routes.md` and the tests are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from .control import models, observability
from .pages import static_files

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from .control.control_request import ControlRequest, Reply, StreamReply

    Handler = Callable[[ControlRequest], Awaitable[Reply | StreamReply]]


class Scope(Enum):
    """What a key must be allowed to do. `OPEN` needs no key."""

    OPEN = None
    INFERENCE = "inference"
    READ = "read"
    ADMIN = "admin"


class ModelLocation(Enum):
    """Where a route finds its model, or what else it does."""

    NONE = "a control route: a coroutine answers"
    BODY = "in the body: JSON, multipart or urlencoded, as its content type says"
    QUERY = "in the query"
    POLL = "in the query; never starts the model"
    PATH = "in the path: `/upstream/<model>/…`"
    COMFYUI = "always `comfyui_auto`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    method: str
    """`ANY` for all methods. A GET row answers HEAD too."""
    path: str
    scope: Scope
    model: ModelLocation = ModelLocation.NONE
    handler: Handler | None = None
    changes: bool = False
    """Changes what runs or what is set: refused when another site asks."""
    recorded: bool = False
    """Leaves a row in the activity list."""
    traced_below: bool = False
    """A request below `/upstream/<model>` is in flight and recorded, too: llama-swap's own routes."""
    mixed: bool = False
    """Shows or changes what belongs to all models: not for keys that are limited to some."""


def _models(
    paths: str,
    model: ModelLocation,
    method: str = "POST",
    scope: Scope = Scope.INFERENCE,
    *,
    traced_below: bool = False,
) -> Iterator[Route]:
    for path in paths.split():
        yield Route(
            method=method,
            path=path,
            scope=scope,
            model=model,
            recorded=method == "POST",
            traced_below=traced_below,
        )


def _control(
    method: str,
    path: str,
    scope: Scope,
    handler: Handler,
    *,
    changes: bool = False,
    mixed: bool = False,
) -> Route:
    return Route(
        method=method, path=path, scope=scope, handler=handler, changes=changes, mixed=mixed
    )


VERSIONLESS: Final = (
    "/v/chat/completions /v/completions /v/responses /v/messages /v/messages/count_tokens "
    "/v/embeddings /v/rerank /v/reranking"
)

ROUTES: Final[tuple[Route, ...]] = (
    *_models(
        "/v1/chat/completions /v1/completions /v1/responses /v1/messages"
        " /v1/messages/count_tokens /v1/embeddings /rerank /reranking /v1/rerank /v1/reranking"
        " /infill /completion /v1/audio/speech /v1/audio/voices /v1/images/generations"
        " /sdapi/v1/txt2img /sdapi/v1/img2img /audioapi/v1/tasks/run"
        " /v1/audio/transcriptions /v1/images/edits",
        ModelLocation.BODY,
        traced_below=True,
    ),
    *_models(VERSIONLESS, ModelLocation.BODY, traced_below=True),
    # llama-server and vLLM have these; llama-swap has them under /upstream only
    *_models(
        "/tokenize /detokenize /apply-template /embedding /embeddings"
        " /completions /chat/completions /v1/audio/translations /v1/images/variations"
        " /v1/chat/completions/input_tokens /v1/responses/{rest...} /v1/score /score /v1/pooling"
        " /pooling /v1/classify /classify /v1/moderations /v1/videos /v1/videos/{rest...}",
        ModelLocation.BODY,
    ),
    # these change the model server for everybody
    *_models("/lora-adapters /props", ModelLocation.BODY, scope=Scope.ADMIN),
    *_models(
        "/v1/audio/voices /sdapi/v1/loras /props", ModelLocation.QUERY, "GET", traced_below=True
    ),
    *_models(
        "/v1/realtime /v1/responses/{rest...} /v1/videos/{rest...}", ModelLocation.QUERY, "GET"
    ),
    *_models("/lora-adapters", ModelLocation.POLL, "GET"),
    *_models("/slots", ModelLocation.POLL, "GET", Scope.READ),  # shows what others ask
    *_models("/v1/responses/{rest...} /v1/videos/{rest...}", ModelLocation.QUERY, "DELETE"),
    _control("GET", "/v1/models", Scope.INFERENCE, models.list_models),
    _control("GET", "/v1/models/", Scope.INFERENCE, models.list_models),
    _control("GET", "/models", Scope.INFERENCE, models.list_models),
    _control("GET", "/models/", Scope.INFERENCE, models.list_models),
    _control("GET", "/v1/models/{id...}", Scope.INFERENCE, models.one_model),
    _control("GET", "/running", Scope.READ, models.running),
    _control("GET", "/unload", Scope.ADMIN, models.unload_get, changes=True, mixed=True),
    _control("POST", "/unload", Scope.ADMIN, models.unload_get, changes=True, mixed=True),
    _control(
        "POST", "/api/models/unload", Scope.ADMIN, models.unload_all, changes=True, mixed=True
    ),
    _control("POST", "/api/models/unload/{model...}", Scope.ADMIN, models.unload_one, changes=True),
    _control("POST", "/api/models/load/{model...}", Scope.ADMIN, models.load_one, changes=True),
    Route(method="ANY", path="/upstream/{path...}", scope=Scope.ADMIN, model=ModelLocation.PATH),
    _control("GET", "/upstream", Scope.OPEN, static_files.upstream_root),
    _control("ANY", "/upstream", Scope.OPEN, static_files.upstream_slash),
    Route(method="ANY", path="/comfyui", scope=Scope.INFERENCE, model=ModelLocation.COMFYUI),
    Route(
        method="ANY", path="/comfyui/{path...}", scope=Scope.INFERENCE, model=ModelLocation.COMFYUI
    ),
    _control("GET", "/logs", Scope.READ, observability.logs, mixed=True),
    _control("GET", "/log", Scope.READ, observability.logs, mixed=True),
    _control("GET", "/logs/stream", Scope.READ, observability.log_stream, mixed=True),
    _control("GET", "/logs/stream/{id...}", Scope.READ, observability.log_stream),
    _control("GET", "/api/events", Scope.READ, observability.events, mixed=True),
    _control("GET", "/api/metrics/activity", Scope.READ, observability.activity, mixed=True),
    _control("GET", "/api/metrics/stats", Scope.READ, observability.stats, mixed=True),
    _control("GET", "/api/metrics/export", Scope.READ, observability.export, mixed=True),
    _control("GET", "/api/captures/{id}", Scope.ADMIN, observability.capture, mixed=True),
    _control("GET", "/api/inflight", Scope.READ, observability.inflight, mixed=True),
    _control(
        "POST",
        "/api/inflight/{id}/cancel",
        Scope.ADMIN,
        observability.cancel,
        changes=True,
        mixed=True,
    ),
    _control("GET", "/api/performance", Scope.READ, observability.performance),
    _control("GET", "/api/hardware", Scope.READ, observability.hardware),
    _control("GET", "/api/version", Scope.READ, models.version),
    _control("GET", "/api/session", Scope.READ, models.session),
    _control("GET", "/api/profiles", Scope.READ, models.profiles, mixed=True),
    _control(
        "PUT", "/api/profiles/active", Scope.ADMIN, models.set_profile, changes=True, mixed=True
    ),
    _control("GET", "/api/config/status", Scope.READ, models.config_status, mixed=True),
    _control("POST", "/api/config/reload", Scope.ADMIN, models.reload, changes=True, mixed=True),
    _control("GET", "/metrics", Scope.READ, observability.metrics, mixed=True),
    _control("GET", "/health", Scope.OPEN, models.health),
    _control("GET", "/wol-health", Scope.OPEN, models.health),
    _control("GET", "/ready", Scope.OPEN, models.ready),
    _control("GET", "/", Scope.OPEN, static_files.root),
    _control("GET", "/ui", Scope.OPEN, static_files.ui_root),
    _control("GET", "/ui/{name...}", Scope.READ, static_files.ui_file),
    _control("GET", "/favicon.ico", Scope.OPEN, static_files.favicon),
)


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
