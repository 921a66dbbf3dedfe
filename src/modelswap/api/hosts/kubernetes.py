"""Names of services in a Kubernetes cluster, when the program runs in one.

`x.ns.svc` with or without the cluster's domain is local, and `x.ns` for the program's own namespace
only, unless that is (or looks like) a public top-level domain: `evil.dev` can be registered, and could
be used for DNS rebinding.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelswap.deferred import dataclass, regex

if TYPE_CHECKING:
    from collections.abc import Mapping

_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_RESOLVER: Final = Path("/etc/resolv.conf")
_SEARCHED: Final = regex(r"([a-z0-9-]+)\.svc\.([a-z0-9.-]+)", re.ASCII)
_LABEL: Final = regex(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_COUNTRY: Final = 2
"""Letters of a country's top-level domain; all of two letters may exist."""
_WORDS: Final = """
academy agency app bot build chat cloud codes com community computer data dev digital engineering
events games gmbh google group home host inc info live llc lol ltd media mobile net network new
observer online open org page partners plus prod productions run science services shop site social
software solutions space storage store studio support systems team tech technology tools training
video web website wiki work works world xyz zone
"""
_PUBLIC: Final = frozenset(_WORDS.split())
"""Public top-level domains that are likely names of namespaces."""


@dataclass(frozen=True, slots=True)
class Cluster:
    suffixes: tuple[str, ...] = ()
    """Ends of full names: `.svc`, `.svc.corp.example`."""
    namespace: str = ""
    """Short names are `x.<namespace>`; empty: none."""

    def has(self, host: str) -> bool:
        """Tell whether a lower-case host name is a service's."""
        service, _, namespace = host.partition(".")
        is_short = bool(service and namespace) and namespace == self.namespace
        return is_short or host.endswith(self.suffixes)


NO_CLUSTER: Final = Cluster()


def find_cluster(
    environ: Mapping[str, str] = os.environ, account: Path = _ACCOUNT, resolver: Path = _RESOLVER
) -> Cluster:
    """Detect the cluster by the service account or `KUBERNETES_SERVICE_HOST`."""
    if not environ.get("KUBERNETES_SERVICE_HOST") and not account.is_dir():
        return NO_CLUSTER
    suffixes = [".svc"]
    searched = ""
    for line in _lines(resolver):
        words = line.lower().split()
        for word in words[1:] if words[:1] == ["search"] else ():
            found = _SEARCHED.fullmatch(word.rstrip("."))
            if found is not None:
                searched = searched or found[1]
                suffixes.append(f".svc.{found[2]}")
    own = "".join(_lines(account / "namespace")).strip()
    namespace = own or environ.get("POD_NAMESPACE", "") or searched or "default"
    return Cluster(tuple(dict.fromkeys(suffixes)), namespace if _is_private(namespace) else "")


def _is_private(namespace: str) -> bool:
    is_public = len(namespace) <= _COUNTRY or namespace in _PUBLIC or namespace.startswith("xn--")
    return _LABEL.fullmatch(namespace) is not None and not is_public


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
