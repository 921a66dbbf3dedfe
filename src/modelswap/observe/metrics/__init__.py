"""Counters, samples of the machine, and Prometheus text."""
