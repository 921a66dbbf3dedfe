"""Pulls from the stand-in of the hub, with every way in which it can fail."""

from __future__ import annotations

import threading
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import hf_hub_download, scan_cache_dir, try_to_load_from_cache

from modelswap.catalog.pull_source import parse_source
from modelswap.catalog.pulls.local import locate
from modelswap.pull.progress import PullFailure, PullPhase
from modelswap.units import Bytes, Seconds
from support.file_server import GARBAGE, Fault, breaks, refuses, stalls
from support.pulling import QUICK, Pulling, gguf

if TYPE_CHECKING:
    from pathlib import Path

    from support.hub import Hub

REPOSITORY = "acme/Tiny-GGUF"
MODEL = "tiny-Q4_K_M.gguf"
SOURCE = f"hf:{REPOSITORY}"
TOKEN = "hf_secret_of_the_test"


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    return gguf(tmp_path / "made", 400_000)


def test_a_model_and_its_projector_come(hub: Hub, pulling: Pulling, model: bytes) -> None:
    """The preferred quantization and the projector are downloaded, nothing else."""
    hub.add(REPOSITORY, {MODEL: model, "tiny-Q2_K.gguf": b"small", "mmproj-F16.gguf": b"eye"})
    progress = pulling.pull(SOURCE)
    assert progress.phase is PullPhase.FINISHED
    assert (progress.done, progress.total) == (len(model) + 3, len(model) + 3)
    found = locate(parse_source(SOURCE), pulling.places)
    assert found is not None
    assert found.mmproj is not None
    assert (found.path.read_bytes(), found.mmproj.read_bytes()) == (model, b"eye")
    assert not hub.downloads("tiny-Q2_K.gguf")


def test_nothing_is_asked_and_told_but_for_the_model(
    hub: Hub, pulling: Pulling, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's telemetry is off: no list of agents is asked for, none is named to the hub."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.utils._detect_agent._registry", None)
    nowhere = str(pulling.folder / "agents.json")
    monkeypatch.setattr("huggingface_hub.constants.AGENT_HARNESSES_PATH", nowhere)
    hub.add(REPOSITORY, {MODEL: model})
    pulling.pull(SOURCE)
    assert hub.asked
    assert all(REPOSITORY in one.path or MODEL in one.path for one in hub.asked), hub.asked


def test_the_library_finds_what_was_pulled(hub: Hub, pulling: Pulling, model: bytes) -> None:
    """`huggingface_hub` takes the files for its own, and does not load them again."""
    hub.add(REPOSITORY, {MODEL: model})
    pulling.pull(SOURCE)
    cache = pulling.places.hub
    asked = len(hub.downloads(MODEL))
    by_library = hf_hub_download(REPOSITORY, MODEL, cache_dir=cache, endpoint=hub.url)
    found = locate(parse_source(SOURCE), pulling.places)
    assert found is not None
    assert by_library == str(found.path) == try_to_load_from_cache(REPOSITORY, MODEL, cache)
    assert len(hub.downloads(MODEL)) == asked
    scanned = scan_cache_dir(cache)
    assert [(one.repo_id, one.size_on_disk) for one in scanned.repos] == [(REPOSITORY, len(model))]
    assert scanned.warnings == []


def test_what_the_library_pulled_is_not_pulled_again(
    hub: Hub, pulling: Pulling, model: bytes
) -> None:
    hub.add(REPOSITORY, {MODEL: model})
    hf_hub_download(REPOSITORY, MODEL, cache_dir=pulling.places.hub, endpoint=hub.url)
    asked = len(hub.downloads(MODEL))
    assert pulling.pull(SOURCE).text == "was here already"
    assert len(hub.downloads(MODEL)) == asked


def test_all_parts_of_a_split_file_come(hub: Hub, pulling: Pulling) -> None:
    parts = {f"big/t-Q8_0-0000{n}-of-00003.gguf": bytes([n]) * 1000 for n in (1, 2, 3)}
    hub.add(REPOSITORY, parts)
    assert pulling.pull(f"{SOURCE}:q8_0").phase is PullPhase.FINISHED
    found = locate(parse_source(f"{SOURCE}:Q8_0"), pulling.places)
    assert found is not None
    assert [path.read_bytes()[:1] for path in found.files] == [b"\1", b"\2", b"\3"]
    assert found.path.name == "t-Q8_0-00001-of-00003.gguf"


def test_a_safetensors_model_comes_as_a_folder(hub: Hub, pulling: Pulling) -> None:
    files = {"config.json": b"{}", "model.safetensors": b"w" * 500, "tokenizer.json": b"[]"}
    hub.add(REPOSITORY, {**files, "pytorch_model.bin": b"pickle", "original/x.safetensors": b"no"})
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED
    found = locate(parse_source(SOURCE), pulling.places)
    assert found is not None
    assert sorted(path.name for path in found.path.iterdir()) == sorted(files)


def test_broken_connections_are_resumed(hub: Hub, pulling: Pulling, model: bytes) -> None:
    """After each break only the missing bytes are asked for, and none is sent twice."""
    hub.add(REPOSITORY, {MODEL: model})
    hub.fail("/storage/", breaks(100_000), breaks(50_000), refuses(503), breaks(7))
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED
    ranges = [asked.range for asked in hub.downloads(MODEL)]
    assert ranges == ["", "bytes=100000-", "bytes=150000-", "bytes=150000-", "bytes=150007-"]
    sent = [asked.sent for asked in hub.downloads(MODEL) if asked.status in {200, 206}]
    assert sum(sent) == len(model)


def test_a_later_run_goes_on(hub: Hub, pulling: Pulling, model: bytes) -> None:
    """What a failed pull left is taken up by the next one, and the whole file is checked."""
    hub.add(REPOSITORY, {MODEL: model})
    hub.fail("/storage/", breaks(90_000), *[refuses(500)] * QUICK.tries)
    failed = pulling.pull(SOURCE)
    assert (failed.phase, failed.failure) == (PullPhase.FAILED, PullFailure.NETWORK)
    assert failed.done == 90_000
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED
    assert hub.downloads(MODEL)[-1].range == "bytes=90000-"


def test_a_damaged_part_is_dropped(hub: Hub, pulling: Pulling, model: bytes) -> None:
    """A part with wrong bytes does not spoil the file: it is loaded anew, whole."""
    repository = hub.add(REPOSITORY, {MODEL: model})
    blobs = pulling.places.repository(REPOSITORY) / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{repository.etag(MODEL)}.incomplete").write_bytes(b"x" * 1000)
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED
    assert [asked.start for asked in hub.downloads(MODEL)] == [1000, 0]
    assert sha256((blobs / repository.etag(MODEL)).read_bytes()).digest() == sha256(model).digest()


@pytest.mark.parametrize("name", [MODEL, "config.json"])
def test_wrong_bytes_are_refused(hub: Hub, pulling: Pulling, model: bytes, name: str) -> None:
    """The hash of each file is checked, of small ones too; a wrong file never gets a name."""
    hub.add(
        REPOSITORY,
        {"model.safetensors": model, "config.json": b"{}"} if name != MODEL else {MODEL: model},
    )
    hub.fail("/storage/" if name == MODEL else "/config.json", Fault(flips=True))
    failed = pulling.pull(SOURCE)
    assert (failed.phase, failed.failure) == (PullPhase.FAILED, PullFailure.DAMAGED)
    assert "checksum" in failed.text
    assert locate(parse_source(SOURCE), pulling.places) is None
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED


def test_a_server_without_ranges_sends_all_again(hub: Hub, pulling: Pulling, model: bytes) -> None:
    hub.add(REPOSITORY, {MODEL: model})
    hub.fail("/storage/", breaks(1000), Fault(ignores_range=True))
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED


def test_a_page_in_place_of_the_file_is_no_model(hub: Hub, pulling: Pulling, model: bytes) -> None:
    """A sign-in page is told by its length, before a byte of it is written."""
    hub.add(REPOSITORY, {MODEL: model})
    hub.fail("/storage/", GARBAGE)
    failed = pulling.pull(SOURCE)
    assert failed.failure is PullFailure.DAMAGED
    assert "text/html" in failed.text
    assert failed.done == 0


def test_too_short_a_file_is_tried_again_and_refused(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPOSITORY, {MODEL: b"x" * 5000})
    hub.fail("/storage/", *[breaks(0)] * QUICK.tries)
    failed = pulling.pull(SOURCE)
    assert failed.failure is PullFailure.NETWORK
    assert len(hub.downloads(MODEL)) == QUICK.tries


@pytest.mark.parametrize(
    ("fault", "failure", "word"),
    [
        (GARBAGE, PullFailure.DAMAGED, "no description of a repository"),
        (Fault(200, {}, b'{"sha": 5}'), PullFailure.DAMAGED, "hub"),
        (Fault(200, {}, b"[" * 100_000), PullFailure.DAMAGED, "no description"),
        (Fault(200, {}, b'{"id": "a/b", "sha": "../..", "siblings": []}'), PullFailure.DAMAGED, "revision"),
        (refuses(404), PullFailure.NOT_FOUND, "spelled"),
        (refuses(400), PullFailure.DAMAGED, "status 400"),
        (refuses(401), PullFailure.TOKEN_MISSING, "HF_TOKEN"),
        (refuses(403), PullFailure.TOKEN_MISSING, "hf auth login"),
        (refuses(429, Retry_After="600"), PullFailure.RATE_LIMITED, "600 s"),
    ],
)  # fmt: skip
def test_each_answer_of_the_hub_has_its_failure(
    hub: Hub, pulling: Pulling, fault: Fault, failure: PullFailure, word: str
) -> None:
    hub.add(REPOSITORY, {MODEL: b"x"})
    hub.fail("/api/models/", fault)
    failed = pulling.pull(SOURCE)
    assert (failed.phase, failed.failure) == (PullPhase.FAILED, failure)
    assert word in failed.text


def test_hostile_names_stay_outside(hub: Hub, pulling: Pulling) -> None:
    """A hash that is a path is refused; a file that leads out of the repository is not looked at."""
    listed = b"""{"id": "a/b", "sha": "%s", "siblings": [{"rfilename": "x-Q4_K_M.gguf", "size": 1,
    "blobId": "../../../evil", "lfs": null}]}""" % (b"a" * 40)
    hub.fail("/api/models/", Fault(200, {}, listed))
    assert pulling.pull(SOURCE).failure is PullFailure.DAMAGED
    for name in (
        "../../evil",
        "/evil",
        "evil\x1b[31m",
        "evil\0",
        "evil\ud800",
        "e" * 2000,
        "..\\evil",
    ):
        hub.add(REPOSITORY, {f"{name}-Q4_K_M.gguf": b"x"})
        assert pulling.pull(SOURCE).failure is PullFailure.NOT_FOUND


def test_a_short_rate_limit_is_waited_for(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPOSITORY, {MODEL: b"x"})
    hub.fail("/api/models/", refuses(429, Retry_After="0"), refuses(500), refuses(502))
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED


def test_a_long_rate_limit_is_told(hub: Hub, pulling: Pulling) -> None:
    """The hub's own field says it too; what came is kept."""
    hub.add(REPOSITORY, {MODEL: b"x" * 50})
    hub.fail("/storage/", breaks(10), refuses(429, RateLimit='"api";r=0;t=200'))
    failed = pulling.pull(SOURCE)
    assert (failed.failure, failed.retry_after, failed.done) == (
        PullFailure.RATE_LIMITED,
        200.0,
        10,
    )


def test_a_gated_repository_says_where_to_accept_and_which_token_is_missing(
    hub: Hub, pulling: Pulling
) -> None:
    hub.add(REPOSITORY, {MODEL: b"x"}, gated=True, allowed=TOKEN)
    failed = pulling.pull(SOURCE)
    assert failed.failure is PullFailure.TOKEN_MISSING
    assert f"accept its licence at {hub.url}/{REPOSITORY}" in failed.text
    assert "HF_TOKEN" in failed.text


def test_a_token_without_access_is_told_so(
    hub: Hub, pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPOSITORY, {MODEL: b"x"}, gated=True, allowed=TOKEN)
    hub.tokens.add("hf_other")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    failed = pulling.pull(SOURCE)
    assert failed.failure is PullFailure.TOKEN_MISSING
    assert "with the account of the token in HF_TOKEN" in failed.text
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert "does not accept the token in HF_TOKEN" in pulling.pull(SOURCE).text


@pytest.mark.parametrize("kind", ["gated", "private"])
def test_a_token_opens_and_stays_at_the_hub(
    hub: Hub, pulling: Pulling, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The token is sent to the hub, never to the storage host that it redirects to."""
    hub.add(
        REPOSITORY, {MODEL: b"x"}, gated=kind == "gated", private=kind == "private", allowed=TOKEN
    )
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    progress = pulling.pull(SOURCE)
    assert progress.phase is PullPhase.FINISHED
    assert all("authorization" in asked.fields for asked in hub.of("/resolve/"))
    assert not any("authorization" in asked.fields for asked in hub.downloads(MODEL))
    assert TOKEN not in repr(progress)


def test_a_signature_is_in_no_text(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPOSITORY, {MODEL: b"x" * 100})
    for faults in ([GARBAGE], [refuses(403)], [breaks(3)] * QUICK.tries, [Fault(flips=True)]):
        hub.fail("/storage/", *faults)
        assert "secret-signature" not in repr(pulling.pull(SOURCE))


def test_a_missing_quantization_lists_the_others(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPOSITORY, {MODEL: b"x", "tiny-Q8_0.gguf": b"y"})
    failed = pulling.pull(f"{SOURCE}:Q3_K_S")
    assert failed.failure is PullFailure.AMBIGUOUS
    assert failed.text == f"{REPOSITORY} has no quantization Q3_K_S; it has Q4_K_M, Q8_0"


def test_a_full_disk_is_said_before_it_starts(hub: Hub, tmp_path: Path) -> None:
    hub.add(REPOSITORY, {MODEL: b"x" * 1000})
    failed = Pulling(tmp_path, free=Bytes(256 << 20)).pull(SOURCE)
    assert failed.failure is PullFailure.DISK_FULL
    assert str(tmp_path) in failed.text
    assert not hub.downloads(MODEL)


def test_what_is_here_needs_no_room(hub: Hub, tmp_path: Path) -> None:
    hub.add(REPOSITORY, {MODEL: b"x" * 1000})
    Pulling(tmp_path).pull(SOURCE)
    assert Pulling(tmp_path, free=Bytes(0)).pull(SOURCE).phase is PullPhase.FINISHED


def test_offline_nothing_is_asked(
    hub: Hub, pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is here is served; one that is not fails and names the variable."""
    hub.add(REPOSITORY, {MODEL: b"x"})
    pulling.pull(SOURCE)
    asked = len(hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED
    failed = pulling.pull(f"{SOURCE}:Q8_0")
    assert failed.failure is PullFailure.OFFLINE
    assert "HF_HUB_OFFLINE" in failed.text
    assert len(hub.asked) == asked


def test_a_model_that_is_here_survives_a_hub_that_is_away(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPOSITORY, {MODEL: b"x"})
    pulling.pull(SOURCE)
    hub.fail("/api/models/", *[refuses(500)] * QUICK.tries)
    progress = pulling.pull(SOURCE)
    assert progress.phase is PullPhase.FINISHED
    assert progress.text.startswith("is here already")


def test_a_hub_that_is_not_there_is_a_failure_of_the_network(
    pulling: Pulling, monkeypatch: pytest.MonkeyPatch, hub: Hub
) -> None:
    monkeypatch.setenv(
        "HF_ENDPOINT", hub.url.replace("127.0.0.1", "127.0.0.2").rsplit(":", 1)[0] + ":9"
    )
    failed = pulling.pull(SOURCE)
    assert failed.failure is PullFailure.NETWORK
    assert "cannot be reached" in failed.text


def test_a_silent_connection_is_given_up_and_resumed(hub: Hub, tmp_path: Path) -> None:
    """A storage host that stops sending costs one silence, not the pull."""
    hub.add(REPOSITORY, {MODEL: b"x" * 1000})
    hub.fail("/storage/", stalls(300))
    pulling = Pulling(tmp_path, replace(QUICK, silence=Seconds(0.2)))
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED
    assert hub.downloads(MODEL)[-1].range == "bytes=300-"


def test_a_cancelled_pull_stops_at_once_and_keeps_what_came(
    hub: Hub, pulling: Pulling, model: bytes
) -> None:
    """A read that waits for the network ends too; the next pull asks for the rest."""
    hub.add(REPOSITORY, {MODEL: model})
    hub.fail("/storage/", stalls(70_000))
    job = pulling.job(SOURCE)
    thread = threading.Thread(target=job.run)
    thread.start()
    assert hub.stalled.wait(30)
    while job.watch.progress().done < 70_000:
        thread.join(0.01)
    job.watch.cancel()
    thread.join(10)  # less than the 20 s that the connection may be silent
    assert not thread.is_alive()
    cancelled = job.watch.progress()
    assert (cancelled.phase, cancelled.done) == (PullPhase.CANCELLED, 70_000)
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED
    assert hub.downloads(MODEL)[-1].range == "bytes=70000-"


def test_two_pulls_at_once_load_a_file_once(
    hub: Hub, pulling: Pulling, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two programs would: the lock of the cache keeps the second one waiting."""
    monkeypatch.setattr("modelswap.pull.transfer.fetch._LOOK_AGAIN", 0.05)
    hub.add(REPOSITORY, {MODEL: model})
    hub.fail("/storage/", stalls(1000))
    jobs = [pulling.job(SOURCE) for _ in range(2)]
    threads = [threading.Thread(target=job.run) for job in jobs]
    threads[0].start()
    assert hub.stalled.wait(30)
    threads[1].start()
    while "another program" not in jobs[1].watch.progress().text:
        threads[1].join(0.05)
    hub.go_on.set()
    for thread in threads:
        thread.join()
    assert {job.watch.progress().phase for job in jobs} == {PullPhase.FINISHED}
    assert sum(asked.sent for asked in hub.downloads(MODEL)) == len(model)


def test_a_new_revision_brings_new_files_alone(hub: Hub, pulling: Pulling, model: bytes) -> None:
    hub.add(REPOSITORY, {MODEL: model, "mmproj-F16.gguf": b"old"})
    pulling.pull(SOURCE)
    hub.add(REPOSITORY, {MODEL: model, "mmproj-F16.gguf": b"new!"})
    asked = len(hub.downloads(MODEL))
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED
    found = locate(parse_source(SOURCE), pulling.places)
    assert found is not None
    assert found.mmproj is not None
    assert found.mmproj.read_bytes() == b"new!"
    assert len(hub.downloads(MODEL)) == asked


def test_a_folder_that_cannot_be_written_is_named(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPOSITORY, {MODEL: b"x"})
    pulling.places.hub.write_text("a file where the cache should be")
    failed = pulling.pull(SOURCE)
    assert failed.failure is PullFailure.NOT_WRITABLE
    assert str(pulling.places.hub) in failed.text


def test_a_file_that_is_gone_by_now_is_told(hub: Hub, pulling: Pulling) -> None:
    hub.add(REPOSITORY, {MODEL: b"x"})
    hub.fail("/resolve/", refuses(404, X_Error_Code="EntryNotFound"))
    failed = pulling.pull(SOURCE)
    assert failed.failure is PullFailure.NOT_FOUND
    assert "no such file any more" in failed.text


def test_a_token_without_the_right_is_named(
    hub: Hub, pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.fail("/api/models/", refuses(403))
    assert f"the token in HF_TOKEN may not read {REPOSITORY}" in pulling.pull(SOURCE).text


def test_the_librarys_own_switch_counts(
    hub: Hub, pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the environment when it is imported, and may refuse later than we do."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert pulling.pull(SOURCE).failure is PullFailure.OFFLINE
    assert hub.asked == []


def test_without_links_the_file_itself_gets_the_name(
    hub: Hub, pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `huggingface_hub` does it on such file systems."""

    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    hub.add(REPOSITORY, {MODEL: b"weights"})
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED
    found = locate(parse_source(SOURCE), pulling.places)
    assert found is not None
    assert not found.path.is_symlink()
    assert found.path.read_bytes() == b"weights"
    assert pulling.pull(SOURCE).text == "was here already"


def test_a_program_on_the_library_waits_for_our_download(
    hub: Hub, pulling: Pulling, model: bytes
) -> None:
    """Both hold the same lock: the file is loaded once, and the other program gets it."""
    hub.add(REPOSITORY, {MODEL: model})
    hub.fail("/storage/", stalls(1000))
    ours = threading.Thread(target=pulling.pull, args=(SOURCE,))
    ours.start()
    assert hub.stalled.wait(30)
    theirs: list[str] = []
    other = threading.Thread(
        target=lambda: theirs.append(
            hf_hub_download(REPOSITORY, MODEL, cache_dir=str(pulling.places.hub), endpoint=hub.url)
        )
    )
    other.start()
    while not hub.of("/resolve/", "HEAD"):
        other.join(0.05)
    hub.go_on.set()
    ours.join()
    other.join()
    found = locate(parse_source(SOURCE), pulling.places)
    assert found is not None
    assert theirs == [str(found.path)]
    assert sum(asked.sent for asked in hub.downloads(MODEL)) == len(model)


def test_a_snapshot_that_cannot_be_written_is_told(hub: Hub, pulling: Pulling) -> None:
    """The bytes are kept; the next pull only has to give them their name."""
    hub.add(REPOSITORY, {MODEL: b"x"})
    snapshots = pulling.places.repository(REPOSITORY) / "snapshots"
    snapshots.parent.mkdir(parents=True)
    snapshots.write_text("a file")
    assert pulling.pull(SOURCE).failure is PullFailure.NOT_WRITABLE
    snapshots.unlink()
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED
    assert len(hub.downloads(MODEL)) == 1


def test_equal_files_each_get_their_name_without_links(
    hub: Hub, pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blob becomes the last one of them, the others are copies; it is loaded once."""

    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    hub.add(REPOSITORY, {"a.json": b"{}", "config.json": b"{}", "model.safetensors": b"weights"})
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED
    found = locate(parse_source(SOURCE), pulling.places)
    assert found is not None
    assert [(found.path / name).read_bytes() for name in ("a.json", "config.json")] == [b"{}"] * 2
    assert len(hub.of("/resolve/")) == 2


@pytest.mark.parametrize("is_loop", [True, False])
def test_a_wrong_file_of_a_snapshot_is_replaced(
    hub: Hub, pulling: Pulling, *, is_loop: bool
) -> None:
    """One that was cut off, as a copy of a cache may leave it, and a link that leads nowhere."""
    commit = hub.add(REPOSITORY, {MODEL: b"weights"}).commit
    pointer = pulling.places.repository(REPOSITORY) / "snapshots" / commit / MODEL
    pointer.parent.mkdir(parents=True)
    pointer.symlink_to(MODEL) if is_loop else pointer.write_bytes(b"wei")
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED
    assert pointer.read_bytes() == b"weights"


def test_a_token_that_cannot_be_read_is_named_where_one_is_needed(
    hub: Hub, pulling: Pulling, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Models that need none are pulled all the same."""
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path))
    hub.add(REPOSITORY, {MODEL: b"x"})
    assert pulling.pull(SOURCE).phase is PullPhase.FINISHED
    hub.add("acme/gated", {MODEL: b"x"}, gated=True)
    assert (
        f"the one in {tmp_path} cannot be read (Is a directory)"
        in pulling.pull("hf:acme/gated").text
    )


@pytest.mark.parametrize("token", ["hf_hunter2\xe9", "hf_ hunter2"])
def test_a_token_that_is_none_is_not_sent(
    hub: Hub, pulling: Pulling, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    failed = pulling.pull(SOURCE)
    assert failed.failure is PullFailure.TOKEN_MISSING
    assert "the token in HF_TOKEN has a character that no token has" in failed.text
    assert "hunter2" not in failed.text
    assert hub.asked == []


def test_the_password_of_a_mirror_is_in_no_text(
    hub: Hub, pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("//", "//me:hunter2@") + "/")
    for error in ("GatedRepo", ""):
        hub.fail("/api/models/", refuses(401, X_Error_Code=error), refuses(500))
        assert "hunter2" not in repr(pulling.pull(SOURCE))


def test_an_empty_address_of_the_hub_is_none(
    pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert "huggingface.co cannot be reached" in pulling.pull(SOURCE).text
