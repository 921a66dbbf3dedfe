"""Which client a request counts for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelswap.api.auth.client_identity import (
    MAX_CLAIMED_NAMES,
    ClientIdentities,
    address_of,
    is_background,
    may_load,
)
from modelswap.api.auth.identity import ANONYMOUS, Identity
from modelswap.api.hosts.trusted_proxies import TrustedProxies
from modelswap.config.plan import Settings


def request(client: str, **headers: str) -> Any:
    fields = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return SimpleNamespace(
        client=client,
        header=fields.get,
        header_values=lambda name: [fields[name]] if name in fields else [],
    )


SETTINGS = Settings(client_id_header="X-User", background_header="X-Background")


class Clients(ClientIdentities):
    """Clients behind these proxies."""

    def __init__(self, *proxies: str) -> None:
        super().__init__()
        self._proxies = TrustedProxies(proxies)

    def of(self, request: Any, identity: Identity = ANONYMOUS) -> str:
        return self.client_of(request, identity, SETTINGS, self._proxies)


def test_one_address_is_not_a_thousand_clients() -> None:
    """Names that a client gives itself count up to a bound; beyond it they are its address."""
    clients = Clients()
    names = {clients.of(request("9.9.9.9", x_user=f"u{n}")) for n in range(500)}
    assert len(names) == MAX_CLAIMED_NAMES + 1
    assert "9.9.9.9" in names
    assert clients.of(request("9.9.9.9", x_user="u3")) == "u3"
    for n in range(5000):
        clients.of(request(f"a{n}", x_user="u"))
    assert len(clients._claims) <= 1024
    assert len(clients.of(request("8.8.8.8", x_user="y" * 5000))) <= 128


def test_where_proxies_are_trusted_only_they_name_clients() -> None:
    """A trusted proxy names any number of clients; another client cannot choose its name."""
    clients = Clients("10.0.0.0/8")
    through = {clients.of(request("10.0.0.1", x_user=f"u{n}")) for n in range(500)}
    assert len(through) == 500
    assert clients.of(request("9.9.9.9", x_user="u3")) == "9.9.9.9"


@pytest.mark.parametrize("default", [False, True])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("autoload=true", True),
        ("model=a&autoload=1", True),
        ("autoload=false", False),
        ("autoload=TRUE", False),
        ("autoload=0&autoload=1", False),
        ("autoload=", None),
        ("autoload", None),
        ("model=autoload", None),
        ("", None),
    ],
)
def test_whether_a_request_may_load(query: str, *, expected: bool | None, default: bool) -> None:
    """As llama.cpp's router reads it: `true` and `1` are yes, others no, none as the server says."""
    found = may_load(cast("Any", SimpleNamespace(query=query)), default=default)
    assert found is (default if expected is None else expected)


def test_a_named_key_names_the_client() -> None:
    """A header makes no other client of a key."""
    client = Clients().of(request("9.9.9.9", x_user="other"), Identity("me"))
    assert client == "me"


def test_a_key_without_a_name_of_its_own_may_be_many_clients() -> None:
    """The header counts before a name made up for a key, and that before the address."""
    clients, key = Clients(), Identity("key-1", is_named=False)
    assert clients.of(request("9.9.9.9", x_user="ann"), key) == "ann"
    assert clients.of(request("9.9.9.9"), key) == "key-1"
    assert clients.of(request("9.9.9.9", x_user=""), key) == "key-1"
    for n in range(500):
        clients.of(request("9.9.9.9", x_user=f"u{n}"), key)
    assert clients.of(request("9.9.9.9", x_user="one more"), key) == "key-1"


def test_background_takes_nothing_from_others() -> None:
    """Any client may say that its request can wait."""
    assert is_background(request("9.9.9.9", x_background="1"), ANONYMOUS, SETTINGS)
    assert not is_background(request("9.9.9.9"), ANONYMOUS, SETTINGS)


@pytest.mark.parametrize("value", ["", " ", "0", "false", "False", "no", "OFF"])
def test_background_can_be_denied(value: str) -> None:
    """A value that denies it does not put the request behind the others."""
    assert not is_background(request("9.9.9.9", x_background=value), ANONYMOUS, SETTINGS)


def test_forged_forwarding_headers() -> None:
    """They count from trusted proxies only, and only as far as their chain reaches."""
    forged = {"x_forwarded_for": "1.2.3.4", "x_real_ip": "1.2.3.4"}
    assert address_of(request("9.9.9.9", **forged), TrustedProxies()) == "9.9.9.9"
    assert address_of(request("9.9.9.9", **forged), TrustedProxies(["10.0.0.0/8"])) == "9.9.9.9"
    behind = request("10.0.0.1", x_forwarded_for="6.6.6.6, 1.2.3.4")
    assert address_of(behind, TrustedProxies(["10.0.0.0/8"])) == "1.2.3.4"
