"""Commands to a running server: it is found, and told or asked over HTTP."""
