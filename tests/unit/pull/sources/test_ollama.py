"""Pulls from the stand-in of Ollama's registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.catalog.pull_source import parse_source
from modelswap.catalog.pulls.local import locate
from modelswap.catalog.pulls.places import Places
from modelswap.catalog.roots import Root
from modelswap.catalog.scan import scan
from modelswap.pull.progress import PullFailure, PullPhase
from support.file_server import GARBAGE, Fault, breaks, refuses
from support.pulling import Pulling, gguf

if TYPE_CHECKING:
    from pathlib import Path

    from support.ollama_registry import OllamaRegistry

NAME = "library/tiny:latest"


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    return gguf(tmp_path / "made", 300_000)


def test_a_model_comes_into_a_store_of_ours(
    registry: OllamaRegistry, pulling: Pulling, model: bytes
) -> None:
    """Where Ollama has no store; the layout is Ollama's, so that discovery reads it too."""
    registry.add(NAME, {"model": model, "projector": b"GGUFeye", "params": b'{"stop": ["x"]}'})
    assert pulling.pull("ollama:tiny").phase is PullPhase.FINISHED
    found = locate(parse_source("ollama:tiny"), pulling.places)
    assert found is not None
    assert found.path.read_bytes() == model
    assert found.path.is_relative_to(pulling.places.ollama[-1])
    (listed,) = scan([Root(pulling.places.ollama[-1])]).models
    assert (listed.id, listed.files) == ("tiny:latest", (found.path,))


def test_a_store_of_ollama_is_used(
    registry: OllamaRegistry, pulling: Pulling, model: bytes
) -> None:
    """What is in it is not loaded again, and nothing unfinished lies among its blobs."""
    store = pulling.places.ollama[0]
    for folder in ("blobs", "manifests"):
        (store / folder).mkdir(parents=True)
    manifest = registry.add("me/tiny:q8", {"model": model, "license": b"free"})
    registry.fail("/storage/", breaks(3), *[refuses(500)] * 10)
    assert pulling.pull("ollama:me/tiny:q8").failure is PullFailure.NETWORK
    before = len(list((store / "blobs").iterdir()))
    registry._faults.clear()
    assert pulling.pull("ollama:me/tiny:q8").phase is PullPhase.FINISHED
    written = store / "manifests" / "registry.ollama.ai" / "me" / "tiny" / "q8"
    assert written.read_bytes() == manifest
    assert before == 0
    names = {path.name for path in (store / "blobs").iterdir()}
    assert names == {f"sha256-{digest}" for digest in registry.blobs}
    assert pulling.pull("ollama:me/tiny:q8").text == "was here already"


def test_a_broken_connection_is_resumed(
    registry: OllamaRegistry, pulling: Pulling, model: bytes
) -> None:
    registry.add(NAME, {"model": model})
    registry.fail("/storage/", Fault(), breaks(90_000))
    assert pulling.pull("ollama:tiny").phase is PullPhase.FINISHED
    assert registry.of("/storage/")[-1].range == "bytes=90000-"


def test_wrong_bytes_are_refused(registry: OllamaRegistry, pulling: Pulling, model: bytes) -> None:
    registry.add(NAME, {"model": model})
    registry.fail("/storage/", Fault(), Fault(flips=True))
    failed = pulling.pull("ollama:tiny")
    assert failed.failure is PullFailure.DAMAGED
    assert "checksum" in failed.text
    assert locate(parse_source("ollama:tiny"), pulling.places) is None


@pytest.mark.parametrize(
    ("fault", "failure", "word"),
    [
        (GARBAGE, PullFailure.DAMAGED, "is it Ollama's registry"),
        (Fault(200, {}, b'{"config": {"digest": "sha256:../x", "size": 1}, "layers": []}'),
         PullFailure.DAMAGED, "manifest"),
        (refuses(401), PullFailure.TOKEN_MISSING, "ollama pull"),
        (refuses(429, Retry_After="700"), PullFailure.RATE_LIMITED, "700 s"),
        (refuses(404), PullFailure.NOT_FOUND, "spelled right"),
    ],
)  # fmt: skip
def test_each_answer_has_its_failure(
    registry: OllamaRegistry, pulling: Pulling, fault: Fault, failure: PullFailure, word: str
) -> None:
    registry.add(NAME, {"model": b"x"})
    registry.fail("/manifests/", fault)
    failed = pulling.pull("ollama:tiny")
    assert failed.failure is failure
    assert word in failed.text


@pytest.mark.parametrize("layers", [{"tensor": b"t"}, {"params": b"{}"}])
def test_a_model_for_ollamas_own_engine_is_refused_before_its_bytes_come(
    registry: OllamaRegistry, pulling: Pulling, layers: dict[str, bytes]
) -> None:
    registry.add(NAME, layers)
    failed = pulling.pull("ollama:tiny")
    assert failed.failure is PullFailure.NOT_FOUND
    assert "Ollama's own engine" in failed.text
    assert not registry.of("/blobs/")


def test_a_manifest_without_an_end_is_refused(registry: OllamaRegistry, pulling: Pulling) -> None:
    """A megabyte of it is read, whatever its server says of its length."""
    registry.fail("/manifests/", Fault(200, {}, b" " * (3 << 20)))
    failed = pulling.pull("ollama:tiny")
    assert failed.failure is PullFailure.DAMAGED
    assert "manifest" in failed.text


def test_a_store_that_cannot_be_looked_at_is_none_of_ours(
    registry: OllamaRegistry, pulling: Pulling, monkeypatch: pytest.MonkeyPatch, model: bytes
) -> None:
    """As the one of Ollama's service, whose home other users may not enter: the own store is used."""
    registry.add(NAME, {"model": model})
    hidden = pulling.folder / ("x" * 300)  # looking at it raises an error, for root too
    own = pulling.folder / "own"
    monkeypatch.setattr(Pulling, "places", Places(pulling.folder, (hidden, own), pulling.folder))
    assert pulling.pull("ollama:tiny").phase is PullPhase.FINISHED
    assert (own / "manifests").is_dir()


def test_the_password_of_a_mirror_is_in_no_text(
    registry: OllamaRegistry, pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSWAP_OLLAMA_REGISTRY", registry.url.replace("//", "//me:hunter2@"))
    failed = pulling.pull("ollama:tiny")
    assert failed.failure is PullFailure.NOT_FOUND
    assert "hunter2" not in failed.text
