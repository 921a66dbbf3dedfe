"""What happened: logs, events, token figures, activity, captures, metrics, hardware.

Law: observing never slows, changes or fails a request. Queues are bounded,
what does not fit is dropped and counted, and the expensive part happens in
threads. Nothing here decides anything.

Parts: `logs` (`Logs`, `Logger`), `events` (`Bus`), `meter` (`Meter`), `activity`
and `store` (`Row`, `Store`), `captures`, `inflight`, `prometheus` (`Metrics`),
`performance`, `hardware`. Each is built by the composition root and knows the
others only where its constructor says so.
"""
