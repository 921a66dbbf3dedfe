"""Found models become models of the configuration, as if they had been written in the file."""
