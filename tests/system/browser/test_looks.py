"""How the page looks and sounds: axes of charts, names for those who cannot see, colours that can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.server import stub_config

if TYPE_CHECKING:
    from conftest import StartServer
    from system.browser.conftest import Page

VIEWS = (
    "activity",
    "models",
    "models/alpha",
    "playground/chat",
    "logs",
    "performance",
    "settings",
    "activity/1",
)
MINUTE = 60_000


@pytest.fixture
def shown(page: Page, modelswap_server: StartServer) -> Page:
    """The page of a server that has answered once and failed once, open."""
    server = modelswap_server(stub_config("alpha"))
    server.chat("alpha", stream=True)
    server.chat("nothing")
    page.open(server.base_url)
    return page


def test_charts_have_axes(shown: Page) -> None:
    """Values with their unit at the left, times below, a legend for each line, and the value under the pointer."""
    found = shown.module(
        "lib/chart.js",
        "const from = new Date(2026, 4, 4, 12, 0, 0).getTime(); const chart = m.lines({title: 'GPU', unit: '%', top: 100,"
        " from, to: from + 2 * args[0], series: [{name: 'one', points: [[from, 10], [from + args[0], 55.5],"
        " [from + 2 * args[0], 30]]}, {name: 'two', points: []}]}); document.body.append(chart);"
        "const texts = (of) => [...chart.querySelectorAll(of)].map((e) => e.textContent.trim());"
        "const before = texts('.series'); const drawing = chart.querySelector('svg');"
        "const box = drawing.getBoundingClientRect(); drawing.dispatchEvent(new PointerEvent('pointermove',"
        " {clientX: box.left + box.width / 2})); const at = [texts('.series'), texts('figcaption .muted')];"
        "chart.remove(); return [texts('.y-axis span'), texts('.x-axis span'), before, ...at];",
        MINUTE,
    )
    times = ["2026-05-04 12:00:00", "2026-05-04 12:01:00", "2026-05-04 12:02:00"]
    assert found[0] == ["100 %", "50 %", "0 %"]
    assert found[1] == times
    assert found[2] == ["one 30 %", "two \N{EN DASH}"]
    assert found[3] == ["one 55.5 %", "two \N{EN DASH}"]
    assert found[4] == [f"at {times[1]}"]


def test_an_empty_chart_is_a_sentence(shown: Page) -> None:
    """Without points there is a sentence and no drawing; an unknown value is not zero."""
    found = shown.module(
        "lib/chart.js",
        "return [m.lines({title: 'GPU', unit: '%', from: 0, to: 1, series: [{name: 'a', points: []}]}).textContent,"
        " m.histogram('Prompt', 'tokens/s', null).textContent];",
    )
    assert found == [
        "GPUNothing was measured in this time.",
        "Prompt, tokens/sNo request has told its speed yet.",
    ]


def test_a_histogram_has_axes(shown: Page) -> None:
    """Numbers of requests at the left, values below, the marks named, and each bar told."""
    data = {
        "bins": [1, 0, 4],
        "min": 10,
        "max": 40,
        "binSize": 10,
        "p50": 35,
        "p95": 39.5,
        "p99": 40,
    }
    found = shown.module(
        "lib/chart.js",
        "const e = m.histogram('Prompt', 'tokens/s', args[0]); const texts = (of) =>"
        " [...e.querySelectorAll(of)].map((each) => each.textContent.trim());"
        "e.querySelector('.bar').dispatchEvent(new PointerEvent('pointerenter'));"
        "return [texts('.y-axis span'), texts('.x-axis span'), texts('.mark-key'), texts('figcaption .muted'),"
        " texts('.bar title')];",
        data,
    )
    assert found == [
        ["5", "", "0"],
        ["10", "25", "40"],
        ["half reach 35", "95 % below 39.5", "99 % below 40"],
        ["10 to 20 tokens/s: 1 request"],
        [
            "10 to 20 tokens/s: 1 request",
            "20 to 30 tokens/s: 0 requests",
            "30 to 40 tokens/s: 4 requests",
        ],
    ]


def test_the_performance_view_has_them(shown: Page) -> None:
    """The charts of the machine have three values and three times each."""
    shown.go("performance")
    shown.wait_for(".chart .y-axis", "100 %")
    for chart in shown.all(".charts .chart"):
        axes = chart.find_elements("css selector", ".y-axis span, .x-axis span")
        assert all(each.text for each in axes)
        assert len(axes) == 6


NAMELESS = """
const named = (e) => (e.getAttribute('aria-label') || e.title || e.textContent || '').trim()
  || e.labels?.length || e.getAttribute('aria-labelledby');
return [...document.querySelectorAll('button, a[href], input, select, textarea, [role=tab], [role=region], dialog, img')]
  .filter((e) => e.checkVisibility() && !e.closest('[aria-hidden=true]') && !named(e) && !(e.tagName === 'IMG' && e.hasAttribute('alt')))
  .map((e) => e.outerHTML.slice(0, 120));
"""

CONTRAST = """
const parse = (text) => { const canvas = parse.c ||= document.createElement('canvas').getContext('2d',
  {willReadFrequently: true}); canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data]; };
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92
  : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
  if (c[3] === 255) return c; } return [255, 255, 255, 255]; };
const poor = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) { const e = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || !e.checkVisibility({checkVisibilityCSS: true, checkOpacity: true})
    || e.closest(':disabled, svg, option')) continue;
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) poor.push(`${e.tagName}.${e.className} ${walker.currentNode.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`); }
return poor;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_a_name_and_can_be_read(shown: Page, scheme: str) -> None:
    """In each view controls have names, and text stands out by 4.5 to 1 as WCAG AA asks."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    shown.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        for view in VIEWS:
            shown.go(view)
            shown.wait_for("dialog .said" if view == "activity/1" else "main h1")
            assert shown.script(NAMELESS) == [], view
            assert shown.script(CONTRAST) == [], view
    finally:
        shown.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_reduced_motion_stops_animations(shown: Page) -> None:
    """With reduced motion asked for, no element is animated."""
    features = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    shown.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        for view in VIEWS:
            shown.go(view)
            shown.wait_for("main h1")
            assert shown.script("return document.getAnimations().length") == 0
    finally:
        shown.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
