"""What clients may say, and what they are told.

`front` is the door: one call per request. `routes` is the table of paths.
Control routes are coroutines (`control`, `observe_routes`, `pages`); requests to
models are a `visit`: callbacks on the byte path. `house` is what they share,
`book` what is compiled from one configuration.

Nothing here starts a process, decides who runs, or knows how a body is framed.
"""
