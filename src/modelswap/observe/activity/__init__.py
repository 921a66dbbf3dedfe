"""Running requests, and the store of completed ones.

`inflight`: the running requests. `completion_batcher`: takes completed requests to the store, the
captures and the counters. `store`: keeps rows, with `database` (SQLite), `rows` (columns), `query`
(SQL) and `export` (JSON lines, CSV).
"""
