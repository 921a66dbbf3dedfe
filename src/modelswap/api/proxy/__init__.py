"""Takes a request to a model from its head to its last byte.

context          the facts of the head, made once for equal requests
resolve          which model, which edits, may this key
body_arrival     takes bodies that are no plain JSON, with `bodies`
queue_wait       waits for a lease, with `keep_alive_stream`
proxy_request    the state machine that calls the others
readiness        what may load a model, and what only polls it
record           observes the relay for activity list, metrics and captures
"""
