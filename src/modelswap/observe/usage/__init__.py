"""Token figures out of responses."""
