"""Command texts: split into words, searched for shell syntax, and for secrets."""
