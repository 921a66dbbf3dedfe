"""The policy `memory`: models run together while they fit into the devices; the cheapest ones leave."""
