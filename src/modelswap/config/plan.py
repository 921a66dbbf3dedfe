"""The plan: one valid configuration, frozen, in the form in which the program uses it.

A record inherits the keys that it takes from the file as they are (`schema.ModelKeys` and the like);
the fields below are those that the compile step makes.

Guarantees: only `load` makes a plan, and nothing changes it; a reload makes a new one. A secret is in a
`Secret`, so that no `repr`, log line or error shows it by accident.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Final, Protocol

from modelswap.core.placement.groups import groups_policy
from modelswap.core.placement.policy import DeviceId
from modelswap.core.spec import IdleModel, ModelId, ModelSpec
from modelswap.deferred import dataclass
from modelswap.units import Bytes, Seconds

from .schema.schema import (
    ApiKeyKeys,
    CapabilityKeys,
    GroupKeys,
    KeyScope,
    ModelKeys,
    PeerKeys,
    SelectorKeys,
)
from .schema.schema_memory import MemoryRoutingKeys
from .schema.schema_root import FIRST_PORT, Limits, Pulling, SettingKeys
from .tree.values import Json

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelswap.catalog.found import FoundModel
    from modelswap.core.placement.policy import Policy

DEFAULT_GROUP: Final = "(default)"
"""Id of the group of all models that are in no other."""


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
    def search(self, string: str, /) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Of connections to one upstream; `None`: no deadline."""

    connect: Seconds | None = Seconds(30)
    keepalive: Seconds | None = Seconds(30)
    response_header: Seconds | None = None
    tls_handshake: Seconds | None = Seconds(10)
    expect_continue: Seconds | None = Seconds(1)
    idle_connection: Seconds | None = Seconds(90)
    stall: Seconds | None = None
    """`stallTimeout`: the longest pause within a response (before it: `response_header`)."""


PEER_TIMEOUTS: Final = Timeouts(response_header=Seconds(60))
"""A peer's defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    r"""Edits of a JSON request; keys are dotted paths (`a.b`, `a.0`, `a\\.b`)."""

    strip: tuple[str, ...] = ()
    set: Mapping[str, Json] = field(default_factory=dict[str, Json])
    set_by_id: Mapping[str, Mapping[str, Json]] = field(
        default_factory=dict[str, Mapping[str, Json]]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities(CapabilityKeys):
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    context: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Model(ModelKeys):
    """One model with every macro expanded, for one port.

    `at_port` gives the same model for another port; two models that differ in
    nothing but the port have the same `identity`.
    """

    id: ModelId
    spec: ModelSpec
    cmd: str
    """Fully expanded command text, newlines kept, as `/running` shows it (secrets redacted there)."""
    argv: tuple[str, ...]
    cmd_stop: str = ""
    """Expanded, `${PID}` still in it; empty: SIGTERM."""
    stop_command: tuple[str, ...] = ()
    proxy: str
    """URL of the upstream: `http://localhost:5800`, maybe with a base path."""
    check_endpoint: str | None = "/health"
    """Path of the readiness probe; `None`: ready as soon as spawned."""
    port: int | None = None
    """What `${PORT}` stands for, when the command uses it."""
    env: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    """Explicit ones, then those that `setParamsByID` adds."""
    send_loading_state: bool = False
    filters: Filters = field(default_factory=Filters)
    timeouts: Timeouts = field(default_factory=Timeouts)
    ignore_websockets: bool = False
    capabilities: Capabilities = field(default_factory=Capabilities)
    memory: Mapping[DeviceId, Bytes] = field(default_factory=dict[DeviceId, Bytes])
    """What it declares to need; `memory.needs` makes a need of it. Empty: nothing."""
    api_key: Secret | None = None
    source: str = ""
    """What its files are pulled from, as `Puller.start` takes it; it may hold a secret."""
    pull_name: str = ""
    """The source in its one spelling, without secrets; empty: it has none."""
    is_missing: bool = False
    """Its files are still to be pulled: until then its command is not complete."""
    identity: str = ""
    """Hash of everything that needs a restart when it changes: command, stop command, environment,
    proxy, probe; the port left out."""
    render: Callable[[int], Model] | None = field(default=None, compare=False, repr=False)
    """Makes the model for another port; None when it has no `${PORT}`."""

    def __repr__(self) -> str:
        """Show only the id: commands, environments and addresses may hold secrets."""
        return f"Model({self.id!r})"

    def at_port(self, port: int) -> Model:
        return self if self.render is None or port == self.port else self.render(port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer(PeerKeys):
    id: str
    proxy: str = field(repr=False)
    models: tuple[str, ...]
    api_key: Secret | None = None
    filters: Filters = field(default_factory=Filters)
    timeouts: Timeouts = PEER_TIMEOUTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector(SelectorKeys):
    id: str
    spillover: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Today's form: requested name → target; `""` switches the name off."""

    id: str
    pins: Mapping[str, str]
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(GroupKeys):
    id: str
    members: tuple[ModelId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Every configured model is in exactly one of these (`(default)` among them)."""

    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Still text: `core.placement.matrix` parses and solves it. `vars` name → model id."""

    vars: Mapping[str, ModelId]
    sets: Mapping[str, str]
    evict_costs: Mapping[ModelId, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRouting(MemoryRoutingKeys):
    """Models are placed by memory, beside what `routing` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSettings:
    """What the file says of one device; `None`: what the device says, or the default."""

    capacity: Bytes | None = None
    reserve: Bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(ApiKeyKeys):
    """One accepted key. A plain string in the file is a record with every scope."""

    name: str
    is_named: bool = True
    """The user gave the name; else it was made from the key's place in the list."""
    key: Secret | None = None
    key_hash: str | None = None
    """`sha256:<hex>` of the key, instead of the key."""
    scopes: frozenset[str] = frozenset(KeyScope)
    expires: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(SettingKeys):
    log_level: str = "info"
    log_time_format: str = ""
    metrics_max_in_memory: int = 1000
    capture_buffer: Bytes = Bytes(5 << 20)
    store_path: str | None = None
    store_retention: Seconds | None = None
    store_rows: int | None = None
    """At most this many records in the store's file; None: no bound."""
    session_headers: tuple[str, ...] = ("X-Session-ID", "X-Litellm-Session-Id")
    performance_disabled: bool = False
    performance_every: Seconds = Seconds(5)
    start_port: int = FIRST_PORT
    api_keys: tuple[ApiKey, ...] = ()
    ignore_paths: tuple[PathPattern, ...] = ()
    preload: tuple[ModelId, ...] = ()
    idle_model: IdleModel | None = None
    """`hooks.on_idle`."""
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
    loading_keep_alive: Seconds = Seconds(5)
    """Between two keep-alives."""
    keeper_grace: Seconds = Seconds(10)
    keeper_keeps: bool = False
    """SIGTERM leaves the model servers running for the next start."""
    pull: Pulling = field(default_factory=Pulling)
    max_wait: Seconds | None = None
    """`routing.scheduler.settings.fifo.maxWait`; infinite: no bound; `None`: by the cost of the swap."""


@dataclass(frozen=True, slots=True)
class FoundEntry:
    """A model that was found on disk, and what became of it."""

    model: FoundModel
    id: str
    """The name under which it is served, or would be."""
    reason: str = ""
    """Why it is not served; empty when it is."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """What was found on disk."""

    folders: tuple[str, ...] = ()
    models: tuple[FoundEntry, ...] = ()
    presets: tuple[str, ...] = ()
    """Files: a change of one is a change of the configuration."""
    sees_hub: bool = False
    """Hugging Face's cache is looked at: what is pulled there is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
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
    devices: Mapping[DeviceId, DeviceSettings] = field(
        default_factory=dict[DeviceId, DeviceSettings]
    )
    memory: MemoryRouting | None = None
    """None: models are not placed by memory."""
    routing: Groups | Matrix = field(default_factory=lambda: Groups(groups=()))
    policy: Policy = field(default=groups_policy(()), compare=False, repr=False)
    """Which models have to leave for which: the routing, and addresses that only one can have."""
    secrets: tuple[Secret, ...] = ()
    """Values that must never be printed: key values, peer keys, `${env.X}` values, secrets in commands."""
    files: tuple[str, ...] = ()
    key_files: tuple[str, ...] = ()
    """Of `apiKeys[].keyFile`: a change of one is a change of the configuration."""
    discovered: Discovered | None = None
    """None: nothing was looked for."""

    @property
    def named_files(self) -> tuple[str, ...]:
        """The files that the configuration names and that count as parts of it."""
        return (*self.key_files, *(() if self.discovered is None else self.discovered.presets))

    @property
    def specs(self) -> dict[ModelId, ModelSpec]:
        return {name: model.spec for name, model in self.models.items()}
