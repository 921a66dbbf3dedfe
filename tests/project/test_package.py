"""What a package index shows of the built package."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).parents[2]
URL = "https://example.org/someone/modelswap"
BUILD = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"


def metadata(folder: Path, url: str) -> Message:
    """Build a wheel and return its metadata; the description is the payload."""
    env = {**os.environ, "MODELSWAP_PROJECT_URL": url}
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=ROOT, env=env, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


@pytest.mark.parametrize("url", ["", URL, URL + "/"])
def test_no_link_of_the_description_is_dead(tmp_path: Path, url: str) -> None:
    """Links lead into the repository where its address is known; else they are plain words."""
    found = metadata(tmp_path, url)
    description = found.get_payload()
    assert isinstance(description, str)
    assert "](docs/" not in description
    assert "](#" not in description
    assert (f"]({URL}/blob/HEAD/docs/routes.md)" in description) == bool(url)
    urls = dict(line.split(", ") for line in found.get_all("Project-URL", []))
    assert urls.get("Homepage") == (URL if url else None)
