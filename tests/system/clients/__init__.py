"""The clients that people use, official and hand-written, through the real program."""
