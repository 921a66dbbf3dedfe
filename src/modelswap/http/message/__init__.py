"""Reads and writes HTTP messages: heads, fields and chunked framing."""
