"""Behind a reverse proxy: our name, our prefix, and headers that must not be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest

from support.raw_http import status_of
from support.reverse_proxy import NGINX, nginx, through
from support.streams import model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.server import Modelswap
    from support.streams import Serve

NAME = "models.example.org"
CONFIG = f"""
allowedHosts: [{NAME}]
trustedProxies: [127.0.0.1]
models:
{model("qwen:1", aliases=["al/ias"])}
"""


@pytest.fixture(scope="module")
def server(serve: Serve) -> Modelswap:
    return serve(CONFIG)


@pytest.fixture(scope="module")
def untrusting(serve: Serve) -> Modelswap:
    return serve(CONFIG.replace("127.0.0.1", "10.0.0.0/8"))


def test_the_forwarded_name_is_ours(server: Modelswap, untrusting: Modelswap) -> None:
    """A page below our public name may make changes, although the proxy replaced `Host`."""
    page = {"Origin": f"https://{NAME}", "X-Forwarded-Host": NAME, "X-Forwarded-Proto": "https"}
    assert status_of(server, "POST", "/api/models/unload", b"{}", page) == 200
    assert status_of(untrusting, "POST", "/api/models/unload", b"{}", page) == 403
    modern = {"Origin": f"https://{NAME}", "Sec-Fetch-Site": "same-origin"}
    for one in (server, untrusting):
        assert status_of(one, "POST", "/api/models/unload", b"{}", modern) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Host": "evil.example"},
        {"X-Forwarded-Host": f"{NAME}, evil.example"},
        {"X-Forwarded-Host": f"evil.example, {NAME}"},
        {"X-Forwarded-Host": "http://localhost"},
        {"X-Forwarded-Host": "upstream--a--0123.localhost"},
        {"Host": "evil.example", "X-Forwarded-Host": "localhost"},
        {"Host": "evil.example", "X-Forwarded-Host": NAME},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/v1/models", "/unload", "/logs", "/ui/"])
def test_no_rebinding_through_a_proxy(
    server: Modelswap, path: str, headers: dict[str, str]
) -> None:
    """Each name has to be ours: the header adds to `Host`, and never replaces it."""
    assert status_of(server, "GET", path, None, headers) == 403


def test_forwarding_headers_of_untrusted_clients_are_ignored(untrusting: Modelswap) -> None:
    """Forwarded names and prefixes of a client that is no trusted proxy change nothing."""
    pretended = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil"}
    answer = untrusting.ask("GET", "/", headers=pretended)
    assert (answer.status, answer.headers["location"]) == (302, "ui")
    assert status_of(untrusting, "GET", "/v1/models", None, pretended) == 200


@pytest.mark.parametrize(
    ("method", "path", "to"),
    [
        ("GET", "/", "/llm/ui"),
        ("HEAD", "/ui?x=1", "/llm/ui/?x=1"),
        ("GET", "/upstream", "/llm/ui/models"),
        ("POST", "/upstream?x=1", "/llm/upstream/?x=1"),
        ("GET", "/upstream/qwen:1?x=%2F", "/llm/upstream/qwen:1/?x=%2F"),
        ("POST", "/upstream/al/ias", "/llm/upstream/al/ias/"),
        ("GET", "/comfyui?x=1", "/llm/comfyui/?x=1"),
        ("GET", "/v1//models", "/llm/v1/models"),
        ("GET", "/upstream/qwen:1/./a/../b?q=1", "/llm/upstream/qwen:1/b?q=1"),
    ],
)
def test_redirects_keep_the_prefix(server: Modelswap, method: str, path: str, to: str) -> None:
    """Without a header by a relative location, with one by the prefix itself."""
    plain = server.ask(method, path).headers["location"]
    assert not plain.startswith(("/", "\\"))
    base = f"http://h/llm{path}"
    if "//" not in path:  # Python counts empty segments as no other program does
        assert urljoin(base, plain) == f"http://h{to}"
    named = server.ask(method, path, headers={"X-Forwarded-Prefix": "/llm/"})
    assert named.headers["location"] == to


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "/\\evil.example", "https://evil.example", "/a b", "/a/../..", "x"]
)
def test_no_open_redirect_by_prefix(server: Modelswap, prefix: str) -> None:
    """A prefix that is no plain path is left out."""
    answer = server.ask("GET", "/", headers={"X-Forwarded-Prefix": prefix})
    assert answer.headers["location"] == "ui"


@pytest.mark.parametrize(
    ("host", "status"),
    [("x.llm.svc", 200), ("x.llm.svc.cluster.local", 200), ("x.llm", 200), ("x.other", 403),
     ("evil.com", 403), ("x.svc.evil.com", 403)],
)  # fmt: skip
def test_kubernetes(server: Modelswap, in_cluster: Modelswap, host: str, status: int) -> None:
    """Names of services are ours in a cluster only."""
    assert status_of(in_cluster, "GET", "/v1/models", None, {"Host": f"{host}:80"}) == status
    outside = 200 if host.endswith(".local") else 403
    assert status_of(server, "GET", "/v1/models", None, {"Host": host}) == outside


@pytest.fixture(scope="module")
def in_cluster(serve: Serve) -> Modelswap:
    return serve(
        "models: {}\n", env={"KUBERNETES_SERVICE_HOST": "10.96.0.1", "POD_NAMESPACE": "llm"}
    )


# A real one


@pytest.fixture(scope="module")
def proxy(server: Modelswap, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if NGINX is None:
        pytest.skip("no nginx here: apt-get install nginx-light")
    with nginx(tmp_path_factory.mktemp("nginx"), server.port) as port:
        yield port


@pytest.mark.parametrize("prefix", ["llm", "forwarded"])
@pytest.mark.parametrize(
    ("path", "end"),
    [("/", "/ui/"), ("/ui", "/ui/"), ("/upstream", "/ui/models"), ("/logs", "/ui/"),
     ("/upstream/qwen:1", "/upstream/qwen:1/"), ("//v1/models", "/v1/models")],
)  # fmt: skip
def test_nginx(proxy: int, prefix: str, path: str, end: str) -> None:
    """A client that follows our redirects through a real proxy stays below its prefix."""
    where = f"http://127.0.0.1:{proxy}/{prefix}{path}"
    followed = 0
    while (answer := through(proxy, path_of(where), Accept="text/html")).status in {301, 302, 307}:
        where = rfc3986(where, answer.headers["location"])
        followed += 1
    assert answer.status == 200
    assert followed in {1, 2}
    assert where == f"http://127.0.0.1:{proxy}/{prefix}{end}"


def path_of(url: str) -> str:
    return "/" + url.split("/", 3)[3]


def rfc3986(base: str, reference: str) -> str:
    """Resolve as browsers and curl do: empty segments count."""
    scheme, _, rest = base.partition("://")
    authority, _, path = rest.partition("/")
    if reference.startswith("/"):
        return f"{scheme}://{authority}{reference}"
    kept: list[str] = path.split("/")[:-1]
    for segment in reference.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    return f"{scheme}://{authority}/" + "/".join(kept)


def test_changes_through_nginx(proxy: int) -> None:
    """The page behind the proxy may unload: its origin is the name for which the proxy was asked."""
    host = f"{NAME}:{proxy}"
    page = {"Host": host, "Origin": f"http://{host}"}
    assert through(proxy, "/forwarded/api/models/unload", "POST", **page).status == 200
    assert through(proxy, "/llm/api/models/unload", "POST", **page).status == 403
    evil = {"Host": "evil.example", "Origin": "http://evil.example"}
    assert through(proxy, "/forwarded/api/models/unload", "POST", **evil).status == 403


@pytest.mark.parametrize("prefix", ["llm", "forwarded"])
def test_no_way_around_nginx(proxy: int, prefix: str) -> None:
    """A browser elsewhere is not led to its own loopback, although `Host` is ours behind the proxy."""
    browser = {
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
        "Connection": "keep-alive",
    }
    answer = through(proxy, f"/{prefix}/upstream/qwen:1/", **browser)
    assert answer.status == 200
    page = through(proxy, f"/{prefix}/upstream/qwen:1/page", Accept="text/html", **browser)
    assert page.status == 200
