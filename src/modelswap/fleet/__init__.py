"""The one owner of the model servers.

owner       `Fleet`: feeds the room, carries its commands out, gives leases
adoption    which servers found running are taken over, and how
failures    why models are down, as it is told
remote      `RemoteFleet`: what another front owns, after a hand-over
servers     what it holds (`ModelServer`, `Ticket`) and whom it tells (`Waiter`, `Observer`)
"""

from .adoption import Inherited
from .failures import ModelFailure
from .fleet import Fleet
from .remote import RemoteFleet
from .servers import ModelServer, Observer, Ticket, Waiter, launch_spec_of, upstream_of

__all__ = [
    "Fleet",
    "Inherited",
    "ModelFailure",
    "ModelServer",
    "Observer",
    "RemoteFleet",
    "Ticket",
    "Waiter",
    "launch_spec_of",
    "upstream_of",
]
