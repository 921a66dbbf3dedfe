"""The byte path: HTTP in, HTTP out, nothing but bytes in between.

`Server` takes connections and gives an `Exchange` per request to its handler;
`Relay` sends one to an `Upstream` and the answer back, and tells a `Watcher`
how it went. Everything is callbacks on asyncio protocols: a small request costs
no task and no future. Heads are read by llhttp (httptools) and checked further
in `head`; framing is refused where it is not exactly one thing.

It knows nothing of models, keys, queues or configuration (only the types of
`Limits` and `Timeouts`). It repairs slips of backends that have one meaning
(`repair`), and nothing that a client sends.
"""

from modelswap.address import Address

from .allocator import give_back, tune_allocator
from .certificate import Certificate, CertificateError
from .codings import (
    ACCEPTED,
    BadCodingError,
    BodyStream,
    DecodedStream,
    GrownError,
    UnknownCodingError,
    codings_of,
    decoded,
)
from .exchange import BodySink, Exchange
from .fields import Field
from .forms import FormEdit, FormScan
from .head import ResponseHead
from .listening import EXPECTED as LISTEN_EXPECTED
from .listening import ListenAddress, ListenError
from .outcome import BodySource, Ending, Outbound, Outcome, Watcher
from .relay import Relay
from .request import Request, forward_headers
from .server import Refused, Server
from .sockets import is_local
from .sources import ExchangeBody, OpenedBody
from .spool import Spool, SpoolFolders
from .upload import Fault, Upload
from .upstream import Upstream

__all__ = [
    "ACCEPTED",
    "LISTEN_EXPECTED",
    "Address",
    "BadCodingError",
    "BodySink",
    "BodySource",
    "BodyStream",
    "Certificate",
    "CertificateError",
    "DecodedStream",
    "Ending",
    "Exchange",
    "ExchangeBody",
    "Fault",
    "Field",
    "FormEdit",
    "FormScan",
    "GrownError",
    "ListenAddress",
    "ListenError",
    "OpenedBody",
    "Outbound",
    "Outcome",
    "Refused",
    "Relay",
    "Request",
    "ResponseHead",
    "Server",
    "Spool",
    "SpoolFolders",
    "UnknownCodingError",
    "Upload",
    "Upstream",
    "Watcher",
    "codings_of",
    "decoded",
    "forward_headers",
    "give_back",
    "is_local",
    "tune_allocator",
]
