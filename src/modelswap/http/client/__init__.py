"""Sends requests to upstreams, over pooled connections.

`relay` joins an exchange of `server` with a `connection` of a `pool`; after `101` a `tunnel` does.
`protocols` holds what they ask of each other.
"""
