"""Reads, decodes, edits and stores request bodies."""
