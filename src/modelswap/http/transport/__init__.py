"""Sockets, TLS, timers and memory below HTTP."""
