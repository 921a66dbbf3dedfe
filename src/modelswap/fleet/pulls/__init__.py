"""Pulls before loads: requests wait here while the files of their model come."""
