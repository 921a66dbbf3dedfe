"""Typed records become the frozen plan."""
