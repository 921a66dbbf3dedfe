"""Token figures out of every form of answer."""

from __future__ import annotations

import contextlib
import gzip
import json
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.observe.usage.meter import UNCOMMON, WHOLE, Meter, decode_common, tokens_of
from modelswap.observe.usage.usage import UsageFormat, add_up

if TYPE_CHECKING:
    from modelswap.observe.usage.usage import Tokens

JSON = ((b"Content-Type", b"application/json"),)
SSE = ((b"content-type", b"text/event-stream; charset=utf-8"),)


def metered(
    *chunks: bytes,
    headers: Any = JSON,
    status: int = 200,
    usage_format: UsageFormat = UsageFormat.OBJECT,
) -> Tokens:
    meter = Meter(usage_format, 0.0)
    meter.on_head(status, headers)
    for number, chunk in enumerate(chunks):
        meter.on_data(chunk, 1.0 + number)
    return meter.finish(10.0)


def seven(tokens: Tokens) -> tuple[float, ...]:
    return (
        tokens.cached,
        tokens.drafted,
        tokens.accepted,
        tokens.input,
        tokens.output,
        round(tokens.prompt_per_second, 1),
        round(tokens.per_second, 1),
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"usage": {"prompt_tokens": 12, "completion_tokens": 7}}, (-1, -1, -1, 12, 7, -1, -1)),
        (
            {"usage": {"input_tokens": 12, "output_tokens": 7, "cache_read_input_tokens": 3}},
            (3, -1, -1, 12, 7, -1, -1),
        ),
        ({"usage": None}, (-1, -1, -1, 0, 0, -1, -1)),
        ({"usage": {"total_tokens": 5}}, (-1, -1, -1, 0, 0, -1, -1)),
        ({"x": 1}, (0,) * 7),
        ([1], (0,) * 7),
        ({"timings": {"prompt_n": 20, "predicted_n": 50}}, (-1, -1, -1, 20, 50, 0, 0)),
        ({"response": {"usage": {"input_tokens": 1}}}, (0,) * 7),
        (
            {
                "usage": {"prompt_tokens": 10, "completion_tokens": 2},
                "metrics": {"time_to_first_token_ms": 50, "mean_itl_ms": 0},
            },
            (-1, -1, -1, 10, 2, 200, -1),
        ),
        ({"usage": {"prompt_tokens": "9", "completion_tokens": 1.7}}, (-1, -1, -1, 9, 1, -1, -1)),
        (
            {"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}},
            (4, -1, -1, 9, 0, -1, -1),
        ),
        (
            {
                "usage": {"prompt_tokens": 9, "completion_tokens": 3},
                "metrics": {
                    "mean_itl_ms": 20,
                    "speculative_decoding": {
                        "num_draft_tokens": 8,
                        "num_accepted_draft_tokens": 6,
                    },
                },
            },
            (-1, 8, 6, 9, 3, -1, 50),
        ),
        ({"usage": {"prompt_tokens": 1e400}}, (-1, -1, -1, 0, 0, -1, -1)),
    ],
)
def test_a_json_body_gives_the_figures_of_llama_swap(
    body: Any, expected: tuple[float, ...]
) -> None:
    """Each verified example of the reference gives its seven figures."""
    text = json.dumps(body).replace("Infinity", "1e308").encode()
    assert seven(metered(text)) == expected


def test_infill_reads_the_last_element() -> None:
    """An infill answer is an array whose last element has the timings."""
    last = {"timings": {"prompt_n": 4, "predicted_n": 6, "draft_n": 5, "draft_n_accepted": 3}}
    body = json.dumps([{"a": 1}, last]).encode()
    assert seven(metered(body, usage_format=UsageFormat.LAST_OF_LIST)) == (-1, 5, 3, 4, 6, 0, 0)


def test_a_body_that_is_not_json_gives_nothing() -> None:
    """Text leaves all figures at zero and is no error."""
    tokens = metered(b"hello")
    assert (seven(tokens), tokens.error, tokens.parsed) == ((0,) * 7, "", False)


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


DELTA = event({"choices": [{"delta": {"content": 'a "usage" of ünïcode'}, "finish_reason": None}]})
LLAMA = (
    DELTA * 3
    + event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    + event(
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 5,
                "completion_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 2},
            },
            "timings": {
                "cache_n": 2,
                "prompt_n": 3,
                "prompt_per_second": 285.7,
                "predicted_n": 3,
                "predicted_per_second": 100,
            },
        }
    )
    + b"data: [DONE]\n\n"
)
ANTHROPIC = (
    b"event: message_start\n"
    + event(
        {"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}}
    )
    + b"event: content_block_delta\n"
    + event({"type": "content_block_delta", "delta": {"text": "x"}})
    + event(
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 15},
        }
    )
)
RESPONSES = event({"type": "response.created", "response": {"usage": None}}) + event(
    {
        "type": "response.completed",
        "response": {
            "usage": {
                "input_tokens": 8,
                "output_tokens": 4,
                "input_tokens_details": {"cached_tokens": 0},
            }
        },
    }
)
STREAMS = [
    (LLAMA, (2, -1, -1, 3, 3, 285.7, 100), "stop"),
    (ANTHROPIC, (-1, -1, -1, 25, 15, -1, -1), "end_turn"),
    (RESPONSES, (0, -1, -1, 8, 4, -1, -1), ""),
    (DELTA * 4 + b"data: [DONE]\n\n", (0,) * 7, ""),
    (b'data: {"usage": {"prompt_tokens": 2}}', (-1, -1, -1, 2, 0, -1, -1), ""),
    (
        b'data: {broken "usage"\n\ndata: {"usage":{"output_tokens":3}}\n\n',
        (-1, -1, -1, 0, 3, -1, -1),
        "",
    ),
]


@pytest.mark.parametrize(("stream", "expected", "reason"), STREAMS)
def test_a_stream_gives_its_figures(
    stream: bytes, expected: tuple[float, ...], reason: str
) -> None:
    """llama.cpp, Anthropic, Responses API and plain streams give figures and finish reason."""
    tokens = metered(stream, headers=SSE)
    assert (seven(tokens), tokens.finish_reason) == (expected, reason)


@given(st.sampled_from(STREAMS), st.lists(st.integers(1, 900), max_size=12), st.booleans())
def test_chunk_boundaries_do_not_matter(
    case: tuple[bytes, tuple[float, ...], str],
    cuts: list[int],
    crlf: bool,  # noqa: FBT001 -- drawn by Hypothesis
) -> None:
    """However a stream is cut, the figures and the finish reason are the same."""
    stream, expected, reason = case
    if crlf:
        stream = stream.replace(b"\n", b"\r\n")
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(edges)]
    tokens = metered(*chunks, headers=SSE)
    assert (seven(tokens), tokens.finish_reason) == (expected, reason)


def test_the_finish_reason_comes_before_the_figures() -> None:
    """Each event in a read of its own: the one with the reason is neither the last nor the last but one."""
    events = [piece + b"\n\n" for piece in LLAMA.split(b"\n\n") if piece]
    assert metered(*events, b"data: [DONE]\n\n", headers=SSE).finish_reason == "stop"


def raw_deflate(data: bytes) -> bytes:
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(data) + squeezer.flush()


@given(st.sampled_from([gzip.compress, zlib.compress, raw_deflate]), st.integers(1, 40))
def test_compressed_responses_are_read(press: Any, size: int) -> None:
    """Gzip and both kinds of deflate are undone, in any pieces."""
    coding = b"gzip" if press is gzip.compress else b"deflate"
    data = press(LLAMA)
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    tokens = metered(*chunks, headers=(*SSE, (b"Content-Encoding", coding)))
    assert seven(tokens) == (2, -1, -1, 3, 3, 285.7, 100)


def test_a_body_that_is_not_what_its_coding_says_is_an_error() -> None:
    """A broken gzip body says so, and gives no figures."""
    tokens = metered(b"no gzip at all", headers=(*JSON, (b"content-encoding", b"gzip")))
    assert tokens.error.startswith("response decompression failed: ")
    assert seven(tokens) == (0,) * 7


def test_a_decompression_bomb_is_an_error() -> None:
    """A small body that grows without bound is not read to its end."""
    bomb = gzip.compress(bytes(80 << 20), 1)
    tokens = metered(bomb, headers=(*JSON, (b"content-encoding", b"gzip")))
    assert tokens.error == "response decompression failed: too large"


@pytest.mark.parametrize("first", [True, False])
def test_figures_of_a_very_large_body_are_found(first: bool) -> None:  # noqa: FBT001 -- a parameter
    """Usage before or behind megabytes of numbers is found without keeping them."""
    usage = (
        b'"usage":{"prompt_tokens":6,"total_tokens":6,"prompt_tokens_details":{"cached_tokens":1}}'
    )
    numbers = b'"data":[' + b"0.123," * (WHOLE // 3) + b"0]"
    body = b"{" + (usage + b"," + numbers if first else numbers + b"," + usage) + b"}"
    chunks = [body[at : at + 65536] for at in range(0, len(body), 65536)]
    assert seven(metered(*chunks)) == (1, -1, -1, 6, 0, -1, -1)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (502, b"", "502 Bad Gateway"),
        (599, b"?", "HTTP 599"),
        (400, b'{"error":{"message":" bad "}}', "bad"),
        (400, b'{"error":"flat","message":"m"}', "flat"),
        (400, b'{"error":{"message":7},"detail":"d"}', "d"),
        (400, b'{"message":"  "}', "400 Bad Request"),
        (400, b'{"message":"' + b"x" * 600 + b'"}', "x" * 500 + "..."),
    ],
)
def test_the_reason_of_a_failure_is_found(status: int, body: bytes, error: str) -> None:
    """An error body's text is read where llama-swap reads it, else the status is named."""
    assert metered(body, status=status).error == error


def test_the_clock_gives_what_the_server_does_not_report() -> None:
    """Time to the first byte and tokens after it are measured."""
    usage = event({"usage": {"prompt_tokens": 1, "completion_tokens": 5}})
    tokens = metered(DELTA, DELTA, usage, headers=SSE)
    assert (tokens.ttft_ms, tokens.wall_per_second, tokens.duration_ms) == (1000, 2.0, 10000)


NUMBERS = st.none() | st.integers(-3, 1 << 70) | st.floats() | st.sampled_from(["9", "x", "1.5"])
USAGE = st.dictionaries(
    st.sampled_from(
        [
            "prompt_tokens",
            "input_tokens",
            "completion_tokens",
            "output_tokens",
            "cache_read_input_tokens",
        ]
    ),
    NUMBERS,
)
DETAILS = st.dictionaries(st.just("cached_tokens"), NUMBERS)
TIMINGS = st.dictionaries(
    st.sampled_from(
        [
            "prompt_n",
            "predicted_n",
            "prompt_ms",
            "predicted_ms",
            "prompt_per_second",
            "predicted_per_second",
            "cache_n",
            "draft_n",
            "draft_n_accepted",
        ]
    ),
    NUMBERS,
)
CHOICES = st.lists(st.fixed_dictionaries({"finish_reason": st.sampled_from([None, "stop"])}))
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "usage": st.none() | USAGE | st.builds(lambda d: {"prompt_tokens_details": d}, DETAILS),
        "timings": st.none() | TIMINGS,
        "metrics": st.none() | st.just({"mean_itl_ms": 20}),
        "choices": CHOICES,
        "stop_reason": st.none() | st.just("end_turn"),
        "more": st.none(),
    },
)


@given(ANSWERS, st.sampled_from([200, 500]), st.sampled_from(UsageFormat))
def test_one_piece_is_read_like_many(
    answer: dict[str, Any], status: int, usage_format: UsageFormat
) -> None:
    """The short cut for an answer in one piece finds what the meter finds."""
    body = json.dumps(answer).encode()
    meter = Meter(usage_format, 0.0)
    meter.on_head(status, JSON)
    meter.on_data(body, 0.5)
    expected = meter.finish(2.0)
    found = tokens_of(usage_format, status, body, 2000, 500)
    with contextlib.suppress(*UNCOMMON):
        read = decode_common(body if (status, usage_format) == (200, UsageFormat.OBJECT) else b"")
        found = read.tokens(2000, 500)
        durations = [2000]
        assert add_up([read], durations) == found.sums()
        assert durations == [found.duration_ms]
    if "choices" not in answer or not answer["choices"]:  # the last one's there, the last text here
        assert found == expected
    assert seven(found) == seven(expected)
