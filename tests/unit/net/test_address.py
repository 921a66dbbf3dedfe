"""Addresses of upstreams: every spelling has one meaning, for the program and for `check`."""

from __future__ import annotations

import pytest

from modelswap.config.compile.models import upstream_url
from modelswap.config.messages.diagnostics import Diagnostics
from modelswap.config.messages.report import Report
from modelswap.config.tree.node import Map, Mark
from modelswap.net.address import Address, is_unix, split_url


def unix(path: str, base: str = "", query: str = "") -> Address:
    return Address("http", "localhost", 80, base, query, path)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("unix:/run/a.sock", unix("/run/a.sock")),
        ("unix:///run/a.sock", unix("/run/a.sock")),
        ("unix:/run/a.sock:", unix("/run/a.sock")),
        ("unix:/run/a.sock:/", unix("/run/a.sock")),
        ("unix:/run/a.sock:/v1/", unix("/run/a.sock", "/v1")),
        ("unix:/run/a.sock:/v1?x=y", unix("/run/a.sock", "/v1", "x=y")),
        ("unix:/run/qwen:7b.sock", unix("/run/qwen:7b.sock")),
        ("unix:/run/a b", unix("/run/a b")),
        ("unix:@name", unix("@name")),
        ("http://unix:/run/a.sock", unix("/run/a.sock")),
        ("http://unix:/run/a.sock:/base", unix("/run/a.sock", "/base")),
        ("http+unix://%2Frun%2Fa.sock", unix("/run/a.sock")),
        ("http+unix://%2frun%2fa.sock/v1/?q", unix("/run/a.sock", "/v1", "q")),
        ("http://%2Frun%2Fa.sock/v1", unix("/run/a.sock", "/v1")),
        ("http://unix:8080", Address("http", "unix", 8080)),
        ("http://unix:8080/a", Address("http", "unix", 8080, "/a")),
        ("http://unix/run", Address("http", "unix", 80, "/run")),
    ],
)
def test_a_spelling_is_understood(url: str, meant: Address) -> None:
    """Docker's, nginx' and requests-unixsocket's; a machine may be called `unix`."""
    assert Address.parse(url) == meant
    assert is_unix(url) == bool(meant.socket_path)
    assert meant.authority in {"localhost", "unix", "unix:8080"}


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("unix:run/a.sock", "not absolute: 'run/a.sock'"),
        ("unix:", "not absolute: ''"),
        ("unix://run/a.sock", "not absolute"),
        ("http://unix:a.sock", "not absolute"),
        ("http+unix://run/a.sock", "not absolute: 'run'"),
        ("unix:/", "without a name"),
        ("unix:/run/", "without a name"),
        ("unix:/" + "a" * 107, "108 bytes; 107 is the most"),
        ("unix:/a\rb", "control characters"),
        ("unix:/a:/b c", "spaces or non-ASCII"),
        ("unix:/a:/b\r\nX: y", "spaces or non-ASCII"),
        ("unix:/a:/b#c", "fragment"),
        ("https://unix:/a", "TLS to a Unix socket, which is not supported"),
        ("https+unix://%2Fa", "TLS to a Unix socket, which is not supported"),
    ],
)
def test_what_is_no_socket_is_said(url: str, found: str) -> None:
    """The program refuses it, and the configuration warns with the same words."""
    with pytest.raises(ValueError, match=r".+") as caught:
        Address.parse(url)
    assert found in str(caught.value)
    report = Report()
    diagnostics = Diagnostics(Map(Mark("c.yaml", 1, 1)), report)
    assert upstream_url(url, ("models", "a", "proxy"), diagnostics) == ""
    assert [found in str(warning) for warning in report.warnings] == [True]


def test_split_url() -> None:
    """The parts are the URL's; a user name is told, and in no part; a port that is none is an error."""
    parts = split_url("HTTP://me:pw@Example.org:81/a?b=c#d")
    assert (parts.scheme, parts.authority, parts.host) == ("http", "Example.org:81", "example.org")
    assert (parts.port, parts.path, parts.query, parts.fragment) == (81, "/a", "b=c", "d")
    assert parts.has_credentials
    assert split_url("https://h").effective_port == 443
    with pytest.raises(ValueError, match="Port"):
        _ = split_url("ftp://h:99999").port
