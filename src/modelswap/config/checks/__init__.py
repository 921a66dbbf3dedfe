"""Checks of a plan against this machine, and of models against each other."""
