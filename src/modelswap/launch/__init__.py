"""Launchers: start and stop model servers, and say what became of them."""
