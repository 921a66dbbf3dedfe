"""Official and hand-written clients, through the real program."""
