"""The immutable objects compiled from one plan: names, edits, keys, peers, rules.

Guarantees: a request reads one snapshot from beginning to end; a reload replaces it in one assignment.
Only the counts of selectors and the ports of running servers change, and what is made of the plan at its
first use is kept.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from modelswap.core.models.lifecycle import Phase
from modelswap.core.naming.names import LocalTarget, Names, PeerTarget
from modelswap.core.naming.selectors import SelectorFacts, Selectors, TargetState
from modelswap.deferred import dataclass
from modelswap.http import Address, UpstreamPool, is_local

from .auth.failed_attempts import FailedAttempts
from .auth.keys import KeyAuthenticator
from .hosts.host_and_cors import Fields, HostAndOriginRules
from .hosts.kubernetes import find_cluster
from .hosts.page_hosts import loopback_port, page_ports
from .hosts.trusted_proxies import TrustedProxies
from .routing.filters import RequestEdits, compile_filters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelswap.config.plan import FoundEntry, Model, Peer, Plan, Secret
    from modelswap.core.spec import ModelId
    from modelswap.fleet import Fleet, RemoteFleet

_STATES = {
    Phase.STOPPED: TargetState.STOPPED,
    Phase.STARTING: TargetState.STARTING,
    Phase.READY: TargetState.READY,
}


class UnusableError(Exception):
    """The plan names something that cannot be used; the text says which key."""


@dataclass(frozen=True, slots=True, eq=False)
class PeerUpstream:
    peer: Peer
    upstream: UpstreamPool
    edit: RequestEdits | None
    credentials: Fields
    """Headers that replace the client's own."""


class ConfigSnapshot:
    def __init__(
        self,
        plan: Plan,
        *,
        listening: Sequence[str],
        failures: FailedAttempts | None = None,
        autoload: bool | None = None,
    ) -> None:
        """`failures` are those of the snapshot before: a reload does not reset them.

        *autoload* is what the command line says of it; `None`: the plan says it.

        Raises:
            UnusableError: a peer's address cannot be connected to.
        """
        self.plan = plan
        self.records: dict[tuple[ModelId, str], dict[str, Any]] = {}
        self.statuses: list[dict[str, Any]] = []
        """What `models_endpoint` has made out of the plan: a list of many models costs less then."""
        self.router_fields: dict[ModelId, Any] = {}
        """What `llama_router.records` has made out of the plan."""
        self.listening = listening
        self.told_autoload = autoload
        self.autoload = plan.settings.models_autoload if autoload is None else autoload
        """A request loads its model unless it says otherwise."""
        self.failures = failures or FailedAttempts()
        self.names = Names(
            models=plan.models.keys(),
            aliases=plan.aliases,
            peers={peer.id: peer.models for peer in plan.peers.values()},
            selectors={s.id: s.targets for s in plan.selectors.values()},
            profiles={p.id: p.pins for p in plan.profiles.values()},
            legacy_profiles=plan.legacy_profiles,
        )
        self.selectors = Selectors(
            SelectorFacts(s.id, s.strategy, s.targets, s.spillover) for s in plan.selectors.values()
        )
        self.edits: dict[ModelId, RequestEdits | None] = {
            m.id: compile_filters(m.filters, m.use_model_name) for m in plan.models.values()
        }
        self.remotes = {p.id: _remote(p) for p in plan.peers.values()}
        self.authenticator = KeyAuthenticator(plan.settings.api_keys, self.failures)
        self.proxies = TrustedProxies(plan.settings.trusted_proxies)
        self.site_rules = HostAndOriginRules(
            hosts=plan.settings.allowed_hosts,
            origins=plan.settings.allowed_origins,
            listening=listening,
            cluster=find_cluster(),
            servers=page_ports(plan),
        )

    @cached_property
    def found(self) -> Mapping[str, FoundEntry]:
        """The models that were found on disk and are served, by id."""
        discovered = self.plan.discovered
        entries = () if discovered is None else discovered.models
        return {entry.id: entry for entry in entries if not entry.reason}

    def local(self, name: str) -> ModelId | None:
        """Return the local model that has a name or an alias."""
        target = self.names.lookup(name)
        return target.model if isinstance(target, LocalTarget) else None

    def edit_of(self, target: LocalTarget | PeerTarget) -> RequestEdits | None:
        if isinstance(target, LocalTarget):
            return self.edits[target.model]
        return self.remotes[target.peer].edit

    def credentials_of(self, target: LocalTarget | PeerTarget) -> Fields:
        """Return what replaces the client's credentials; nothing where there is no `apiKey`."""
        if isinstance(target, PeerTarget):
            return self.remotes[target.peer].credentials
        return _credentials(self.plan.models[target.model].api_key)

    def keeps_credentials(self, target: LocalTarget | PeerTarget) -> bool:
        """Tell whether the client's key is sent to the target too."""
        if isinstance(target, PeerTarget):
            return self.remotes[target.peer].peer.forward_authorization
        return self.plan.models[target.model].forward_authorization

    def state_of(self, fleet: Fleet | RemoteFleet, target: str) -> TargetState:
        found = self.names.lookup(target)
        if isinstance(found, PeerTarget) or found is None:
            return TargetState.PEER
        return _STATES.get(fleet.phase(found.model), TargetState.STOPPING)

    def deny_page(self, model: Model) -> None:
        """Let no page at the port of a running server use the API, also at a port that no plan names."""
        port = None if model.trust_page else loopback_port(model.proxy)
        if port is not None:
            self.site_rules.deny_port(port)

    def close(self) -> None:
        """Close the idle connections to peers; running requests go on."""
        for remote in self.remotes.values():
            remote.upstream.close_idle()


class ActiveConfig:
    """Holds the snapshot in use. A reload replaces it in one assignment."""

    __slots__ = ("snapshot",)

    def __init__(self, snapshot: ConfigSnapshot) -> None:
        self.snapshot = snapshot

    @property
    def plan(self) -> Plan:
        return self.snapshot.plan

    def replace(self, plan: Plan) -> None:
        """Compile another plan and use it from now on; counts of wrong keys go on.

        Raises:
            UnusableError: the plan cannot be used; the snapshot stays.
        """
        before = self.snapshot
        self.snapshot = ConfigSnapshot(
            plan,
            listening=before.listening,
            failures=before.failures,
            autoload=before.told_autoload,
        )
        before.close()

    def is_shared_address(self, address: str) -> bool:
        """Tell whether many clients send from an address: this machine's, or a trusted proxy's."""
        return is_local(address) or self.snapshot.proxies.is_trusted(address)


def _remote(peer: Peer) -> PeerUpstream:
    try:
        address = Address.parse(peer.proxy)
    except ValueError as error:
        raise UnusableError(f"peers.{peer.id}.proxy: {error}") from error
    upstream = UpstreamPool(address, peer.timeouts)
    credentials = _credentials(peer.api_key, b"X-Api-Key")
    return PeerUpstream(peer, upstream, compile_filters(peer.filters), credentials)


def _credentials(secret: Secret | None, *plain: bytes) -> Fields:
    """Return the key in `Authorization`, and as it is in the headers *plain*."""
    if secret is None:
        return ()
    key = secret.reveal().encode("utf-8", "surrogateescape")
    return ((b"Authorization", b"Bearer " + key), *((name, key) for name in plain))
