"""The one owner of the model servers.

owner       `Fleet`: feeds the room, carries its commands out, gives leases
failures    why models are down, as it is told
servers     what it holds (`Server`, `Ticket`) and whom it tells (`Waiter`, `Observer`)
"""

from .failures import Failed
from .owner import Fleet
from .servers import Observer, Server, Ticket, Waiter, job_of, upstream_of

__all__ = ["Failed", "Fleet", "Observer", "Server", "Ticket", "Waiter", "job_of", "upstream_of"]
