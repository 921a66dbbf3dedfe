"""Commands: split into words, and searched for shell syntax and secrets."""
