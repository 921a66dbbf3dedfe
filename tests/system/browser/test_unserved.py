"""Files that were found on disk and cannot be served, on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.server import stub_config

if TYPE_CHECKING:
    from pathlib import Path

    from support.running import StartServer
    from system.browser.conftest import Page


def test_a_broken_file_has_its_reason(
    page: Page, modelswap_server: StartServer, tmp_path: Path
) -> None:
    """The models' view names the file and why it is not served; without one it has no such list."""
    folder = tmp_path / "models"
    folder.mkdir()
    server = modelswap_server(f"discover: {folder}\n{stub_config('alpha')}")
    page.open(server.base_url, "models")
    page.wait_for(".model", "alpha")
    assert not page.wait_for("main").find_element("css selector", ".unserved").is_displayed()
    (folder / "broken.gguf").write_bytes(b"GGUF but not really")
    page.click(".unserved > summary", "Found on disk, not served 1")
    page.wait_for(".unserved .model-title", str(folder / "broken.gguf"))
    page.wait_for(".unserved .muted", "version")
