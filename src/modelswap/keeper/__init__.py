"""The keeper is the small supervisor process that owns the model servers.

The front (HTTP, scheduling, web page) may be restarted, upgraded or killed; the servers it started run
on for a short grace, because the keeper is their parent.

Guarantees: no server outlives the keeper.
Does not: decide when a stop becomes a kill, unless there is no front left to decide it.
Memory: it starts as `python -I -S keeper/__main__.py` and imports the standard library and
`modelswap.procfs` only, and little of that: no dataclasses, asyncio, subprocess or logging. So it is up
in a few hundredths of a second and stays small.

    protocol         frames and messages between front and keeper, versioned
    child            fork and exec of one server, with its parent-death signal
    server_process   one server: its processes and its output
    control_socket   the socket on which fronts connect
    supervisor       the event loop: orders in, news out, and what to do without a front
    guard            a shell that outlives a keeper which is killed
    sweep            kills what carries a dead keeper's marker
"""
