"""Addresses and Unix sockets."""
