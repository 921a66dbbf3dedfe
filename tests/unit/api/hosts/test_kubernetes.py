"""Names of services in a Kubernetes cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.api.hosts.host_and_cors import HostAndOriginRules
from modelswap.api.hosts.kubernetes import NO_CLUSTER, Cluster, find_cluster

if TYPE_CHECKING:
    from pathlib import Path

INSIDE = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}


def found(
    tmp_path: Path, environ: dict[str, str], *, namespace: str = "", dns: str = ""
) -> Cluster:
    account = tmp_path / "account"
    resolver = tmp_path / "resolv.conf"
    resolver.write_text(dns)
    if namespace:
        account.mkdir()
        (account / "namespace").write_text(namespace)
    return find_cluster(environ, account, resolver)


def test_outside(tmp_path: Path) -> None:
    """Without a sign of a cluster no name is a service's, whatever the resolver searches."""
    got = found(tmp_path, {"POD_NAMESPACE": "llm"}, dns="search llm.svc.cluster.local\n")
    assert got is NO_CLUSTER
    rules = HostAndOriginRules(cluster=got)
    assert not rules.is_our_host(b"modelswap.llm.svc")
    assert not rules.is_our_host(b"modelswap.llm")


@pytest.mark.parametrize(
    ("environ", "namespace", "dns", "ours"),
    [
        (INSIDE, "", "", "default"),
        (
            INSIDE,
            "",
            "nameserver 10.96.0.10\nsearch llm.svc.corp.example svc.corp.example\n",
            "llm",
        ),
        ({**INSIDE, "POD_NAMESPACE": "models"}, "", "search llm.svc.corp.example\n", "models"),
        (INSIDE, "team-a\n", "search llm.svc.corp.example\n", "team-a"),
        ({}, "llm", "", "llm"),
    ],
)
def test_inside(
    tmp_path: Path, environ: dict[str, str], namespace: str, dns: str, ours: str
) -> None:
    """Full names with every domain that is searched; short ones of our own namespace."""
    rules = HostAndOriginRules(cluster=found(tmp_path, environ, namespace=namespace, dns=dns))
    for host in ("x.other.svc", "x.other.svc.cluster.local", f"x.{ours}", f"X.{ours}:8080", "x"):
        assert rules.is_our_host(host.encode()), host
    assert rules.is_our_host(b"x.other.svc.corp.example") is bool("corp" in dns)
    for host in ("x.other", "evil.com", f"a.b.{ours}", f"{ours}.com", f".{ours}", "svc.evil.com"):
        assert not rules.is_our_host(host.encode()), host


@pytest.mark.parametrize(
    "namespace", ["dev", "ai", "app", "prod", "com", "xn--p1ai", "a.b", "-", ""]
)
def test_public_names(tmp_path: Path, namespace: str) -> None:
    """A short name that anyone can register is not local; the full one is."""
    rules = HostAndOriginRules(cluster=found(tmp_path, INSIDE, namespace=namespace or "\n"))
    if namespace:
        assert not rules.is_our_host(f"evil.{namespace}".encode())
        assert rules.is_our_host(f"modelswap.{namespace}.svc".encode())
