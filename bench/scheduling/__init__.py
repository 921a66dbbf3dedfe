"""Replay traces of requests on virtual time: through the program's own controller, and through rivals."""
