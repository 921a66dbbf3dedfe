"""Bodies on their way: codings, forms, buffers, files."""
