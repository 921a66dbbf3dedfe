"""Counters, samples of the machine, and the Prometheus text.

`prometheus` (`Metrics`): counts requests and model starts into `counters`. `exposition`: makes the
text. `performance`: samples of host and GPUs.
"""
