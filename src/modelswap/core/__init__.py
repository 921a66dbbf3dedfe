"""Decides which model runs and which request is served; free of sockets, processes, clocks and logs.

Events go in with the time, commands come out (`commands`). So the whole package is tested without an
event loop, and a simulation runs years of traffic in seconds.

controller        the one entry: joins the life cycles with the scheduler
lifecycle_driver  moves each model through its life cycle, and keeps the timers
models            the state of one model, its life cycle as a table, load times
scheduling        admission of one request, the queue, swaps
placement         policies: which models must leave, and where a model runs
naming            names, aliases and selectors; edits of the model's name in a body
"""
