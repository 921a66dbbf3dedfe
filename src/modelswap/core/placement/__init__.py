"""Policies: which models may run together, which one must leave, and where a model runs."""
