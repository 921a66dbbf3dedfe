"""The benchmarks must be able to fail: what they count as lost, foreign, missed or growing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `bench` lies beside `tests`

from bench import report, swap_trace
from bench.growth.curve import Curve, render_curves
from bench.load import judge
from bench.proc import cpu_seconds, resident_mb, together_mb
from bench.soak import Account, is_flat
from bench.swap_trace import Trace
from bench.table import Figure, render
from bench.upstream import event

from support.server import stub_command

ROOT = Path(__file__).resolve().parents[2]
WHOLE = b"".join(event("s1", number) for number in range(5))


def test_a_whole_stream_has_lost_nothing() -> None:
    """All events in order: none lost, none foreign."""
    assert judge("s1", WHOLE, 5) == (0, 0)


def test_a_missing_event_is_lost() -> None:
    """An event that did not arrive is counted."""
    assert judge("s1", WHOLE.replace(event("s1", 3), b""), 5) == (1, 0)


def test_events_out_of_order_are_lost() -> None:
    """A stream in the wrong order counts as lost as a whole."""
    assert judge("s1", event("s1", 1) + event("s1", 0), 2) == (2, 0)


def test_an_event_of_another_client_is_foreign() -> None:
    """An event with another stream's tag is counted apart."""
    assert judge("s1", WHOLE + event("s2", 0), 5) == (0, 1)


@pytest.mark.parametrize(
    ("figure", "ours", "verdict"),
    [
        (Figure("f", "µs", ratio=2.5), 24.0, "ok"),
        (Figure("f", "µs", ratio=2.5), 26.0, "MISS"),
        (Figure("f", "ms", above=20), 119.0, "ok"),
        (Figure("f", "ms", above=20), 121.0, "MISS"),
        (Figure("f", "MB", most=60), 61.0, "MISS"),
        (Figure("f", "", exactly=100), 99.0, "MISS"),
        (Figure("f", "", exactly=100), 100.0, "ok"),
        (Figure("f", ""), 100.0, ""),
    ],
)
def test_a_bound_is_judged(figure: Figure, ours: float, verdict: str) -> None:
    """A figure beyond its bound is a miss, of whichever kind the bound is."""
    figure.add("direct", 100.0)
    figure.add("nginx", 10.0)
    figure.add("modelswap", ours)
    assert figure.verdict == verdict


def test_a_round_is_compared_with_itself() -> None:
    """A slow round raises all its sides; the median of the rounds' ratios and differences counts."""
    ratio, difference = Figure("f", "µs", ratio=2), Figure("f", "ms", above=5)
    for nginx, factor in ((10.0, 1.9), (100.0, 1.9), (10.0, 9.0)):
        ratio.add("nginx", nginx)
        ratio.add("modelswap", nginx * factor)
        difference.add("direct", nginx)
        difference.add("modelswap", nginx + factor)
    assert (ratio.verdict, difference.verdict) == ("ok", "ok")
    assert "| 1.90 x |" in render([ratio])
    assert "| +1.90  |" in render([difference])
    assert ratio.value("modelswap") == 90.0


def test_nothing_lost_is_no_ratio() -> None:
    """Counts are 0 on all sides when all is well."""
    figure = Figure("f: lost", "events", exactly=0)
    for side in ("direct", "nginx", "modelswap", "nginx", "modelswap"):  # direct is measured once
        figure.add(side, 0)
    assert "| 0         | -      | = 0      | ok |" in render([figure])


def test_a_side_that_is_missing_in_a_round_is_noticed() -> None:
    """Values of different rounds are never compared."""
    figure = Figure("f", "µs", ratio=2)
    for side in ("nginx", "modelswap", "modelswap"):
        figure.add(side, 1.0)
    with pytest.raises(ValueError, match="shorter"):
        render([figure])


def test_the_lowest_round_is_shown() -> None:
    """Of figures that other work can only raise."""
    for is_only_raised, cell in ((True, "| 2 (1)     |"), (False, "| 2         |")):
        figure = Figure("f", "µs", is_only_raised=is_only_raised)
        for value in (1.0, 2.0, 900.0):
            figure.add("modelswap", value)
        assert cell in render([figure])


def test_what_was_not_measured_is_a_miss() -> None:
    """A bound without a figure for modelswap is never shown as reached."""
    assert "MISS" in render([Figure("f", "ms", most=1)])


def test_medians_are_shown() -> None:
    """One wild round does not decide."""
    figure = Figure("f", "ms", most=5)
    for value in (1.0, 2.0, 900.0):
        figure.add("modelswap", value)
    assert figure.value("modelswap") == 2.0


def test_a_request_that_ends_twice_is_noticed() -> None:
    """The account counts second endings, and requests without one as hung."""
    account = Account()
    for number in range(3):
        account.enter(number)
    account.close(0, "ok")
    account.close(0, "ok")
    account.close(1, "ok")
    assert account.twice == 1
    assert account.counts() == {"ok": 2, "HUNG": 1}


def test_growth_is_not_flat() -> None:
    """Memory that keeps growing is told from memory that settles."""
    assert is_flat([10.0, 40.0] + [50.0] * 30, slack=2)
    assert not is_flat([float(number) for number in range(40)], slack=2)


@pytest.mark.parametrize(
    ("curve", "verdict"),
    [
        (Curve("models", "c", "ms", flat=1.25), "MISS"),
        (Curve("models", "c", "ms", flat=2), "ok"),
        (Curve("models", "c", "ms", most=14), "MISS"),
        (Curve("models", "c", "ms", most=15), "ok"),
        (Curve("models", "c", "ms", above=4), "MISS"),
        (Curve("models", "c", "ms", above=5, flat=2), "ok"),
        (Curve("models", "c", "ms"), ""),
    ],
)
def test_growth_is_judged_by_its_ends(curve: Curve, verdict: str) -> None:
    """The largest size against the smallest of the same round, or against its own bound, by medians."""
    for factor in (1.0, 1.0, 60.0):  # the machine is slow in the last round
        for size, value in ((1000, 15.0), (10, 10.0), (100, 99.0)):
            curve.add(size, value * factor)
    assert curve.verdict == verdict
    assert "| 10 | 99  | 15    | 1.5 x" in render_curves([curve])


def test_growth_that_was_not_measured_is_a_miss() -> None:
    """One size says nothing about growth."""
    curve = Curve("models", "c", "ms", flat=2)
    curve.add(10, 1.0)
    assert curve.verdict == "MISS"


def _run_of_everything() -> list[Figure | Curve]:
    found: list[Figure | Curve] = []
    swaps = report.SWAPS.values()
    for name in (*report.BESIDE_NGINX.values(), *swaps, *report.ALONE.values()):
        figure = Figure(name, "µs/request", above=5 if name in swaps else None)
        for side, value in (("direct", 12.0), ("nginx", 10.0), ("modelswap", 13.0)):
            figure.add(side, value)
        found.append(figure)
    for unit in ("ms", "modules"):
        imports = Figure("imports", unit)
        imports.add("modelswap", 50)
        found.append(imports)
    curve = Curve("models", "c", "ms")
    curve.add(10, 4.5)
    return [*found, curve]


def test_readme_and_docs_take_their_numbers_from_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood between the markers is replaced in both; the rest stays as it is."""
    files = {"README": tmp_path / "README.md", "PERFORMANCE": tmp_path / "performance.md"}
    for name, real in (("README", report.README), ("PERFORMANCE", report.PERFORMANCE)):
        files[name].write_text(real.read_text())
        monkeypatch.setattr(report, name, files[name])
    before = files["README"].read_text()
    report.write(_run_of_everything(), 3)
    after = files["README"].read_text()
    assert "| 10 MB response | 10 µs | 13 µs | 1.30 \u00d7 |" in after
    assert "| llama.cpp, tiny model | 12 µs | 13 µs | +1.00 µs |" in after
    assert before.partition(report.BEGIN)[0] == after.partition(report.BEGIN)[0]
    assert before.partition(report.END)[2] == after.partition(report.END)[2]
    figures = files["PERFORMANCE"].read_text()
    assert "| by models |" in figures
    assert figures.count("| imports ") == 2  # in two units
    report.write(_run_of_everything(), 3)
    assert files["README"].read_text() == after


def test_nothing_is_written_without_every_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of some cases does not leave a README of two runs."""
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    with pytest.raises(report.MissingError, match="chat, 32 connections"):
        report.write(_run_of_everything()[1:], 3)
    with pytest.raises(report.MissingError, match="growth"):
        report.write(_run_of_everything()[:-1], 3)


def test_cpu_time_grows_with_work() -> None:
    """The CPU reading counts what this process spends."""
    before = cpu_seconds_here()
    sum(number * number for number in range(300_000))
    assert cpu_seconds_here() > before


def cpu_seconds_here() -> float:

    return cpu_seconds(os.getpid())


def test_a_trace_finds_what_it_wraps() -> None:
    """Every function that `bench.traced` wraps is where it looks for it."""
    code = "import sys; sys.argv = ['traced.py']; import traced; traced._trace_{}()"
    for process in ("front", "keeper"):
        subprocess.run(
            [sys.executable, "-c", code.format(process)],
            check=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT / "bench"), str(ROOT / "src")]),
            },
        )


def test_a_trace_sees_every_point_of_a_swap(tmp_path: Path) -> None:
    """Each function that is wrapped is on the way of a real swap."""
    found = swap_trace.traced((stub_command("a"), stub_command("b")), tmp_path, 1)
    missing = set(swap_trace.POINTS) - found.rounds[0].keys()
    assert missing <= {"response passed on"}  # the client may have read it before


def test_memory_together_counts_shared_pages_once() -> None:
    """Two processes of one program take less than twice one's memory, and one alone takes its RSS."""
    own = os.getpid()
    assert together_mb([own, own]) < 2 * resident_mb(own)
    assert abs(together_mb([own]) - resident_mb(own)) < 1


def test_a_trace_shows_what_a_swap_lacks() -> None:
    """Each step counts from the one before; a step that was not seen is shown so, and counts nothing."""
    trace = Trace()
    lines = ["1000 request read", "3000 swap decided", "900000 lease asked for"]
    trace.add(0, lines, 500_000)
    rows = trace.render("stub").splitlines()
    assert "| request read | 1 | 1 |" in rows
    assert "| lease asked for | - | - |" in rows  # it was of another swap
    assert "| swap decided | 2 | 3 |" in rows


def test_a_step_of_a_trace_is_within_one_round() -> None:
    """A round that lacks a point does not move the others' values into each other's place."""
    trace = Trace()
    trace.add(0, ["1000 request read", "2000 lease asked for", "3000 swap decided"], 9000)
    trace.add(0, ["5000 request read", "8000 swap decided"], 9000)
    trace.add(0, ["1000 request read", "2000 lease asked for", "7000 swap decided"], 9000)
    assert "| swap decided | 3 | 7 |" in trace.render("stub").splitlines()
