"""Handing over to a new front: SIGUSR2 replaces the running program and loses no request.

channel     messages between the two fronts, as lines of JSON
outgoing    the running front: starts the new one, gives it everything, finishes its requests
incoming    the new front: takes over, and gives leases to the requests of the old one

The order: the old front starts the new one with the same command, the listening sockets and one end
of a channel. The new one loads and checks everything, then says `ready`. The old one lets go of the
keeper and says `go`, with its leases. The new one adopts the models, accepts, and says `serving`. The
old one stops accepting, asks the new one for the leases that it still needs, and ends with its last
connection. Until `serving` the old front takes everything back when the new one fails.
"""
