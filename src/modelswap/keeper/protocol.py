"""The messages between front and keeper over the Unix socket.

A frame is a head (length of the payload, kind, run number) and a payload: a JSON object, or raw output
of a server. A frame that makes no sense ends the connection, never the process.

Orders (front → keeper): `hello`, `spawn`, `signal`, `stop_command`, `stop_all`.
News (keeper → front): `welcome`, `spawned`, `spawn_failed`, `main_gone`, `stop_ended`, `exited`, and
output frames. All output of a run arrives before its `exited`.
"""

from __future__ import annotations

import struct

from .lean import dumps, loads

TYPE_CHECKING = False  # `typing` itself would cost the keeper a megabyte
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Final

VERSION: Final = 1
"""Raised with every change that an older side would misread."""

MARKER: Final = "MODELSWAP_RUN"
"""Environment variable of every server: `<keeper id>.<run>`. By it orphans are found again."""

SOCKET_NAME: Final = "keeper.sock"
READY_LINE: Final = b"ready\n"
"""Printed on stdout once the socket accepts."""

MAX_FRAME: Final = 16 << 20
"""Bytes: an environment and a command line together are at most a few megabytes."""
_HEAD: Final = struct.Struct("!IBI")
_MESSAGE: Final = 0  # kind of a frame that holds JSON
_OUTPUT: Final = 1  # kind of a frame that holds output

TERMINATE: Final = "terminate"
KILL: Final = "kill"


class ProtocolError(Exception):
    """The other side sent something that cannot be understood."""


class Frame:
    """A message, or output of a run."""

    __slots__ = ("message", "output", "run")

    def __init__(self, message: Mapping[str, object] | None, run: int, output: bytes) -> None:
        self.message = message
        self.run = run
        self.output = output


def encode(kind: str, **fields: object) -> bytes:
    """One message as a frame; text may hold surrogate escapes."""
    payload = dumps({"kind": kind, **fields}).encode("ascii")
    return _HEAD.pack(len(payload), _MESSAGE, 0) + payload


def encode_output(run: int, data: bytes) -> bytes:
    return _HEAD.pack(len(data), _OUTPUT, run) + data


class FrameDecoder:
    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with `data`."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            length, kind, run = _HEAD.unpack_from(self._buffer)
            if length > MAX_FRAME or kind not in (_MESSAGE, _OUTPUT):
                raise ProtocolError("not a frame")
            end = _HEAD.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEAD.size : end])
            del self._buffer[:end]
            if kind == _OUTPUT:
                yield Frame(None, run, payload)
            else:
                yield Frame(_message(payload), 0, b"")


def _message(payload: bytes) -> dict[str, object]:
    try:
        value: object = loads(payload.decode())
    except ValueError as error:
        raise ProtocolError("not JSON") from error
    return mapping(value)


# The fields of a message: `ProtocolError` for one that is missing or of another type


def mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ProtocolError("not an object")
    pairs: dict[object, object] = value  # pyright: ignore[reportUnknownVariableType] - that is the question
    return {str(key): item for key, item in pairs.items()}


def text(message: Mapping[str, object], key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str):
        raise ProtocolError(f"{key} is not text")
    return value


def whole(message: Mapping[str, object], key: str) -> int:
    value = message.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProtocolError(f"{key} is not a whole number")
    return value


def whole_or_none(message: Mapping[str, object], key: str) -> int | None:
    return None if message.get(key) is None else whole(message, key)


def number(message: Mapping[str, object], key: str) -> float:
    value = message.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ProtocolError(f"{key} is not a number")
    return float(value)


def items(message: Mapping[str, object], key: str) -> list[object]:
    value = message.get(key)
    if not isinstance(value, list):
        raise ProtocolError(f"{key} is not a list")
    values: list[object] = value  # pyright: ignore[reportUnknownVariableType] - as above
    return values


def texts(message: Mapping[str, object], key: str) -> list[str]:
    values = items(message, key)
    if not all(isinstance(value, str) for value in values):
        raise ProtocolError(f"{key} is not a list of texts")
    return [str(value) for value in values]


def text_map(message: Mapping[str, object], key: str) -> dict[str, str]:
    return {name: str(value) for name, value in mapping(message.get(key)).items()}
