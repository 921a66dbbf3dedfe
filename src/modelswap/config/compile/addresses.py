"""Which models listen at the same address, and so cannot run together.

A model listens at its `proxy` address when its command or its environment names the port (or the
socket's path). One that does not (`sleep infinity`, `systemctl start …`) stands for a server that
something else runs: any number of such models may share it. `launch.local_watch` draws the same line.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from modelswap.config.messages.diagnostics import Diagnostics
    from modelswap.config.plan import Model, Plan
    from modelswap.core.placement.policy import Policy
    from modelswap.core.spec import ModelId

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HERE: Final = "localhost"
_UNIX: Final = "unix:"
_HINT: Final = "write ${PORT} into cmd, or give each a port of its own"


def address_of(proxy: str) -> str:
    """The host and port behind an address, all names of this machine's loopback as one."""
    if proxy.startswith(_UNIX):
        return proxy.removeprefix(_UNIX).removeprefix("//").split(":", 1)[0]
    try:
        parts = urlsplit(proxy)
        host, port = parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return ""
    if not host or port is None:
        return ""
    return f"{_HERE if _is_here(host) else host.removesuffix('.')}:{port}"


def _is_here(host: str) -> bool:
    if host == _HERE or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def listening(models: Mapping[ModelId, Model]) -> dict[ModelId, str]:
    """The addresses at which models listen, those left out that get a free port each time."""
    found: dict[ModelId, str] = {}
    for name, model in models.items():
        address = fixed_address(model)
        if address and _names(model, address):
            found[name] = address
    return found


def fixed_ports(models: Mapping[ModelId, Model]) -> frozenset[int]:
    """The ports of this machine at which models listen, whatever `${PORT}` is for the others."""
    prefix = f"{_HERE}:"
    found = (address for address in listening(models).values() if address.startswith(prefix))
    return frozenset(int(address.removeprefix(prefix)) for address in found)


def fixed_address(model: Model) -> str:
    """The address that is the same at every start; empty when there is none."""
    if not model.argv:
        return ""
    address = address_of(model.proxy)
    if model.port is not None and address.endswith(f":{model.port}"):
        return ""
    return address


def _names(model: Model, address: str) -> bool:
    texts = (*model.argv, *model.env)
    if address.startswith("/"):
        return any(address in text for text in texts)
    port = re.compile(rf"(?<!\d){address.rpartition(':')[2]}(?!\d)")
    return any(port.search(text) for text in texts)


def warn_of_shared(plan: Plan, policy: Policy, places: Diagnostics) -> None:
    """Say which models share an address though the routing lets them run together."""
    for name, other in _shared(listening(plan.models), policy):
        message = f"expected an address of its own; found that of {other!r}"
        places.warn(
            ("models", name, "proxy"), message, _HINT, then="so one is unloaded for the other"
        )


def warn_of_unnamed(plan: Plan, policy: Policy, places: Diagnostics) -> None:
    """The same for commands that do not name the port: they may share a server, or not."""
    own = listening(plan.models)
    fixed = {name: fixed_address(model) for name, model in plan.models.items()}
    here = {name: at for name, at in fixed.items() if at.startswith((f"{_HERE}:", "/"))}
    for name, other in _shared(here, policy):
        if name not in own or other not in own:
            message = f"expected an address of its own; found that of {other!r}"
            then = "so only one of their commands may start a server"
            places.warn(("models", name, "proxy"), message, _HINT, then=then)


def _shared(addresses: Mapping[ModelId, str], policy: Policy) -> Iterator[tuple[ModelId, ModelId]]:
    """Each model that may run beside an earlier one of the same address."""
    first: dict[str, ModelId] = {}
    for name, address in addresses.items():
        other = first.setdefault(address, name)
        if other != name and _together(policy, name, other):
            yield name, other


def _together(policy: Policy, one: ModelId, other: ModelId) -> bool:
    from modelswap.core.placement.policy import PlacementPlan, Question  # noqa: PLC0415 - most files have no shared address

    answers = (policy(Question(one, [other])), policy(Question(other, [one])))
    return any(isinstance(answer, PlacementPlan) and not answer.evictions for answer in answers)
