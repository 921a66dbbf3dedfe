"""Resolves model names: names, aliases, selectors; edits the name in a JSON body."""
