"""The page's modules on their own: what they make of text that others wrote."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from support.server import stub_config

if TYPE_CHECKING:
    from conftest import StartServer
    from system.browser.conftest import Page

RULE = "━━━━━"


@pytest.fixture
def shown(page: Page, modelswap_server: StartServer) -> Page:
    """The page, open."""
    page.open(modelswap_server(stub_config("alpha")).base_url)
    return page


def rendered(page: Page, texts: list[str]) -> list[str]:
    """Each text as the renderer's HTML."""
    found: list[str] = page.module(
        "lib/markdown.js", "return args[0].map((text) => m.markdown(text).innerHTML);", texts
    )
    return found


MARKDOWN = {
    "<b>no</b>": "<p>&lt;b&gt;no&lt;/b&gt;</p>",
    "**a** and *b* and ~~c~~": "<p><strong>a</strong> and <em>b</em> and <del>c</del></p>",
    "snake_case_name and 2 * 3 * 4": "<p>snake_case_name and 2 * 3 * 4</p>",
    "`<i>` and ``a`b``": "<p><code>&lt;i&gt;</code> and <code>a`b</code></p>",
    "[x](javascript:alert(1))": "<p><span>x</span></p>",
    "[x](data:text/html,a)": "<p><span>x</span></p>",
    "[x](JaVaScRiPt:a)": "<p><span>x</span></p>",
    "- a\n- b\n  - c": "<ul><li>a</li><li><p>b</p><ul><li>c</li></ul></li></ul>",
    "3. a\n4. b": '<ol start="3"><li>a</li><li>b</li></ol>',
    "# One\n\ntext": "<h3>One</h3><p>text</p>",
    "> said\n> so": "<blockquote><p>said<br>so</p></blockquote>",
    "a\n\n---\n\nb": "<p>a</p><hr><p>b</p>",
    "**open": "<p>**open</p>",
    "\\*not\\*": "<p>*not*</p>",
}


def test_markdown_becomes_nodes(shown: Page) -> None:
    """Each construct gives its elements, markup in the text stays text, and no script is linked."""
    assert dict(zip(MARKDOWN, rendered(shown, list(MARKDOWN)), strict=True)) == MARKDOWN


def test_links_and_pictures(shown: Page) -> None:
    """Links open in another tab without a referrer; pictures are links and load nothing."""
    link, picture, bare = rendered(
        shown, ["[a](https://x.test/b)", "![p](https://x.test/p.png)", "see https://x.test/c."]
    )
    opened = 'target="_blank" rel="noopener noreferrer nofollow"'
    assert link == f'<p><a href="https://x.test/b" {opened}>a</a></p>'
    assert "<img" not in picture
    assert 'href="https://x.test/p.png"' in picture
    assert bare == f'<p>see <a href="https://x.test/c" {opened}>https://x.test/c</a>.</p>'


def test_code_and_tables(shown: Page) -> None:
    """Fenced code keeps its text, coloured or not; a table has cells and sides."""
    text = "```python\nif x: # <no>\n```\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n"
    found = shown.module(
        "lib/markdown.js",
        "const e = m.markdown(args[0]); return [e.querySelector('pre').textContent,"
        " [...e.querySelectorAll('td')].map((cell) => [cell.className, cell.textContent])];",
        text,
    )
    assert found == ["if x: # <no>", [["to-left", "1"], ["to-right", "2"]]]


HOSTILE = [
    "*" * 50_000,
    "[" * 50_000,
    "a " + "`" * 20_001,
    "> " * 2000,
    "_a" * 20_000,
    "- " * 3000,
    "# " + "#" * 50_000 + "x",
    "[" * 50_000 + "](",
    "a|b\n" + " " * 50_000 + "-x",
]


def test_hostile_text_comes_through_whole(shown: Page) -> None:
    """Marks without an end, and nesting without an end, are text in the end; none is lost."""
    lengths = shown.module(
        "lib/markdown.js",
        "return args[0].map((text) => m.markdown(text + ' end').textContent.endsWith('end'));",
        HOSTILE,
    )
    assert lengths == [True] * len(HOSTILE)


def test_a_stream_keeps_what_is_finished(shown: Page) -> None:
    """Text that grows redraws its last block only; the result is that of the whole text."""
    text = "# A\n\none *two*\n\n- a\n- b\n\n```js\nlet a = 1;\n```\n\nend"
    same = shown.module(
        "lib/markdown.js",
        "const e = document.createElement('div'); let kept = true, first = null;"
        "for (let n = 1; n <= args[0].length; n += 1) { m.renderInto(e, args[0].slice(0, n));"
        " if (n === 8) first = e.firstChild; if (n > 8) kept = kept && e.firstChild === first; }"
        "return [kept, e.innerHTML === m.markdown(args[0]).innerHTML];",
        text,
    )
    assert same == [True, True]


def test_events_may_be_cut_anywhere(shown: Page) -> None:
    """An event stream in two pieces, cut at any place, gives the same events."""
    stream = ': note\nevent: a\ndata: {"x":1}\n\ndata:one\r\ndata: two\r\nid: 7\r\n\r\ndata: last'
    found = shown.module(
        "api/client.js",
        "const all = new Set(); for (let n = 0; n <= args[0].length; n += 1) {"
        " const p = new m.EventParser(); all.add(JSON.stringify("
        "[...p.feed(args[0].slice(0, n)), ...p.feed(args[0].slice(n)), ...p.flush()])); }"
        "return [...all];",
        stream,
    )
    assert [json.loads(each) for each in found] == [
        [
            {"data": '{"x":1}', "event": "a", "id": ""},
            {"data": "one\ntwo", "event": "", "id": "7"},
            {"data": "last", "event": "", "id": ""},
        ]
    ]


def said(page: Page, events: list[Any]) -> list[Any]:
    """Assemble a response's events: content, reasoning, loading text, calls, finish, error."""
    found: list[Any] = page.module(
        "api/dialects.js",
        "const a = new m.ChatResponse(); for (const each of args[0]) a.take(each);"
        "return [a.content, a.thoughtText, a.loadingText, a.tools, a.finish, a.error];",
        [each if isinstance(each, str) else json.dumps(each) for each in events],
    )
    return found


def chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"delta": delta}]}


def test_streamed_responses_are_assembled(shown: Page) -> None:
    """Chat chunks with loading text, reasoning and a tool call; Anthropic; Responses; an error."""
    call = {"index": 0, "function": {"name": "look", "arguments": "{}"}}
    loading = f"{RULE}\nloading a\nDone! (1.00s)\n{RULE}\n \n"
    events: list[Any] = [chunk(reasoning_content=piece) for piece in loading]
    events += [
        chunk(reasoning_content="hm"),
        chunk(content="Hi"),
        chunk(tool_calls=[call]),
        "[DONE]",
    ]
    tools = [{"name": "look", "text": "{}"}]
    assert said(shown, events) == ["Hi", "hm", "loading a\nDone! (1.00s)", tools, "", ""]
    messages = [
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "thinking_delta", "thinking": "hm"},
        },
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    ]
    assert said(shown, messages) == ["Hi", "hm", "", [], "end_turn", ""]
    responses = [
        {"type": "response.output_text.delta", "delta": "Hi"},
        {"type": "response.completed", "response": {"status": "completed"}},
    ]
    assert said(shown, responses) == ["Hi", "", "", [], "completed", ""]
    assert said(shown, [{"error": {"message": "out of memory"}}])[-1] == "out of memory"
    assert said(shown, ["null", "[1]", '"x"', "{", '{"choices":[null]}'])[0] == ""


def test_colours_of_terminals(shown: Page) -> None:
    """SGR sequences become classes, other escapes vanish, a carriage return overwrites."""
    lines = [
        "a \x1b[1;31mred\x1b[0m b",
        "\x1b]0;title\x07x\x1b[2Ky",
        "10%\r20%\r30%",
        "\x1b[38;5;9999mz",
    ]
    found = shown.module(
        "views/logs.js",
        "const { LogBuffer } = await import('/ui/api/state.js'); const l = new LogBuffer();"
        "l.take(args[0].join('\\n') + '\\n');"
        "const p = m.logPanel({ name: 't', label: 't', lines: l }); p.stop();"
        "return [...p.element.querySelectorAll('.l')].map((e) => [e.textContent,"
        " [...e.querySelectorAll('span')].map((s) => s.className)]);",
        lines,
    )
    assert [text for text, _ in found] == ["a red b", "xy", "30%", "z"]
    assert found[0][1] == ["sgr-bold ink-1"]


def test_a_log_is_bounded(shown: Page) -> None:
    """However many lines come, only the newest are kept."""
    kept = shown.module(
        "api/state.js",
        "const l = new m.LogBuffer(); for (let n = 0; n < 60; n += 1)"
        " l.take('x\\n'.repeat(1000)); return [l.total, l.lines.length <= 2 * m.MOST_LINES];",
    )
    assert kept == [60_000, True]
