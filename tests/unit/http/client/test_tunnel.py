"""A tunnel between two ends that only remember what they are told."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from modelswap.http import EndReason
from modelswap.http.client.tunnel import Tunnel


@dataclass
class End:
    """Either connection."""

    calls: list[str] = field(default_factory=list)
    data: bytes = b""
    paused: bool = False

    def write(self, data: bytes) -> None:
        self.data += data

    def write_all(self, parts: tuple[bytes, ...]) -> None:
        self.data += b"".join(parts)

    def write_eof(self) -> None:
        self.calls.append("eof")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def touch(self) -> None:
        self.calls.append("touch")

    def close(self) -> None:
        self.calls.append("close")

    def drop(self) -> None:
        self.calls.append("drop")


@dataclass
class Ends:
    client: End = field(default_factory=End)
    upstream: End = field(default_factory=End)
    reasons: list[EndReason] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tunnel = Tunnel(self.client, self.upstream, lambda why, _: self.reasons.append(why))


def test_bytes_pass_both_ways() -> None:
    """What one side sends the other gets; what the client gets is counted."""
    ends = Ends()
    ends.tunnel.from_client(b"ping")
    ends.tunnel.from_upstream(b"pong!")
    assert (ends.upstream.data, ends.client.data, ends.tunnel.bytes_sent) == (b"ping", b"pong!", 5)


def test_no_side_is_read_faster_than_the_other_takes() -> None:
    """A full buffer of one side pauses the other, until there is space."""
    ends = Ends()
    ends.client.paused = True
    ends.tunnel.from_upstream(b"x")
    ends.tunnel.on_client_resumed()
    ends.tunnel.on_client_paused()
    assert ends.upstream.calls == ["pause", "resume", "pause"]
    ends.tunnel.on_upstream_paused()
    ends.tunnel.on_upstream_resumed()
    assert ends.client.calls == ["pause", "resume"]


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_it_ends_when_both_sides_have_ended(first: str) -> None:
    """One end of input is passed on; the second one closes both."""
    ends = Ends()
    tunnel = ends.tunnel
    if first == "client":
        tunnel.on_client_eof()
        assert ends.upstream.calls == ["eof"]
        assert not tunnel.on_upstream_eof()
        tunnel.on_upstream_lost()
    else:
        assert tunnel.on_upstream_eof()
        assert ends.client.calls == ["eof"]
        tunnel.on_client_eof()
    assert ends.reasons == [EndReason.DONE]
    assert ends.upstream.calls[-1] == "drop"
    assert ends.client.calls[-1] == "close"


def test_a_client_that_is_lost_is_the_reason() -> None:
    """Unless one side had ended: then it was the normal way. The end is told once."""
    ends = Ends()
    ends.tunnel.on_client_lost()
    ends.tunnel.on_upstream_lost()
    assert ends.reasons == [EndReason.CLIENT_GONE]
    half_closed = Ends()
    half_closed.tunnel.on_client_eof()
    half_closed.tunnel.on_client_lost()
    assert half_closed.reasons == [EndReason.DONE]


def test_a_closed_tunnel_touches_no_connection() -> None:
    """A late call about writing changes nothing."""
    ends = Ends()
    ends.tunnel.on_upstream_lost()
    ends.client.calls.clear()
    ends.tunnel.on_upstream_paused()
    ends.tunnel.on_upstream_resumed()
    assert ends.client.calls == []
