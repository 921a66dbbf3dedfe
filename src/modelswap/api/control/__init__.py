"""The control routes: models, observability."""
