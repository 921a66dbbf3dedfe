"""Devices: what this machine's GPUs, memory and processor say of themselves.

Guarantees: absent hardware is absent, never an error; no driver library is loaded where no device is.
Does not: cache a reading, or wait; drivers are slow, so nothing here belongs on the event loop.
"""
