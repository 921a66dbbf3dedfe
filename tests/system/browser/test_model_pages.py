"""Pages of model servers in a real browser: they work, and cannot use our API."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from support.reverse_proxy import NGINX, nginx
from support.server import wait_until
from support.streams import model
from system.browser.conftest import started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium import webdriver

    from support.running import StartServer
    from support.server import Modelswap

KEY = "the-browser-remembers-it"
HOSTILE = Path(__file__).with_name("hostile.html").read_bytes()
FRIENDLY = b"""<!doctype html><title>waiting</title><script type="module" src="own.js"></script>"""
ATTACK = """
const done = arguments[3];
attack(arguments[0], arguments[1], arguments[2]).then(done, (error) => done([String(error)]));
"""
OWN = b"""
localStorage.setItem("mine", "kept");
const answer = await (await fetch("props?x=1")).json();
document.title = [answer.path, localStorage.getItem("mine"), location.search].join(" ");
"""


ASKING = {
    "/refresh": {"Refresh": "0; url=/unload"},
    "/link": {"Link": "</unload>; rel=preload; as=image"},
    "/rules": {"Speculation-Rules": '"rules.json"'},
    "/redirect": {"Location": "/unload"},
    "/redirect-other": {"Location": "../other/"},
}
"""What responses without any script ask the browser for."""
RULES = b'{"prerender": [{"source": "list", "urls": ["/unload"], "eagerness": "immediate"}]}'


class Pages(BaseHTTPRequestHandler):
    """A model server with a web page: `/` is hostile, `/friendly` is not."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path.partition("?")[0]
        kind, body = {
            "/": ("text/html", HOSTILE),
            "/friendly": ("text/html", FRIENDLY),
            "/own.js": ("text/javascript", OWN),
            "/worker.js": ("text/javascript", b""),
            "/rules.json": ("application/speculationrules+json", RULES),
        }.get(name, ("application/json", json.dumps({"path": self.path}).encode()))
        self.send_response(302 if name.startswith("/redirect") else 200)
        for field in ASKING.get(name, {}).items():
            self.send_header(*field)
        self.send_header("Content-Type", kind)
        self.send_header("Service-Worker-Allowed", "/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        del format, args


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(30)


@pytest.fixture
def chromium(browser: webdriver.Chrome, server: Modelswap) -> Iterator[webdriver.Chrome]:
    """One window; those that a test leaves open are closed before the server is."""
    _ = server
    first = browser.current_window_handle
    yield browser
    for window in browser.window_handles:
        if window != first:
            browser.switch_to.window(window)
            browser.close()
    browser.switch_to.window(first)
    browser.get("about:blank")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser that opens windows and resolves a second name to this server."""
    flags = ("--disable-popup-blocking", "--host-resolver-rules=MAP nas.lan 127.0.0.1")
    chromium = started(tmp_path_factory.mktemp("model-pages"), *flags)
    chromium.set_script_timeout(120)
    yield chromium
    chromium.quit()


@pytest.fixture(params=["keys", "open"])
def server(request: pytest.FixtureRequest, modelswap_server: StartServer, pages: str) -> Modelswap:
    """With a key that the browser remembers, and without any; `victim` is loaded, `other` is not."""
    keys = f"apiKeys: [{KEY}]" if request.param == "keys" else ""
    begun = modelswap_server(
        f"{keys}\nmodels:\n{model('victim')}{model('other')}"
        f"peers:\n  far: {{proxy: '{pages}', models: [evil]}}\n"
        f"  friend: {{proxy: '{pages}', models: [trusted], trustPage: true}}\n"
    )
    assert ask(begun, "POST", "/api/models/load/victim").status == 200
    return begun


def ask(server: Modelswap, method: str, path: str) -> Any:
    return server.ask(method, path, headers={"Authorization": f"Bearer {KEY}"})


def running(server: Modelswap) -> list[str]:
    found = ask(server, "GET", "/running").json()["running"]
    return [each["model"] for each in found if each["state"] == "ready"]


def log_in(browser: webdriver.Chrome, server: Modelswap, *hosts: str) -> None:
    """Let the browser remember the key for our page at each name, with a secret in its storage."""
    for host in hosts:
        browser.get(f"http://me:{KEY}@{host}:{server.port}/ui/")
        browser.execute_script("localStorage.setItem('secret', 'prompts')")
    browser.get("about:blank")


def page_of(browser: webdriver.Chrome, server: Modelswap, host: str, path: str) -> str:
    """Open a model's page as a user does, and give the key where the browser is led to."""
    navigation = {
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
        "Connection": "keep-alive",
    }
    key = {"Authorization": f"Bearer {KEY}"}
    there = {"Host": f"{host}:{server.port}"}
    answer = server.ask("GET", path, headers={**key, **navigation, **there})
    address = answer.headers.get("location", f"http://{host}:{server.port}{path}")
    browser.get(address.replace("http://", f"http://me:{KEY}@"))
    browser.get("about:blank")
    browser.get(address)  # without the key in the address, relative to which nothing can be fetched
    origin: str = browser.execute_script("return location.origin")
    return origin


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "nas.lan"])
def test_a_hostile_page(chromium: webdriver.Chrome, server: Modelswap, host: str) -> None:
    """It reads nothing, changes nothing, starts nothing, and cannot script modelswap's page."""
    main = f"http://{host}:{server.port}"
    log_in(chromium, server, host)
    own = page_of(chromium, server, host, "/upstream/evil/")
    assert chromium.title == "hostile"
    is_led_away = host != "nas.lan"
    assert (own != main) is is_led_away
    bases = [main, own] if is_led_away else [main]
    # to plain HTTP names browsers say nothing of an <img>: see the threat model's "left open"
    includes = is_led_away
    assert chromium.execute_async_script(ATTACK, bases, main, includes) == []
    assert running(server) == ["victim"]


@pytest.mark.parametrize("path", ASKING)
def test_response_fields_that_cause_requests(
    chromium: webdriver.Chrome, server: Modelswap, path: str
) -> None:
    """Without a script a response causes no request with the page's or the user's credentials."""
    main = f"http://nas.localhost:{server.port}"  # a name that browsers trust, without a redirect
    log_in(chromium, server, "nas.localhost")
    chromium.get(f"{main}/upstream/evil{path}")
    time.sleep(1)  # there is nothing to wait for: nothing may happen
    chromium.get(f"{main}/ui/")
    chromium.execute_script("location.href = arguments[0]", f"/upstream/evil{path}")
    time.sleep(1)
    assert running(server) == ["victim"]


def test_a_page_from_the_model_server_itself(
    chromium: webdriver.Chrome, server: Modelswap, pages: str
) -> None:
    """The same page, loaded from the model's server itself, gets no further."""
    main = f"http://127.0.0.1:{server.port}"
    log_in(chromium, server, "127.0.0.1")
    chromium.get(f"{pages}/")
    includes = True
    assert chromium.execute_async_script(ATTACK, [main], main, includes) == []
    assert running(server) == ["victim"]


def test_a_friendly_page(chromium: webdriver.Chrome, server: Modelswap) -> None:
    """On localhost a model's page has storage and can call its own server, also after a reload."""
    log_in(chromium, server, "localhost")
    for _ in range(2):
        own = page_of(chromium, server, "localhost", "/upstream/evil/friendly?q=%2F")
        assert ".localhost:" in own
        wait_until(lambda: chromium.title == "/props?x=1 kept ?q=%2F", 10, "its own API")
    chromium.refresh()
    wait_until(lambda: chromium.title == "/props?x=1 kept ?q=%2F", 10, "its own API")


def test_a_link_of_our_page(chromium: webdriver.Chrome, server: Modelswap) -> None:
    """The way from our page to a model's is open, and its reload too; a page of another site has none."""
    log_in(chromium, server, "localhost")
    own = page_of(chromium, server, "localhost", "/upstream/evil/friendly")
    address = f"http://localhost:{server.port}/upstream/evil/friendly"
    chromium.get(f"http://localhost:{server.port}/ui/")
    chromium.execute_script("location.href = arguments[0]", address)
    wait_until(lambda: chromium.title.startswith("/props"), 10, "the page")
    chromium.refresh()
    wait_until(lambda: chromium.title.startswith("/props"), 10, "the page after a reload")
    chromium.get(f"http://nas.lan:{server.port}/health")
    for there in (address, f"{own}/upstream/evil/friendly"):
        chromium.execute_script("location.href = arguments[0]", there)
        wait_until(lambda there=there: chromium.current_url == there, 10, "the refusal")
        wait_until(lambda: "another site" in chromium.page_source, 10, "the refusal")
        chromium.get(f"http://nas.lan:{server.port}/health")


def test_a_trusted_page(chromium: webdriver.Chrome, server: Modelswap) -> None:
    """`trustPage` gives it our origin, as it was with llama-swap."""
    for host in ("localhost", "nas.lan"):
        log_in(chromium, server, host)
        own = page_of(chromium, server, host, "/upstream/trusted/friendly")
        assert own == f"http://{host}:{server.port}"
        wait_until(lambda: chromium.title.startswith("/props?x=1 kept"), 10, "its own API")


def test_our_page_below_a_prefix(
    chromium: webdriver.Chrome, server: Modelswap, tmp_path: Path
) -> None:
    """The page finds its API when a reverse proxy serves it at `/llm/`."""
    if NGINX is None:
        pytest.skip("no nginx here: apt-get install nginx-light")
    with nginx(tmp_path, server.port) as port:
        chromium.get(f"http://me:{KEY}@localhost:{port}/llm/")
        wait_until(
            lambda: chromium.execute_script("return !!document.querySelector('.dot.connected')"),
            15,
            f"the page is connected: {chromium.page_source[:2000]}",
        )
        assert chromium.execute_script("return location.pathname") == "/llm/ui/"
