"""Everything that is made from one plan: names, edits, keys, peers.

A request reads one book from beginning to end; a reload puts another in its
place in one assignment. Nothing here changes, except the counts of selectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelswap.core.models.lifecycle import Phase
from modelswap.core.naming.names import LocalTarget, Names, PeerTarget
from modelswap.core.naming.selectors import SelectorFacts, Selectors, TargetState
from modelswap.http import Address, UpstreamPool

from .auth.auth import FailedAttempts, KeyAuthenticator
from .auth.host_and_cors import HostAndOriginRules
from .auth.kubernetes import find_cluster
from .pages.model_pages import page_ports
from .routing.filters import compile_filters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelswap.config import plan as configured
    from modelswap.config.plan import Plan
    from modelswap.core.spec import ModelId
    from modelswap.fleet import Fleet, RemoteFleet

    from .auth.host_and_cors import Fields
    from .routing.filters import Edit

__all__ = ["ConfigSnapshot", "PeerUpstream", "UnusableError"]

_STATES = {
    Phase.STOPPED: TargetState.STOPPED,
    Phase.STARTING: TargetState.STARTING,
    Phase.READY: TargetState.READY,
}


class UnusableError(Exception):
    """The plan names something that cannot be used; the text says which key."""


@dataclass(frozen=True, slots=True, eq=False)
class PeerUpstream:
    """A peer that can be reached."""

    peer: configured.Peer
    upstream: UpstreamPool
    edit: Edit | None
    credentials: Fields
    """Headers that stand in for the client's own."""


class ConfigSnapshot:
    def __init__(
        self,
        plan: Plan,
        *,
        listening: Sequence[str],
        failures: FailedAttempts | None = None,
    ) -> None:
        """`failures` are those of the book before: a reload forgives nobody.

        Raises:
            UnusableError: a peer's address cannot be connected to.
        """
        self.plan = plan
        self.listening = listening
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
        self.edits: dict[ModelId, Edit | None] = {
            m.id: compile_filters(m.filters, m.use_model_name) for m in plan.models.values()
        }
        self.remotes = {p.id: _remote(p) for p in plan.peers.values()}
        self.access = KeyAuthenticator(plan.settings.api_keys, self.failures)
        self.origins = HostAndOriginRules(
            hosts=plan.settings.allowed_hosts,
            origins=plan.settings.allowed_origins,
            proxies=plan.settings.trusted_proxies,
            listening=listening,
            cluster=find_cluster(),
            servers=page_ports(plan),
        )

    def local(self, name: str) -> ModelId | None:
        """Return the model that a name or an alias stands for."""
        target = self.names.lookup(name)
        return target.model if isinstance(target, LocalTarget) else None

    def edit_of(self, target: LocalTarget | PeerTarget) -> Edit | None:
        if isinstance(target, LocalTarget):
            return self.edits[target.model]
        return self.remotes[target.peer].edit

    def credentials_of(self, target: LocalTarget | PeerTarget) -> Fields:
        """Return what stands in for the client's credentials; nothing where there is no `apiKey`."""
        if isinstance(target, PeerTarget):
            return self.remotes[target.peer].credentials
        key = self.plan.models[target.model].api_key
        return () if key is None else ((b"Authorization", b"Bearer " + _bytes_of(key)),)

    def keeps_credentials(self, target: LocalTarget | PeerTarget) -> bool:
        """Tell whether our keys go on to the target too."""
        if isinstance(target, PeerTarget):
            return self.remotes[target.peer].peer.forward_authorization
        return self.plan.models[target.model].forward_authorization

    def state_of(self, fleet: Fleet | RemoteFleet, target: str) -> TargetState:
        """Tell a selector how one of its targets is."""
        found = self.names.lookup(target)
        if isinstance(found, PeerTarget) or found is None:
            return TargetState.PEER
        return _STATES.get(fleet.phase(found.model), TargetState.STOPPING)

    def close(self) -> None:
        """Let go of the peers' connections; running requests to them go on."""
        for remote in self.remotes.values():
            remote.upstream.close_idle()


def _remote(peer: configured.Peer) -> PeerUpstream:
    try:
        address = Address.parse(peer.proxy)
    except ValueError as error:
        raise UnusableError(f"peers.{peer.id}.proxy: {error}") from error
    upstream = UpstreamPool(address, peer.timeouts)
    return PeerUpstream(peer, upstream, compile_filters(peer.filters), _credentials(peer))


def _credentials(peer: configured.Peer) -> Fields:
    if peer.api_key is None:
        return ()
    key = _bytes_of(peer.api_key)
    return ((b"Authorization", b"Bearer " + key), (b"X-Api-Key", key))


def _bytes_of(key: configured.Secret) -> bytes:
    return key.reveal().encode("utf-8", "surrogateescape")
