"""Who sent a request, and what it may do: keys, client identity, hosts and CORS.

identity             `Identity`: the rights of a caller
credentials          where a request carries keys
keys                 keys → an identity, or why not
failed_attempts      wrong keys by address, so that guessing is slow
authentication       the same for one request; raises what the client is told
client_identity      address, client for fair queueing, background, no-swap
trusted_proxies      whose word about clients is believed
host_and_cors        rules for `Host`, `Origin` and CORS
site_checks          the same for one request
kubernetes           local host names in a cluster
model_restrictions   keys that are limited to some models
"""
