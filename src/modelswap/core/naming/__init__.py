"""What a model name in a request stands for."""
