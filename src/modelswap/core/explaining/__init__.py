"""Says in words what would happen to a request, and what was decided.

quantities   bytes, durations and lists as text
words        an explanation, a device and a swap in words
"""
