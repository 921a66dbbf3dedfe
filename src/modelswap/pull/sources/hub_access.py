"""How the hub is asked: its address, and the token that is sent to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants, get_token
from huggingface_hub.errors import HfHubHTTPError, OIDCError

from modelswap.pull.failures import PullError
from modelswap.pull.progress import PullFailure
from modelswap.pull.transfer.http_answers import host_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOME: Final = "https://huggingface.co"
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
"""What a field of a request may hold."""
_GET: Final = "set HF_TOKEN or run `hf auth login`"


@dataclass(frozen=True, slots=True)
class HubAccess:
    endpoint: str
    """May hold a password; `page` does not."""
    token: str | None
    token_place: str
    get_token: str = _GET
    """What to do for a token."""

    @classmethod
    def usual(cls, environ: Mapping[str, str]) -> HubAccess:
        """Return what the environment and `hf auth login` say; raise `PullError` where that cannot be."""
        endpoint = _endpoint(environ)
        named = [name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if environ.get(name)]
        place = named[0] if named else "`hf auth login`"
        try:
            token = get_token()
        except (OSError, ValueError, HfHubHTTPError, OIDCError, httpx2.HTTPError) as problem:
            reason = getattr(problem, "strerror", None) or type(problem).__name__
            get = f"the one in {constants.HF_TOKEN_PATH} cannot be read ({reason}): {_GET}"
            return cls(endpoint, None, place, get)
        if token and not _TOKEN.fullmatch(token):
            text = f"the token in {place} has a character that no token has: copy it again"
            raise PullError(PullFailure.TOKEN_MISSING, text)
        return cls(endpoint, token, place)

    @property
    def host(self) -> str:
        return host_of(self.endpoint)

    def page(self, repository: str) -> str:
        """Return the address of a repository's page, for readers."""
        return urlsplit(self.endpoint)._replace(netloc=self.host).geturl() + f"/{repository}"

    @property
    def fields(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def _endpoint(environ: Mapping[str, str]) -> str:
    text = environ.get("HF_ENDPOINT", "").strip().rstrip("/") or _HOME
    if not host_of(text):
        text = "HF_ENDPOINT is no address of a hub: expected https://HOST, without more"
        raise PullError(PullFailure.NETWORK, text)
    return text
