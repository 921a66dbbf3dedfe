"""Serves the connections of clients, one exchange for each request.

A `connection` is composed of a `request_reader`, which is fed bytes, and a `client_transport`, which
writes; what all connections share is their `context`. `protocols` holds what they ask of each other.
"""
