"""Content codings: whatever the pieces are, the body is the same, and nothing grows without bound."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.http.body.codings import (
    STEP,
    BadCodingError,
    ContentDecoder,
    GrownError,
    UnknownCodingError,
    codings_of,
    decoded,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
LIMIT = 8 * MIB


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", gzip.compress),
    "zlib": (b"deflate", zlib.compress),
    "raw deflate": (b"deflate", raw_deflate),
    "members": (
        b"gzip",
        lambda d: gzip.compress(d[:9]) + gzip.compress(b"") + gzip.compress(d[9:]),
    ),
    "padded": (b"gzip", lambda d: gzip.compress(d) + b"\0" * 40_000),
    "stored": (b"gzip", lambda d: gzip.compress(d, 0)),
}


@given(data=st.binary(max_size=300), cut=st.integers(1, 40), name=st.sampled_from(sorted(PACKERS)))
def test_any_pieces_make_the_same_body(data: bytes, cut: int, name: str) -> None:
    """However the coded bytes come in."""
    coding, pack = PACKERS[name]
    packed = pack(data)
    decoder = ContentDecoder((coding,), LIMIT)
    made = b""
    for at in range(0, len(packed), cut):
        decoder.feed(packed[at : at + cut])
        while decoder.has_more:
            made += decoder.step()
    decoder.finish()
    assert made == data


@pytest.mark.parametrize("name", PACKERS)
def test_a_large_body_comes_in_steps(name: str) -> None:
    """No step makes more than `STEP` bytes, and none is lost between them."""
    coding, pack = PACKERS[name]
    data = bytes(range(256)) * (3 * MIB // 256) + b"end"
    decoder = ContentDecoder((coding,), LIMIT)
    decoder.feed(pack(data))
    parts: list[bytes] = []
    while decoder.has_more:
        parts.append(decoder.step())
    decoder.finish()
    assert b"".join(parts) == data
    assert max(map(len, parts)) <= STEP


def test_several_codings() -> None:
    """The last one named was put on last, so it is taken off first."""
    packed = gzip.compress(zlib.compress(b"hello"))
    assert decoded(packed, codings_of([b"deflate, gzip"]), LIMIT) == b"hello"
    with pytest.raises(BadCodingError):
        decoded(packed, codings_of([b"gzip, deflate"]), LIMIT)


@pytest.mark.parametrize(
    ("values", "codings"),
    [
        ([], ()),
        ([b""], ()),
        ([b"identity"], ()),
        ([b"GZip"], (b"gzip",)),
        ([b" x-gzip ,, identity"], (b"gzip",)),
        ([b"gzip", b"deflate"], (b"gzip", b"deflate")),
    ],
)
def test_names(values: list[bytes], codings: tuple[bytes, ...]) -> None:
    """Case, spaces, empty members and repetition of the field as in RFC 9110; `identity` is none."""
    assert codings_of(values) == codings


@pytest.mark.parametrize(
    "value", [b"br", b"zstd", b"gzip, br", b"gzip;q=1", b"gzip, " * 4 + b"gzip"]
)
def test_unknown_names(value: bytes) -> None:
    """What cannot be taken off is said, not guessed; so is a heap of codings."""
    with pytest.raises(UnknownCodingError):
        codings_of([value])


WHOLE = gzip.compress(b"hello" * 1000, mtime=0)


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        (b"gzip", b'{"model":"a"}'),
        (b"gzip", WHOLE[:-1]),
        (b"gzip", WHOLE[:9]),
        (b"gzip", WHOLE + b"x"),
        (b"gzip", WHOLE[:-5] + b"\0\0\0\0\0"),
        (b"gzip", zlib.compress(b"x")),
        (b"deflate", WHOLE),
        (b"deflate", zlib.compress(b"x")[:-1]),
        (b"deflate", zlib.compress(b"x") + b"y"),
        (b"deflate", b"\x07"),
    ],
)
def test_broken_bodies(coding: bytes, data: bytes) -> None:
    """Not of that coding, cut, damaged, or with something behind the end."""
    with pytest.raises(BadCodingError):
        decoded(data, (coding,), LIMIT)


def test_bombs_are_found_out_while_they_grow() -> None:
    """At the limit, not at the end; between two codings too, where nothing would come out."""
    bomb = gzip.compress(b"\0" * (64 * MIB))
    with pytest.raises(GrownError):
        decoded(bomb, (b"gzip",), MIB)
    decoder = ContentDecoder((b"gzip",), MIB)
    decoder.feed(bomb)
    for _ in range(MIB // STEP):
        assert len(decoder.step()) <= STEP
    with pytest.raises(GrownError):
        decoder.step()
    nothing = gzip.compress(b"") * (4 * MIB // len(gzip.compress(b"")))
    with pytest.raises(GrownError):
        decoded(gzip.compress(nothing), (b"gzip", b"gzip"), MIB)


def test_nothing_is_nothing() -> None:
    """A body without a byte is empty, in every coding."""
    assert decoded(b"", (b"gzip", b"deflate"), LIMIT) == b""
