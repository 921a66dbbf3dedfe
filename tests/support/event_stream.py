"""Reads the events of `/api/events` in unit tests."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def parsed_events(data: bytes) -> list[tuple[str, Any]]:
    """Type and payload of each event."""
    found: list[tuple[str, Any]] = []
    for block in data.decode().split("\n\n"):
        for line in block.split("\n"):
            if line.startswith("data:"):
                envelope = json.loads(line[5:])
                found.append((envelope["type"], json.loads(envelope["data"])))
    return found


async def next_frame(frames: AsyncIterator[bytes]) -> bytes:
    """The next piece of a subscriber's stream."""
    async with asyncio.timeout(30):
        return await anext(frames)
