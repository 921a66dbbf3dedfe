"""Long loads: the official clients wait, and get the answer or an error, never a clean nothing."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import anthropic
import openai
import pytest

from clients.parsers import PARSERS
from clients.talks import ALL, ANTHROPIC, Talks, one

if TYPE_CHECKING:
    from clients.conftest import GatedServer, JavaScript, StartGated

TEXT = "a:0 a:1 a:2 "
IN_JS = ("chat", "chat helper", "responses", "messages", "messages helper")


class Waiting:
    """A raw client that sees every byte of its stream."""

    def __init__(self, gated: GatedServer, path: str = "/v1/chat/completions", **fields: object):
        body = json.dumps({"model": "a", "messages": [], "stream": True, **fields}).encode()
        self._sock = socket.create_connection(("127.0.0.1", gated.server.port), timeout=30)
        self._sock.sendall(
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Origin: http://localhost:3000\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (path.encode(), len(body), body)
        )
        self._got = b""

    def until(self, mark: bytes, times: int = 1) -> None:
        while self._got.count(mark) < times:
            self._more()

    def _more(self) -> bool:
        piece = self._sock.recv(65536)
        self._got += piece
        return bool(piece)

    @property
    def head(self) -> bytes:
        return self._got.partition(b"\r\n\r\n")[0]

    def rest(self) -> bytes:
        """The whole body, after the end, without its framing."""
        while self._more():
            pass
        self._sock.close()
        body, text = self._got.partition(b"\r\n\r\n")[2], b""
        while body:
            size, _, body = body.partition(b"\r\n")
            text += body[: int(size, 16)]
            body = body[int(size, 16) + 2 :]
        return text


def see_keep_alives(gated: GatedServer) -> Waiting:
    """Have a client of our own that got two: whoever came before it got at least one."""
    client = Waiting(gated)
    client.until(b"data:", 2)
    return client


def test_python_clients_wait(gated: StartGated) -> None:
    """Every official Python client gets the whole text after a load of many keep-alives."""
    model = gated()
    talks = Talks(model.server)
    model.wait_for_requests(len(ALL))
    see_keep_alives(model)
    model.open()
    expected = dict.fromkeys(ALL, TEXT)
    assert talks.texts() == expected


def test_javascript_clients_wait(gated: StartGated, javascript: JavaScript) -> None:
    """So does every official JavaScript client."""
    model = gated()
    process = javascript.begin(model.server, *((kind, {}) for kind in IN_JS))
    model.wait_for_requests(len(IN_JS))
    see_keep_alives(model)
    model.open()
    assert javascript.answers(process) == [{"text": TEXT}] * len(IN_JS)
