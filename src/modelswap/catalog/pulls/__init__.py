"""Pulled models on disk: which files of a repository are one model, and where each kind of source keeps them."""
