"""Sockets, TLS, deadlines and memory, below HTTP."""
