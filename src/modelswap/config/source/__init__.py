"""Files are found, read as trees, merged, rewritten from older forms, and watched."""
