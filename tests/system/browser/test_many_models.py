"""A list of hundreds of models: bounded, in sections, quick; and what it says of models that failed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from selenium.webdriver.common.keys import Keys

from support.server import stub_command, stub_config

if TYPE_CHECKING:
    from support.running import StartServer
    from system.browser.conftest import Page

FAMILIES = ("qwen", "llama", "gemma", "mistral", "author/phi")


def many(count: int) -> str:
    """Models of a few families, and one that cannot start."""
    rows = "".join(
        f"  {FAMILIES[n % 5]}-{n:03}:\n    cmd: {stub_command('any')}\n    aliases: [nick-{n}]\n"
        for n in range(count)
    )
    return f"models:\n  broken:\n    cmd: {stub_command('broken', '--exit-after', '0')}\n{rows}"


def rows(page: Page) -> list[str]:
    """The models whose rows are on the page, from top to bottom."""
    found: list[str] = page.script(
        "return [...document.querySelectorAll('.model')].filter((e) => e.offsetParent)"
        ".map((e) => e.dataset.model)"
    )
    return found


def heads(page: Page) -> list[str]:
    return [element.text for element in page.all(".section > summary") if element.is_displayed()]


def test_hundreds_of_models_fit(page: Page, modelswap_server: StartServer) -> None:
    """300 models are sections with their numbers; what runs comes first; the filter finds each of them."""
    server = modelswap_server(many(300))
    page.allowed = ("503 (Service Unavailable)",)
    server.chat("broken")
    server.chat("llama-001")
    page.size(1440, 900)
    page.open(server.base_url, "models")
    page.wait_for("[data-section=running] .model", "llama-001")
    page.wait_for("[data-section=failed] .model", "broken")
    page.wait_for("main p", "301 models, 1 ready, 1 failed")
    assert page.script("return document.documentElement.scrollHeight") < 4000
    assert rows(page)[:2] == ["llama-001", "broken"]
    assert [head.split() for head in heads(page)] == [
        ["Running", "1"], ["Failed", "1"], ["author", "60"], ["gemma", "60"], ["llama", "59"], ["mistral", "60"],
        ["qwen", "60"],
    ]  # fmt: skip
    search = page.wait_for("input[type=search]")
    search.send_keys("MISTRAL-29")
    page.until(lambda: rows(page) == ["mistral-293", "mistral-298"], "two of them")
    search.clear()
    search.send_keys("nick-77")
    page.until(lambda: rows(page) == ["gemma-077"], "by its alias")
    search.send_keys("x")
    page.wait_for("main", "No model is called")
    search.send_keys(Keys.BACKSPACE)
    page.until(lambda: rows(page) == ["gemma-077"], "found again")
    search.clear()
    search.send_keys(Keys.SPACE)
    page.until(lambda: len(rows(page)) > 20, "all sections again")
    page.click("[data-section='name:qwen'] > summary")
    page.click("[data-section='name:qwen'] button", "Show 40 more")
    page.until(
        lambda: sum(name.startswith("qwen") for name in rows(page)) == 60, "all of a section"
    )
    page.driver.refresh()
    page.until(lambda: sum(name.startswith("qwen") for name in rows(page)) == 20, "it stays open")


def test_names_on_a_phone(page: Page, modelswap_server: StartServer) -> None:
    """Names that begin alike can be distinguished: none is cut, and none makes the page wider."""
    names = [f"unsloth/DeepSeek-R1-Distill-{n:03}-GGUF" for n in range(20)]
    server = modelswap_server(stub_config(*names))
    page.size(390, 844)
    page.open(server.base_url, "models")
    page.until(lambda: rows(page) == names, "rows")
    cut = page.script(
        "return [...document.querySelectorAll('.model-title > a')].filter((e) =>"
        " e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline'"
        " || e.parentElement.scrollWidth > e.parentElement.clientWidth + 1).map((e) => e.textContent)"
    )
    assert cut == []
    assert page.script("return document.documentElement.scrollWidth") == 390


def test_an_event_touches_its_row_only(page: Page, modelswap_server: StartServer) -> None:
    """Loading one of 300 models changes its row and moves it; the other rows are not drawn again."""
    server = modelswap_server(many(300))
    page.open(server.base_url, "models")
    page.until(lambda: len(rows(page)) >= 20, "rows")
    target = rows(page)[3]
    page.script(
        "window.touched = new Set(); new MutationObserver((all) => { for (const each of all) {"
        " const of = (each.target.nodeType === 1 ? each.target : each.target.parentElement)?.closest('.model');"
        " if (of) touched.add(of.dataset.model); for (const node of each.addedNodes)"
        " if (node.dataset?.model) touched.add(node.dataset.model); } })"
        ".observe(document.querySelector('main'), {subtree: true, childList: true, attributes: true,"
        " characterData: true});"
    )
    page.click(f"[data-model='{target}'] button", "Load")
    page.wait_for(f"[data-section=running] [data-model='{target}'] .state", "ready")
    touched = set(page.script("return [...touched]"))
    assert target in touched
    assert len(touched) <= 3, touched  # a row that moves up makes place for the next
    took = page.module(
        "api/state.js",
        "const began = performance.now(); for (let n = 0; n < 20; n += 1) { m.state.models ="
        " m.state.models.map((each) => ({ ...each })); m.notify('models'); }"
        "return (performance.now() - began) / 20;",
    )
    assert took < 100, f"{took} ms for an event"


def test_a_moved_row_keeps_the_focus(page: Page, modelswap_server: StartServer) -> None:
    """A user who loads a model with the keyboard is still at its button when the row has moved."""
    server = modelswap_server(many(40))
    page.open(server.base_url, "models")
    page.until(lambda: len(rows(page)) >= 20, "rows")
    target = rows(page)[2]
    page.script(
        "document.querySelector(arguments[0]).focus()", f"[data-model='{target}'] .actions button"
    )
    page.keys(Keys.ENTER)
    page.wait_for(f"[data-section=running] [data-model='{target}'] .state", "ready")
    page.until(lambda: page.focused() == f"Unload {target}", "the same button")


def test_few_models_stay_a_list(page: Page, modelswap_server: StartServer) -> None:
    """A short list has no headings, and a row keeps its place when it loads."""
    server = modelswap_server(stub_config("alpha", "beta", "gamma"))
    page.open(server.base_url, "models")
    page.wait_for("[data-model=gamma]", "gamma")
    page.click("[data-model=gamma] button", "Load")
    page.wait_for("[data-model=gamma] .state", "ready")
    assert rows(page) == ["alpha", "beta", "gamma"]
    assert heads(page) == []


SECTIONS = [
    (["a"] * 3, "stopped", [["Stopped", 3]]),
    ([f"m{n}" for n in range(40)], "stopped", [["Stopped", 40]]),
    ([f"a/{n}" for n in range(20)] + [f"b/{n}" for n in range(20)] + ["c"], "stopped",
     [["a", 20], ["b", 20], ["Others", 1]]),
    ([f"x{n}/a" for n in range(60)], "stopped", [["Stopped", 60]]),
    ([f"{chr(97 + n // 4)}-{n}" for n in range(100)], "stopped", [*[[chr(97 + n), 4] for n in range(20)], ["Others", 20]]),
    ([f"m{n}" for n in range(40)], "ready", [["Running", 40]]),
]  # fmt: skip


def test_sections(page: Page, modelswap_server: StartServer) -> None:
    """Names are put together by author or family; there are never more headings than fit."""
    page.open(modelswap_server(stub_config("alpha")).base_url)
    found = page.module(
        "views/models/sections.js",
        "return args[0].map((models) =>"
        " m.sectionsOf(models).map((section) => [section.title, section.models.length]));",
        [[{"id": each, "state": state} for each in ids] for ids, state, _ in SECTIONS],
    )
    assert found == [wanted for *_, wanted in SECTIONS]


NOW = "2026-05-04T12:00:00+00:00"
FAILURES = [
    ({"state": "stopped"}, None),
    ({"state": "ready", "failure": "old"}, None),
    ({"state": "stopped", "failure": "exited with code 1"},
     {"cause": "", "reason": "exited with code 1", "since": "", "next": "the next request starts it again", "waits": False}),
    ({"state": "stopped", "failure": "CUDA error: out of memory", "failure_class": "out_of_memory",
      "failed_at": "2026-05-04T11:58:30Z", "retry_at": "2026-05-04T12:00:11.5+00:00"},
     {"cause": "out of memory", "reason": "CUDA error: out of memory", "ago": "(1 min ago)",
      "next": "requests start it again in 12 s", "waits": True}),
    ({"state": "stopped", "failure_class": "file_not_found", "failed_at": "2026-05-04T13:59:58+02:00",
      "retry_at": "2026-05-04T11:59:59Z"},
     {"cause": "file not found", "reason": "file not found", "ago": "(just now)",
      "next": "the next request starts it again", "waits": False}),
    ({"state": "stopped", "failure": "x", "failure_class": "a_new_one", "failed_at": "nonsense",
      "retry_at": "2026-05-04T12:10:00Z"},
     {"cause": "a new one", "reason": "x", "since": "", "next": "requests start it again in 10 min", "waits": True}),
]  # fmt: skip


def test_failures_in_words(page: Page, modelswap_server: StartServer) -> None:
    """Cause, reason, since when and until when; unknown parts are left out."""
    page.open(modelswap_server(stub_config("alpha")).base_url)
    found = page.module(
        "api/model_failure.js",
        "return args[0].map((model) => m.failureOf(model, Date.parse(args[1])));",
        [model for model, _ in FAILURES],
        NOW,
    )
    for (model, wanted), got in zip(FAILURES, found, strict=True):
        if wanted is None:
            assert got is None, model
            continue
        ago = wanted.get("ago")
        assert ago is None or (got["since"].startswith("since ") and got["since"].endswith(ago)), (
            got
        )
        assert {k: v for k, v in got.items() if k in wanted} == {
            k: v for k, v in wanted.items() if k != "ago"
        }, json.dumps(got)


def test_a_failed_model_can_be_tried_again(page: Page, modelswap_server: StartServer) -> None:
    """A row says that the model failed, why, and leads to its log; another try does not wait for the pause.

    A configuration that mends it takes the failure away.
    """
    page.allowed = ("503 (Service Unavailable)",)
    server = modelswap_server(stub_config("dies", flags=("--exit-after", "0", "--exit-code", "3")))
    page.open(server.base_url, "models")
    for _ in range(2):
        server.chat("dies")
    page.wait_for(".model .state.failed", "failed")
    page.wait_for(".model .failure", "exited with code 3")

    def tries() -> int:
        return server.ask("GET", "/logs").body.count(b"<dies> starting")

    before = tries()
    page.click(".model button", "Try again")
    page.wait_for(".toast.error", "exited with code 3")
    assert tries() == before + 1
    page.wait_for(".model .failure", "exited with code 3")
    page.click(".model .failure a", "Log")
    page.wait_for(".log", "stub dies")
    page.wait_for("main .state.failed", "failed")
    page.wait_for("main .failure", "exited with code 3")
    page.go("models")
    server.write_config(stub_config("dies"))
    page.script("return fetch('/api/config/reload', {method: 'POST'}).then(() => null)")
    page.wait_for(".model .state.stopped", "stopped")
    assert not any(line.is_displayed() for line in page.all(".model .failure"))


def test_long_names_on_a_phone(page: Page, modelswap_server: StartServer) -> None:
    """The name has most of the row, and nothing lies over anything else."""
    names = [
        f"author/a-model-with-quite-a-long-name-{number}b-instruct:q4_k_m" for number in range(20)
    ]
    server = modelswap_server(
        "models:\n" + "".join(f"  '{n}': {{cmd: 'true ${{PORT}}'}}\n" for n in names)
    )
    page.size(390, 800)
    page.open(server.base_url, "models")
    page.wait_for(".compact .model .model-title", names[0])
    widths = page.script(
        "const row = document.querySelector('.compact .model'); const wide = (s) => "
        "row.querySelector(s).getBoundingClientRect().width; return [wide('.model-main'), row.clientWidth]"
    )
    assert widths[0] > 0.6 * widths[1]
