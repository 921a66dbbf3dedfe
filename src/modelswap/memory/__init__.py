"""How much memory models need: declared, learned, or predicted from their files and commands."""
