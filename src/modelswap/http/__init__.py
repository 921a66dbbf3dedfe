"""Takes HTTP requests from clients, and relays them to upstreams.

Everything is callbacks on asyncio protocols: a small request costs no task and no future. Framing that
is not exactly one thing is refused; only harmless slips of upstreams are repaired. Nothing here knows
models, keys, queues or the configuration.
"""

from modelswap.net.address import Address

from .body.codings import (
    ACCEPTED,
    BadCodingError,
    DecodedStream,
    GrownError,
    UnknownCodingError,
    codings_of,
    decoded,
)
from .body.protocols import BodySource, BodyStream
from .body.sources import ExchangeBody, OpenedBody
from .body.spool import SpoolFolders
from .body.upload import Fault, Upload
from .client.connection import UpstreamConnection
from .client.pool import UpstreamPool
from .client.protocols import UpstreamReader
from .client.relay import Relay
from .client.result import EndReason, RelayResult
from .client.upstream_request import UpstreamRequest
from .message.fields import Field
from .message.head import ResponseHead
from .message.request import Request, forward_headers
from .server.context import Refused
from .server.exchange import Exchange
from .server.server import Server
from .transport.certificate import Certificate, CertificateError
from .transport.listening import LISTEN_EXPECTED, ListenAddress, ListenError
from .transport.malloc_trim import malloc_trim, tune_allocator
from .transport.sockets import is_local

__all__ = [
    "ACCEPTED",
    "LISTEN_EXPECTED",
    "Address",
    "BadCodingError",
    "BodySource",
    "BodyStream",
    "Certificate",
    "CertificateError",
    "DecodedStream",
    "EndReason",
    "Exchange",
    "ExchangeBody",
    "Fault",
    "Field",
    "GrownError",
    "ListenAddress",
    "ListenError",
    "OpenedBody",
    "Refused",
    "Relay",
    "RelayResult",
    "Request",
    "ResponseHead",
    "Server",
    "SpoolFolders",
    "UnknownCodingError",
    "Upload",
    "UpstreamConnection",
    "UpstreamPool",
    "UpstreamReader",
    "UpstreamRequest",
    "codings_of",
    "decoded",
    "forward_headers",
    "is_local",
    "malloc_trim",
    "tune_allocator",
]
