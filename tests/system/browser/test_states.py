"""What the page says when it cannot know, and what it offers to keys that may not do everything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from support.server import stub_command, stub_config, wait_until

if TYPE_CHECKING:
    from support.running import StartServer
    from support.server import Modelswap
    from system.browser.conftest import Page

KEYS = """
apiKeys:
  - {name: looks, key: sk-looks, scopes: [read]}
  - {name: rules, key: sk-rules, scopes: [admin]}
  - {name: asks, key: sk-asks, scopes: [inference]}
  - {name: some, key: sk-some, scopes: [admin], models: [alpha]}
profiles: {work: {pins: {llm: alpha}}}
"""


def signed_in(server: Modelswap, key: str) -> str:
    return server.base_url.replace("http://", f"http://anyone:{key}@")


def chat_with(server: Modelswap, key: str) -> None:
    body = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}]}
    server.ask("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}"})


def live_buttons(page: Page) -> list[str]:
    """What can be clicked in the content of the page, by its text."""

    def look() -> list[str]:
        buttons = page.all("main button, main select")
        return [one.text for one in buttons if one.is_displayed() and one.is_enabled()]

    found: list[str] = page.read(look)
    return found


def test_a_lost_connection_is_seen(page: Page, modelswap_server: StartServer) -> None:
    """Without the server no row is green and no button is active; both return with the server."""
    page.allowed = ("ERR_",)
    server = modelswap_server(
        f"profiles: {{work: {{pins: {{llm: alpha}}}}}}\n{stub_config('alpha')}"
    )
    server.chat("alpha")
    page.open(server.base_url, "models")
    page.wait_for(".model .state.ready", "ready")
    server.stop()
    page.wait_for(".banner", "Connection lost, retrying")
    page.wait_for(".model .state.unknown", "unknown")
    assert not page.all(".state.ready")
    assert live_buttons(page) == []
    title = page.read(lambda: page.all(".model button")[0].get_attribute("title"))
    assert title == "No connection to the server"
    page.go("models/alpha")
    page.wait_for("main .state.unknown", "unknown")
    page.go("settings")
    page.wait_for("main h1", "Settings")
    assert "Reload the configuration" not in live_buttons(page)
    page.go("models")
    server.start()
    page.wait_for(".model .state.stopped", "stopped")
    page.until(lambda: not page.all(".banner:not([hidden])"), "the banner goes")
    page.click(".model button", "Load")
    page.wait_for(".model .state.ready", "ready")


def test_a_killed_server_is_seen(page: Page, modelswap_server: StartServer) -> None:
    """A crash is noticed as a stop is, and what ran is shown again when the next one has taken it over."""
    page.allowed = ("ERR_",)
    server = modelswap_server(stub_config("alpha", extra="keeper: {grace: 60}"))
    server.chat("alpha")
    page.open(server.base_url, "models")
    page.wait_for(".model .state.ready", "ready")
    server.kill()
    page.wait_for(".model .state.unknown", "unknown")
    assert live_buttons(page) == []
    server.start()
    page.wait_for(".model .state.ready", "ready")


def test_a_key_that_only_reads(page: Page, modelswap_server: StartServer) -> None:
    """A key without `admin` and `inference` sees everything; controls that would be refused are off."""
    server = modelswap_server(f"{KEYS}\n{stub_config('alpha', 'beta')}")
    chat_with(server, "sk-rules")
    page.open(signed_in(server, "sk-looks"), "models")
    page.wait_for(".model .state.ready", "ready")
    why = "This key may not change what runs: it lacks the scope “admin”"
    page.until(lambda: page.all(".model button")[0].get_attribute("title") == why, "the reason")
    page.wait_for("main", "No profile is active")
    assert live_buttons(page) == []
    assert page.all(".icon-link:not([hidden])") == []
    page.go("settings")
    page.wait_for("main", "looks")
    assert "Reload the configuration" not in live_buttons(page)
    assert "Unload all models" not in live_buttons(page)
    page.go("activity/1")
    page.wait_for("dialog", "scope “admin” only")
    page.go("models/alpha")
    page.wait_for("main h1", "alpha")
    assert not any(link.is_displayed() for link in page.all("main a.button"))
    page.click("[role=tab]", "Log")
    page.wait_for(".log", "stub alpha")
    page.go("playground")
    page.wait_for("main", "it lacks the scope “inference”")
    assert not any(box.is_displayed() for box in page.all("textarea"))


def test_a_key_for_everything(page: Page, modelswap_server: StartServer) -> None:
    """A key with `admin` has the buttons."""
    server = modelswap_server(f"{KEYS}\n{stub_config('alpha')}")
    page.open(signed_in(server, "sk-rules"), "models")
    page.click(".model button", "Load")
    page.wait_for(".model .state.ready", "ready")
    page.click("button", "Unload all")
    page.wait_for(".model .state.stopped", "stopped")


def test_keys_that_cannot_open_the_page(page: Page, modelswap_server: StartServer) -> None:
    """A key for inference only gets a message; one for some models opens a page that says why it is empty."""
    page.allowed = ("403 (Forbidden)",)
    server = modelswap_server(f"{KEYS}\n{stub_config('alpha')}")
    page.driver.get(f"{signed_in(server, 'sk-asks')}/ui/")
    page.wait_for("body", "this key lacks the scope")
    page.driver.get("about:blank")
    page.driver.get(f"{signed_in(server, 'sk-some')}/ui/#/models")
    page.wait_for(".dot.refused")
    page.wait_for(".banner", "this key is limited to some models")
    assert [text for text in live_buttons(page) if text] == []


def test_a_reload_may_change_the_key(page: Page, modelswap_server: StartServer) -> None:
    """When the configuration takes a scope from the key, the buttons go without a reload of the page."""
    page.allowed = ("403 (Forbidden)",)  # what was under way at that moment
    server = modelswap_server(f"{KEYS}\n{stub_config('alpha')}")
    page.open(signed_in(server, "sk-rules"), "models")
    page.until(lambda: "Load" in live_buttons(page), "the button")
    text = server.config_text.replace(
        "key: sk-rules, scopes: [admin]", "key: sk-rules, scopes: [read]"
    )
    server.write_config(text)
    page.go("settings")
    page.click("button", "Reload the configuration")
    page.go("models")
    page.until(lambda: "Load" not in live_buttons(page), "the button goes")


def test_the_page_does_not_fill_the_log(page: Page, modelswap_server: StartServer) -> None:
    """Every view of the page, opened and watched, leaves one line in the log: that it was opened."""
    server = modelswap_server(stub_config("alpha"))
    server.chat("alpha")
    page.open(server.base_url)
    for view in ("models", "models/alpha", "models/alpha?tab=logs", "models/alpha?tab=details", "activity/1",
                 "playground/speech", "performance", "settings", "logs"):  # fmt: skip
        page.go(view)
        page.wait_for("main h1")
    page.driver.refresh()
    page.wait_for(".log[aria-label='Log: modelswap']", "/v1/chat/completions")
    server.ask("GET", "/running?of=curl", headers={"User-Agent": "curl/8"})
    wait_until(lambda: b'"GET /running HTTP/1.1" 200' in server.ask("GET", "/logs").body)
    text = server.ask("GET", "/logs").body.decode()
    asked = [found for found in re.findall(r'"(\w+ \S+) HTTP', text) if "/health" not in found]
    assert set(asked) == {"POST /v1/chat/completions", "GET /ui/", "GET /running", "GET /logs"}
    page.wait_for(".log[aria-label='Log: modelswap']", "GET /running")


def test_all_requests_go_to_the_own_server(page: Page, modelswap_server: StartServer) -> None:
    """In every view the page loads from its own server only."""
    answer = "![x](https://elsewhere.test/x.png) https://elsewhere.test/y"
    server = modelswap_server(
        f"models:\n  alpha:\n    cmd: {stub_command('alpha')}\n    description: {answer!r}\n"
    )
    server.chat("alpha", tag=answer)
    page.open(server.base_url, "activity/1")
    page.wait_for("dialog .said", "elsewhere")
    for view in ("models", "models/alpha", "playground/chat", "performance", "logs", "settings"):
        page.go(view)
        page.wait_for("main h1")
    names = page.script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert names
    assert [name for name in names if not name.startswith(f"{server.base_url}/")] == []
