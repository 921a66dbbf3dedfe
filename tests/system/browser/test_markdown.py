"""Markdown of models as nodes: each construct, its neighbours, and what must stay text."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from support.server import stub_config

if TYPE_CHECKING:
    from support.running import StartServer
    from system.browser.conftest import Page


@pytest.fixture
def shown(page: Page, modelswap_server: StartServer) -> Page:
    """The page, open."""
    page.open(modelswap_server(stub_config("alpha")).base_url)
    return page


LINKS = [
    # parentheses in pairs belong to the address
    ("[a](https://x.test/b)", [("https://x.test/b", "a", "")]),
    ("[w](https://x.test/A_(b))", [("https://x.test/A_(b)", "w", "")]),
    ("[w](https://x.test/A_(b)_(c(d))e)!", [("https://x.test/A_(b)_(c(d))e", "w", "")]),
    ("([w](https://x.test/A_(b)))", [("https://x.test/A_(b)", "w", "")]),
    ("[a](https://x.test/1) and [b](https://x.test/2)",
     [("https://x.test/1", "a", ""), ("https://x.test/2", "b", "")]),
    (r"[e](https://x.test/a\)b)", [("https://x.test/a)b", "e", "")]),
    # addresses in angle brackets, titles
    ("[a](<https://x.test/a b(c>)", [("https://x.test/a%20b(c", "a", "")]),
    ('[a](https://x.test/ "a title")', [("https://x.test/", "a", "a title")]),
    ("[a](https://x.test/b 'it (is)')", [("https://x.test/b", "a", "it (is)")]),
    ("[a](<https://x.test/b> (so))", [("https://x.test/b", "a", "so")]),
    (r'[a](https://x.test/b "say \"x\")")', [("https://x.test/b", "a", 'say "x")')]),
    # brackets and marks inside the text
    ("[a [b] c](https://x.test/d)", [("https://x.test/d", "a [b] c", "")]),
    ("[**a** `]` b](https://x.test/d)", [("https://x.test/d", "a ] b", "")]),
    ("[a] [b](https://x.test/c)", [("https://x.test/c", "b", "")]),
    ("[https://x.test/a](https://x.test/a)", [("https://x.test/a", "https://x.test/a", "")]),
    ("**[a](https://x.test/b_c_d)**", [("https://x.test/b_c_d", "a", "")]),
    ("[![p](https://x.test/p.png)](https://x.test/q)", [("https://x.test/q", "🖼 p", "")]),
    ("![p](https://x.test/p_(1).png)", [("https://x.test/p_(1).png", "🖼 p", "")]),
    # bare and bracketed addresses, without the sentence's own punctuation
    ("see https://x.test/c.", [("https://x.test/c", "https://x.test/c", "")]),
    ("(see https://x.test/c)", [("https://x.test/c", "https://x.test/c", "")]),
    ("(https://x.test/A_(b)), so", [("https://x.test/A_(b)", "https://x.test/A_(b)", "")]),
    ("**https://x.test/c**", [("https://x.test/c", "https://x.test/c", "")]),
    ("https://x.test/a?b=c&d=e#f!", [("https://x.test/a?b=c&d=e#f", "https://x.test/a?b=c&d=e#f", "")]),
    ("看https://x.test/c。好", [("https://x.test/c", "https://x.test/c", "")]),
    ("<https://x.test/a_b>", [("https://x.test/a_b", "https://x.test/a_b", "")]),
    ("<me@x.test>", [("mailto:me@x.test", "me@x.test", "")]),
    ("[m](mailto:me@x.test)", [("mailto:me@x.test", "m", "")]),
    # no links
    ("[x](javascript:alert(1))", []),
    ("[x](JaVaScRiPt:a)", []),
    ("[x](<javascript:alert(1)>)", []),
    ("[x](java\tscript:alert(1))", []),
    ("[x](data:text/html,a)", []),
    ("[x](vbscript:a)", []),
    ("[x](file:///etc/passwd)", []),
    ("[x](//x.test)", []),
    ("[x](/api/models/unload)", []),
    ("<javascript:alert(1)>", []),
    ("`[a](https://x.test/b)`", []),
    (r"\[a](b)", []),
    ("[a](https://x.test/(b", [("https://x.test/(b", "https://x.test/(b", "")]),
    ("http:// and https://", []),
]  # fmt: skip


def test_links(shown: Page) -> None:
    """A link ends where CommonMark ends it, leads to http(s) or mail only, and none is in another."""
    found = shown.module(
        "lib/markdown.js",
        "return args[0].map((text) => { const e = m.markdown(text);"
        " return [e.querySelectorAll('a a').length, [...e.querySelectorAll('a')].map((a) =>"
        " [a.getAttribute('href'), a.textContent, a.title])]; });",
        [text for text, _ in LINKS],
    )
    got = {text: each for (text, _), each in zip(LINKS, found, strict=True)}
    assert got == {text: [0, [list(link) for link in links]] for text, links in LINKS}


MARKDOWN = {
    # emphasis in emphasis
    "***both***": "<p><em><strong>both</strong></em></p>",
    "**a *b* c**": "<p><strong>a <em>b</em> c</strong></p>",
    "*a **b** c*": "<p><em>a <strong>b</strong> c</em></p>",
    "**a *b***": "<p><strong>a <em>b</em></strong></p>",
    "__a _b_ c__": "<p><strong>a <em>b</em> c</strong></p>",
    "~~a **b**~~": "<p><del>a <strong>b</strong></del></p>",
    "**`a*b`**": "<p><strong><code>a*b</code></strong></p>",
    "*a*b*c*": "<p><em>a</em>b<em>c</em></p>",
    "**注意。**请看": "<p><strong>注意。</strong>请看</p>",
    "2 * 3 * 4 and 2*3": "<p>2 * 3 * 4 and 2*3</p>",
    "__init__.py and a_b_c": "<p><strong>init</strong>.py and a_b_c</p>",
    "~a~ ~~~b~~~ ~/x": "<p>~a~ ~~~b~~~ ~/x</p>",
    "**a\nb**": "<p><strong>a<br>b</strong></p>",
    "** a **": "<p>** a **</p>",
    "a * b *c*": "<p>a * b <em>c</em></p>",
    # code spans and escapes
    "`` `a` ``": "<p><code>`a`</code></p>",
    "`a``b`": "<p><code>a``b</code></p>",
    r"`a\`": "<p><code>a\\</code></p>",
    r"\`a\` \[b\] 1\. \| \\": "<p>`a` [b] 1. | \\</p>",
    r"C:\dir \q": "<p>C:\\dir \\q</p>",
    "&lt;b&gt; &amp;amp; &#42;a&#42; &nosuch; &": "<p>&lt;b&gt; &amp;amp; *a* &amp;nosuch; &amp;</p>",
    "```a``` b": "<p><code>a</code> b</p>",
    # blocks
    "In the year\n1999. It was": "<p>In the year<br>1999. It was</p>",
    "So:\n1. a\n2. b": '<p>So:</p><ol start="1"><li>a</li><li>b</li></ol>',
    "a | b": "<p>a | b</p>",
    "a | b\n---": "<p>a | b</p><hr>",
    "<script>alert(1)</script>": "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>",
}  # fmt: skip


def test_inline_markup(shown: Page) -> None:
    """Emphasis nests, code keeps its marks, escapes and entities are characters, HTML is text."""
    found = shown.module(
        "lib/markdown.js",
        "return args[0].map((text) => m.markdown(text).innerHTML);",
        list(MARKDOWN),
    )
    assert dict(zip(MARKDOWN, found, strict=True)) == MARKDOWN


CODE = [
    ("- a\n  ```py\n  x = 1\n\n      y = 2\n  - no item\n  ```\n- b", 2, ["x = 1\n\n    y = 2\n- no item"]),
    ("1. a\n\n   ```\n   # no heading\nfar left\n   ```\n2. b", 2, ["# no heading\nfar left"]),
    ("- ```sh\n  ls\n  ```\n- b", 2, ["ls"]),
    ("10. a\n    ```\n    b\n    ```", 1, ["b"]),
    ("- a\n  - b\n    ```\n    c\n    ```", 2, ["c"]),
    ("- open\n  ```\n  x", 1, ["x"]),
    ("> ```\n> q\n> ```", 0, ["q"]),
    ("````\n```\n````", 0, ["```"]),
]  # fmt: skip


def test_code_in_lists(shown: Page) -> None:
    """Fenced code in an item keeps its text and its own indentation, and does not end the list."""
    found = shown.module(
        "lib/markdown.js",
        "return args[0].map((text) => { const e = m.markdown(text); return"
        " [e.querySelectorAll('li').length, [...e.querySelectorAll('pre')].map((p) => p.textContent)]; });",
        [text for text, *_ in CODE],
    )
    assert found == [[items, code] for _, items, code in CODE]


TABLES = [
    ("| a | b |\n|---|:-:|\n| 1 | 2 |", [["a", "b"], ["1", "2"]]),
    ("a|b\n-|-\n1|2", [["a", "b"], ["1", "2"]]),
    ("| a | b |\n|---|---|\n| x \\| y | **z** |", [["a", "b"], ["x | y", "z"]]),
    ("| a | b |\n|---|---|\n| 1 |\n| 1 | 2 | 3 |", [["a", "b"], ["1", ""], ["1", "2"]]),
    ("| a | |\n|---|---|\n| | b |", [["a", ""], ["", "b"]]),
    ("| a | b |\n|---|\n| 1 | 2 |", []),
]


def test_tables(shown: Page) -> None:
    """Cells are cut at bars that are not escaped; each row has as many as the head."""
    found = shown.module(
        "lib/markdown.js",
        "return args[0].map((text) => [...m.markdown(text).querySelectorAll('tr')].map((row) =>"
        " [...row.children].map((cell) => cell.textContent)));",
        [text for text, _ in TABLES],
    )
    assert found == [rows for _, rows in TABLES]


HOSTILE = [
    "*a " * 20_000,
    "a* " * 20_000,
    "*a_b~~c" * 10_000,
    "**a " * 3000 + "a** " * 3000,
    "[a](" * 20_000,
    "[" * 20_000 + "a" + "](b)" * 20_000,
    "![[" * 10_000,
    "`a``b```" * 5000,
    "<http://" * 10_000,
    "https://" * 10_000,
    "&#" * 30_000,
    "[a](<" * 10_000,
    '[a](b "' * 10_000,
    "- ```\n" * 3000,
    "((((https://x.test/" + "(" * 900 + ")" * 900,
]


def processor_seconds(page: Page) -> float:
    """What the page's main thread has used of the processor so far; other work beside it does not count."""
    metrics = page.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(float(each["value"]) for each in metrics if each["name"] == "ThreadTime")


def test_hostile_text_is_drawn_quickly(shown: Page) -> None:
    """Marks that could be paired in many ways are drawn within a second each, and nothing is lost."""
    shown.driver.execute_cdp_cmd("Performance.enable", {})
    used = [processor_seconds(shown)]
    for text in HOSTILE:
        assert shown.module(
            "lib/markdown.js",
            "return m.markdown(args[0] + ' end').textContent.includes('end');",
            text,
        )
        used.append(processor_seconds(shown))
    shown.driver.execute_cdp_cmd("Performance.disable", {})
    each = {
        text[:10]: end - begin for text, (begin, end) in zip(HOSTILE, pairwise(used), strict=True)
    }
    assert {text: seconds for text, seconds in each.items() if seconds > 1} == {}
