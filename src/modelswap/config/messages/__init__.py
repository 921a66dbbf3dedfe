"""Problems with their place, what was found, and what was most likely meant."""
