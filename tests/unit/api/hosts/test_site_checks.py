"""One request against the rules for hosts and origins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modelswap.api.hosts.host_and_cors import HostAndOriginRules
from modelswap.api.hosts.site_checks import check_host, check_site
from modelswap.api.hosts.trusted_proxies import TrustedProxies
from modelswap.errors import ForbiddenError

RULES = HostAndOriginRules(hosts=["llm.example"])
PROXIES = TrustedProxies(["10.0.0.0/8"])


def request(client: str = "9.9.9.9", **headers: str) -> Any:
    fields = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return SimpleNamespace(
        client=client,
        header=fields.get,
        header_values=lambda name: [fields[name]] if name in fields else [],
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "llm.example", "x_forwarded_host": "evil.example"},
        {"host": "upstream--a--0.localhost", "x_forwarded_host": "llm.example"},
    ],
)
def test_a_name_that_is_not_served_is_rejected(headers: dict[str, str]) -> None:
    """`Host` and each name that a trusted proxy forwards have to be the program's own."""
    with pytest.raises(ForbiddenError, match="allowedHosts"):
        check_host(request("10.0.0.1", **headers), RULES, PROXIES)


def test_the_name_that_another_client_forwards_does_not_count() -> None:
    """A page can send any `X-Forwarded-Host`; it is read from trusted proxies only."""
    check_host(request(host="llm.example", x_forwarded_host="evil.example"), RULES, PROXIES)


def test_a_page_of_another_site_is_rejected() -> None:
    """Its origin is neither the program's own nor on the list."""
    with pytest.raises(ForbiddenError, match="allowedOrigins"):
        check_site(request(host="llm.example", origin="https://evil.example"), RULES, PROXIES)
    check_site(request(host="llm.example", origin="https://llm.example"), RULES, PROXIES)
