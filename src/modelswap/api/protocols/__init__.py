"""Knows what the clients of each protocol expect in an event stream."""
