"""Which request is served, waits, or starts a swap, and in which order."""
