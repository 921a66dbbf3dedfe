"""Checks of a valid plan: against this machine, and of models against each other."""
