"""The launcher of this machine: a client of the keeper."""
