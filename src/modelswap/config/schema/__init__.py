"""Every key of the file: its name, type, default and meaning."""
