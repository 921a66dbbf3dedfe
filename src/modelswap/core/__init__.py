"""The decisions, and nothing else: no sockets, no processes, no clock, no log.

Every function here takes facts and returns facts. Whatever has to happen in the world is *returned*
as a command, and whatever happened is *passed in* as an event, with the time. So the whole package
is tested without an event loop, and a simulation can run it for years in seconds.

The door is `room.Room`. Behind it: `lifecycle` (the table of one server's life), `lives` (all of
them, and the timers), `scheduler` and `admission` (who runs and who waits), `fairness` (in which
order), `policy` and `matrix` (who must leave). Beside it: `names` and `selectors`.
"""
