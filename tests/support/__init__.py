"""Stand-ins shared by the integration tests, the soak and the benchmarks.

`stub.py` is a model server one can script; `server.py` runs the real program
beside it. Nothing here imports modelswap: what is tested is the program that a
user starts.
"""
