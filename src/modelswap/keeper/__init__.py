"""The keeper is the small supervisor process that owns the model servers.

A front may be restarted, upgraded or killed: its servers, the keeper's children, run on for a while.

Guarantees: no server outlives the keeper.
Does not: decide when a stop becomes a kill, unless there is no front left to decide it.
Memory: it imports little of the standard library (no enum, re, json, dataclasses or asyncio) and
of modelswap `procfs` and `c_library`, so it is up in a few hundredths of a second and stays small.

    protocol         frames and messages between front and keeper, versioned
    child            fork and exec of one process
    server_process   one server: its processes and its output
    lean             what it takes of the standard library
    control_socket   the socket on which fronts connect
    supervisor       the event loop: orders in, news out, and what to do without a front
    guard            a shell that outlives a keeper which is killed
    sweep            kills what carries a dead keeper's marker
"""
