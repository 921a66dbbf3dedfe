"""One port in front of every local model."""

__version__ = "0.1.0"
