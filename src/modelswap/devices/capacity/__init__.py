"""The memory of each device: its size, what is free, and which processes hold it."""
