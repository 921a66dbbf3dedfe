"""Launchers start and stop model servers and report what happens to them.

The fleet knows a launcher by the protocols in `protocol` alone. Orders are plain calls that return at
once; every consequence arrives as news through the `Listener`, in order, on the event loop, never from
within the order itself. A launcher chooses a server's port and address and owns its probe. When to
start, how long to wait and what to do after a failure is decided elsewhere.

Guarantees: for each `start`, and each `adopt` that succeeded, exactly one `on_exited` arrives, unless the
launcher is closed before. `on_started` arrives at most once, before the first `on_ready`; both, and all
output, arrive before `on_exited`.
"""
