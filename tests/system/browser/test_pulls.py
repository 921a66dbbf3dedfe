"""Pulls of models on the page: how far they are, why they failed, and what can be done."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from support.file_server import stalls
from support.hub import Hub
from support.pulling import gguf, home_with
from support.server import STUB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.running import StartServer
    from system.browser.conftest import Page

REPOSITORY = "owner/Foo-GGUF"
FILE = "Foo-Q4_K_M.gguf"
CONFIG = f"""
discover: {{stores: [huggingface]}}
models:
  alpha:
    source: hf:{REPOSITORY}:Q4_K_M
    cmd: {sys.executable} -I -S {STUB} --port ${{PORT}} --name alpha
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub() as found:
        data = gguf(tmp_path / "made.gguf", 400_000)
        found.add(REPOSITORY, {FILE: data}, gated=True, allowed="hf_x")
        yield found


@pytest.fixture
def env(hub: Hub, tmp_path: Path) -> dict[str, str]:
    found = home_with(hub, tmp_path / "home")
    (tmp_path / "home" / "hf" / "hub").mkdir(parents=True)
    return found


def test_a_pull_on_the_page(
    page: Page, modelswap_server: StartServer, hub: Hub, env: dict[str, str]
) -> None:
    """A failure with its reason, then a bar with words, a cancel, and a load at the end."""
    page.allowed = ("503",)  # a load that fails is an error of the browser's console, too
    server = modelswap_server(CONFIG, env=env)
    page.open(server.base_url, "models")
    page.click(".model button", "Load")
    page.wait_for(".model .failure .reason", "Not pulled: ")
    assert "HF_TOKEN" in page.text(".model .failure .reason")
    page.wait_for(".model .state.failed", "failed")
    hub.add(REPOSITORY, hub.repositories[REPOSITORY].files)
    hub.fail("/storage", stalls(200_000))
    page.click(".model button", "Try again")
    page.wait_for(".model .state.pulling", "pulling")
    page.wait_for(".model .pull", " %, ")
    page.until(
        lambda: 0 < float(page.all(".model .pull progress")[0].get_attribute("value") or 0) < 1,
        "the bar moves",
    )
    page.go("models/alpha")
    page.wait_for("main .pull", " %, ")
    page.go("models")
    page.click(".model button", "Cancel")
    page.wait_for(".model .state.stopped", "stopped")
    assert not page.all(".model .pull:not([hidden])")
    hub.go_on.set()
    page.click(".model button", "Load")
    page.wait_for(".model .state.ready", "ready", 60)


def test_an_ordered_pull_on_the_page(
    page: Page, modelswap_server: StartServer, hub: Hub, env: dict[str, str]
) -> None:
    """What was ordered by its name has a row of its own, with cancel and another try, until it is a model."""
    hub.add("owner/Bar-GGUF", {"Bar-Q8_0.gguf": hub.repositories[REPOSITORY].files[FILE] + b"\0"})
    hub.fail("/storage", stalls(200_000))
    server = modelswap_server(CONFIG, env=env)
    page.open(server.base_url, "models")
    page.wait_for(".model", "alpha")
    assert not page.all(".orders:not([hidden])")
    assert server.ask("POST", "/models", {"model": "owner/Bar-GGUF:Q8_0"}).status == 200
    page.wait_for(".orders .model-title", "owner/Bar-GGUF:Q8_0")
    page.wait_for(".orders .pull", " %, ")
    page.click(".orders button", "Cancel")
    page.wait_for(".orders .reason", "Not pulled: ")
    hub.go_on.set()
    page.click(".orders button", "Try again")
    page.wait_for(".model .model-title", "bar:q8_0", 60)
    page.until(lambda: not page.all(".orders:not([hidden])"), "the row goes")
