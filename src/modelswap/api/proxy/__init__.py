"""Takes a request to a model from its head to its last byte.

context            `RequestContext`: the facts of the head, made once for equal requests
resolve            `resolve`: which model, which edits, may this key (pure)
body_arrival       `BodyArrival`: takes bodies that are no plain JSON, with `bodies`
queue_wait         `QueueWait`: waits for a lease, with `keep_alive_stream`
proxy_request      `ProxyRequest`: the state machine that calls the others, with `retries`
readiness          `Readiness`: what may load a model, and what only polls it
record             `RequestRecord`: observes the relay for activity list, metrics and captures
services           what requests use of the program
"""
