"""The page as a user meets it: every view, its buttons, its keys, on a desk and on a phone."""

from __future__ import annotations

import contextlib
import threading
from http.client import HTTPException
from typing import TYPE_CHECKING

from selenium.webdriver.common.keys import Keys

from support.server import stub_command, stub_config, wait_until

if TYPE_CHECKING:
    from support.running import StartServer
    from system.browser.conftest import Page

VIEWS = ("activity", "models", "playground", "logs", "performance", "settings")
PANES = ("chat", "embeddings", "rerank", "images", "speech", "transcription", "load")
ROUTES = (*VIEWS, *(f"playground/{pane}" for pane in PANES), "models/alpha?tab=logs", "nothing")
EVIL = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>"

RICH = f"""
models:
  author/alpha:
    name: Alpha
    description: A small one
    aliases: [alpha, small]
    cmd: {stub_command("alpha")}
    capabilities: {{in: [text, image], out: [text], tools: true, context: 131072}}
  hidden:
    unlisted: true
    cmd: {stub_command("hidden")}
selectors:
  best: {{strategy: warm, targets: [alpha, hidden]}}
profiles:
  coding: {{description: For code, pins: {{llm: alpha, img: ""}}}}
peers:
  other: {{proxy: "http://127.0.0.1:9", models: [far]}}
"""


def test_every_view_opens_without_a_complaint(page: Page, modelswap_server: StartServer) -> None:
    """Each route shows its heading, and the console stays empty (the fixture looks)."""
    server = modelswap_server(RICH)
    server.chat("alpha")
    page.open(server.base_url)
    for route in ROUTES:
        page.go(route)
        assert page.wait_for("main h1").text


def test_no_view_is_wider_than_a_phone(page: Page, modelswap_server: StartServer) -> None:
    """At 375 pixels nothing has to be scrolled sideways but tables inside their boxes."""
    server = modelswap_server(RICH)
    server.chat("alpha")
    server.chat("a-model-that-does-not-exist-and-has-quite-a-long-name-for-a-small-screen")
    page.driver.set_window_size(500, 800)  # the narrowest that Chromium's windows get
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 375, "height": 720, "deviceScaleFactor": 1, "mobile": True},
    )
    try:
        page.open(server.base_url)
        for route in ROUTES:
            page.go(route)
            page.wait_for("main h1")
            wide = page.script(
                "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            )
            assert wide == [375, 375], route
        page.click("nav a[data-place=models]")
        page.wait_for("main h1", "Models")
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_models_are_loaded_and_unloaded(page: Page, modelswap_server: StartServer) -> None:
    """The list shows name, aliases, selectors, profiles and peers; its button loads and unloads."""
    server = modelswap_server(RICH)
    page.open(server.base_url, "models")
    row = "[data-model='author/alpha']"
    assert "also alpha, small" in page.wait_for(row, "Alpha").text
    page.wait_for("main", "best")
    page.wait_for("main", "other/far")
    assert not page.all("[data-model=hidden]")
    page.click(".switch input")
    page.wait_for("[data-model=hidden]", "hidden")
    page.click(f"{row} button", "Load")
    page.wait_for(f"{row} .state", "ready")
    assert server.running() == {"author/alpha": "ready"}
    page.click(f"{row} button", "Unload")
    page.wait_for(f"{row} .state", "stopped")
    page.script("document.querySelector('select[aria-label=\"Active profile\"]').value = 'coding'")
    page.script(
        "document.querySelector('select[aria-label=\"Active profile\"]')"
        ".dispatchEvent(new Event('change'))"
    )
    page.wait_for("main", "For code")
    assert server.ask("GET", "/api/profiles").json()["active"] == "coding"


def test_every_model_id_works(page: Page, modelswap_server: StartServer) -> None:
    """Ids with slashes, percent signs, other scripts and query characters load and have a page."""
    names = ["a/b/c", "50%25 off", "ünï çødé 模型", "?q=1&r#2"]
    commands = [
        f"  {name!r}:\n    cmd: {stub_command(f'odd{at}')}\n" for at, name in enumerate(names)
    ]
    server = modelswap_server(f"models:\n{''.join(commands)}")
    page.open(server.base_url)
    for at, name in enumerate(names):
        page.go("models")
        page.click(f"[aria-label='Load {name}']")
        page.wait_for(f"[data-model='{name}'] .state", "ready")
        page.click(f"[data-model='{name}'] a")
        page.wait_for("main h1", name)
        page.click("[role=tab]", "Log")
        page.wait_for(".log", f"stub odd{at}")
        assert list(server.running()) == [name]


def test_a_load_that_fails_says_why(page: Page, modelswap_server: StartServer) -> None:
    """A model that cannot start leaves a message, and is shown as failed, with the reason."""
    page.allowed = ("503 (Service Unavailable)",)
    server = modelswap_server(stub_config("dies", flags=("--exit-after", "0", "--exit-code", "3")))
    page.open(server.base_url, "models")
    page.click(".model button", "Load")
    page.wait_for(".toast.error", "dies was not loaded")
    page.wait_for(".model .state", "failed")
    page.wait_for(".model .failure", "exited with code 3")


def test_chat_streams_an_answer(page: Page, modelswap_server: StartServer) -> None:
    """A message typed and sent with Enter is answered, kept over a reload, and copied nowhere else."""
    server = modelswap_server(stub_config("alpha"))
    page.open(server.base_url, "playground/chat?model=alpha")
    page.wait_for(".chat select.model-choice", "alpha")
    page.wait_for("textarea[aria-label=Message]").send_keys("Say it", Keys.ENTER)
    page.wait_for(".turn.assistant .markdown", "alpha:0 alpha:1")
    page.wait_for(".turn.assistant", "first token after")
    page.driver.refresh()
    page.wait_for(".turn.user", "Say it")
    page.go("activity")
    page.wait_for("tbody tr[data-id='1']", "/v1/chat/completions")


def test_chat_uses_the_other_protocols(page: Page, modelswap_server: StartServer) -> None:
    """Anthropic messages and OpenAI Responses are read as well."""
    server = modelswap_server(stub_config("alpha"))
    page.open(server.base_url, "playground/chat?model=alpha")
    for at, dialect in enumerate(("messages", "responses"), start=1):
        page.script(
            "localStorage.setItem('modelswap.chat-dialect', JSON.stringify(arguments[0]))", dialect
        )
        page.open(server.base_url, "playground/chat")
        page.wait_for(".chat select.model-choice", "alpha")
        page.wait_for("textarea[aria-label=Message]").send_keys("Say it", Keys.ENTER)
        page.wait_for(f".turn.assistant:not(.live):nth-of-type({2 * at})")
        assert "alpha:0 alpha:1" in page.all(".turn.assistant .markdown")[-1].text
        page.go("activity")
        page.wait_for(f"tbody tr[data-id='{at}']", f"/v1/{dialect}")
    assert not page.all(".turn .bad")


def test_text_from_outside_stays_text(page: Page, modelswap_server: StartServer) -> None:
    """Markup in an id, a name, a description, an answer, a log and an error runs nowhere."""
    page.allowed = ("404 (Not Found)",)
    config = (
        f"models:\n  {EVIL!r}:\n    name: {'<b>' + EVIL!r}\n    description: {EVIL!r}\n"
        f"    cmd: {stub_command(EVIL)!r}\n"
    )
    server = modelswap_server(config)
    page.open(server.base_url, "models")
    page.wait_for(".model-title", EVIL)
    page.click(".model button", "Load")
    page.wait_for(".model .state", "ready")
    page.click(".model-title a")
    page.click("[role=tab]", "Log")
    page.wait_for(".log", f"stub {EVIL}")
    page.click("[role=tab]", "Details")
    page.wait_for("main pre.code", "stub.py")
    page.go("logs")
    page.wait_for(".log[aria-label='Log: All models']", f"stub {EVIL}")
    page.go("playground/chat")
    page.wait_for(".chat select.model-choice", EVIL)
    page.wait_for("textarea[aria-label=Message]").send_keys(EVIL, Keys.ENTER)
    page.wait_for(".turn.assistant:not(.live) .markdown", EVIL)
    server.chat(f"no {EVIL}")
    page.go("activity")
    page.wait_for("tbody tr[data-id='2'] .error-line", EVIL[:8])
    page.click("tbody tr[data-id='1'] button", "1")
    page.wait_for("dialog .said", EVIL)
    assert page.script("return window.hacked") is None
    assert page.all("main img, main script, dialog img, dialog script") == []


def test_running_requests_appear_and_are_cancelled(
    page: Page, modelswap_server: StartServer
) -> None:
    """A request made elsewhere shows while it runs, ends on Cancel, and its row says so."""
    server = modelswap_server(stub_config("alpha"))
    server.chat("alpha")
    page.open(server.base_url)
    page.wait_for("tbody tr[data-id='1']", "200")

    def ask() -> None:
        with contextlib.suppress(OSError, HTTPException):  # it is cut off
            server.chat("alpha", delay_ms=30_000)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    page.wait_for("section[aria-label='Running requests'] tr[data-id]", "alpha")
    page.click("section[aria-label='Running requests'] button", "Cancel")
    page.wait_for("section[aria-label='Finished requests'] tr[data-id='2']", "cancelled")
    page.wait_for("section[aria-label='Running requests']", "Nothing is running")
    asking.join(30)
    assert not asking.is_alive()


def test_the_list_filters_sorts_and_pages(page: Page, modelswap_server: StartServer) -> None:
    """Filters go to the server and into the address, headings sort, pages turn."""
    server = modelswap_server(stub_config("alpha"))
    for number in range(12):
        server.chat("alpha", n=number + 1)
    server.chat("nothing-like-it")
    page.open(server.base_url, "activity?status=4xx")
    finished = "section[aria-label='Finished requests']"
    page.wait_for(f"{finished} .pager", "1 request")
    assert "nothing-like-it" in page.text(f"{finished} tbody")
    page.click(f"{finished} button", "Clear")
    page.wait_for(f"{finished} .pager", "13 requests")
    page.script("document.querySelector('select[aria-label=\"Rows per page\"]').value = '10'")
    page.script(
        "document.querySelector('select[aria-label=\"Rows per page\"]')"
        ".dispatchEvent(new Event('change'))"
    )
    page.wait_for(f"{finished} .pager", "Page 1 of 2")
    page.click(f"{finished} .pager [aria-label='Next page']")
    page.wait_for(f"{finished} .pager", "Page 2 of 2")
    page.until(lambda: len(page.all(f"{finished} tbody tr")) == 3, "three rows")
    page.click(f"{finished} th button", "Generated")
    page.wait_for(f"{finished} th[aria-sort=descending]", "Generated")
    page.wait_for(f"{finished} tbody tr:first-child[data-id='12']")
    assert "sort=generated" in page.driver.current_url


def test_a_capture_is_shown_as_a_conversation(page: Page, modelswap_server: StartServer) -> None:
    """The dialog of a row shows what was asked and, put together again, what was answered."""
    server = modelswap_server(stub_config("alpha"))
    server.chat("alpha", stream=True, n=4)
    page.open(server.base_url, "activity?request=1")
    page.wait_for("dialog .said", "alpha:0 alpha:1 alpha:2 alpha:3")
    assert "hi" in page.text("dialog .turn")
    page.click("dialog details:nth-of-type(2) [role=tab]", "Raw")
    page.wait_for("dialog pre", "data: {")
    page.keys(Keys.ESCAPE)
    page.until(lambda: not page.all("dialog"), "the dialog closes")


def test_the_page_can_be_used_with_keys(page: Page, modelswap_server: StartServer) -> None:
    """Tab reaches the skip link and the views, arrows move in tabs, g and / lead to places."""
    server = modelswap_server(stub_config("alpha"))
    page.open(server.base_url)
    page.keys(Keys.TAB)
    assert page.focused() == "Skip to the content"
    seen = []
    for _ in range(8):
        page.keys(Keys.TAB)
        seen.append(page.focused())
    assert seen[1:7] == ["Activity", "Models", "Playground", "Logs", "Performance", "Settings"]
    page.keys("g", "m")
    page.wait_for("main h1", "Models")
    page.keys("/")
    assert page.focused() == "Find a model"
    page.keys(Keys.ESCAPE)
    page.keys("g", "y")
    page.wait_for("main h1", "Playground")
    page.click("[role=tab]", "Chat")
    page.keys(Keys.ARROW_RIGHT)
    assert page.focused() == "Embeddings"
    page.wait_for("form[aria-label=Embeddings]", "Texts")


def test_a_restart_of_the_server_is_survived(page: Page, modelswap_server: StartServer) -> None:
    """Without the server the page keeps its state and says so; then it reconnects by itself."""
    page.allowed = ("ERR_",)
    server = modelswap_server(stub_config("alpha"))
    page.open(server.base_url, "models")
    page.wait_for(".model", "alpha")
    server.stop()
    page.wait_for(".dot.lost")
    page.wait_for(".banner", "No connection to the server")
    assert "alpha" in page.text(".model")
    server.write_config(stub_config("alpha", "beta"))
    server.start()
    page.wait_for(".dot.connected")
    page.wait_for(".model", "beta")
    page.until(lambda: not page.all(".banner:not([hidden])"), "the banner goes")


def test_a_closed_page_keeps_no_request(page: Page, modelswap_server: StartServer) -> None:
    """Leaving ends the running requests of the page; coming back connects it again."""
    server = modelswap_server(stub_config("alpha"))
    server.chat("alpha")
    page.open(server.base_url, "models")
    page.script(
        "import('/ui/api/client.js').then((api) => api.ask('/v1/chat/completions',"
        " {json: {model: 'alpha', delay_ms: 30000}}).catch(() => {}))"
    )
    page.wait_for(".model .busy", "1 running")
    page.driver.get("about:blank")
    wait_until(lambda: not server.ask("GET", "/api/inflight").json()["requests"])
    page.driver.back()
    page.wait_for(".dot.connected")
    page.click(".model button", "Unload")
    page.wait_for(".model .state", "stopped")


def test_a_flood_of_log_lines_does_not_stop_the_page(
    page: Page, modelswap_server: StartServer
) -> None:
    """While a model writes without pause, lines are bounded and other views still open."""
    server = modelswap_server(stub_config("alpha", flags=("--log-flood",)))
    page.open(server.base_url, "logs")
    page.script("fetch('/api/models/load/alpha', {method: 'POST'})")
    page.wait_for(".log[aria-label='Log: All models']", "flood flood")
    assert len(page.all(".log[aria-label='Log: All models'] .l")) <= 1500
    page.click("button", "Pause")
    page.go("models")
    page.wait_for("main h1", "Models")
    page.click(".model button", "Unload")
    page.wait_for(".model .state", "stopped")


def test_a_broken_configuration_is_shown(page: Page, modelswap_server: StartServer) -> None:
    """A file with mistakes changes nothing, and every view says that there are some."""
    page.allowed = ("409 (Conflict)",)
    server = modelswap_server(stub_config("alpha"))
    page.open(server.base_url, "settings")
    page.wait_for(".badge", "valid")
    server.write_config("models:\n  alpha: 5\n")
    page.click("button", "Reload the configuration")
    page.wait_for(".badge", "mistakes")
    page.wait_for(".messages.bad", "alpha")
    page.wait_for(".banner.bad", "See them")
    server.write_config(stub_config("alpha"))
    page.click("button", "Reload the configuration")
    page.wait_for(".badge", "valid")


def test_the_browser_sends_the_key(page: Page, modelswap_server: StartServer) -> None:
    """With API keys configured the page works after the Basic challenge, streams included."""
    server = modelswap_server(f"apiKeys: [sesame]\n{stub_config('alpha')}")
    signed_in = server.base_url.replace("http://", "http://anyone:sesame@")
    page.open(signed_in, "models")
    page.click(".model button", "Load")
    page.wait_for(".model .state", "ready")


def test_models_has_an_address_without_a_hash(page: Page, modelswap_server: StartServer) -> None:
    """Where `/upstream` leads, the list of models opens."""
    server = modelswap_server(stub_config("alpha"))
    page.open(server.base_url)
    page.driver.get(f"{server.base_url}/upstream")
    page.wait_for("main h1", "Models")
    page.wait_for(".model", "alpha")


def test_the_load_test_shows_each_request(page: Page, modelswap_server: StartServer) -> None:
    """Three requests to two models end as done, with figures."""
    server = modelswap_server(stub_config("alpha", "beta"))
    page.open(server.base_url, "playground/load")
    page.wait_for(".trial select.model-choice", "beta")
    page.click(".trial button", "Add all")
    page.click(".trial button", "Add all")
    page.click(".chip button")
    page.click(".trial button", "Start")
    page.wait_for(".trial p[role=status]", "3 of 3 done")
    wait_until(lambda: not server.ask("GET", "/api/inflight").json()["requests"])


def test_the_small_forms_work(page: Page, modelswap_server: StartServer) -> None:
    """Embeddings are compared, a picture is drawn, speech is heard."""
    server = modelswap_server(stub_config("alpha"))
    page.open(server.base_url)
    for pane, button, shown in (
        ("embeddings", "Embed", "3 vectors of 4 numbers"),
        ("images", "Draw", "Save"),
        ("speech", "Speak", "Save"),
    ):
        page.go(f"playground/{pane}")
        page.wait_for(".trial select.model-choice", "alpha")
        if pane == "images":
            page.wait_for(".trial textarea").send_keys("a lighthouse")
        page.click(".trial button[type=submit]", button)
        page.wait_for(".result", shown)
