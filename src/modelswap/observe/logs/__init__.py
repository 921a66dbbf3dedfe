"""Log lines, where they go, and what is masked in them."""
