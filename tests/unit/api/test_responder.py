"""The lines of the log about requests that no model answered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from modelswap.api.responder import Responder
from modelswap.observe.logs.logs import PROXY
from support.services import close, make_services


def exchange(path: str) -> Any:
    request = SimpleNamespace(
        method="GET", path=path, version="1.1", client="9.9.9.9", header=lambda _: None
    )
    return SimpleNamespace(request=request, status=200)


async def test_a_line_of_the_access_log() -> None:
    """It is written unless the log's level hides it, or the path is a quiet one."""
    services = make_services()
    responder = Responder(services)
    responder.log(exchange("/shown"), 7)
    responder.log(exchange("/wol-health"), 7)
    services.shows_requests = False
    responder.log(exchange("/hidden"), 7)
    close(services)
    written = services.logs.history(PROXY).decode()
    assert '"GET /shown HTTP/1.1" 200 7 ' in written
    assert written.count("GET") == 1
