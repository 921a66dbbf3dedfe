"""Differential fuzzing of `RequestReader` against h11's: run by `make fuzz`, not by pytest.

    python tests/unit/http/message/fuzz_h11.py [seconds]

Mutates the files of the corpus and well-formed requests. Wherever we accept
bytes, h11 must accept them and read the same method, target and body: being
stricter than h11 is fine, being laxer or reading differently is a finding.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import h11

sys.path.insert(0, str(Path(__file__).parents[3]))  # for `support`

from support.request_reading import ReadRequests

CORPUS = Path(__file__).parent / "corpus"
SPICE = [
    *(bytes([byte]) for byte in (0, 9, 10, 11, 13, 32, 43, 45, 48, 58, 59, 95, 127, 128, 255)),
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"Host: x\r\n",
        b"Content-Length: 3\r\n",
        b"0\r\n\r\n",
        b"0x",
        b" HTTP/1.1",
    ),
    b"Transfer-Encoding: chunked\r\n",
]
Reading = tuple[bytes, bytes, bytes] | None


def ours(raw: bytes, chance: random.Random) -> Reading:
    """Method, target and body of the first request; None when it is refused or incomplete.

    The bytes come in two pieces.
    """
    read = ReadRequests()
    cut = chance.randrange(len(raw) + 1)
    for piece in (raw[:cut], raw[cut:]):
        if piece:
            read.feed(piece)
    if not read.bodies:
        return None
    request = read.requests[0]
    return request.method.encode(), request.target, read.bodies[0]


def theirs(raw: bytes) -> Reading:
    """The same by h11."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(raw)
    body = b""
    request: h11.Request | None = None
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                return bytes(request.method), bytes(request.target), body
            else:
                return None
    except h11.RemoteProtocolError:
        return None


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """One to four small damages."""
    data = bytearray(raw[:4000])
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at:at] = chance.choice(SPICE)
            case 1:
                data[at : at + 1] = chance.choice(SPICE)
            case 2:
                del data[at : at + chance.randint(1, 5)]
            case _:
                there = chance.randrange(len(data) + 1)
                data[at:at] = data[there : there + chance.randint(1, 30)]
    return bytes(data)


def main() -> int:
    """Fuzz for so many seconds; the exit code says whether a difference was found."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    seeds = [path.read_bytes() for path in sorted(CORPUS.glob("*.http"))]
    end = time.monotonic() + seconds
    tried = accepted = 0
    while time.monotonic() < end:
        raw = mutated(chance.choice(seeds), chance)
        mine = ours(raw, chance)
        tried += 1
        if mine is None:
            continue
        accepted += 1
        other = theirs(raw.removeprefix(b"\r\n"))  # h11 takes no empty line before it
        if mine != other:
            sys.stdout.write(f"seed {seed}\n{raw!r}\nours   {mine!r}\ntheirs {other!r}\n")
            return 1
    sys.stdout.write(
        f"{tried} inputs, {accepted} accepted, every reading equal to h11's (seed {seed})\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
