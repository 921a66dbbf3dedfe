"""One request to a model, from its head to its last byte."""
