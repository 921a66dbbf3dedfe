"""A page that a model server sends never gets our origin: the headers on the wire.

The behaviour of a real browser is tested in `browser/test_model_pages.py`.
"""

from __future__ import annotations

import http.client
import socket as socket_module
from typing import TYPE_CHECKING

import pytest

from support.raw_http import ScriptedUpstream, bearer, dialled, status_of
from support.scripted_upstreams import UPGRADE, switching
from support.server import stub_command

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from support.server import Answer, Modelswap
    from support.streams import Serve

KEY = "let-me-in"
HTML = b"Content-Type: text/html\r\n"
NAVIGATION = {
    "Connection": "keep-alive",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "none",
    "Accept": "text/html,*/*;q=0.8",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140",
}
SAFARI = "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605"
POLICY = "content-security-policy"


def page(sock: socket.socket, request: bytes) -> None:
    """Answer with the type that the path names, with fields that are meant for the origin."""
    path = request.split(b" ")[1].partition(b"?")[0]
    kind = {
        b"/json": b"Content-Type: application/json\r\n",
        b"/sse": b"Content-Type: text/event-stream\r\n",
        b"/svg": b"Content-Type: image/svg+xml\r\n",
        b"/none": b"",
        b"/own": HTML + b"Content-Security-Policy: default-src 'self'\r\n",
        b"/clear": b"Content-Type: application/json\r\nClear-Site-Data: *\r\n",
        b"/pdf": b"Content-Type: application/pdf\r\n",
        b"/link": b"Content-Type: application/json\r\nLink: </unload>; rel=preload\r\n",
        b"/away": b"Content-Type: application/json\r\nLocation: /unload\r\n",
        b"/on": b"Content-Type: application/json\r\nlocation:  next?x \r\n",
        b"/chunked": HTML + b"Transfer-Encoding: chunked\r\n",
    }.get(path, HTML + b"Service-Worker-Allowed: /\r\nAlt-Svc: h2=:1\r\n")
    body = b"5\r\nhello\r\n0\r\n\r\n" if path == b"/chunked" else b"hello"
    length = b"" if path == b"/chunked" else b"Content-Length: 5\r\n"
    status = {b"/away": b"307 Away", b"/on": b"302 On"}.get(path, b"200 OK")
    if b"\r\nIf-None-Match:" in request:
        sock.sendall(b"HTTP/1.1 304 Old\r\nContent-Security-Policy: default-src *\r\n\r\n")
        return
    sock.sendall(b"HTTP/1.1 " + status + b"\r\n" + kind + length + b"\r\n" + body)


@pytest.fixture(scope="module")
def far() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(page) as liar:
        yield liar


@pytest.fixture(scope="module")
def server(serve: Serve, far: ScriptedUpstream) -> Modelswap:
    return serve(
        f"""
apiKeys: [{KEY}]
allowedHosts: [ai.example]
models:
  victim:
    cmd: {stub_command("victim")}
  comfyui_auto:
    cmd: {stub_command("comfyui")}
peers:
  evil: {{proxy: "{far.url}", models: ["a:1/b", second]}}
  friend: {{proxy: "{far.url}", models: [trusted], trustPage: true}}
"""
    )


def ask(server: Modelswap, path: str, method: str = "GET", **headers: str) -> Answer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.ask(method, path, headers={**bearer(KEY), **fields})


def navigated(server: Modelswap, path: str, host: str = "localhost", **headers: str) -> Answer:
    fields = {**NAVIGATION, "Host": f"{host}:{server.port}", **headers}
    return server.ask("GET", path, headers={**bearer(KEY), **fields})


def own_host(server: Modelswap, path: str) -> str:
    """Return the host and port to which a browser is redirected."""
    return navigated(server, path).headers["location"].split("/")[2]


@pytest.mark.parametrize("name", ["a:1/b", "evil/a:1/b"])
@pytest.mark.parametrize("path", ["", "svg", "none", "chunked", "clear", "pdf", "link"])
@pytest.mark.parametrize("host", ["localhost", "ai.example", "127.0.0.1:1", "nas.lan"])
def test_the_sandbox(server: Modelswap, name: str, path: str, host: str) -> None:
    """A response that a browser could run has no origin and sets nothing for any name of ours."""
    answer = ask(server, f"/upstream/{name}/{path}", Host=host)
    assert (answer.status, answer.body) == (200, b"hello")
    policy = answer.headers[POLICY]
    assert policy.startswith("sandbox ")
    assert "allow-same-origin" not in policy
    assert "allow-top-navigation" not in policy
    for origin_wide in ("service-worker-allowed", "alt-svc", "clear-site-data"):
        assert origin_wide not in answer.headers


@pytest.mark.parametrize("path", ["/props?model=second", "/sdapi/v1/loras?model=second"])
def test_no_page_by_another_way(server: Modelswap, path: str) -> None:
    """Every route that passes a model's response on adds the sandbox."""
    assert ask(server, path).headers[POLICY].startswith("sandbox ")
    answer = server.ask(
        "POST",
        "/v1/chat/completions",
        '{"model": "second"}',
        {**bearer(KEY), "Content-Type": "application/json", "Origin": "http://localhost:1"},
    )
    assert answer.headers[POLICY].startswith("sandbox ")
    assert answer.headers["access-control-allow-origin"] == "http://localhost:1"


def test_an_old_page_stays_in_the_sandbox(server: Modelswap) -> None:
    """The fields of a 304 replace those in the browser's cache."""
    raw = server.raw(
        b"GET /upstream/second/ HTTP/1.1\r\nHost: ai.example\r\nConnection: close\r\n"
        b"If-None-Match: x\r\nAuthorization: Bearer %b\r\n\r\n" % KEY.encode()
    )
    assert raw.startswith(b"HTTP/1.1 304 ")
    assert b"\r\nContent-Security-Policy: sandbox " in raw


@pytest.mark.parametrize("host", ["ai.example", "own"])
def test_a_redirect_of_a_model(server: Modelswap, host: str) -> None:
    """It leads a browser only to the model's own path; other clients see it unchanged."""
    name = own_host(server, "/upstream/second/") if host == "own" else host
    browser = {"Host": name, "Sec_Fetch_Site": "same-origin"}
    assert "location" not in ask(server, "/upstream/second/away", **browser).headers
    assert ask(server, "/upstream/second/on", **browser).headers["location"] == "next?x"
    assert ask(server, "/upstream/second/away", Host=name).headers["location"] == "/unload"
    trusted = ask(server, "/upstream/trusted/away", Host="ai.example", Sec_Fetch_Site="none")
    assert trusted.headers["location"] == "/unload"


def test_its_own_policy_stays(server: Modelswap, far: ScriptedUpstream) -> None:
    """The sandbox is an additional policy; browsers obey all."""
    raw = server.raw(
        b"GET /upstream/second/own HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Authorization: Bearer %b\r\n\r\n" % KEY.encode()
    ).lower()
    assert raw.count(b"\r\ncontent-security-policy: ") == 2
    assert b"content-security-policy: default-src 'self'\r\n" in raw
    del far


@pytest.mark.parametrize("path", ["json", "sse"])
def test_what_is_no_page_is_untouched(server: Modelswap, path: str) -> None:
    """JSON and event streams get no additional header."""
    assert POLICY not in ask(server, f"/upstream/second/{path}").headers


def test_a_trusted_page(server: Modelswap) -> None:
    """`trustPage` leaves everything as the model's server sent it."""
    answer = navigated(server, "/upstream/trusted/")
    assert answer.status == 200
    assert POLICY not in answer.headers
    assert answer.headers["service-worker-allowed"] == "/"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize("dest", ["document", "iframe", "frame"])
def test_an_origin_of_its_own(server: Modelswap, host: str, dest: str) -> None:
    """On a loopback name a browser is redirected to a name that serves this model only."""
    answer = navigated(server, "/upstream/evil/a:1/b/x%2Fy?q=%2F", host, **{"Sec-Fetch-Dest": dest})
    assert answer.status == 307
    own, _, rest = answer.headers["location"].removeprefix("http://").partition("/")
    assert rest == "upstream/evil/a:1/b/x%2Fy?q=%2F"
    label, domain, port = own.replace(":", ".").split(".")
    assert (domain, port) == ("localhost", str(server.port))
    assert label.startswith("upstream--evil-a-1-b--")
    assert len(label) <= 63
    there = ask(server, "/upstream/evil/a:1/b/", Host=own)
    assert (there.status, there.headers.get(POLICY)) == (200, None)
    assert ask(server, "/upstream/a:1/b/", Host=own.upper()).status == 200


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("ai.example", {}),
        ("nas.lan", {}),
        ("127.0.0.2", {}),
        ("localhost", {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}),
        ("localhost", {"Sec-Fetch-Dest": "image"}),
        ("localhost", {"User-Agent": SAFARI}),
        ("localhost", {"X-Forwarded-For": "1.2.3.4"}),
        ("localhost", {"X-Forwarded-Host": "localhost"}),
        ("localhost", {"Via": "1.1 x"}),
        ("localhost", {"Connection": "close"}),
        ("localhost", {"Connection": "x"}),
    ],
    ids=str,
)
def test_else_the_sandbox(server: Modelswap, host: str, headers: dict[str, str]) -> None:
    """Where the name might not resolve to us, the page stays, without an origin."""
    answer = navigated(server, "/upstream/second/", host, **headers)
    assert answer.status == 200
    assert answer.headers[POLICY].startswith("sandbox ")


ELSEWHERE = (
    "/", "/ui/", "/ui/app.js", "/v1/models", "/running", "/logs", "/unload", "/api/version", "/metrics",
    "/api/events", "/health", "/favicon.ico", "/upstream", "/props?model=victim", "/nothing",
)  # fmt: skip


@pytest.mark.parametrize("path", ELSEWHERE)
def test_nothing_else_at_its_name(server: Modelswap, path: str) -> None:
    """The model's host name has neither our page nor our API, with any key."""
    own = own_host(server, "/upstream/second/")
    assert status_of(server, "GET", path, None, {**bearer(KEY), "Host": own}) == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/chat/completions"), ("POST", "/api/models/unload"), ("PUT", "/api/profiles/active")],
)  # fmt: skip
def test_no_change_at_its_name(server: Modelswap, method: str, path: str) -> None:
    """Neither inference nor changes, although the page is of the same origin."""
    own = own_host(server, "/upstream/second/")
    fields = {
        **bearer(KEY),
        "Host": own,
        "Origin": f"http://{own}",
        "Sec-Fetch-Site": "same-origin",
    }
    assert status_of(server, method, path, b'{"model": "victim"}', fields) == 404


@pytest.mark.parametrize("path", ["/upstream/victim/", "/upstream/evil/a:1/b/", "/comfyui/"])
def test_no_other_model_at_its_name(server: Modelswap, path: str) -> None:
    """Another model's paths are refused, and start nothing."""
    own = own_host(server, "/upstream/second/")
    assert ask(server, path, Host=own, Sec_Fetch_Site="same-origin").status == 403
    assert ask(server, "/running").json()["running"] == []


@pytest.mark.parametrize(
    "host",
    [
        "upstream--gone--000000000000.localhost",
        "x.upstream--a--b.localhost",
        "upstream--.localhost",
    ],
)
def test_no_name_of_that_form_is_ours(server: Modelswap, host: str) -> None:
    """The page of a removed model gets nothing, neither at its name nor elsewhere."""
    assert ask(server, "/v1/models", Host=host).status == 404
    assert ask(server, "/upstream/second/", Host=host).status == 403
    for headers in (
        {"Origin": f"http://{host}:{server.port}"},
        {"Origin": f"http://{host}:{server.port}", "Sec_Fetch_Site": "same-origin"},
        {"Referer": f"http://{host}:{server.port}/", "Sec_Fetch_Site": "same-site"},
    ):
        assert ask(server, "/unload", **headers).status == 403
        answer = ask(server, "/v1/models", **headers)
        assert "access-control-allow-origin" not in answer.headers


def test_its_own_port(server: Modelswap, far: ScriptedUpstream) -> None:
    """A model's page that the browser loads from its server directly is foreign, too."""
    running = {"Authorization": f"Bearer {KEY}"}
    assert server.ask("POST", "/api/models/load/victim", headers=running).status == 200
    proxy = ask(server, "/running").json()["running"][0]["proxy"]
    assert ask(server, "/api/models/unload/victim", "POST").status == 200
    friend = "http://localhost:3000"
    for origin in (proxy, proxy.replace("localhost", "127.0.0.1"), far.url):
        assert ask(server, "/unload", Origin=origin).status == 403
        assert (
            ask(server, "/unload", Referer=f"{origin}/", Sec_Fetch_Site="same-site").status == 403
        )
        shown = ask(server, "/v1/models", Origin=origin).headers
        assert "access-control-allow-origin" not in shown
    assert ask(server, "/unload", Origin=friend).status == 200
    assert ask(server, "/v1/models", Origin=friend).headers["access-control-allow-origin"] == friend


def test_a_port_that_was_not_planned(serve: Serve) -> None:
    """A server that had to take another port is known by that port, also after a reload."""
    own = serve(f"models:\n  m:\n    cmd: {stub_command('m')}\n")
    usual = int(own.config_text.split("startPort: ")[1].split()[0])
    with socket_module.create_server(("127.0.0.1", usual)):
        assert own.ask("POST", "/api/models/load/m").status == 200
        proxy = own.ask("GET", "/running").json()["running"][0]["proxy"]
        assert not proxy.endswith(f":{usual}")
        for _ in range(2):
            assert own.ask("GET", "/unload", headers={"Origin": proxy}).status == 403
            own.write_config(own.config_text + "# changed\n")
            assert own.ask("POST", "/api/config/reload").status == 200


def test_comfyui(server: Modelswap) -> None:
    """ComfyUI's page has a name of its own too, under both of its paths."""
    answer = navigated(server, "/comfyui/")
    own = answer.headers["location"].split("/")[2]
    assert (answer.status, own) == (307, own_host(server, "/upstream/comfyui_auto/"))
    assert ask(server, "/comfyui/x", Host=own).status == 409  # not loaded: nothing was started


def test_a_foreign_page_cannot_navigate_there(server: Modelswap) -> None:
    """Only our redirect leads there from another site, once, and without the model's request."""
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert navigated(server, "/upstream/second/", **cross).status == 403
    redirect = navigated(server, "/upstream/second/?x=1", **{"Sec-Fetch-Site": "same-origin"})
    own = redirect.headers["location"].split("/")[2].partition(":")[0]
    assert navigated(server, "/upstream/second/?x=2", own, **cross).status == 403
    arrived = navigated(server, "/upstream/second/?x=1", own, **cross)
    assert (arrived.status, b"refresh" in arrived.body) == (200, True)
    assert navigated(server, "/upstream/second/?x=1", own, **cross).status == 403
    same = navigated(server, "/upstream/second/?x=1", own, **{"Sec-Fetch-Site": "same-origin"})
    assert (same.status, same.body) == (200, b"hello")


def test_no_key_no_redirect(server: Modelswap) -> None:
    """Names of models are not shown without a key."""
    headers = {**NAVIGATION, "Host": f"localhost:{server.port}"}
    assert status_of(server, "GET", "/upstream/second/", None, headers) == 401


def test_no_service_worker(server: Modelswap) -> None:
    """A model's script cannot register a service worker for our origin; for its own origin it can."""
    worker = {"Service_Worker": "script", "Sec_Fetch_Dest": "serviceworker"}
    assert ask(server, "/upstream/second/sw.js", **worker).status == 403
    own = own_host(server, "/upstream/second/")
    assert ask(server, "/upstream/second/sw.js", Host=own, **worker).status == 200


def test_websockets(serve: Serve) -> None:
    """A sandboxed page opens none; at its own name the model's own page does."""
    with ScriptedUpstream(switching) as liar:
        own = serve(f'models: {{}}\npeers:\n  far: {{proxy: "{liar.url}", models: [ws]}}\n')
        answer = own.ask("GET", "/upstream/ws/", headers={**NAVIGATION, "Host": "localhost:81"})
        name = answer.headers["location"].split("/")[2]
        for host, origin, expected in (
            ("localhost", "null", b"403"),
            ("localhost", f"http://{name}", b"403"),
            (name, "null", b"403"),
            (name, f"http://{name}", b"101"),
        ):
            with dialled(own) as sock:
                request = UPGRADE % (b"/upstream/ws/x", b"Origin: %b\r\n" % origin.encode())
                sock.sendall(request.replace(b"Host: localhost", b"Host: " + host.encode()))
                assert sock.recv(65536).split(b" ")[1] == expected
        assert len(liar.requests) == 1


def test_our_page_cannot_be_framed(server: Modelswap) -> None:
    """No page of another origin holds ours in a frame or a window."""
    for path in ("/ui/", "/", "/ui"):
        headers = ask(server, path).headers
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-opener-policy"] == "same-origin"


def test_a_head_only(server: Modelswap) -> None:
    """`HEAD` shows the same policy."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("HEAD", "/upstream/second/", headers=bearer(KEY))
    policy = connection.getresponse().getheader("Content-Security-Policy") or ""
    connection.close()
    assert policy.startswith("sandbox ")
