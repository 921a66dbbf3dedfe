"""Rings, live readers, levels, redaction."""

from __future__ import annotations

import os
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.observe.logs.logs import (
    COMBINED,
    MOST_GATHERED,
    PROXY,
    RING,
    UPSTREAM,
    LineSplitter,
    Logger,
    Logs,
    RequestLine,
    model_source,
)
from modelswap.observe.logs.redaction import line_redactor
from modelswap.observe.logs.stdout import Stdout
from modelswap.units import Bytes


def silent(to_stdout: str | None = "none") -> Logs:
    return Logs(to_stdout=to_stdout, stdout=Stdout(os.open(os.devnull, os.O_WRONLY)))


@given(st.text(alphabet="aß€😀\n\r ", max_size=80), st.lists(st.integers(1, 30), max_size=20))
def test_fragments_become_whole_lines(text: str, sizes: list[int]) -> None:
    """However output is cut, nothing is lost and every piece ends a line and a character."""
    data = text.encode()
    lines, pieces = LineSplitter(), list[bytes]()
    for size in [*sizes, len(data)]:
        pieces.append(lines.feed(data[:size]))
        data = data[size:]
    for piece in pieces:
        piece.decode()
        assert not piece or piece[-1:] in {b"\n", b"\r"}
    assert b"".join([*pieces, lines.flush()]).decode() == text


def test_a_line_without_end_is_bounded() -> None:
    """A server that never ends its line does not fill the memory, and no character is split."""
    lines = LineSplitter()
    pieces = [lines.feed("€".encode()[at % 3 : at % 3 + 1]) for at in range(60_000)]
    assert all(piece.decode() is not None for piece in pieces)
    assert len(lines.flush()) <= 16_384


def test_rings_keep_the_last_bytes_from_a_line_on() -> None:
    """A full ring holds at most its size and starts at the beginning of a line."""
    logs = silent()
    for number in range(20_000):
        logs.model_output("m", b"line %d\n" % number)
    history = logs.history(model_source("m"))
    assert RING - 20 < len(history) <= RING
    assert re.fullmatch(rb"line \d+", history.split(b"\n")[0])
    assert history.endswith(b"line 19999\n")


@pytest.mark.parametrize(
    ("mode", "combined"),
    [("proxy", b"[INFO] p\n"), ("upstream", b"u\n"), ("both", b"[INFO] p\nu\n"), ("none", b"")],
)
def test_stdout_and_the_combined_log_are_the_same(mode: str, combined: bytes) -> None:
    """`logToStdout` decides what the combined log holds; the others always fill."""
    read, write = os.pipe()
    logs = Logs(to_stdout=mode, stdout=Stdout(write))
    logs.proxy_line("info", "p")
    logs.model_output("m", b"u\n")
    logs.close()
    os.close(write)
    assert os.read(read, 100) == logs.history(COMBINED) == combined
    assert (logs.history(PROXY), logs.history(UPSTREAM)) == (b"[INFO] p\n", b"u\n")
    os.close(read)


def test_without_the_setting_the_combined_log_is_of_everything() -> None:
    """Stdout shows the proxy's lines only; `/logs/stream` carries the models', too."""
    read, write = os.pipe()
    logs = Logs(stdout=Stdout(write))
    tail = logs.subscribe(COMBINED)
    logs.proxy_line("info", "p")
    logs.model_output("m", b"eval time\n")
    logs.close()
    os.close(write)
    assert os.read(read, 100) == b"[INFO] p\n"
    assert logs.history(COMBINED) == b"[INFO] p\neval time\n"
    logs.unsubscribe(COMBINED, tail)
    os.close(read)


def test_a_blocked_stdout_blocks_no_request() -> None:
    """Lines for a pipe without a reader are dropped beyond a bound, and counted."""
    read, write = os.pipe()
    logs = Logs(to_stdout="proxy", stdout=Stdout(write, limit=Bytes(100_000)))
    for _ in range(5_000):
        logs.proxy_line("info", "x" * 100)
    assert logs.dropped > 0
    os.close(read)
    logs.close()
    os.close(write)


def test_levels_and_unknown_names() -> None:
    """The level filters the program's own lines only; a name that is none means info."""
    logs = silent()
    log = Logger(logs)
    log.debug("hidden")
    logs.configure(level=" DEBUG ")
    log.debug("shown")
    logs.configure(level="loud", time_format="nonsense")
    log.debug("hidden")
    log.once("k", "first")
    log.once("k", "second")
    assert logs.history(PROXY) == b"[DEBUG] shown\n[WARN] first\n"


async def test_lines_about_requests_come_in_order_and_complete() -> None:
    """They are gathered, but another line, a reader or the end finds them written."""
    logs = silent()
    logs.request_line('Request 1 "GET /a" ', 200, 7, ' "curl" ', 0.25)
    logs.proxy_line("warn", "between")
    logs.request_line('Request 1 "GET /b" ', 404, 0, ' "curl" ', 2.0)
    assert logs.history(PROXY) == (
        b'[INFO] Request 1 "GET /a" 200 7 "curl" 250ms\n'
        b"[WARN] between\n"
        b'[INFO] Request 1 "GET /b" 404 0 "curl" 2s\n'
    )
    told: list[bytes] = []
    logs.on_lines = lambda _, data: told.append(data)
    for _ in range(MOST_GATHERED):
        logs.request_line("r ", 200, 1, " a ", 1.0)
    assert told[0].count(b"\n") == MOST_GATHERED


@pytest.mark.parametrize("took", [0.25, 2.0, 1e-5])
@pytest.mark.parametrize("time_format", ["", "kitchen"])
async def test_a_completed_request_keeps_its_place(took: float, time_format: str) -> None:
    """Lines of requests with and without a record come in the order of their ends."""
    logs = silent()
    logs.configure(time_format=time_format)
    now = time.monotonic()
    logs.request_line("a ", 200, 7, " x ", took)
    logs.add_completed(RequestLine("b ", " x ", 499, 8, now - took, now))
    logs.request_line("c ", 404, 9, " x ", took)
    lines = logs.history(PROXY).decode().splitlines()
    length = {0.25: "250ms", 2.0: "2s", 1e-5: "10µs"}[took]
    assert [line.partition("[INFO] ")[2] for line in lines] == [
        f"a 200 7 x {length}",
        f"b 499 8 x {length}",
        f"c 404 9 x {length}",
    ]
    stamp = re.compile(r"[0-9]+:[0-9]+[AP]M \[" if time_format else r"\[")
    assert all(stamp.match(line) for line in lines)


async def test_lines_about_requests_are_redacted() -> None:
    """A secret in a path or an agent's name never reaches a log."""
    logs = silent()
    logs.configure(redact=line_redactor(["sk-123456"]))
    logs.request_line("Request /?key=sk-123456 ", 200, 1, ' "sk-123456" ', 1.0)
    assert b"sk-123456" not in logs.history(PROXY)
    assert logs.history(PROXY).count(b"***") == 2


def test_a_message_cannot_forge_a_line() -> None:
    """A line feed in a message stays inside its line."""
    logs = silent()
    logs.proxy_line("info", 'GET /a\n[ERROR] forged "\x1b[2J"')
    assert logs.history(PROXY).count(b"\n") == 1
    assert b"\x1b" not in logs.history(PROXY)


def test_secrets_are_masked_across_fragments() -> None:
    """A secret that arrives in two pieces is masked in every log."""
    logs = silent("both")
    logs.configure(redact=line_redactor(["sk-123456", "x"]))
    logs.model_output("m", b"key sk-12")
    logs.model_output("m", b"3456 x\n")
    logs.proxy_line("info", "with sk-123456")
    for source in (model_source("m"), UPSTREAM, PROXY, COMBINED):
        assert b"sk-123456" not in logs.history(source)
        assert b"***" in logs.history(source)


def test_the_last_line_of_a_server_that_exited_is_kept() -> None:
    """Output without a line end appears when the server ended."""
    logs = silent()
    logs.model_output("m", b"fatal")
    assert logs.history(model_source("m")) == b""
    logs.model_ended("m")
    assert logs.history(model_source("m")) == b"fatal"


async def test_a_reader_gets_history_then_live_lines() -> None:
    """A live reader sees each line once, in order, and ends with the logs."""
    logs = silent()
    logs.model_output("m", b"old\nhalf")
    tail = logs.subscribe(model_source("m"))
    assert await tail.take() == b"old\n"
    logs.model_output("m", b" line\n")
    assert await tail.take() == b"half line\n"
    logs.close()
    assert await tail.take() is None
    logs.unsubscribe(model_source("m"), tail)
    assert logs.readers == 0


async def test_a_slow_reader_gets_a_note_of_what_it_lost() -> None:
    """Beyond the bound lines are dropped, and the stream says how many bytes."""
    logs = silent()
    tail = logs.subscribe(PROXY)
    for _ in range(20):
        logs.proxy_line("info", "y" * 65_536)
    data = await tail.take()
    assert data is not None
    assert re.search(rb"\n\xe2\x80\x94 \d+ bytes dropped \xe2\x80\x94\n$", data)
    logs.proxy_line("info", "after")
    assert await tail.take() == b"[INFO] after\n"


def test_short_keys_are_masked() -> None:
    """A key of three characters does not show, as in every other text."""
    logs = silent()
    logs.configure(redact=line_redactor(["kEy"]))
    logs.proxy_line("info", "with kEy")
    assert logs.history(PROXY) == b"[INFO] with ***\n"


@given(st.integers(15_000, 17_000), st.integers(1, 5_000))
def test_no_secret_is_cut_in_two(before: int, size: int) -> None:
    """In a line that never ends a secret is masked wherever it lies and however it arrives."""
    logs = silent()
    logs.configure(redact=line_redactor(["sk-" + "1234567" * 10]))
    data = b"." * before + b"sk-" + b"1234567" * 10 + b"." * 20_000
    for at in range(0, len(data), size):
        logs.model_output("m", data[at : at + size])
    logs.model_ended("m")
    shown = logs.history(model_source("m"))
    assert shown == b"." * before + b"***" + b"." * 20_000
