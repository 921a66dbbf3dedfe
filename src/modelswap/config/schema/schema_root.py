"""Every key at the top level of the file, and those of its own sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.deferred import dataclass
from modelswap.units import Bytes, Seconds

from .field_types import (
    Anything,
    Duration,
    GoDuration,
    Int,
    ListOf,
    Record,
    Short,
    Size,
    Text,
    flag,
    key,
    mapping,
    record,
)
from .schema import (
    API_KEY,
    TEXTS,
    JsonMap,
    RawApiKey,
    RawModel,
    RawPeer,
    RawProfile,
    RawRouting,
    RawSelector,
)
from .schema_discover import RawDiscover
from .schema_idle import RawOnIdle, RawRequestTtl
from .schema_memory import RawDevice

FIRST_PORT: Final = 5800
"""The first `${PORT}` by default, as in llama-swap; `startPort: 0` means it, too."""

LOG_LEVELS: Final = ("debug", "info", "warn", "error")
"""From the most to the fewest lines."""

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, repr=False, eq=False)
class RawStore:
    path: str = key("path", Text(), "", "SQLite file for the activity records. Required.")
    retention_days: float | None = key(
        "retentionDays", Int(1), None, "Records older than this many days are deleted."
    )
    retention_rows: int | None = key("retentionRows", Int(1), None, "At most this many records.")


@dataclass(frozen=True, repr=False, eq=False)
class RawActivity:
    session_id: tuple[str, ...] | None = key(
        "session_id",
        TEXTS,
        ("X-Session-ID", "X-Litellm-Session-Id"),
        "Headers that name a session.",
    )


@dataclass(frozen=True, repr=False, eq=False)
class RawUi:
    activity: RawActivity = record("activity", RawActivity, "Its records.")


@dataclass(frozen=True, repr=False, eq=False)
class RawPerformance:
    disabled: bool = flag("disabled", "Do not sample.")
    every: float | None = key("every", GoDuration(), None, "At least `5s`.", shown="`5s`")


@dataclass(frozen=True, repr=False, eq=False)
class RawUpstream:
    ignore_paths: tuple[str, ...] | None = key(
        "ignorePaths",
        TEXTS,
        None,
        "Regular expressions: such paths never start a model; `[]`: none.",
        shown="files of web pages",
    )


@dataclass(frozen=True, repr=False, eq=False)
class RawOnStartup:
    preload: tuple[str, ...] = key("preload", TEXTS, (), "Models to load, in order.")


@dataclass(frozen=True, repr=False, eq=False)
class RawHooks:
    on_startup: RawOnStartup = record("on_startup", RawOnStartup, "At start.")
    on_idle: RawOnIdle | None = key(
        "on_idle", Record(RawOnIdle), None, "When no model was used for a while."
    )


@dataclass(frozen=True, repr=False, eq=False)
class RawCaptures:
    redact_headers: tuple[str, ...] = key(
        "redactHeaders", TEXTS, (), "Headers to blank beside the known credentials."
    )


@dataclass(frozen=True, repr=False, eq=False)
class RawKeeper:
    grace: float = key(
        "grace",
        Duration(),
        10.0,
        "How long model servers run on when the front process has ended unexpectedly.",
    )
    on_restart: str = key(
        "onRestart",
        Text(("stop", "keep")),
        "stop",
        "What SIGTERM does to loaded models: `stop`, or `keep` them for the next start, at most "
        "`grace` long. Ctrl-C always stops them.",
    )


@dataclass(frozen=True, repr=False, eq=False)
class RawLoading:
    grace: float = key(
        "grace",
        Duration(),
        5.0,
        "How long a streaming request waits before its stream is opened: until then a failure "
        "has its status.",
    )
    keep_alive: float = key("pulse", Duration(), 5.0, "Between keep-alives from then on.")


@dataclass(frozen=True)
class Pulling:
    """How requests and the start meet pulls. The plan takes the record as it is."""

    wait: Seconds = key(
        "wait",
        Duration(),
        Seconds(30.0),
        "How long a request without a stream waits for the pull of its model; then it gets 503 "
        "`model_pulling` with `Retry-After`.",
    )
    on_start: bool = flag(
        "onStart", "Pull at the start what is missing, not only when it is asked for."
    )
    warm: bool = flag(
        "warm",
        "Read the files of pulled models into the page cache at the start, too, as after each pull: in the "
        "background, as far as memory is free.",
    )


@dataclass(frozen=True)
class Limits:
    """Bounds of requests and connections. The plan takes the record as it is."""

    body: Bytes = key("body", Size(), Bytes(256 << 20), "Largest request body.", shown="`256MiB`")
    headers: Bytes = key(
        "headers", Size(), Bytes(64 << 10), "All headers together.", shown="`64KiB`"
    )
    header_count: int = key("headerCount", Int(1), 100, "Number of headers.")
    request_line: Bytes = key(
        "requestLine", Size(), Bytes(8 << 10), "The first line.", shown="`8KiB`"
    )
    header_timeout: Seconds = key(
        "headerTimeout",
        Duration(takes_zero=False),
        Seconds(10.0),
        "From the first byte to the end of the headers.",
    )
    body_timeout: Seconds = key(
        "bodyTimeout",
        Duration(takes_zero=False),
        Seconds(60.0),
        "How long a body may stand still or be slow.",
    )
    body_min_rate: Bytes = key(
        "bodyMinRate", Size(), Bytes(1 << 10), "Bytes per second over that span.", shown="`1KiB`"
    )
    idle_timeout: Seconds = key(
        "idleTimeout", Duration(), Seconds(75.0), "A kept connection without a request."
    )
    connections: int = key(
        "connections",
        Int(1),
        4096,
        "Open connections; beyond it the longest idle one is closed, with none idle: 503.",
    )
    connections_per_address: int = key(
        "connectionsPerAddress",
        Int(1),
        1024,
        "Open connections of one client address; not of this machine and `trustedProxies`.",
    )
    queue: int = key("queue", Int(1), 1000, "Waiting requests.")


@dataclass(frozen=True, repr=False, eq=False)
class SettingKeys:
    """The keys of the top level that the plan takes as they are: `plan.Settings` inherits them."""

    log_to_stdout: str | None = key(
        "logToStdout",
        Text(("proxy", "upstream", "both", "none")),
        None,
        "What stdout shows; given, `/logs` and `/logs/stream` show the same, else proxy and models.",
        shown="`proxy`",
    )
    include_aliases_in_list: bool = flag("includeAliasesInList", "List aliases in `/v1/models`.")
    models_autoload: bool = flag(
        "modelsAutoload",
        "A request loads its model; else only what is loaded is used (400 otherwise), and models are loaded "
        "by `/models/load`, `/api/models/load` and `preload`. A request may say otherwise with `?autoload=`.",
        default=True,
    )
    models_max: int = key(
        "modelsMax",
        Int(0),
        0,
        "At most so many models are loaded; the least recently used one leaves for another, whatever the "
        "router says beside. Without `routing.router` it takes the place of one at a time. 0: no bound.",
        shown="not set",
    )
    shutdown_timeout: Seconds = key(
        "shutdownTimeout", Duration(), Seconds(30.0), "How long a stop waits for running requests."
    )


@dataclass(frozen=True, repr=False, eq=False)
class RawConfig(SettingKeys):
    models: Mapping[str, RawModel | None] = mapping("models", Record(RawModel), "The models by id.")
    discover: RawDiscover | None = key(
        "discover",
        Short(RawDiscover, "paths"),
        None,
        "Models are found on disk and served; a folder or a list of folders is short for `paths`.",
    )
    health_check_timeout: int = key(
        "healthCheckTimeout", Int(), 120, "Seconds a model may take to become ready; at least 15."
    )
    start_port: int = key("startPort", Int(0), FIRST_PORT, "The first `${PORT}`.")
    global_ttl: int = key(
        "globalTTL", Int(0), 0, "Seconds without use until a model is unloaded; 0: never."
    )
    request_ttl: RawRequestTtl | None = key(
        "requestTTL",
        Record(RawRequestTtl),
        None,
        "A request may say by `keep_alive` (or `ttl`) how long its model stays loaded after it; without "
        "this key it may not.",
    )
    unload_timeout: int = key("unloadTimeout", Int(0), 10, "Seconds a stop waits; 0: 10.")
    send_loading_state: bool = flag(
        "sendLoadingState", "Tell a streaming client how the load goes."
    )
    macros: JsonMap = mapping("macros", Anything(), "Texts and numbers for `${name}`.")
    devices: Mapping[str, RawDevice | None] = mapping(
        "devices", Record(RawDevice), "The memory of each device: `ram`, `gpu0`, `gpu1` and so on."
    )
    routing: RawRouting = record(
        "routing", RawRouting, "Which models run together, which request comes first."
    )
    hooks: RawHooks = record("hooks", RawHooks, "What to do when.")
    profiles: Mapping[str, RawProfile | None] = mapping(
        "profiles", Record(RawProfile), "Sets of pins to switch between."
    )
    list_profiles: Mapping[str, tuple[str, ...] | None] = mapping(
        "(list profiles)", TEXTS, "The earliest form of profiles.", hidden=True
    )
    selectors: Mapping[str, RawSelector | None] = mapping(
        "selectors", Record(RawSelector), "Names that choose among models."
    )
    peers: Mapping[str, RawPeer | None] = mapping(
        "peers", Record(RawPeer), "Other servers whose models are offered here."
    )
    api_keys: tuple[str | RawApiKey, ...] = key(
        "apiKeys", ListOf(API_KEY), (), "Accepted keys: texts or records; none: no check."
    )
    log_level: str = key("logLevel", Text(), "info", "`debug`, `info`, `warn`, `error`.")
    log_time_format: str = key("logTimeFormat", Text(), "", "Such as `rfc3339`; empty: no time.")
    log_requests: bool = flag("logRequests", "Accepted without effect.")
    metrics_max_in_memory: int = key(
        "metricsMaxInMemory", Int(), 1000, "Activity records kept without `store`."
    )
    capture_buffer: int = key(
        "captureBuffer", Int(), 5, "MiB for captures of the records kept in memory; 0: none."
    )
    store: RawStore | None = key("store", Record(RawStore), None, "Where records are kept.")
    captures: RawCaptures = record("captures", RawCaptures, "Of requests.")
    ui: RawUi = record("ui", RawUi, "The web pages.")
    performance: RawPerformance = record("performance", RawPerformance, "Samples of host and GPU.")
    upstream: RawUpstream = record("upstream", RawUpstream, "`/upstream/…`.")
    allowed_hosts: tuple[str, ...] = key(
        "allowedHosts", TEXTS, (), "Accepted in `Host`; `*.NAME`: all below it; `.NAME`: both."
    )
    allowed_origins: tuple[str, ...] = key("allowedOrigins", TEXTS, (), "Accepted in `Origin`.")
    trusted_proxies: tuple[str, ...] = key(
        "trustedProxies",
        TEXTS,
        (),
        "Networks whose `X-Forwarded-For`, `-Host` and `-Prefix` are believed; "
        "a Unix socket's clients are 127.0.0.1.",
    )
    client_id_header: str = key(
        "clientIdHeader",
        Text(),
        "",
        "Header that names a client, for fair scheduling; a key with a `name` comes before it.",
    )
    background_header: str = key(
        "backgroundHeader",
        Text(),
        "",
        "Header that marks a request as background work, unless its value is empty, `0`, `false`, "
        "`no` or `off`.",
    )
    limits: Limits = record("limits", Limits, "Of requests.")
    loading: RawLoading = record("loading", RawLoading, "While a model loads.")
    pull: Pulling = record("pull", Pulling, "While the files of a model with `source` are pulled.")
    keeper: RawKeeper = record("keeper", RawKeeper, "The supervisor.")
