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
from .exchange import BodySink, Exchange
from .fields import Field
from .forms import FormEdit, FormScan
from .head import ResponseHead
from .listening import EXPECTED as LISTEN_EXPECTED
from .listening import ListenAddress, ListenError
from .outcome import BodySource, Ending, Outbound, Outcome, Watcher
from .relay import Relay
from .request import Request, forward_headers
from .server import Server
from .sources import ExchangeBody
from .spool import Spool
from .upload import Upload
from .upstream import Upstream

__all__ = [
    "LISTEN_EXPECTED",
    "Address",
    "BodySink",
    "BodySource",
    "Certificate",
    "CertificateError",
    "Ending",
    "Exchange",
    "ExchangeBody",
    "Field",
    "FormEdit",
    "FormScan",
    "ListenAddress",
    "ListenError",
    "Outbound",
    "Outcome",
    "Relay",
    "Request",
    "ResponseHead",
    "Server",
    "Spool",
    "Upload",
    "Upstream",
    "Watcher",
    "forward_headers",
    "give_back",
    "tune_allocator",
]
