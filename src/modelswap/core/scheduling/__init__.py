"""Which request is served, waits, or starts a swap, and in which order.

admission    the decision about one request
explanation  the dry run of a decision, for readers
queue        the order of those that wait
scheduler    joins both, and holds the swaps in progress: events in, decisions out
"""
