"""Hostile and odd bytes against the real server: each file of the corpus has one reading."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.sockets import connect, serving

if TYPE_CHECKING:
    from modelswap.http import Exchange

CORPUS = Path(__file__).parent / "corpus"
READINGS: dict[str, dict[str, Any]] = tomllib.loads((CORPUS / "readings.toml").read_text())


def test_every_file_has_its_reading() -> None:
    """No file of the corpus goes untested."""
    assert {path.stem for path in CORPUS.glob("*.http")} == set(READINGS)


@pytest.mark.parametrize("pieces", ["whole", "bytes"])
@pytest.mark.parametrize("name", READINGS)
async def test_a_file_is_read_as_written_down(name: str, pieces: str) -> None:
    """In one piece or byte by byte: the same requests, and the same refusal with a closed connection."""
    expected = READINGS[name]
    raw = (CORPUS / f"{name}.http").read_bytes()
    seen: list[str] = []
    served = asyncio.Semaphore(0)

    def handler(exchange: Exchange) -> None:
        def done(body: bytes) -> None:
            seen.append(f"{exchange.request.method} {exchange.request.path} {len(body)}")
            exchange.reply(200, [])
            if len(seen) == len(expected["requests"]):
                served.release()

        exchange.read_body(done)

    step = len(raw) if pieces == "whole" else max(1, len(raw) // 300)
    async with serving(handler) as (_, port), asyncio.timeout(30):
        reader, writer = await connect(port)
        for at in range(0, len(raw), step):
            if writer.is_closing():
                break
            writer.write(raw[at : at + step])
            if pieces == "bytes":
                await asyncio.sleep(0)
        if expected["status"] == 200:
            await served.acquire()
            if not writer.is_closing():
                writer.write_eof()  # the connection stays open: its end is ours to say
        answer = await reader.read()
        writer.close()
    assert seen == expected["requests"]
    statuses = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses[-1] == expected["status"]
    if expected["status"] != 200:
        assert statuses == [expected["status"]]
        assert b"\r\nConnection: close\r\n" in answer
