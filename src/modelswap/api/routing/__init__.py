"""Finds the model that a request names, edits the request for it, and handles paths and redirects."""
