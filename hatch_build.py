"""Build hook: the README and the links of the package's metadata.

The README's links are relative to the repository. On a package index they lead nowhere, so they become
absolute when `MODELSWAP_PROJECT_URL` says where the repository can be read, and plain text when it does not.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

_RELATIVE = re.compile(r"\[([^\]]+)\]\((?!https?://)([^)]+)\)")


def readme(text: str, project_url: str) -> str:
    """Return the README with links that work anywhere."""

    def link(found: re.Match[str]) -> str:
        words, target = found.groups()
        if not project_url:
            return words
        base = project_url if target.startswith("#") else f"{project_url}/blob/HEAD/"
        return f"[{words}]({base}{target})"

    return _RELATIVE.sub(link, text)


class Hook(MetadataHookInterface):
    """Fill in the fields that `pyproject.toml` declares dynamic."""

    def update(self, metadata: dict[str, object]) -> None:
        """Set `readme` and, where the repository's address is known, `urls`."""
        url = os.environ.get("MODELSWAP_PROJECT_URL", "").rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": readme(text, url)}
        if url:
            metadata["urls"] = {
                "Homepage": url,
                "Documentation": f"{url}/tree/HEAD/docs",
                "Changelog": f"{url}/blob/HEAD/CHANGELOG.md",
                "Issues": f"{url}/issues",
            }


def get_metadata_hook() -> type[MetadataHookInterface]:
    """Name the hook to hatchling."""
    return Hook
