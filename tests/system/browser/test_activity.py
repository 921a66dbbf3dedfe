"""The list of requests: its dialog, its addresses, its columns, what it does not know."""

from __future__ import annotations

import contextlib
import threading
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from support.server import stub_config

if TYPE_CHECKING:
    from support.running import StartServer
    from support.server import Modelswap
    from system.browser.conftest import Page

FINISHED = "section[aria-label='Finished requests']"
UNKNOWN = "\N{EN DASH}"
IMPORTANT = ("time", "model", "status", "duration", "prompt", "generated", "speed")


@pytest.fixture
def server(modelswap_server: StartServer) -> Modelswap:
    """A server that has answered three requests."""
    started = modelswap_server(stub_config("alpha"))
    for number in range(3):
        started.chat("alpha", n=number + 2)
    return started


@pytest.fixture(scope="module")
def four_requests(serve: StartServer) -> Modelswap:
    """A server that has answered three requests and refused one; its tests only look."""
    started = serve(stub_config("alpha"))
    for number in range(3):
        started.chat("alpha", n=number + 2)
    started.chat("no-such-model-with-quite-a-long-name-for-a-column")
    return started


def dialogs(page: Page) -> list[str]:
    """The titles of what lies over the page."""
    return [element.text for element in page.all("dialog[open] h2")]


def test_another_view_closes_the_dialog(page: Page, server: Modelswap) -> None:
    """Each way to another view closes the dialog; there is never a second dialog."""
    page.open(server.base_url)
    page.click("tbody tr[data-id='3'] button", "3")
    page.wait_for("dialog .said", "alpha")
    assert page.driver.current_url.endswith("#/activity/3")
    page.go("models")
    page.wait_for("main h1", "Models")
    page.until(lambda: not page.all("dialog"), "the dialog is gone")
    page.go("activity/2")
    page.until(lambda: dialogs(page) == ["Request 2"], "one dialog")
    page.go("activity/1")
    page.until(lambda: dialogs(page) == ["Request 1"], "the other one in its place")
    page.go("logs")
    page.wait_for("main h1", "Logs")
    page.until(lambda: not page.all("dialog"), "the dialog is gone")


def test_a_slow_answer_opens_nothing_later(page: Page, server: Modelswap) -> None:
    """When the view changes while a request is fetched, no dialog opens over the next view."""
    page.open(server.base_url, "settings")
    page.script(
        "location.hash = '#/activity/2'; setTimeout(() => { location.hash = '#/models'; }, 0);"
    )
    page.wait_for(".model", "alpha")
    page.until(lambda: not page.all("dialog"), "nothing lies over the models")
    page.script("return import('/ui/api/client.js').then((api) => api.askJson('/api/version'))")
    assert page.all("dialog") == []


def test_how_a_dialog_is_closed(page: Page, server: Modelswap) -> None:
    """Escape, the cross, a click beside it and the back button close it; the focus goes back to the row."""

    def closed() -> bool:
        return not page.all("dialog") and page.driver.current_url.endswith("#/activity")

    def opened() -> None:
        page.click("tbody tr[data-id='2'] button", "2")
        page.wait_for("dialog .said", "alpha")

    page.open(server.base_url, "activity")
    page.wait_for("tbody tr[data-id='2']")
    opened()
    page.keys(Keys.ESCAPE)
    page.until(closed, "Escape")
    assert page.focused() == "Request 2: details"
    opened()
    page.click("dialog [aria-label=Close]")
    page.until(closed, "the cross")
    assert page.focused() == "Request 2: details"
    opened()
    ActionChains(page.driver).move_by_offset(5, 400).click().perform()
    page.until(closed, "a click beside it")
    opened()
    page.driver.back()
    page.until(closed, "the back button")
    page.wait_for("main h1", "Activity")
    page.driver.forward()
    page.until(lambda: dialogs(page) == ["Request 2"], "the forward button")


def test_a_request_has_an_address(page: Page, server: Modelswap) -> None:
    """The address of a request opens it, also after a reload; it is a link in the list and the dialog."""
    page.open(server.base_url, "activity/2")
    page.wait_for("dialog .said", "alpha")
    page.driver.refresh()
    page.wait_for("dialog .said", "alpha")
    assert dialogs(page) == ["Request 2"]
    wanted = f"{server.base_url}/ui/#/activity/2"
    assert page.all("dialog .request-link a")[0].get_attribute("href") == wanted
    page.keys(Keys.ESCAPE)
    page.until(lambda: not page.all("dialog"), "closed")
    assert page.all("tbody tr[data-id='2'] .col-time a")[0].get_attribute("href") == wanted
    page.click("tbody tr[data-id='2'] .col-time a")
    page.until(lambda: dialogs(page) == ["Request 2"], "opened by its link")


def test_filters_stay_below_the_dialog(page: Page, server: Modelswap) -> None:
    """The dialog lies over the list as it was filtered, and over a model's own page."""
    page.open(server.base_url, "activity?status=2xx")
    page.click("tbody tr[data-id='1'] button", "1")
    page.wait_for("dialog .said", "alpha")
    assert page.driver.current_url.endswith("#/activity/1?status=2xx")
    page.keys(Keys.ESCAPE)
    page.until(
        lambda: page.driver.current_url.endswith("#/activity?status=2xx"), "the filter stays"
    )
    page.go("models/alpha")
    page.wait_for("main h1", "alpha")
    page.click("tbody tr[data-id='1'] button", "1")
    page.wait_for("dialog .said", "alpha")
    page.keys(Keys.ESCAPE)
    page.until(lambda: page.driver.current_url.endswith("#/models/alpha"), "the model stays")


def test_an_unknown_request(page: Page, server: Modelswap) -> None:
    """The dialog says that the request does not exist (any more)."""
    page.open(server.base_url)
    for request_id in ("4711", "99999999999999999999", "x", "-1", "%3Cb%3E"):
        page.go(f"activity/{request_id}")
        page.wait_for(f"dialog[aria-label='Request {unquote(request_id)}']", "Not in the list")
    assert page.all("dialog b") == []


def visible(page: Page) -> list[str]:
    """The columns whose heads can be seen without scrolling, from left to right."""
    found: list[str] = page.script(
        "const box = document.querySelector(arguments[0] + ' .scroll').getBoundingClientRect();"
        "return [...document.querySelectorAll(arguments[0] + ' th')].filter((th) => {"
        " const at = th.getBoundingClientRect(); return at.width && at.left >= box.left - 1"
        " && at.right <= Math.min(box.right, innerWidth) + 1; })"
        ".map((th) => /col-(\\w+)/.exec(th.className)[1]);",
        FINISHED,
    )
    return found


@pytest.mark.parametrize("width", [1920, 1440, 1280, 1024, 768, 390, 375])
def test_important_columns_are_seen(page: Page, four_requests: Modelswap, width: int) -> None:
    """At any width time, model, status, duration, tokens and speed are seen without scrolling."""
    page.size(width, 850)
    page.open(four_requests.base_url)
    page.wait_for(f"{FINISHED} tbody tr[data-id='4']")
    assert [name for name in visible(page) if name in IMPORTANT] == list(IMPORTANT)
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.script(wide) == 0
    if width >= 1440:
        assert "path" in visible(page)


LONGEST = """
const cells = {id: '123456', duration: '12 min 34 s', prompt: '131,072', generated: '32,768', speed: '\u2248 1,234',
  first: '12 min 34 s', waited: '12 min 34 s'};
const table = document.querySelector(arguments[0] + ' table');
for (const row of table.querySelectorAll('tbody tr')) {
  for (const [name, text] of Object.entries(cells)) {
    const cell = row.querySelector('.col-' + name);
    if (cell) (cell.querySelector('button') || cell).textContent = text;
  }
  row.querySelector('.model-link').textContent = 'unsloth/DeepSeek-R1-0528-Qwen3-235B-A22B-GGUF:Q4_K_M';
  row.querySelector('.badge').innerHTML = '502<span class="ending"> upstream aborted</span>';
}
const {scrollWidth, clientWidth} = document.documentElement;
return [table.closest('.scroll').scrollWidth - table.closest('.scroll').clientWidth, scrollWidth - clientWidth];
"""


@pytest.mark.parametrize("width", [1920, 1600, 1440, 1366, 1280, 1100, 1024, 1000, 820, 640, 390])
def test_long_values_fit(page: Page, four_requests: Modelswap, width: int) -> None:
    """The longest values make neither the table nor the page too wide."""
    page.size(width, 850)
    page.open(four_requests.base_url)
    page.wait_for(f"{FINISHED} tbody tr[data-id='4']")
    assert page.script(LONGEST, FINISHED) == [0, 0]


def test_chosen_columns_are_not_taken_away(page: Page, server: Modelswap) -> None:
    """A column that the user has switched on is there on a narrow screen too, by scrolling the table."""
    page.size(900, 800)
    page.open(server.base_url)
    page.wait_for(f"{FINISHED} tbody tr[data-id='3']")
    assert "cached" not in visible(page)
    page.click("summary", "Columns")
    page.click("label", "Cached")
    page.wait_for(f"{FINISHED} th.col-cached")
    page.driver.refresh()
    page.wait_for(f"{FINISHED} th.col-cached")
    assert not page.all(f"{FINISHED} th.col-path"), "what was not seen before is no surprise now"


def cell(page: Page, row: int, column: str) -> str:
    return page.wait_for(f"{FINISHED} tbody tr[data-id='{row}'] .col-{column}").text


def test_unknown_numbers_are_dashes(page: Page, modelswap_server: StartServer) -> None:
    """Tokens that were not counted are a dash: in the list, in the dialog and in the totals."""
    page.allowed = ("404 (Not Found)",)
    server = modelswap_server(stub_config("alpha"))
    server.chat("nothing")
    server.ask("POST", "/v1/audio/speech", {"model": "alpha", "input": "x"})
    page.open(server.base_url)
    for row in (1, 2):
        for column in ("prompt", "generated", "speed"):
            assert cell(page, row, column) == UNKNOWN, (row, column)
    figures = dict(
        zip(page.text(".figure dt").split("\n"), page.text(".figure dd").split("\n"), strict=True)
    )
    assert figures == {
        "requests": "2",
        "prompt tokens": UNKNOWN,
        "cached tokens": UNKNOWN,
        "generated tokens": UNKNOWN,
    }
    page.go("activity/2")
    facts = page.wait_for("dialog .facts", "Prompt tokens").text.split("\n")
    assert facts[facts.index("Prompt tokens") + 1] == UNKNOWN
    assert facts[facts.index("Generated tokens") + 1] == UNKNOWN
    server.ask("POST", "/v1/embeddings", {"model": "alpha", "input": "x"})
    server.chat("alpha")
    page.go("activity")
    page.wait_for(f"{FINISHED} tbody tr[data-id='4']")
    assert (cell(page, 3, "prompt"), cell(page, 3, "generated")) == ("7", UNKNOWN)
    assert (cell(page, 4, "prompt"), cell(page, 4, "generated")) == ("7", "3")


TOKENS = [
    # input, output, cached, drafted, path, status → prompt, generated, cached
    ((0, 0, 0), "/v1/chat/completions", 200, [None, None, None]),
    ((0, 0, -1), "/v1/chat/completions", 200, [None, None, None]),
    ((12, 7, -1), "/v1/chat/completions", 200, [12, 7, None]),
    ((12, 0, 0), "/v1/chat/completions", 200, [12, 0, 0]),
    ((12, 0, 0), "/v1/chat/completions", 502, [12, None, 0]),
    ((0, 7, -1), "/v1/chat/completions", 200, [None, 7, None]),
    ((0, 7, 12), "/v1/chat/completions", 200, [0, 7, 12]),
    ((12, 0, -1), "/v1/embeddings", 200, [12, None, None]),
    ((12, 0, -1), "/v1/rerank", 200, [12, None, None]),
    ((-1, -1, -1), "/v1/chat/completions", 200, [None, None, None]),
]


def test_what_is_known_of_tokens(page: Page, server: Modelswap) -> None:
    """Zero is shown where a server that counts has counted none; all else that is not positive is unknown."""
    page.open(server.base_url)
    rows = [
        {"tokens": dict(zip(("input_tokens", "output_tokens", "cache_tokens"), counts, strict=True)),
         "req_path": path, "resp_status_code": status}
        for counts, path, status, _ in TOKENS
    ]  # fmt: skip
    found = page.module(
        "lib/format.js",
        "return args[0].map((row) => { const t = m.tokensOf(row); return [t.input, t.output, t.cached]; });",
        [*rows, {"tokens": {}}, {}],
    )
    assert found == [*[known for *_, known in TOKENS], [None] * 3, [None] * 3]


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_nothing_jumps_when_a_request_starts(page: Page, server: Modelswap, width: int) -> None:
    """The header and what is below the running requests keep their places when one starts and ends."""
    page.size(width, 1200)  # no scrollbar appears with the new row
    page.open(server.base_url)
    page.wait_for(f"{FINISHED} tbody tr[data-id='3']")

    def places() -> list[list[float]]:
        found: list[list[float]] = page.script(
            "return [...document.querySelectorAll('.top a, .top button, .connection, main section')].map((e) =>"
            " { const r = e.getBoundingClientRect(); return [r.left, r.top, r.width]; });"
        )
        return found

    before = places()

    def ask() -> None:
        with contextlib.suppress(OSError, HTTPException):
            server.chat("alpha", delay_ms=30_000)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    page.wait_for(".top .count", "1")
    page.wait_for("section[aria-label='Running requests'] tr[data-id]", "alpha")
    assert places() == before
    page.click("section[aria-label='Running requests'] button", "Cancel")
    page.wait_for("section[aria-label='Running requests']", "Nothing is running")
    page.wait_for(f"{FINISHED} tbody tr[data-id='4']")
    assert places() == before
    asking.join(30)


def test_navigation_moves_no_title(page: Page, server: Modelswap) -> None:
    """The titles of the views stand still whichever is the current one."""
    page.open(server.base_url)
    lefts = "return [...document.querySelectorAll('.top nav a')].map((a) => a.getBoundingClientRect().left)"
    before = page.script(lefts)
    for name in ("models", "playground", "logs", "performance", "settings"):
        page.go(name)
        page.wait_for(f"nav a[data-place={name}][aria-current]")
        assert page.script(lefts) == before
