"""Finds out why a model server ended or cannot be started."""
