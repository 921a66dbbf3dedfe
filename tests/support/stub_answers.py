"""What the stub answers: the shapes of the public inference APIs, and faults on demand.

A JSON body may hold, beside the API's own fields: `n` (events or tokens),
`delay_ms` (between events, or before a response), `until` (a file: the stream goes on until it
exists), `tag` (put into every event, so that a merge of two streams shows), `pad` (bytes added to the response), `gzip`,
and `fault`, one of `FAULTS`.
Guarantees: a response depends on the request alone.
"""

from __future__ import annotations

import json
import os
import struct
import time
from typing import TYPE_CHECKING, Any

from support.stub_connection import ClosedByPeerError, Connection, Request

if TYPE_CHECKING:
    from collections.abc import Callable

FAULTS = ("truncate", "reset", "bad_chunk", "no_answer", "hang", "500", "garbage", "drip", "crash")
JSON = {"Content-Type": "application/json"}
SSE = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
WEBSOCKET_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


def fields_of(request: Request) -> dict[str, Any]:
    """The JSON object in the body; empty when there is none."""
    if not request.body.lstrip().startswith(b"{"):
        return {}
    try:
        found = json.loads(request.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def send_json(
    connection: Connection, value: object, *, status: int = 200, zipped: bool = False
) -> None:
    data = json.dumps(value).encode()
    headers = dict(JSON)
    if zipped:
        import gzip  # noqa: PLC0415 - costs start-up time that other stubs do not owe

        data = gzip.compress(data)
        headers["Content-Encoding"] = "gzip"
    connection.head(status, headers, length=len(data))
    connection.write(data)


def answer(name: str, connection: Connection, request: Request) -> None:
    """Answer one request of an inference API."""
    fields = fields_of(request)
    fault = fields.get("fault")
    if fault is not None:
        _fault(str(fault), connection, fields)
        return
    stream = fields.get("stream") is True
    path = request.path
    delay = float(fields.get("delay_ms", 0)) / 1000
    until = str(fields.get("until", ""))
    if not stream and delay:
        _wait(connection, delay)
    if path.endswith("/responses") and stream:
        _stream(connection, _response_events(name, fields), delay)
    elif path.endswith("/messages") and stream:
        _stream(connection, _message_events(name, fields), delay)
    elif path.endswith("completions") and "chat" not in path and stream:
        _stream(connection, _text_events(name, fields), delay)
    elif path.endswith("completions") and stream:
        _stream(connection, _chat_events(name, fields), delay, until)
    elif path.endswith("/audio/speech"):
        sound = b"RIFF" + bytes(range(256)) * 16
        connection.head(200, {"Content-Type": "audio/wav"}, length=len(sound))
        connection.write(sound)
    elif path in {"/ws", "/v1/realtime"}:
        _websocket(connection, request)
    elif request.header("upgrade"):
        _echo_upgrade(connection, request)
    else:
        send_json(connection, _plain(name, request, fields), zipped=bool(fields.get("gzip")))


def _plain(name: str, request: Request, fields: dict[str, Any]) -> dict[str, Any]:
    count = int(fields.get("n", 3))
    for ending, shape in SHAPES:
        if request.path.endswith(ending):
            return shape(name, request, fields, count)
    return _echo(name, request, fields)


def _echo(name: str, request: Request, fields: dict[str, Any]) -> dict[str, Any]:
    import hashlib  # noqa: PLC0415 - costs start-up time that other stubs do not owe

    return {
        "stub": name,
        "model": fields.get("model"),
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": request.headers,
        "body_sha256": hashlib.sha256(request.body).hexdigest(),
        "received": len(request.body),
        "body": request.body[:4096].decode("latin-1"),
    }


def _text(name: str, fields: dict[str, Any], count: int) -> str:
    return " ".join([f"{fields.get('tag', name)}"] * count) + "x" * int(fields.get("pad", 0))


def _usage(count: int) -> dict[str, int]:
    return {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}


def _timings(count: int) -> dict[str, float]:
    return {"prompt_n": 7, "prompt_ms": 1.0, "prompt_per_second": 7000.0, "predicted_n": count,
            "predicted_ms": 10.0, "predicted_per_second": count * 100.0, "cache_n": 2}  # fmt: skip


def _chat(name: str, _request: Request, fields: dict[str, Any], count: int) -> dict[str, Any]:
    text = _text(name, fields, count)
    message = {"role": "assistant", "content": text}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": name,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "requested": fields.get("model"), "usage": _usage(count), "timings": _timings(count)}  # fmt: skip


def _completion(name: str, _request: Request, fields: dict[str, Any], count: int) -> dict[str, Any]:
    choice = {"index": 0, "text": _text(name, fields, count), "finish_reason": "stop"}
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": name,
            "choices": [choice], "usage": _usage(count), "timings": _timings(count)}  # fmt: skip


def _embeddings(
    name: str, _request: Request, fields: dict[str, Any], _count: int
) -> dict[str, Any]:
    asked = fields.get("input", "")
    texts = asked if isinstance(asked, list) else [asked]
    numbers = [0.25, -0.5, 0.125, 1.0]
    vector: object = numbers
    if fields.get("encoding_format") == "base64":
        import base64  # noqa: PLC0415 - costs start-up time that other stubs do not owe

        vector = base64.b64encode(struct.pack("<4f", *numbers)).decode()
    rows = [{"object": "embedding", "index": i, "embedding": vector} for i in range(len(texts))]
    return {"object": "list", "model": name, "data": rows, "usage": _usage(0)}


def _message(name: str, text: str, count: int) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": name,
            "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": 7, "output_tokens": count}}  # fmt: skip


def _response(name: str, text: str, count: int, status: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {
        "id": "out_1",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }
    usage = {"input_tokens": 7, "output_tokens": count, "total_tokens": 7 + count,
             "input_tokens_details": {"cached_tokens": 2},
             "output_tokens_details": {"reasoning_tokens": 0}}  # fmt: skip
    return {"id": "resp_1", "object": "response", "created_at": 1, "model": name, "status": status,
            "output": [item], "usage": usage, "parallel_tool_calls": False, "tool_choice": "auto",
            "tools": []}  # fmt: skip


def _whole_message(
    name: str, _request: Request, fields: dict[str, Any], count: int
) -> dict[str, Any]:
    return _message(name, _text(name, fields, count), count)


def _whole_response(
    name: str, _request: Request, fields: dict[str, Any], count: int
) -> dict[str, Any]:
    return _response(name, _text(name, fields, count), count, "completed")


def _heard(name: str, request: Request, _fields: dict[str, Any], _count: int) -> dict[str, Any]:
    return {"text": f"{len(request.body)} bytes heard by {name}"}


def _fixed(name: str, request: Request, _fields: dict[str, Any], _count: int) -> dict[str, Any]:
    if request.path.endswith("/count_tokens"):
        return {"input_tokens": 7}
    if request.path.endswith("/models"):
        return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "stub"}]}
    if request.path.endswith("/props"):
        return {"model_alias": name, "default_generation_settings": {"n_ctx": 4096}}
    return {"created": 1, "data": [{"b64_json": "iVBORw0KGgo="}]}


SHAPES: tuple[tuple[str, Callable[[str, Request, dict[str, Any], int], dict[str, Any]]], ...] = (
    ("/chat/completions", _chat),
    ("/completions", _completion),
    ("/embeddings", _embeddings),
    ("/messages/count_tokens", _fixed),
    ("/messages", _whole_message),
    ("/responses", _whole_response),
    ("/audio/transcriptions", _heard),
    ("/images/generations", _fixed),
    ("/images/edits", _fixed),
    ("/v1/models", _fixed),
    ("/props", _fixed),
)


def _event(value: object, kind: str = "") -> bytes:
    return (
        (f"event: {kind}\n" if kind else "").encode()
        + b"data: "
        + json.dumps(value).encode()
        + b"\n\n"
    )


def _chat_events(name: str, fields: dict[str, Any]) -> list[bytes]:
    count = int(fields.get("n", 3))
    tag = fields.get("tag", name)
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": name}

    def chunk(delta: dict[str, str], reason: str | None = None) -> bytes:
        return _event({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": f"{tag}:{i} "}) for i in range(count)]
    last = {**base, "choices": [], "usage": _usage(count), "timings": _timings(count)}
    return [*events, chunk({}, "stop"), _event(last), b"data: [DONE]\n\n"]


def _text_events(name: str, fields: dict[str, Any]) -> list[bytes]:
    count = int(fields.get("n", 3))
    base = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": name}

    def chunk(text: str, reason: str | None = None) -> bytes:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        return _event({**base, "choices": [choice]})

    events = [chunk(f"{fields.get('tag', name)}:{i} ") for i in range(count)]
    last = {**base, "choices": [], "usage": _usage(count), "timings": _timings(count)}
    return [*events, chunk("", "stop"), _event(last), b"data: [DONE]\n\n"]


def _message_events(name: str, fields: dict[str, Any]) -> list[bytes]:
    count = int(fields.get("n", 3))
    start = {**_message(name, "", 1), "content": [], "stop_reason": None}
    parts: list[tuple[str, dict[str, Any]]] = [
        ("message_start", {"message": start}),
        ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
    ]
    for i in range(count):
        delta = {"type": "text_delta", "text": f"{fields.get('tag', name)}:{i} "}
        parts.append(("content_block_delta", {"index": 0, "delta": delta}))
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    parts.append(("content_block_stop", {"index": 0}))
    parts.append(("message_delta", {"delta": stop, "usage": {"output_tokens": count}}))
    parts.append(("message_stop", {}))
    return [_event({"type": kind, **value}, kind) for kind, value in parts]


def _response_events(name: str, fields: dict[str, Any]) -> list[bytes]:
    count = int(fields.get("n", 3))
    text = _text(name, fields, count)
    where = {"item_id": "out_1", "output_index": 0, "content_index": 0}
    created = {**_response(name, "", 0, "in_progress"), "output": [], "usage": None}
    item = {"id": "out_1", "type": "message", "role": "assistant", "status": "in_progress"}
    part = {"type": "output_text", "text": "", "annotations": []}
    parts: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": created}),
        ("response.output_item.added", {"output_index": 0, "item": {**item, "content": []}}),
        ("response.content_part.added", {**where, "part": part}),
    ]
    for i in range(count):
        delta = {**where, "delta": f"{fields.get('tag', name)}:{i} ", "logprobs": []}
        parts.append(("response.output_text.delta", delta))
    parts.append(("response.completed", {"response": _response(name, text, count, "completed")}))
    return [
        _event({"type": kind, "sequence_number": i, **value}, kind)
        for i, (kind, value) in enumerate(parts)
    ]


def _stream(connection: Connection, events: list[bytes], delay: float, until: str = "") -> None:
    connection.head(200, SSE)
    while until and not os.path.exists(until):  # noqa: PTH110 - pathlib costs start-up time
        connection.write(events[1])
        time.sleep(delay)
    for event in events:
        connection.write(event)
        if delay:
            time.sleep(delay)
    connection.end()


def _wait(connection: Connection, seconds: float) -> None:
    if connection.wait_for_close(seconds):
        raise ClosedByPeerError


def _fault(fault: str, connection: Connection, fields: dict[str, Any]) -> None:
    """Misbehave once as requested; every fault but the orderly ones ends the connection."""
    if fault == "500":
        send_json(connection, {"error": {"message": "stub fault", "code": 500}}, status=500)
    elif fault == "drip":
        _stream(connection, [b"%d " % i for i in range(int(fields.get("n", 20)))], 0.05)
    elif fault not in FAULTS:
        send_json(connection, {"error": f"no such fault: {fault}"}, status=400)
    else:
        _break_off(fault, connection, stream=fields.get("stream") is True)
        raise ClosedByPeerError


def _break_off(fault: str, connection: Connection, *, stream: bool) -> None:
    match fault:
        case "hang":
            connection.wait_for_close(3600)
        case "garbage":
            connection.raw(b"\x00\x01 this is not HTTP\r\n\r\n")
        case "crash":
            os._exit(3)
        case "truncate" if not stream:
            connection.head(200, JSON, length=1000)
            connection.write(b'{"half":')
        case "truncate" | "reset" | "bad_chunk":
            connection.head(200, SSE)
            connection.write(_event({"choices": [{"index": 0, "delta": {"content": "half"}}]}))
            time.sleep(0.05)  # let the first event reach the client before the fault does
            if fault == "bad_chunk":
                connection.raw(b"zz\r\nnot a chunk\r\n")
            if fault == "reset":
                connection.reset()
        case _:
            pass  # no_answer: the caller closes


def _echo_upgrade(connection: Connection, request: Request) -> None:
    connection.head(101, {"Upgrade": request.header("upgrade"), "Connection": "Upgrade"})
    while data := connection.read_some():
        connection.raw(data)
    raise ClosedByPeerError


def _websocket(connection: Connection, request: Request) -> None:
    """Echo every data frame until a close frame comes."""
    import base64  # noqa: PLC0415 - costs start-up time that other stubs do not owe
    import hashlib  # noqa: PLC0415 - as above

    key = request.header("sec-websocket-key").encode() + WEBSOCKET_KEY_SUFFIX
    accept = base64.b64encode(hashlib.sha1(key, usedforsecurity=False).digest()).decode()
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
    connection.head(101, headers)
    while True:
        first, second = connection.exactly(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(connection.exactly(2 if size == 126 else 8), "big")
        mask = connection.exactly(4) if second & 0x80 else bytes(4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(connection.exactly(size)))
        length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(8, "big")[-2:]
        if size >= 1 << 16:
            length = b"\x7f" + size.to_bytes(8, "big")
        opcode = 0x8A if first & 0x0F == 9 else first
        connection.raw(bytes([opcode]) + length + data)
        if first & 0x0F == 8:
            raise ClosedByPeerError
