"""Hands a running program over to a new process: SIGUSR2 loses no request.

channel     messages between the two processes, as lines of JSON
outgoing    the running process: starts the new one, and gives it everything
incoming    the new process: takes over, and grants leases to the requests of the old one

1. The old process starts the new one with the same command, the listening sockets and a channel.
2. The new one loads and checks everything, then sends `ready`.
3. The old one disconnects from the keeper, and sends `go` with its leases.
4. The new one adopts the models, accepts connections, and sends `serving`.
5. The old one stops accepting, asks the new one for leases, and exits with its last connection.

Until `serving` the old process takes everything back when the new one fails.
"""
