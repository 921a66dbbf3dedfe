"""Which model a request means, and how the request is edited for it."""
