"""The configuration as the program uses it: frozen, validated, complete.

`load.py` makes a `Plan`; nothing else does. Everyone may hold one, nobody can
change one. A reload makes a new one. Secrets are `Secret`, so that no `repr`,
log line or error can show them by accident.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from modelswap.core.spec import ModelId
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from collections.abc import Callable

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that must not be shown. `reveal()` is the only way to it."""

    _value: str

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


class PathPattern(Protocol):
    """An expression that is looked for in a path."""

    def search(self, string: str, /) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Of connections to one upstream; `None` means no deadline."""

    connect: Seconds | None = Seconds(30)
    keepalive: Seconds | None = Seconds(30)
    response_header: Seconds | None = None
    tls_handshake: Seconds | None = Seconds(10)
    expect_continue: Seconds | None = Seconds(1)
    idle_connection: Seconds | None = Seconds(90)
    stall: Seconds | None = None
    """Our own `stallTimeout`: longest silence in the middle of an answer (before it: `response_header`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    r"""Edits of a JSON request; keys are dotted paths (`a.b`, `a.0`, `a\\.b`)."""

    strip: tuple[str, ...] = ()
    set: Mapping[str, Json] = field(default_factory=dict[str, Json])
    set_by_id: Mapping[str, Mapping[str, Json]] = field(
        default_factory=dict[str, Mapping[str, Json]]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    tools: bool = False
    reranker: bool = False
    context: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Model:
    """One model with every macro expanded, for one port.

    `at_port` gives the same model for another port; two models that differ in
    nothing but the port have the same `identity`.
    """

    id: ModelId
    cmd: str
    """Fully expanded command text, newlines kept, as `/running` shows it (secrets redacted there)."""
    argv: tuple[str, ...]
    """`cmd` split as §5 says; empty when `cmd` is."""
    cmd_stop: str = ""
    """Expanded, `${PID}` still in it; empty: SIGTERM."""
    stop_argv: tuple[str, ...] = ()
    """`cmd_stop` split."""
    proxy: str
    """URL of the upstream: `http://localhost:5800`, maybe with a base path."""
    check_endpoint: str | None = "/health"
    """Path of the readiness probe; `None`: ready as soon as spawned."""
    port: int | None = None
    """What `${PORT}` stands for, when the command uses it."""
    env: tuple[str, ...] = ()
    ttl: Seconds | None = None
    unload_timeout: Seconds = Seconds(10)
    start_timeout: Seconds = Seconds(120)
    name: str = ""
    description: str = ""
    aliases: tuple[str, ...] = ()
    """Explicit ones, then those that `setParamsByID` adds."""
    unlisted: bool = False
    use_model_name: str = ""
    concurrency: int | None = None
    send_loading_state: bool = False
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])
    filters: Filters = field(default_factory=Filters)
    timeouts: Timeouts = field(default_factory=Timeouts)
    ignore_websockets: bool = False
    capabilities: Capabilities = field(default_factory=Capabilities)
    api_key: Secret | None = None
    forward_authorization: bool = False
    trust_page: bool = False
    """Its web page may use our API as our own page does."""
    priority: int = 0
    restart_on_stall: bool = False
    restore_on_failure: bool = False
    identity: str = ""
    """Hash of everything that needs a restart when it changes: command, stop command, environment,
    proxy, probe; the port left out."""
    render: Callable[[int], Model] | None = field(default=None, compare=False, repr=False)
    """Makes the model for another port; None when it has no `${PORT}`."""

    def __repr__(self) -> str:
        """Only the id: commands, environments and addresses may hold secrets."""
        return f"Model({self.id!r})"

    def at_port(self, port: int) -> Model:
        """The same model with every `${PORT}` rendered as `port`."""
        return self if self.render is None or port == self.port else self.render(port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    id: str
    proxy: str = field(repr=False)
    models: tuple[str, ...]
    api_key: Secret | None = None
    filters: Filters = field(default_factory=Filters)
    timeouts: Timeouts = field(default_factory=lambda: Timeouts(response_header=Seconds(60)))
    forward_authorization: bool = False
    trust_page: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    id: str
    strategy: str
    """`warm`, `pin` or `spillover`."""
    targets: tuple[str, ...]
    spillover: int = 1
    name: str = ""
    description: str = ""
    unlisted: bool = False
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Today's form: requested name → target; `""` switches the name off."""

    id: str
    pins: Mapping[str, str]
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    id: str
    members: tuple[ModelId, ...]
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Every configured model is in exactly one of these (`(default)` among them)."""

    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Still text: `core.matrix` parses and solves it. `vars` name → model id."""

    vars: Mapping[str, ModelId]
    sets: Mapping[str, str]
    evict_costs: Mapping[ModelId, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    body: Bytes = Bytes(256 << 20)
    headers: Bytes = Bytes(64 << 10)
    header_count: int = 100
    request_line: Bytes = Bytes(8 << 10)
    header_timeout: Seconds = Seconds(10)
    body_timeout: Seconds = Seconds(60)
    body_min_rate: Bytes = Bytes(1 << 10)
    """Per second, over a span of `body_timeout`."""
    idle_timeout: Seconds = Seconds(75)
    connections: int = 4096
    connections_per_address: int = 1024
    queue: int = 1000


class KeyScope(StrEnum):
    """What a key allows. `ADMIN` includes the others."""

    INFERENCE = "inference"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One accepted key. A plain string in the file is a record with every scope."""

    name: str
    is_named: bool = True
    """The user gave the name; else it was made from the key's place in the list."""
    key: Secret | None = None
    key_hash: str | None = None
    """`sha256:<hex>` of the key, instead of the key."""
    scopes: frozenset[str] = frozenset(KeyScope)
    models: tuple[str, ...] = ()
    """Shell patterns; empty: all models."""
    rate_limit: int | None = None
    """Requests per minute."""
    expires: str | None = None
    """RFC 3339."""
    background: bool = False
    no_swap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The top level of the file."""

    log_level: str = "info"
    log_time_format: str = ""
    log_to_stdout: str | None = None
    """None: not given. Then stdout shows the proxy's lines, and the combined log is of everything."""
    metrics_max_in_memory: int = 1000
    capture_buffer: Bytes = Bytes(5 << 20)
    store_path: str | None = None
    store_retention: Seconds | None = None
    """Activity records older than this are deleted."""
    store_rows: int | None = None
    """At most this many records in the store's file; None: no bound."""
    session_headers: tuple[str, ...] = ("X-Session-ID", "X-Litellm-Session-Id")
    performance_disabled: bool = False
    performance_every: Seconds = Seconds(5)
    start_port: int = 5800
    include_aliases_in_list: bool = False
    api_keys: tuple[ApiKey, ...] = ()
    ignore_paths: tuple[PathPattern, ...] = ()
    preload: tuple[ModelId, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    client_id_header: str | None = None
    """Names the client for fairness when no key does, e.g. `X-OpenWebUI-User-Id`."""
    background_header: str | None = None
    redact_headers: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    loading_grace: Seconds = Seconds(5)
    """How long a streaming request waits until its stream is opened for keep-alives."""
    loading_pulse: Seconds = Seconds(5)
    """Between two keep-alives."""
    shutdown_timeout: Seconds = Seconds(30)
    keeper_grace: Seconds = Seconds(10)
    keeper_keeps: bool = False
    """SIGTERM leaves the models to the next start."""
    max_wait: Seconds | None = Seconds(30)
    """`routing.scheduler.settings.fifo.maxWait`; `None`: no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One valid configuration."""

    settings: Settings = field(default_factory=Settings)
    models: Mapping[ModelId, Model] = field(default_factory=dict[ModelId, Model])
    aliases: Mapping[str, ModelId] = field(default_factory=dict[str, ModelId])
    """Alias → model, automatic ones included. A model id wins over an alias."""
    peers: Mapping[str, Peer] = field(default_factory=dict[str, Peer])
    selectors: Mapping[str, Selector] = field(default_factory=dict[str, Selector])
    profiles: Mapping[str, Profile] = field(default_factory=dict[str, Profile])
    legacy_profiles: Mapping[str, tuple[ModelId, ...]] = field(
        default_factory=dict[str, tuple[ModelId, ...]]
    )
    """The earliest releases' lists: `name:model` loads `model`, and the members may run together."""
    routing: Groups | Matrix = field(default_factory=lambda: Groups(groups=()))
    secrets: tuple[Secret, ...] = ()
    """Everything that must never be printed: key values, peer keys, `${env.X}` values, secrets in commands."""
    files: tuple[str, ...] = ()
    key_files: tuple[str, ...] = ()
    """Of `apiKeys[].keyFile`: a change of one is a change of the configuration."""
