"""HTTP messages: heads, fields and framing, read and written."""
