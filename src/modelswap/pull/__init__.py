"""Pulls models: from Hugging Face's hub, from a URL, from Ollama's registry; resumed and checked."""
