"""Every key, its type, and how a tree becomes typed records."""
