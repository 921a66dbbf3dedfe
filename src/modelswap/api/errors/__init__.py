"""Reasons and exceptions as HTTP errors."""
