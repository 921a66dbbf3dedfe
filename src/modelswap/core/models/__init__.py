"""The state of each model, and the life cycle of its server."""
