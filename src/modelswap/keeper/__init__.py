"""The keeper: the small process that owns the model servers.

The front (HTTP, scheduling, UI) may be restarted, upgraded or killed; the servers it started live
on for a short grace, because this process is their parent. They never outlive the keeper.

Standard library only, and little of it: the keeper starts as `python -I -S keeper/__main__.py`, so
that it is up in a few hundredths of a second and stays small. Hence no dataclasses, no asyncio, no
subprocess, no logging here.

    protocol    frames and messages between front and keeper, versioned
    tree        which processes exist, who is whose child, what marks a run
    child       fork and exec of one server, with its parent-death signal
    run         one server: its process, its output, what is left of it
    supervisor  the event loop: orders in, news out, and what to do without a front
    sweep       the last resort: kills what carries a dead keeper's mark

It has no policy: when a stop becomes a kill is the front's affair. Only where no front is left does
it escalate by itself.
"""
