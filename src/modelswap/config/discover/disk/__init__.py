"""Looks at the disk: the places, what was found there, and which of it counts already."""
