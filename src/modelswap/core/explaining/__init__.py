"""Says in words what would happen to a request, and what was decided.

costs        what it costs to lose a model
quantities   bytes, durations and lists as text
words        an explanation, a device and a swap in words
"""
