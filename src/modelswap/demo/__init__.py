"""The demonstration: tiny random models, the real engine, the real program; it times every swap.

`weights` writes models, `workspace` a folder with models and a configuration. `requests` sends
requests to the running program. `terminal` runs all of it in a terminal.

Guarantees: it uses modelswap as a user does, as a process and over HTTP. It downloads nothing.
"""
