"""Requests: the running ones, and the record of the completed ones."""
