"""Why a model server did not start, read from its output and from the system."""
