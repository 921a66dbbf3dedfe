"""`${name}` in values is replaced by macros, ports and model ids."""
