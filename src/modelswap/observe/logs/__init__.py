"""Log lines: their history, their live readers, standard output, and the masking of secrets."""
