"""Command texts: split into words, searched for shell syntax, secrets, and the address they name."""
