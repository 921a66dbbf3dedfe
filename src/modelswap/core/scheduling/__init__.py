"""Which request is served, waits, or starts a swap, and in which order.

admission      the decision about one request
explanation    the dry run of a decision, for readers
queue          the order of those that wait
swap_costs     what a swap costs, and what follows: bounds, the order of swaps, models that are kept
room           requests that wait for memory, and promises to models that start
pending_swaps  the swaps in progress: which exits they wait for, and whom they evict
scheduler      joins them: events in, decisions out
"""
