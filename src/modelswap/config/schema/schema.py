"""Every key of the file below the top level: its name, type, default and meaning.

Guarantees: keys are declared here and in `schema_root` only. The decoder reads them; the JSON Schema and
docs/configuration.md are made from them. A class whose name ends in `Keys` holds keys that need no
compiling: the record of the plan inherits it, so a new key there is declared once.
Does not: check bounds that depend on other keys; the compile step does.
Memory: records have no `repr`, since they hold secrets, and no slots: making such classes costs start-up time.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from modelswap.config.tree.values import Json
from modelswap.deferred import dataclass

from .field_types import (
    Anything,
    Bool,
    Duration,
    Either,
    Int,
    ListOf,
    MapOf,
    Record,
    Sizes,
    Text,
    flag,
    key,
    mapping,
    record,
)
from .schema_idle import RawRequestTtl
from .schema_memory import MemoryRoutingKeys

TEXTS: Final = ListOf(Text())


class KeyScope(StrEnum):
    """What a key allows. `ADMIN` includes the others."""

    INFERENCE = "inference"
    READ = "read"
    ADMIN = "admin"


TRIMMED: Final = Text(is_trimmed=True)
JSON_MAP: Final = MapOf(Anything())
JsonMap = Mapping[str, Json]


@dataclass(frozen=True, repr=False, eq=False)
class RawTimeouts:
    connect: int | None = key(
        "connect", Int(), None, "Seconds to connect; 0: no bound.", shown="30"
    )
    keepalive: int | None = key(
        "keepalive",
        Int(),
        None,
        "Seconds between TCP keep-alives; 0: the system's; negative: none.",
        shown="30",
    )
    response_header: int | None = key(
        "responseHeader",
        Int(),
        None,
        "Seconds until the response begins; 0: no bound.",
        shown="0; peers: 60",
    )
    tls_handshake: int | None = key(
        "tlsHandshake", Int(), None, "Seconds for the TLS handshake; 0: no bound.", shown="10"
    )
    expect_continue: int | None = key(
        "expectContinue",
        Int(),
        None,
        "Accepted without effect: `Expect: 100-continue` is answered here.",
        shown="1",
    )
    idle_connection: int | None = key(
        "idleConn", Int(), None, "Seconds an unused connection is kept; 0: no bound.", shown="90"
    )


@dataclass(frozen=True, repr=False, eq=False)
class RawFilters:
    strip: str = key(
        "stripParams", Text(), "", "Parameters to delete from JSON bodies, with commas between."
    )
    set: JsonMap = mapping("setParams", Anything(), "Parameters to set in JSON bodies.")
    set_by_id: Mapping[str, JsonMap | None] = mapping(
        "setParamsByID",
        JSON_MAP,
        "Parameters to set when this name was asked for; each name becomes an alias.",
    )


@dataclass(frozen=True, repr=False, eq=False)
class CapabilityKeys:
    tools: bool = flag("tools", "Can call tools.")
    reranker: bool = flag("reranker", "Is a reranker.")
    embedding: bool = flag("embedding", "Makes embeddings.")
    reasoning: bool = flag("reasoning", "Can think before it answers.")


@dataclass(frozen=True, repr=False, eq=False)
class RawCapabilities(CapabilityKeys):
    inputs: tuple[str, ...] = key("in", TEXTS, (), "What it takes: `text`, `audio`, `image`.")
    outputs: tuple[str, ...] = key("out", TEXTS, (), "What it gives: `text`, `audio`, `image`.")
    context: int = key("context", Int(0), 0, "Context length in tokens; 0: not said.")


@dataclass(frozen=True, repr=False, eq=False)
class RawCompat:
    ignore_websockets: bool = flag(
        "ignoreWebsockets", "WebSockets neither start the model nor keep it loaded."
    )


@dataclass(frozen=True, repr=False, eq=False)
class ModelKeys:
    """The keys of a model that the plan takes as they are: `plan.Model` inherits them."""

    name: str = key("name", TRIMMED, "", "Shown in lists.")
    description: str = key("description", TRIMMED, "", "Shown in lists.")
    unlisted: bool = flag("unlisted", "Left out of lists.")
    use_model_name: str = key(
        "useModelName", Text(), "", "The name sent to the server instead of the requested one."
    )
    metadata: JsonMap = mapping("metadata", Anything(), "Anything; shown in `/v1/models`.")
    forward_authorization: bool = flag(
        "forwardAuthorization",
        "Let `apiKeys` of this file through to a server without `apiKey`; other keys do go through.",
    )
    trust_page: bool = flag(
        "trustPage",
        "Its web page gets this server's origin, so it may use the whole API with the browser's "
        "credentials; else a sandbox, or on `localhost` an origin of its own.",
    )
    restart_on_stall: bool = flag("restartOnStall", "Restart a server that has stalled.")
    pinned: bool = flag("pinned", "Once loaded, it is not unloaded for memory or `modelsMax`.")


@dataclass(frozen=True, repr=False, eq=False)
class CoreKeys:
    """The keys of a model that the core takes as they are: fields of `core.spec.ModelSpec`."""

    restore_on_failure: bool = flag(
        "restoreOnFailure", "When the model fails to start, bring back what was evicted for it."
    )


@dataclass(frozen=True, repr=False, eq=False)
class RawModel(ModelKeys, CoreKeys):
    """All keys of a model; those declared here are read by the compile step."""

    cmd: str = key("cmd", Text(), "", "The command that runs the server.")
    source: str = key(
        "source",
        Text(),
        "",
        "What its files are pulled from when they are needed: `hf:OWNER/REPO`, `hf:OWNER/REPO:QUANT`, "
        "`hf:OWNER/REPO/FILE.gguf`, the `https:` address of a GGUF file, or `ollama:NAME:TAG`. Without `cmd` "
        "it is started as a found model; `cmd` may hold `${MODEL_PATH}`, `${MODEL_MMPROJ}`, `${MODEL_ARGS}`.",
    )
    cmd_stop: str | None = key(
        "cmdStop", Text(), None, "The command that stops it, with `${PID}`; else SIGTERM."
    )
    proxy: str = key(
        "proxy",
        Text(),
        "",
        "Where the server listens: a URL, or a Unix socket as `unix:/run/a.sock`, `unix:///run/a.sock`, "
        "`http://unix:/run/a.sock:/base` or `http+unix://%2Frun%2Fa.sock/base`.",
        shown="`http://localhost:${PORT}`",
    )
    check_endpoint: str = key(
        "checkEndpoint", Text(), "/health", "Path that answers 200 once ready; `none`: no check."
    )
    ttl: int | None = key(
        "ttl", Int(), None, "Seconds without use until unloading; 0: never; -1: `globalTTL`."
    )
    request_ttl: RawRequestTtl | None = key(
        "requestTTL",
        Record(RawRequestTtl),
        None,
        "As the global key, whose keys count where these are not set.",
    )
    unload_timeout: int = key(
        "unloadTimeout", Int(0), 0, "Seconds a stop waits; 0: the global `unloadTimeout`."
    )
    health_check_timeout: int | None = key(
        "healthCheckTimeout", Int(), None, "Accepted without effect: the global key counts."
    )
    env: tuple[str, ...] = key("env", TEXTS, (), "`NAME=value` added to the environment.")
    aliases: tuple[str, ...] = key("aliases", TEXTS, (), "Other names of the model.")
    concurrency: int = key("concurrencyLimit", Int(), 0, "Requests that run at once; 0: no limit.")
    send_loading_state: bool | None = key(
        "sendLoadingState", Bool(), None, "As the global key, for this model."
    )
    macros: JsonMap = mapping("macros", Anything(), "Macros of this model alone.")
    filters: RawFilters = record("filters", RawFilters, "Edits of requests.")
    timeouts: RawTimeouts = record("timeouts", RawTimeouts, "Of connections to the server.")
    compat: RawCompat = record("compat", RawCompat, "For odd clients.")
    capabilities: RawCapabilities = record("capabilities", RawCapabilities, "Shown in lists.")
    files: str = key(
        "(files)", Text(), "", "What tells a found model's files from others.", hidden=True
    )
    memory: Mapping[str, int | None] | None = key(
        "memory",
        Sizes(),
        None,
        "What it needs while it runs: one size (on a GPU where there is one, else `ram`), or sizes by device: "
        "`ram`, `gpu` (any, or split over several), `gpu0`, `gpu1`, …",
        shown="measured or predicted",
    )
    pull_name: str = key("(pull)", Text(), "", "The one spelling of a source.", hidden=True)
    is_missing: str = key("(missing)", Text(), "", "The files are still to be pulled.", hidden=True)
    api_key: str = key(
        "apiKey",
        Text(),
        "",
        "Sent to the server as Bearer, by the readiness check too, instead of what the client sent.",
    )
    stall_timeout: float | None = key(
        "stallTimeout", Duration(), None, "Longest pause of a server before or within a response."
    )


@dataclass(frozen=True, repr=False, eq=False)
class PeerKeys:
    forward_authorization: bool = flag(
        "forwardAuthorization",
        "Let `apiKeys` of this file through to a peer without `apiKey`; other keys do go through.",
    )
    trust_page: bool = flag("trustPage", "As the key of a model, for the pages of all its models.")


@dataclass(frozen=True, repr=False, eq=False)
class RawPeer(PeerKeys):
    proxy: str = key(
        "proxy",
        Text(),
        "",
        "URL of the other server, or a Unix socket (see `models.<name>.proxy`). Required.",
    )
    models: tuple[str, ...] = key("models", TEXTS, (), "Its models. Required.")
    api_key: str = key(
        "apiKey", Text(), "", "Sent as Bearer and `x-api-key`, instead of what the client sent."
    )
    filters: RawFilters = record("filters", RawFilters, "Edits of requests.")
    timeouts: RawTimeouts = record("timeouts", RawTimeouts, "Of connections to the peer.")


@dataclass(frozen=True, repr=False, eq=False)
class RawSelectorSettings:
    spillover: int = key("spillover", Int(), 1, "Requests per target before the next one starts.")


@dataclass(frozen=True, repr=False, eq=False)
class SelectorKeys:
    strategy: str = key("strategy", Text(), "", "`warm`, `pin` or `spillover`. Required.")
    targets: tuple[str, ...] = key("targets", TEXTS, (), "Models, aliases or peers. Required.")
    name: str = key("name", TRIMMED, "", "Shown in lists.")
    description: str = key("description", TRIMMED, "", "Shown in lists.")
    unlisted: bool = flag("unlisted", "Left out of lists.")
    metadata: JsonMap = mapping("metadata", Anything(), "Anything; shown in `/v1/models`.")


@dataclass(frozen=True, repr=False, eq=False)
class RawSelector(SelectorKeys):
    settings: RawSelectorSettings = record("settings", RawSelectorSettings, "For `spillover`.")


@dataclass(frozen=True, repr=False, eq=False)
class RawProfile:
    description: str = key("description", Text(), "", "Shown in lists.")
    pins: Mapping[str, str | None] = mapping(
        "pins", Text(), "Requested name to target; empty: the name is off."
    )


@dataclass(frozen=True, repr=False, eq=False)
class GroupKeys:
    swap: bool = flag("swap", "One member at a time.", default=True)
    exclusive: bool = flag("exclusive", "Loading a member unloads other groups.", default=True)
    persistent: bool = flag("persistent", "Other groups do not unload its members.")


@dataclass(frozen=True, repr=False, eq=False)
class RawGroup(GroupKeys):
    members: tuple[str, ...] = key("members", TEXTS, (), "The models in it.")


@dataclass(frozen=True, repr=False, eq=False)
class RawMatrix:
    vars: Mapping[str, str | None] = mapping("vars", Text(), "Short name to model.")
    evict_costs: Mapping[str, int | None] = mapping(
        "evict_costs", Int(), "Var or model to the cost of unloading it; default 1."
    )
    sets: Mapping[str, str | None] = mapping(
        "sets", Text(), "Name to an expression of `&`, `|`, `( )`, `+set`."
    )


@dataclass(frozen=True, repr=False, eq=False)
class RawRouterSettings:
    groups: Mapping[str, RawGroup | None] = mapping("groups", Record(RawGroup), "Groups of models.")
    matrix: RawMatrix | None = key("matrix", Record(RawMatrix), None, "Sets that may run together.")
    memory: MemoryRoutingKeys = record(
        "memory", MemoryRoutingKeys, "As many models as fit into the devices' memory."
    )


@dataclass(frozen=True, repr=False, eq=False)
class RawRouter:
    use: str = key(
        "use",
        Text(),
        "",
        "`group`, `matrix` or `memory`.",
        shown="`group`; `memory` where docs/placement.md says so",
    )
    settings: RawRouterSettings = record("settings", RawRouterSettings, "Of the routers.")


@dataclass(frozen=True, repr=False, eq=False)
class RawFifo:
    priority: Mapping[str, int | None] = mapping(
        "priority", Int(), "Model to priority: the higher is served first."
    )
    max_wait: float | None = key(
        "maxWait",
        Duration(),
        None,
        "How long later requests for loaded models may overtake one that waits for a swap; 0: no bound.",
        shown="by the cost of the swap: 5 s to 30 s",
    )


@dataclass(frozen=True, repr=False, eq=False)
class RawSchedulerSettings:
    fifo: RawFifo = record("fifo", RawFifo, "Of the queue.")


@dataclass(frozen=True, repr=False, eq=False)
class RawScheduler:
    use: str = key("use", Text(), "", "`fifo`.", shown="`fifo`")
    settings: RawSchedulerSettings = record("settings", RawSchedulerSettings, "Of the scheduler.")


@dataclass(frozen=True, repr=False, eq=False)
class RawRouting:
    router: RawRouter = record("router", RawRouter, "Which models run together.")
    scheduler: RawScheduler = record("scheduler", RawScheduler, "Which request is served first.")


@dataclass(frozen=True, repr=False, eq=False)
class ApiKeyKeys:
    models: tuple[str, ...] = key("models", TEXTS, (), "Patterns of allowed models.", shown="all")
    rate_limit: int | None = key("rateLimit", Int(1), None, "Requests per minute.")
    background: bool = flag("background", "Its requests wait for all others.")
    no_swap: bool = flag(
        "noSwap",
        "Its requests are refused (503 `swap_refused`) where another model would have to be unloaded "
        "for them, as with the header `X-Modelswap-No-Swap: true`. For health checkers.",
    )


@dataclass(frozen=True, repr=False, eq=False)
class RawApiKey(ApiKeyKeys):
    name: str = key("name", Text(), "", "Names the client in records; never the key.")
    value: str = key("key", Text(), "", "The key itself. One of `key`, `keyHash`, `keyFile`.")
    key_hash: str = key("keyHash", Text(), "", "`sha256:` and the hex digest of the key.")
    key_file: str = key("keyFile", Text(), "", "A file that holds the key.")
    scopes: tuple[str, ...] | None = key(
        "scopes", TEXTS, None, "`inference`, `read`, `admin`.", shown="all"
    )
    expires: str = key("expires", Text(), "", "RFC 3339 date or time after which it is refused.")


API_KEY: Final = Either(RawApiKey)
