"""Frames between front and keeper: round trips, pieces, nonsense."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.keeper import protocol
from modelswap.keeper.protocol import FrameDecoder, ProtocolError, encode, encode_output


@given(
    messages=st.lists(st.dictionaries(st.from_regex(r"[a-j]{1,8}"), st.text()), max_size=4),
    output=st.binary(max_size=200),
    size=st.integers(1, 50),
)
def test_round_trip_in_pieces(messages: list[dict[str, str]], output: bytes, size: int) -> None:
    """Whatever is sent arrives whole and in order, however it is cut."""
    stream = b"".join(encode("x", **one) for one in messages) + encode_output(7, output)
    decoder = FrameDecoder()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    frames = [frame for piece in pieces for frame in decoder.feed(piece)]
    assert [frame.message for frame in frames[:-1]] == [{"kind": "x", **one} for one in messages]
    assert (frames[-1].message, frames[-1].run, frames[-1].output) == (None, 7, output)


def test_undecodable_text_survives() -> None:
    """An environment value that is no UTF-8 passes unchanged."""
    value = b"\xff\xfe".decode("utf-8", "surrogateescape")
    (frame,) = FrameDecoder().feed(encode("x", value=value))
    assert frame.message == {"kind": "x", "value": value}


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack("!IBI", protocol.MAX_FRAME + 1, 0, 0),
        struct.pack("!IBI", 1, 0, 0) + b"{",
        struct.pack("!IBI", 2, 0, 0) + b"[]",
        struct.pack("!IBI", 2, 9, 0) + b"{}",
    ],
)
def test_nonsense_is_refused(data: bytes) -> None:
    """What is no frame, too long or no object raises, instead of waiting for more."""
    with pytest.raises(ProtocolError):
        list(FrameDecoder().feed(data))


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        (protocol.text, 1),
        (protocol.whole, "1"),
        (protocol.whole, True),
        (protocol.number, None),
        (protocol.items, {}),
        (protocol.texts, ["a", 1]),
        (protocol.text_map, []),
    ],
)
def test_wrong_types_are_refused(reader: object, value: object) -> None:
    """A field of the wrong type is the sender's error, named by its key where there is one."""
    assert callable(reader)
    with pytest.raises(ProtocolError):
        reader({"key": value}, "key")
