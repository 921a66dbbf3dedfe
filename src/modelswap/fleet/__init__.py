"""The fleet owns the model servers and gives leases on them.

fleet             `Fleet`: feeds the controller, has its commands executed
execution         executes the controller's commands, in order
running_servers   starts servers through the launcher and follows its news
model_server      one server: launch specification, handle, address, connections
adoption          what one front leaves to the next, and which servers found running are taken over
waiting           tickets, and the protocol of what waits for a lease
pulls             holds requests back while the files of their model are pulled
observers         the protocol of what hears about models, and a border before it
departures        waits until models are down
failures          why models are down, without secrets
memory            readings of devices and needs of models become facts for decisions
timers            the controller's timers on the loop's clock
remote            `RemoteFleet`: the fleet of another front, after a hand-over
"""

from .adoption import Inherited
from .failures import ModelFailure
from .fleet import Fleet
from .memory.fleet_memory import MemorySources
from .model_server import ModelServer
from .observers import FleetObserver
from .remote import RemoteFleet
from .waiting import LeaseWaiter, Ticket

__all__ = [
    "Fleet",
    "FleetObserver",
    "Inherited",
    "LeaseWaiter",
    "MemorySources",
    "ModelFailure",
    "ModelServer",
    "RemoteFleet",
    "Ticket",
]
