"""Pulls from an address of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.catalog.pull_source import parse_source
from modelswap.catalog.pulls.local import locate
from modelswap.pull.progress import PullFailure, PullPhase
from support.file_server import GARBAGE, Fault, FileServer, breaks, refuses
from support.pulling import QUICK, Pulling, gguf

if TYPE_CHECKING:
    from pathlib import Path

PATH = "/models/tiny.gguf"


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    return gguf(tmp_path / "made", 300_000)


def read(pulling: Pulling, source: str) -> list[bytes]:
    found = locate(parse_source(source), pulling.places)
    return [path.read_bytes() for path in found.files] if found else []


def test_a_file_comes(web: FileServer, pulling: Pulling, model: bytes) -> None:
    web.files[PATH] = model
    source = web.url + PATH
    progress = pulling.pull(source)
    assert (progress.phase, progress.total) == (PullPhase.FINISHED, len(model))
    assert read(pulling, source) == [model]
    assert pulling.pull(source).text == "was here already"
    assert len(web.of(PATH)) == 1


def test_a_broken_connection_is_resumed_if_the_file_is_still_the_same(
    web: FileServer, pulling: Pulling, model: bytes
) -> None:
    """The server's entity tag is sent along, so that two versions are never mixed."""
    web.files[PATH] = model
    web.fail(PATH, Fault(405), breaks(70_000))
    assert pulling.pull(web.url + PATH).phase is PullPhase.FINISHED
    last = web.of(PATH)[-1]
    assert (last.range, last.status) == ("bytes=70000-", 206)
    assert last.fields["if-range"].startswith('"')
    assert read(pulling, web.url + PATH) == [model]


def test_a_later_run_goes_on_and_notices_another_version(
    web: FileServer, pulling: Pulling, model: bytes, tmp_path: Path
) -> None:
    web.files[PATH] = model
    web.fail(PATH, Fault(405), breaks(70_000), *[refuses(500)] * QUICK.tries)
    assert pulling.pull(web.url + PATH).failure is PullFailure.NETWORK
    web.files[PATH] = newer = gguf(tmp_path / "newer", 200_000)
    assert pulling.pull(web.url + PATH).phase is PullPhase.FINISHED
    assert web.of(PATH)[-1].range == "bytes=70000-"
    assert web.of(PATH)[-1].status == 200
    assert read(pulling, web.url + PATH) == [newer]


def test_without_a_validator_it_begins_anew(
    web: FileServer, pulling: Pulling, model: bytes
) -> None:
    web.has_validators = False
    web.files[PATH] = model
    web.fail(PATH, Fault(405), breaks(70_000))
    assert pulling.pull(web.url + PATH).phase is PullPhase.FINISHED
    assert [asked.range for asked in web.of(PATH)] == ["", ""]


def test_all_parts_come(web: FileServer, pulling: Pulling, model: bytes) -> None:
    for number in (1, 2):
        web.files[f"/x-0000{number}-of-00002.gguf"] = model + bytes([number])
    source = f"{web.url}/x-00001-of-00002.gguf"
    assert pulling.pull(source).phase is PullPhase.FINISHED
    assert read(pulling, source) == [model + b"\1", model + b"\2"]


@pytest.mark.parametrize(
    ("data", "word"),
    [(b"<html>404 with status 200</html>", "GGUF"), (b"GGUF" + b"\0" * 30, "which")],
)
def test_what_is_no_gguf_file_is_refused_and_removed(
    web: FileServer, pulling: Pulling, data: bytes, word: str
) -> None:
    web.files[PATH] = data
    failed = pulling.pull(web.url + PATH)
    assert failed.failure is PullFailure.DAMAGED
    assert word in failed.text
    assert read(pulling, web.url + PATH) == []


def test_a_file_that_is_cut_off_at_the_server_is_refused(
    web: FileServer, pulling: Pulling, tmp_path: Path
) -> None:
    """Its length is right, its tensors are not there."""
    web.files[PATH] = gguf(tmp_path / "made")[:-100]
    failed = pulling.pull(web.url + PATH)
    assert failed.failure is PullFailure.DAMAGED
    assert "cut off" in failed.text


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (refuses(404), PullFailure.NOT_FOUND),
        (refuses(410), PullFailure.NOT_FOUND),
        (refuses(401), PullFailure.TOKEN_MISSING),
        (refuses(429, Retry_After="900"), PullFailure.RATE_LIMITED),
        (refuses(451), PullFailure.DAMAGED),
    ],
)
def test_each_status_has_its_failure(
    web: FileServer, pulling: Pulling, fault: Fault, failure: PullFailure
) -> None:
    web.fail(PATH, fault)
    source = f"{web.url}{PATH}?signature=hunter2"
    failed = pulling.pull(source)
    assert failed.failure is failure
    assert "hunter2" not in repr(failed)


def test_a_page_of_another_length_is_refused_at_once(
    web: FileServer, pulling: Pulling, model: bytes
) -> None:
    web.files[PATH] = model
    web.fail(PATH, Fault(405), breaks(10), GARBAGE)
    failed = pulling.pull(web.url + PATH)
    assert failed.failure is PullFailure.DAMAGED
    assert "text/html" in failed.text


def test_redirects_in_a_circle_end(web: FileServer, pulling: Pulling) -> None:
    web.fail(PATH, *[Fault(302, {"Location": PATH})] * 30)
    assert "circle" in pulling.pull(web.url + PATH).text


def test_a_redirect_to_no_address_is_explained(web: FileServer, pulling: Pulling) -> None:
    web.fail(PATH, Fault(302, {"Location": "file:///etc/passwd"}))
    failed = pulling.pull(web.url + PATH)
    assert failed.failure is PullFailure.DAMAGED
    assert "redirects to an address that cannot be used" in failed.text


def test_a_length_of_nothing_is_no_length(web: FileServer, pulling: Pulling, model: bytes) -> None:
    """Some servers answer HEAD with the length of what they send then: 0."""
    web.files[PATH] = model
    web.fail(PATH, Fault(200, {}, b""))
    assert pulling.pull(web.url + PATH).phase is PullPhase.FINISHED


def test_a_name_that_is_too_long_for_the_file_system_is_explained(
    web: FileServer, pulling: Pulling, model: bytes
) -> None:
    path = "/" + "%C3%A9" * 200 + ".gguf"
    web.files["/" + "\N{LATIN SMALL LETTER E WITH ACUTE}" * 200 + ".gguf"] = model
    for _ in range(2):
        failed = pulling.pull(web.url + path)
        assert failed.failure is PullFailure.NOT_WRITABLE
        assert "File name too long" in failed.text


@pytest.mark.parametrize("host", ["a..b", "a" * 70 + ".example"])
def test_a_name_that_no_host_has_is_explained(pulling: Pulling, host: str) -> None:
    failed = pulling.pull(f"http://{host}/x.gguf")
    assert failed.failure is PullFailure.DAMAGED
    assert f"{host} is no host" in failed.text
