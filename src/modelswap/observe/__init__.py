"""The records of what the program does: logs, events, requests, token figures, metrics.

`logs`: log lines and where they go. `events` (`EventBus`): the stream of `/api/events`.
`activity`: running and completed requests. `captures`: bodies of completed requests.
`usage`: token figures of responses. `metrics`: counters and samples of the machine.
`batcher`, `bounded_stream`: what these share.

Guarantees: observing never delays, changes or fails a request. Queues are bounded; what does not fit
is dropped and counted. Slow work runs in threads.
Does not: decide anything.
"""
