"""Authenticates clients: keys, identities and their rights.

identity             the rights of a client
credentials          where a request carries keys
keys                 keys → an identity, or 401, 403, 429
failed_attempts      wrong keys by address: throttles guessing
authentication       the same for one request
client_identity      address, client for fair queueing, background, no-swap
"""
