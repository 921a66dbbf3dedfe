"""Which request is served, waits, or starts a swap, and in which order.

admission    the decision about one request
explanation  the dry run of a decision, for readers
queue        the order of those that wait
swap_costs   what a swap costs, and what follows: bounds, the order of swaps, models that are kept
room         requests that wait for memory, and promises to models that start
scheduler    joins them, and holds the swaps in progress: events in, decisions out
"""
