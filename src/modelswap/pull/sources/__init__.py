"""The kinds of sources: which files a source names, where they come from, and how they are laid out here."""
