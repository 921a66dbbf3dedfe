"""The composition root: build everything, serve, reload, shut down."""
