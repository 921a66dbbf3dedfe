"""Multipart forms: one reading, byte for byte, however the bytes are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.http import Exchange, Upload
from modelswap.http.body.forms import FormEdit, FormScan
from modelswap.http.body.spool import Spool
from support.sockets import Front, connect, post, read_answer, read_request, serving, upstream_that

if TYPE_CHECKING:
    import asyncio
import itertools

TYPE = b"multipart/form-data; boundary=XX"


def form(*parts: tuple[str, bytes]) -> bytes:
    lines = b"".join(
        b"--XX\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (n.encode(), v)
        for n, v in parts
    )
    return lines + b"--XX--\r\n"


FILE = ('name="file"; filename="a.wav"', b"RIFF\r\n--X\r\n\0" * 50)
MODEL = ('name="model"', b"whisper")
LANGUAGE = ('name="language"', b"en")


@given(cuts=st.lists(st.integers(0, 900), max_size=20), late=st.booleans())
def test_fields_are_found_however_the_form_is_cut(cuts: list[int], late: bool) -> None:  # noqa: FBT001 - hypothesis
    """The model is found before or after the file."""
    whole = form(FILE, MODEL, LANGUAGE) if late else form(MODEL, FILE, LANGUAGE)
    scan = FormScan(TYPE)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(whole)], strict=True):
        scan.feed(whole[start:end])
    scan.finish()
    assert scan.fields == {"model": b"whisper"}


@given(cuts=st.lists(st.integers(0, 900), max_size=20))
def test_an_edit_keeps_every_other_byte(cuts: list[int]) -> None:
    """Set replaces in place, remove takes a part out, what is missing is added at the end."""
    whole = form(LANGUAGE, MODEL, FILE)
    edit = FormEdit(TYPE, values={"model": b"m2", "prompt": b"p"}, remove=frozenset({"language"}))
    out = b"".join(
        edit.feed(whole[start:end])
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(whole)], strict=True)
    )
    edit.finish()
    assert out == form(('name="model"', b"m2"), FILE, ('name="prompt"', b"p"))


def test_no_edit_changes_nothing() -> None:
    """Preamble, odd part headers and epilogue are kept."""
    whole = (
        b"pre\r\n" + form(MODEL, FILE).replace(b"form-data; name", b"Form-Data;name") + b"epilogue"
    )
    edit = FormEdit(TYPE, values={})
    assert edit.feed(whole) == whole


@pytest.mark.parametrize(
    ("whole", "text"),
    [
        (form(MODEL, MODEL), "more than once"),
        (form(('name="model"; filename="x"', b"m")), "must not be a file"),
        (form(('filename="x"', b"m")), "no name"),
        (form(('name="a"; name="b"', b"m")), "malformed Content-Disposition"),
        (form(MODEL)[:-8], "ends before"),
        (form(MODEL).replace(b"\r\n--XX--", b"\r\n--XXY--"), "malformed boundary"),
        (b"--XX\r\nX: 1\r\n\r\nv\r\n--XX--", "no .or more than one. Content-Disposition"),
        (b"--XX\r\nX 1\r\n\r\nv\r\n--XX--", "malformed headers"),
        (b"x" * 5000, "does not begin"),
        (form(*[LANGUAGE] * 1001), "too many parts"),
        (form(('name="model"', b"m" * 70000)), "too long"),
        (b"--XX\r\nX: " + b"a" * 20000, "too large"),
    ],
)
def test_a_malformed_form_is_refused(whole: bytes, text: str) -> None:
    """With a text that says what is wrong."""
    scan = FormScan(TYPE)
    with pytest.raises(ValueError, match=text):  # noqa: PT012 - either may be the one
        scan.feed(whole)
        scan.finish()


@pytest.mark.parametrize(
    "kind",
    [
        b"text/plain",
        b"multipart/form-data",
        b"multipart/form-data; boundary=a; boundary=b",
        b'multipart/form-data; boundary=""',
    ],
)
def test_a_type_without_a_boundary_is_refused(kind: bytes) -> None:
    """A form has exactly one boundary."""
    with pytest.raises(ValueError, match=r"boundary|not multipart"):
        FormScan(kind)


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_a_spool_gives_back_what_it_got(size: int) -> None:
    """In memory or on disk."""
    spool = Spool()
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    for at in range(0, size, 100_000):
        spool.write(data[at : at + 100_000])
    assert spool.in_memory == (size < 1 << 20)
    assert b"".join(spool.chunks()) == data
    spool.close()


@pytest.mark.parametrize("ahead", [1, 3])
def test_a_spool_that_outgrows_memory_while_it_is_read(ahead: int) -> None:
    """What comes faster than it goes is moved into a file: nothing is lost, nothing comes twice."""
    spool = Spool()
    sent = [bytes([number]) * (100 << 10) for number in range(40)]
    waiting = iter(sent)
    given: list[bytes] = []
    for piece in itertools.islice(waiting, 5):
        spool.write(piece)
    for data in spool.chunks():
        given.append(data)
        for piece in itertools.islice(waiting, ahead):
            spool.write(piece)
    assert not spool.in_memory
    spool.close()
    assert b"".join(given) == b"".join(sent)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("values", [{}, {"model": b"other-model"}, {"temperature": b"0"}])
@pytest.mark.parametrize("size", [100, 6 << 20])
async def test_an_upload_streams_through(late: bool, values: dict[str, bytes], size: int) -> None:  # noqa: FBT001 - parametrized
    """The upstream gets the form, edited where asked, whatever the order of its parts."""
    file = ('name="file"; filename="a"', b"RIFF" * (size // 4))
    whole = form(file, MODEL) if late else form(MODEL, file)
    bodies: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append((await read_request(reader))[1])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with upstream_that(talk) as upstream_port:
        front = Front(upstream_port)

        def handler(exchange: Exchange) -> None:
            upload = Upload(
                exchange,
                TYPE,
                known=lambda fields: front.send(exchange, upload_source(fields)),
                bad=lambda text: exchange.reply(400, [], text.encode()),
            )

            def upload_source(fields: dict[str, bytes]) -> object:
                assert fields == {"model": b"whisper"}
                return upload.source(values=values)

            upload.begin()

        async with serving(handler) as (_, port):
            reader, writer = await connect(port)
            writer.write(post(whole))
            assert (await read_answer(reader))[0] == 200
            writer.close()
        front.upstream.close()
    edit = FormEdit(TYPE, values=values)
    assert bodies == [edit.feed(whole)]
