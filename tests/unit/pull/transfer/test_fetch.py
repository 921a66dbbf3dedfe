"""One file: odd servers, large ranges, and what is left of a part."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

import httpx2
import pytest

from modelswap.pull.failures import PullCancelledError, PullError, TransientError
from modelswap.pull.progress import FileProgress, PullFailure
from modelswap.pull.transfer import fetch as fetch_module
from modelswap.pull.transfer.fetch import Download, fetch
from modelswap.pull.transfer.http_answers import refusal
from modelswap.pull.transfer.partial_file import Checksum
from modelswap.pull.transfer.room import Room
from modelswap.pull.watch import PullWatch
from modelswap.units import Bytes
from support.file_server import Fault, FileServer, breaks, stalls
from support.pulling import QUICK, ROOMY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 40
PATH = "/file"


def download(
    web: FileServer, folder: Path, *, size: int | None = len(DATA), checked: bool = True
) -> Download:
    web.files[PATH] = DATA
    return Download(
        name="file",
        url=web.url + PATH,
        part=folder / "file.part",
        target=folder / "file",
        size=None if size is None else Bytes(size),
        checksum=Checksum("sha256", sha256(DATA).hexdigest()) if checked else None,
        refused=lambda response: refusal(
            "host", response.status_code, response.headers, missing="gone", refused="no"
        ),
        lock=folder / "file.lock",
    )  # fmt: skip


@contextmanager
def begun(wanted: Download) -> Iterator[PullWatch]:
    watch = PullWatch("hf:a/b", QUICK)
    watch.download([FileProgress(name=wanted.name, done=Bytes(0), total=wanted.size)])
    yield watch


def run(wanted: Download) -> PullWatch:
    with begun(wanted) as watch, httpx2.Client(timeout=20) as client:
        fetch(wanted, client, watch, QUICK, Room(wanted.part.parent, lambda _: ROOMY))
    return watch


def test_a_large_file_is_asked_for_in_ranges(
    web: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage hosts refuse very long answers."""
    monkeypatch.setattr(fetch_module, "_LARGEST_RANGE", 4000)
    wanted = download(web, tmp_path)
    run(wanted)
    assert wanted.target.read_bytes() == DATA
    ranges = [asked.range for asked in web.of(PATH)]
    assert ranges == ["bytes=0-3999", "bytes=4000-7999", "bytes=8000-"]


def test_a_file_of_unknown_length_ends_with_its_connection(web: FileServer, tmp_path: Path) -> None:
    wanted = download(web, tmp_path, size=None, checked=False)
    web.fail(PATH, Fault(unsized=True))
    run(wanted)
    assert wanted.target.read_bytes() == DATA
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "file.lock"]


def test_a_length_that_only_the_answer_says_is_learnt(web: FileServer, tmp_path: Path) -> None:
    wanted = download(web, tmp_path, size=None, checked=False)
    web.fail(PATH, breaks(100))
    assert run(wanted).progress().total == len(DATA)
    assert [asked.start for asked in web.of(PATH)] == [0, 100]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault(206, {"Content-Range": "bytes 5-9/10240"}, b"12345"), "another part"),
        (Fault(206, {}, b"12345"), "another part"),
        (Fault(206, {"Content-Range": "bytes 10-9/10240"}), "another part"),
        (Fault(206, {"Content-Range": f"bytes 10-19/{'9' * 5000}"}, b"x" * 10), "another part"),
        (Fault(200, {"Content-Type": "text/html\x9b31m"}, b"x"), r"\(text/html\)"),
        (Fault(206, {"Content-Range": "bytes 10-19/10240"}, b"x" * 50), "more bytes"),
        (Fault(206, {"Content-Range": "bytes 10-19/20"}, b"x" * 10), "20 bytes"),
        (Fault(304), "status 304"),
    ],
)
def test_an_odd_answer_ends_it(web: FileServer, tmp_path: Path, fault: Fault, text: str) -> None:
    wanted = download(web, tmp_path)
    web.fail(PATH, breaks(10), fault)
    with pytest.raises(PullError, match=text) as caught:
        run(wanted)
    assert caught.value.failure is PullFailure.DAMAGED
    assert not isinstance(caught.value, TransientError)
    assert not wanted.target.exists()


def test_a_part_that_is_longer_than_the_file_is_dropped(web: FileServer, tmp_path: Path) -> None:
    wanted = download(web, tmp_path)
    wanted.part.write_bytes(b"x" * (len(DATA) + 1))
    run(wanted)
    assert [asked.range for asked in web.of(PATH)] == [""]


def test_a_file_that_has_become_shorter_is_loaded_anew(web: FileServer, tmp_path: Path) -> None:
    """The server has no byte behind the part: 416."""
    wanted = download(web, tmp_path, size=None, checked=False)
    wanted.part.write_bytes(b"x" * len(DATA))
    wanted.part.with_name("file.part.validator").write_text(f'"{sha256(DATA).hexdigest()[:16]}"')
    run(wanted)
    assert [asked.status for asked in web.of(PATH)] == [416, 200]
    assert wanted.target.read_bytes() == DATA


def test_a_whole_part_is_checked_and_kept_without_a_request(
    web: FileServer, tmp_path: Path
) -> None:
    wanted = download(web, tmp_path)
    wanted.part.write_bytes(DATA)
    run(wanted)
    assert wanted.target.read_bytes() == DATA
    assert web.of(PATH) == []


def test_a_target_that_another_program_has_made_is_taken(web: FileServer, tmp_path: Path) -> None:
    wanted = download(web, tmp_path)
    wanted.target.write_bytes(DATA)
    assert run(wanted).progress().done == len(DATA)
    assert web.of(PATH) == []


def test_a_target_of_another_length_is_replaced(web: FileServer, tmp_path: Path) -> None:
    wanted = download(web, tmp_path)
    wanted.target.write_bytes(b"cut off")
    run(wanted)
    assert wanted.target.read_bytes() == DATA


def test_an_empty_file_needs_no_request(web: FileServer, tmp_path: Path) -> None:
    wanted = download(web, tmp_path, size=0, checked=False)
    run(wanted)
    assert wanted.target.read_bytes() == b""
    assert web.of(PATH) == []


def test_a_pull_that_waits_for_another_program_can_be_stopped(
    web: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "_LOOK_AGAIN", 0.05)
    wanted = download(web, tmp_path)
    web.fail(PATH, stalls(10))
    first = threading.Thread(target=run, args=(wanted,))
    first.start()
    assert web.stalled.wait(30)
    with begun(wanted) as watch, httpx2.Client() as client:
        caught: list[BaseException] = []

        def second() -> None:
            try:
                fetch(wanted, client, watch, QUICK, Room(wanted.part.parent, lambda _: ROOMY))
            except PullCancelledError as error:
                caught.append(error)

        thread = threading.Thread(target=second)
        thread.start()
        while "another program" not in watch.progress().text:
            thread.join(0.05)
        watch.cancel()
        thread.join()
    assert len(caught) == 1
    web.go_on.set()
    first.join()
    assert wanted.target.read_bytes() == DATA


def test_what_is_told_is_on_the_disk(web: FileServer, tmp_path: Path) -> None:
    """A program that is killed at any time loses nothing of it."""
    wanted = download(web, tmp_path)
    web.fail(PATH, stalls(10))
    kept: list[int] = []

    class Looks(PullWatch):
        def received(self, name: str, done: int, count: int) -> None:
            super().received(name, done, count)
            if count:
                kept.append(wanted.part.stat().st_size - done)
                web.go_on.set()

    watch = Looks("hf:a/b", QUICK)
    watch.download([FileProgress(name=wanted.name, done=Bytes(0), total=wanted.size)])
    with httpx2.Client(timeout=20) as client:
        fetch(wanted, client, watch, QUICK, Room(tmp_path, lambda _: ROOMY))
    assert set(kept) == {0}


def test_what_shall_be_written_where_it_cannot_is_explained(
    web: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "folder").write_text("a file")
    wanted = download(web, tmp_path / "folder")
    with pytest.raises(PullError, match="cannot be written") as caught:
        run(wanted)
    assert caught.value.failure is PullFailure.NOT_WRITABLE


def test_parts_of_two_versions_are_never_joined(web: FileServer, tmp_path: Path) -> None:
    """A server without `If-Range` sends a part of its new file: what came of the old one is dropped."""
    wanted = download(web, tmp_path, size=None, checked=False)
    rest = {"Content-Range": f"bytes 10-{len(DATA) - 1}/{len(DATA)}", "ETag": '"another"'}
    web.fail(PATH, breaks(10), Fault(206, rest, b"x" * (len(DATA) - 10)))
    run(wanted)
    assert [asked.start for asked in web.of(PATH)] == [0, 10, 0]
    assert wanted.target.read_bytes() == DATA


@pytest.mark.parametrize("fault", [Fault(), Fault(unsized=True)])
def test_a_file_of_unknown_length_does_not_fill_the_disk(
    web: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """Its answer may say how long it is; else the room is looked at while it is written."""
    monkeypatch.setattr("modelswap.pull.transfer.room._LOOK_EVERY", 5000)
    wanted = download(web, tmp_path, size=None, checked=False)
    web.fail(PATH, fault)
    room = Room(tmp_path, lambda _: Bytes(0))
    with (
        begun(wanted) as watch,
        httpx2.Client() as client,
        pytest.raises(PullError, match="must stay free") as caught,
    ):
        fetch(wanted, client, watch, QUICK, room)
    assert caught.value.failure is PullFailure.DISK_FULL
    assert not wanted.target.exists()
