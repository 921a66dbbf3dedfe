"""`${name}` in values, and commands as words."""
