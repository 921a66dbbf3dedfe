"""What is known of each model, and the life cycle of its server."""
