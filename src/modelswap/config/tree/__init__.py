"""The configuration files as a tree of typed values, each with its place in a file."""
