"""Launchers start and stop model servers and report what happens to them.

The fleet knows a launcher by the protocols in `protocol` alone. Orders are plain calls that return at
once. Every consequence arrives as news through the `Listener`, in order, on the event loop, and never
from within the order itself. A launcher chooses the port and the address of a server and judges its
readiness (it owns the probe). When to start, how long to wait and what to do after a failure is
decided elsewhere.

Guarantees: for each `start`, and for each `adopt` that succeeded, exactly one `on_exited` arrives,
however the server ends, unless the launcher is closed before. `on_started` arrives at most once, before
the first `on_ready`; both arrive before `on_exited`. All output arrives before `on_exited`.

    protocol         what the fleet and a launcher say to each other
    probe            when a server is ready
    memory_release   reports an exit only when the server's GPU memory is free
    local            the launcher of this machine, a client of the keeper
    diagnosis        why a server ended or cannot be started
"""
