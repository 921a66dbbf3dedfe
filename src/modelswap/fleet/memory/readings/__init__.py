"""Reads the devices and the processes of our servers, on a thread."""
