"""Authenticates clients: keys, identities and their rights.

identity             `Identity`: the rights of a client
credentials          where a request carries keys
keys                 keys → an identity, or why not
failed_attempts      wrong keys by address: throttles guessing
authentication       the same for one request; raises 401, 403 and 429
client_identity      address, client for fair queueing, background, no-swap
"""
