"""Reads the headers of GGUF files; written for files that lie.

Guarantees: time and memory of one file are bounded by the limits of `window`, `metadata` and `tensors`;
nothing beyond the size of the file is read; whatever the bytes are, the outcome is a header, a
`GgufError` or an `OSError`.
Does not: map files into memory, as a file that another program cuts would end this process.
"""
