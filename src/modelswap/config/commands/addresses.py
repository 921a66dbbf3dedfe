"""The addresses at which models listen; models with the same one cannot run together.

A model listens at its `proxy` address when its command or its environment names the port (or the
socket's path). One that does not (`sleep infinity`, `systemctl start …`) stands for a server that
another program runs: any number of such models may share it. `launch.local` decides by the same rule.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from modelswap.net.address import split_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.config.plan import Model
    from modelswap.core.spec import ModelId

LOCALHOST: Final = "localhost"
"""Stands for every name of the loopback interface."""
_UNIX: Final = "unix:"


@lru_cache(maxsize=4096)  # addresses: a reload asks for those of all models, on the loop too
def address_of(proxy: str) -> str:
    """Return the host and port of an address; all names of the loopback interface are one."""
    if proxy.startswith(_UNIX):
        return proxy.removeprefix(_UNIX).removeprefix("//").split(":", 1)[0]
    try:
        parts = split_url(proxy)
        port = parts.effective_port
    except ValueError:
        return ""
    if not parts.host or port is None:
        return ""
    host = LOCALHOST if _is_loopback(parts.host) else parts.host.removesuffix(".")
    return f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    if host == LOCALHOST or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def listening(models: Mapping[ModelId, Model]) -> dict[ModelId, str]:
    """Return the address of each model that listens at the same one at every start."""
    found: dict[ModelId, str] = {}
    for name, model in models.items():
        address = fixed_address(model)
        if address and _mentions(model, address):
            found[name] = address
    return found


def fixed_ports(models: Mapping[ModelId, Model]) -> frozenset[int]:
    """Return the local ports that models use whatever `${PORT}` is."""
    prefix = f"{LOCALHOST}:"
    found = (address for address in listening(models).values() if address.startswith(prefix))
    return frozenset(int(address.removeprefix(prefix)) for address in found)


def fixed_address(model: Model) -> str:
    """Return the address that is the same at every start; empty when there is none."""
    if not model.argv:
        return ""
    address = address_of(model.proxy)
    if model.port is not None and address.endswith(f":{model.port}"):
        return ""
    return address


def _mentions(model: Model, address: str) -> bool:
    texts = (*model.argv, *model.env)
    if address.startswith("/"):
        return any(address in text for text in texts)
    port = re.compile(rf"(?<!\d){address.rpartition(':')[2]}(?!\d)")
    return any(port.search(text) for text in texts)
