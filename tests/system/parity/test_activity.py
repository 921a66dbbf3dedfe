"""The records of requests: rows, statistics, captures, running ones, figures."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import operator
import re
from typing import TYPE_CHECKING, Any

import pytest

from support.streams import error_of, model, opened, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server import Answer, Modelswap
    from support.streams import RecordingPeer, Serve


@pytest.fixture(scope="module")
def server(serve: Serve, peer: RecordingPeer) -> Modelswap:
    return serve(
        f"captureBuffer: 1\nmodels:\n{model('a', aliases=['nick'])}{model('slow', '--ready-after', '30')}"
        f"peers: {{p: {{proxy: '{peer.url}', models: [scripted]}}}}\n"
    )


def scripted(server: Modelswap, reply: str, path: str = "/v1/rerank", **fields: Any) -> Any:
    """Make the peer answer this; the row that is left."""
    answer = server.ask("POST", path, {"model": "p/scripted", "reply": reply, **fields})
    assert answer.body == reply.encode()
    return rows(server, "?limit=1")[0]


# Rows


def test_a_row(server: Modelswap) -> None:
    """Exactly llama-swap's fields, in their places, after a chat completion."""
    assert server.chat("nick", n=5).status == 200
    row = rows(server, "?limit=1")[0]
    names = ["id", "timestamp", "model", "req_path", "resp_content_type", "resp_status_code"]
    assert list(row)[:6] == names
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", row["timestamp"])
    assert (row["model"], row["req_path"]) == ("a", "/v1/chat/completions")
    assert (row["resp_content_type"], row["resp_status_code"]) == ("application/json", 200)
    expected = {
        "cache_tokens": 2,
        "draft_tokens": -1,
        "draft_acc_tokens": -1,
        "input_tokens": 7,
        "output_tokens": 5,
        "prompt_per_second": 7000.0,
        "tokens_per_second": 500.0,
    }
    assert {name: row["tokens"][name] for name in expected} == expected
    assert row["duration_ms"] >= 11
    assert row["has_capture"] is True
    assert row["metadata"] == {"fifo_priority": "0"}
    assert "error_msg" not in row


ORDER = [
    "cache_tokens",
    "draft_tokens",
    "draft_acc_tokens",
    "input_tokens",
    "output_tokens",
    "prompt_per_second",
    "tokens_per_second",
]


@pytest.mark.parametrize(
    ("body", "numbers"),
    [
        ('{"usage":{"prompt_tokens":12,"completion_tokens":7}}', (-1, -1, -1, 12, 7, -1, -1)),
        (
            '{"usage":{"input_tokens":12,"output_tokens":7,"cache_read_input_tokens":3}}',
            (3, -1, -1, 12, 7, -1, -1),
        ),
        ('{"usage":null}', (-1, -1, -1, 0, 0, -1, -1)),
        ('{"usage":{"total_tokens":5}}', (-1, -1, -1, 0, 0, -1, -1)),
        ('{"x":1}', (0,) * 7),
        ("[1]", (0,) * 7),
        ("hello", (0,) * 7),
        ('{"timings":{"prompt_n":20,"predicted_n":50}}', (-1, -1, -1, 20, 50, 0, 0)),
        ('{"response":{"usage":{"input_tokens":1}}}', (0,) * 7),
        (
            '{"usage":{"prompt_tokens":10,"completion_tokens":2},"metrics":{"time_to_first_token_ms":50}}',
            (-1, -1, -1, 10, 2, 200, -1),
        ),
    ],
)
def test_tokens_of_json(server: Modelswap, body: str, numbers: tuple[float, ...]) -> None:
    """metrics-and-captures.md §3.6."""
    tokens = scripted(server, body)["tokens"]
    assert tuple(tokens[name] for name in ORDER) == numbers


def test_tokens_of_infill(server: Modelswap) -> None:
    """The last element of an array has the timings."""
    body = '[{"a":1},{"timings":{"prompt_n":4,"predicted_n":6,"draft_n":5,"draft_n_accepted":3}}]'
    tokens = scripted(server, body, "/infill")["tokens"]
    assert tuple(tokens[name] for name in ORDER) == (-1, 5, 3, 4, 6, 0, 0)


@pytest.mark.parametrize(
    ("events", "numbers"),
    [
        (
            [
                {"usage": {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}},
                {"timings": {"cache_n": 2, "prompt_n": 3, "prompt_per_second": 285.7, "predicted_n": 3, "predicted_per_second": 100}},
            ],
            (2, -1, -1, 3, 3, 285.7, 100),
        ),
        (
            [{"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}},
             {"type": "message_delta", "usage": {"output_tokens": 6}}],
            (-1, -1, -1, 9, 6, -1, -1),
        ),
        (
            [{"response": {"usage": {"input_tokens": 8, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 1}}}}],
            (1, -1, -1, 8, 4, -1, -1),
        ),
        ([{"choices": []}], (0,) * 7),
    ],
)  # fmt: skip
def test_tokens_of_streams(
    server: Modelswap, events: list[Any], numbers: tuple[float, ...]
) -> None:
    """§3.3: OpenAI, llama.cpp, Anthropic and Responses streams."""
    text = "".join(f"data: {json.dumps(e)}\n\n" for e in events) + "data: [DONE]\n\n"
    tokens = scripted(server, text, reply_type="text/event-stream")["tokens"]
    assert tuple(tokens[name] for name in ORDER) == numbers


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ('{"error":{"message":" deep "}}', 500, "deep"),
        ('{"error":"flat"}', 400, "flat"),
        ('{"message":"other"}', 400, "other"),
        ('{"detail":"detail"}', 422, "detail"),
        ('{"error":{"message":""},"detail":"x"}', 500, "x"),
        ("oops", 502, "502 Bad Gateway"),
        ("", 404, "404 Not Found"),
        ("", 599, "HTTP 599"),
        (json.dumps({"error": "x" * 600}), 500, "x" * 500 + "..."),
    ],
)
def test_error_messages(server: Modelswap, body: str, status: int, message: str) -> None:
    """§4: where the message of an upstream's error comes from."""
    row = scripted(server, body, reply_status=status)
    assert (row["resp_status_code"], row["error_msg"]) == (status, message)


def until_broken(answer: http.client.HTTPResponse) -> bytes:
    """Return what came before the connection was aborted; fail on a clean end."""
    got = b""
    try:
        while piece := answer.read1(1000):
            got += piece
    except (http.client.IncompleteRead, ConnectionResetError):
        return got
    raise AssertionError("a clean end")


def test_a_cut_stream_is_no_success(server: Modelswap) -> None:
    """Better: §16, 18 — the connection is aborted after an SSE error event, and the row says so."""
    body = {"model": "a", "stream": True, "fault": "truncate"}
    with opened(server, "POST", "/v1/chat/completions", body) as answer:
        got = until_broken(answer)
    assert got.count(b"data: ") == 2
    assert b'"code":"bad_gateway"' in got
    row = rows(server, "?limit=1")[0]
    assert row["error_msg"]


# Asking


def asked(server: Modelswap, query: str) -> Answer:
    return server.ask("GET", f"/api/metrics/activity?{query}")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=x", "invalid limit"),
        ("limit=0", "limit must be between 1 and 999"),
        ("limit=-1", "limit must be between 1 and 999"),
        ("limit=1000", "limit must be between 1 and 999"),
        ("page=0", "page must be >= 1"),
        ("page=x", "page must be >= 1"),
        ("sort=nope", "invalid sort column"),
        ("order=up", "order must be asc or desc"),
        ("min_id=0", "min_id must be >= 1"),
        ("max_id=x", "max_id must be >= 1"),
        ("min_id=5&max_id=4", "min_id must be <= max_id"),
        ("start=yesterday", "invalid 'start' timestamp, use RFC3339 format"),
        ("end=2026-01-01", "invalid 'end' timestamp, use RFC3339 format"),
        ("start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z", "start must be before end"),
    ],
)
def test_refused_questions(server: Modelswap, query: str, message: str) -> None:
    """Every 400 has its message."""
    answer = asked(server, query)
    assert (answer.status, error_of(answer)["message"]) == (400, message)


def test_pages(server: Modelswap) -> None:
    """Newest first, 25 to a page; pages, limits, orders; blank values are ignored."""
    for _ in range(5):
        scripted(server, "{}")
    whole = asked(server, "limit=999&model=&sort=&order=&page=").json()
    ids = [row["id"] for row in whole["data"]]
    assert ids == sorted(ids, reverse=True)
    assert (whole["page"], whole["limit"], whole["total"]) == (1, 999, len(ids))
    assert asked(server, "").json()["limit"] == 25
    second = asked(server, "limit=2&page=2").json()
    assert [row["id"] for row in second["data"]] == ids[2:4]
    assert second["total_pages"] == -(-len(ids) // 2)
    past = asked(server, "page=999").json()
    assert (past["data"], past["total"]) == ([], len(ids))
    up = asked(server, "order=ASC&limit=3").json()
    assert [row["id"] for row in up["data"]] == ids[::-1][:3]


def test_an_empty_table(serve: Serve) -> None:
    """Nothing yet: no rows, no pages, no histograms."""
    server = serve("models: {}\n")
    found = asked(server, "").json()
    assert found == {"data": [], "page": 1, "limit": 25, "total": 0, "total_pages": 0}
    stats = server.ask("GET", "/api/metrics/stats").json()
    expected = {
        "total_requests": 0,
        "total_input_tokens": 0,
        "total_output_tokens": 0,
        "total_cache_tokens": 0,
        "prompt_histogram": None,
        "gen_histogram": None,
    }
    assert {name: stats[name] for name in expected} == expected


@pytest.mark.parametrize(
    "sort",
    [
        "id",
        "time",
        "model",
        "req_path",
        "resp_status_code",
        "resp_content_type",
        "cached",
        "prompt",
        "generated",
        "drafted",
        "prompt_speed",
        "gen_speed",
        "duration",
    ],
)
def test_sort_keys(server: Modelswap, sort: str) -> None:
    """Every sort key sorts, ties by id in the same direction."""
    places: dict[str, Callable[[dict[str, Any]], Any]] = {
        "time": lambda r: r["timestamp"],
        "cached": lambda r: r["tokens"]["cache_tokens"],
        "prompt": lambda r: r["tokens"]["input_tokens"],
        "generated": lambda r: r["tokens"]["output_tokens"],
        "drafted": lambda r: r["tokens"]["draft_tokens"],
        "prompt_speed": lambda r: r["tokens"]["prompt_per_second"],
        "gen_speed": lambda r: r["tokens"]["tokens_per_second"],
        "duration": lambda r: r["duration_ms"],
    }
    value: Callable[[dict[str, Any]], Any] = places.get(sort) or operator.itemgetter(sort)
    found = asked(server, f"sort={sort}&limit=999&order=asc").json()["data"]
    keys = [(value(row), row["id"]) for row in found]
    assert keys == sorted(keys)
    assert len(keys) > 10


def test_filters_of_rows(server: Modelswap) -> None:
    """Models are OR-ed, ids and times inclusive."""
    found = asked(server, "limit=999").json()["data"]
    models = {row["model"] for row in found}
    assert models == {"a", "p/scripted"}
    one = asked(server, "limit=999&model=a").json()["data"]
    assert {row["model"] for row in one} == {"a"}
    both = asked(server, "limit=999&model=a&model=p/scripted").json()
    assert both["total"] == len(found)
    middle = found[2]["id"]
    ranged = asked(server, f"min_id={middle}&max_id={middle}").json()["data"]
    assert [row["id"] for row in ranged] == [middle]
    at = found[0]["timestamp"].replace("+", "%2B")
    assert asked(server, f"start={at}&end={at}").json()["total"] >= 1
    assert asked(server, "end=2020-01-01T00:00:00Z").json()["total"] == 0


def test_statistics(server: Modelswap) -> None:
    """Sums and histograms of one model or all."""
    stats = server.ask("GET", "/api/metrics/stats?model=a&model=zzz").json()
    found = asked(server, "limit=999&model=a").json()["data"]
    assert stats["total_requests"] == len(found)
    assert stats["total_output_tokens"] == sum(r["tokens"]["output_tokens"] for r in found)
    histogram = stats["gen_histogram"]
    assert {"bins", "min", "max", "binSize", "p50", "p95", "p99"} <= set(histogram)
    speeds = [r["tokens"]["tokens_per_second"] for r in found]
    assert sum(histogram["bins"]) == len([s for s in speeds if s > 0])


# Captures


def capture(server: Modelswap, number: int) -> Any:
    return server.ask("GET", f"/api/captures/{number}").json()


def plain(text: str) -> bytes:
    return base64.b64decode(text)


def test_a_capture(server: Modelswap) -> None:
    """Headers by canonical name, credentials redacted, bodies as base64, decompressed."""
    headers = {
        "x-custom": "1",
        "authorization": "Bearer k",
        "cookie": "c",
        "Content-Type": "application/json",
    }
    body = {"model": "a", "gzip": True}
    answer = server.ask(
        "POST", "/v1/rerank", body, {**headers, "Accept-Encoding": "gzip;q=1, br, zstd"}
    )
    assert answer.headers["content-encoding"] == "gzip"
    number = rows(server, "?limit=1")[0]["id"]
    shown = capture(server, number)
    assert list(shown)[:6] == [
        "id", "req_path", "req_headers", "req_body", "resp_headers", "resp_body",
    ]  # fmt: skip
    assert (shown["id"], shown["req_path"]) == (number, "/v1/rerank")
    assert shown["req_headers"]["X-Custom"] == "1"
    assert shown["req_headers"]["Authorization"] == "[REDACTED]"
    assert shown["req_headers"]["Cookie"] == "[REDACTED]"
    assert "Host" not in shown["req_headers"]
    assert json.loads(plain(shown["req_body"])) == body
    assert json.loads(plain(shown["resp_body"]))["path"] == "/v1/rerank"
    assert "Content-Encoding" not in shown["resp_headers"]


def test_a_capture_of_a_coded_request(server: Modelswap) -> None:
    """What the model server got: the decoded body, and no header that contradicts it."""
    body = b'{"model":"a"}'
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    for fields in (headers, {**headers, "Accept-Encoding": "gzip"}):
        assert server.ask("POST", "/v1/rerank", gzip.compress(body), fields).status == 200
        shown = capture(server, rows(server, "?limit=1")[0]["id"])
        assert plain(shown["req_body"]) == body
        assert "Content-Encoding" not in shown["req_headers"]


MASKS = {
    "/v1/audio/speech": (True, True, True, False),
    "/v1/audio/voices": (True, False, True, True),
    "/v1/audio/transcriptions": (True, False, True, True),
    "/v1/images/generations": (True, True, True, False),
    "/v1/images/edits": (True, False, True, False),
    "/sdapi/v1/txt2img": (True, True, True, False),
    "/sdapi/v1/img2img": (True, False, True, False),
    "/v1/embeddings": (True, True, True, True),
}


@pytest.mark.parametrize("path", MASKS)
def test_capture_masks(server: Modelswap, path: str) -> None:
    """§6.1: what is kept of which route."""
    assert server.ask("POST", path, {"model": "a"}).status == 200
    shown = capture(server, rows(server, "?limit=1")[0]["id"])
    kept = (shown["req_headers"], shown["req_body"], shown["resp_headers"], shown["resp_body"])
    assert tuple(part is not None for part in kept) == MASKS[path]


def test_captures_of_failures(server: Modelswap) -> None:
    """An error keeps all but the response's body."""
    row = scripted(server, "bad", reply_status=500)
    shown = capture(server, row["id"])
    assert shown["req_body"] is not None
    assert shown["resp_body"] is None


@pytest.mark.parametrize(("number", "status", "message"), [
    ("x", 400, "invalid capture ID"),
    ("1.5", 400, "invalid capture ID"),
    ("999999", 404, "capture not found"),
    ("-1", 404, "capture not found"),
])  # fmt: skip
def test_no_capture(server: Modelswap, number: str, status: int, message: str) -> None:
    """Not a number, or not there."""
    answer = server.ask("GET", f"/api/captures/{number}")
    assert (answer.status, error_of(answer)["message"]) == (status, message)
