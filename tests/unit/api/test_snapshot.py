"""What is compiled from a plan, and the holder of the snapshot in use."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modelswap.api.snapshot import ActiveConfig, ConfigSnapshot, UnusableError
from modelswap.config.plan import Peer, Plan, Settings


def snapshot(plan: Plan | None = None) -> ConfigSnapshot:
    return ConfigSnapshot(plan or Plan(), listening=["127.0.0.1"])


def peer(proxy: str) -> Plan:
    return Plan(peers={"p": Peer(id="p", proxy=proxy, models=("m",))})


def test_another_plan_replaces_the_snapshot_at_once() -> None:
    """The new snapshot is of the new plan; counts of wrong keys go on."""
    config = ActiveConfig(snapshot())
    before, plan = config.snapshot, Plan()
    config.replace(plan)
    assert config.plan is plan
    assert config.snapshot is not before
    assert config.snapshot.failures is before.failures
    assert config.snapshot.listening == before.listening


def test_an_unusable_plan_changes_nothing() -> None:
    """The snapshot in use stays, and the error names the key."""
    config = ActiveConfig(snapshot())
    before = config.snapshot
    with pytest.raises(UnusableError, match=r"peers\.p\.proxy"):
        config.replace(peer("gopher://far"))
    assert config.snapshot is before


@pytest.mark.parametrize(
    ("address", "expected"), [("127.0.0.1", True), ("10.0.0.1", True), ("9.9.9.9", False)]
)
def test_addresses_of_many_clients(address: str, *, expected: bool) -> None:
    """This machine and a trusted proxy send requests of many clients."""
    config = ActiveConfig(snapshot(Plan(settings=Settings(trusted_proxies=("10.0.0.0/8",)))))
    assert config.is_shared_address(address) is expected


@pytest.mark.parametrize(
    ("proxy", "trusted", "allowed"),
    [
        ("http://127.0.0.1:9999", False, False),
        ("http://127.0.0.1:9999", True, True),
        ("http://far.example:9999", False, True),
    ],
)
def test_the_page_of_a_server_may_not_use_the_api(
    proxy: str, *, trusted: bool, allowed: bool
) -> None:
    """A page at the port of a server on this machine is denied, unless `trustPage` is set."""
    compiled = snapshot()
    model: Any = SimpleNamespace(proxy=proxy, trust_page=trusted)
    compiled.deny_page(model)
    assert compiled.site_rules.is_allowed(b"http://localhost:9999", None) is allowed
