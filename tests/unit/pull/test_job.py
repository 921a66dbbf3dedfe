"""What all pulls have in common."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelswap.pull.progress import PullFailure, PullPhase

if TYPE_CHECKING:
    from support.hub import Hub
    from support.ollama_registry import OllamaRegistry
    from support.pulling import Pulling

ROOT = Path(__file__).parents[3]
PREPARES = """
import sys, modelswap.pull.job
from pathlib import Path
from support.pulling import Pulling

prepared = []

def look(frame, event, _):
    if event == "call" and frame.f_code.co_name == "get_class_annotations":
        prepared.append(frame.f_back.f_code.co_name)

sys.setprofile(look)
for source in ("hf:acme/tiny", "hf:acme/folder", "ollama:tiny"):
    assert Pulling(Path(sys.argv[1])).pull(source).failure is None, source
print(prepared)
"""


def test_types_of_what_is_read_are_prepared_before_the_first_pull(
    hub: Hub, registry: OllamaRegistry, tmp_path: Path
) -> None:
    """Else msgspec crashes the whole program where two threads are the first to decode into a type."""
    hub.add("acme/tiny", {"x-Q4_K_M.gguf": b"x"})
    index = b'{"weight_map": {"t": "model.safetensors"}}'
    weights = {"model.safetensors": b"w", "model.safetensors.index.json": index}
    hub.add("acme/folder", {"config.json": b"{}", **weights})
    registry.add("library/tiny:latest", {"model": b"w"})
    told = subprocess.run(
        [sys.executable, "-c", PREPARES, str(tmp_path)], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert told.stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("ALL_PROXY", "socks5://me:hunter2@127.0.0.1:1", "socksio"),
        ("HTTPS_PROXY", "foo://me:hunter2@127.0.0.1:1", "no address such as http://host:3128"),
        ("SSL_CERT_FILE", "/nonexistent/hunter2.pem", "SSL_CERT_FILE"),
        ("HF_ENDPOINT", "me:hunter2@hub", "HF_ENDPOINT is no address"),
        ("HF_ENDPOINT", "http://[hunter2", "HF_ENDPOINT is no address"),
        ("MODELSWAP_OLLAMA_REGISTRY", "me:hunter2@registry", "MODELSWAP_OLLAMA_REGISTRY is no"),
    ],
)
def test_an_environment_that_cannot_be_used_is_explained(
    pulling: Pulling, monkeypatch: pytest.MonkeyPatch, name: str, value: str, word: str
) -> None:
    """With the name of the variable, without its value."""
    monkeypatch.setenv(name, value)
    failed = pulling.pull("ollama:tiny" if "OLLAMA" in name else "hf:acme/tiny")
    assert failed.failure is PullFailure.NETWORK
    assert word in failed.text
    assert "hunter2" not in failed.text


def test_a_model_that_is_here_needs_no_network(
    hub: Hub, pulling: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor a proxy that can be used."""
    hub.add("acme/tiny", {"x-Q4_K_M.gguf": b"x"})
    pulling.pull("hf:acme/tiny")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    assert pulling.pull("hf:acme/tiny").phase is PullPhase.FINISHED
