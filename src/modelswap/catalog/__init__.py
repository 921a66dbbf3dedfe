"""Finds models on disk: folders, Hugging Face's cache, LM Studio's and Ollama's stores, read-only."""
