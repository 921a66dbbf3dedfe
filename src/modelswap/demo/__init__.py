"""The demonstration: tiny random models, the real engine, the real program, every swap timed.

`weights` writes models, `scenery` writes a folder with models and a configuration,
`tour` talks to the running program, `show` runs all of it in a terminal.

Law: it uses modelswap as a user does, as a process and over HTTP. It downloads nothing.
"""
