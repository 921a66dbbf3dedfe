"""Which models may run together, and which one has to leave."""
