"""The stores of other programs, read-only: where they are, and which models they hold."""
