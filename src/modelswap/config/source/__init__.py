"""Files: found, read as trees with marks, merged, watched."""
