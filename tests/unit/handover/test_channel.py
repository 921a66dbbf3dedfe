"""The channel alone, over a socket pair."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from modelswap.handover.channel import Channel, ChannelError
from modelswap.units import Seconds

SOON = Seconds(30)


async def pair() -> tuple[Channel, socket.socket]:
    """Return a channel and the other socket of its pair."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(0)
    return await Channel.over(ours), theirs


async def test_messages_arrive_in_order_however_they_are_cut() -> None:
    """Lines that come in pieces are whole messages, in order."""
    channel, peer = await pair()
    with peer:
        for piece in (b'{"kind": "a"}\n{"ki', b'nd": "b", "n": 1}\n'):
            await asyncio.get_running_loop().sock_sendall(peer, piece)
        assert await channel.receive(SOON) == {"kind": "a"}
        assert await channel.receive(SOON) == {"kind": "b", "n": 1}
        channel.close()


async def test_early_messages_wait_for_the_listener() -> None:
    """What came before `listen` is delivered by it, and later messages after it; the end too."""
    channel, peer = await pair()
    seen: list[Any] = []
    lost = asyncio.Event()
    peer.sendall(b'{"kind": "early"}\n{"kind": "first"}\n')
    assert (await channel.receive(SOON))["kind"] == "early"
    channel.listen(seen.append, lost.set)
    assert seen == [{"kind": "first"}]
    peer.sendall(b'{"kind": "late"}\n')
    peer.close()
    async with asyncio.timeout(SOON):
        await lost.wait()
    assert seen == [{"kind": "first"}, {"kind": "late"}]
    channel.send("after")  # does nothing


async def test_a_silent_or_lost_peer_is_an_error() -> None:
    """A message that does not come in time, or cannot come any more, raises."""
    channel, peer = await pair()
    with pytest.raises(ChannelError, match="no answer within 0"):
        await channel.receive(Seconds(0.01))
    peer.close()
    with pytest.raises(ChannelError, match="it has ended"):
        await channel.receive(SOON)
