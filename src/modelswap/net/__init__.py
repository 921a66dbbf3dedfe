"""Addresses, listening sockets, Unix sockets and limits of descriptors, for the packages above."""
