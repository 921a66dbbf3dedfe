"""Problems with their place in the file, the value found there, and a hint."""
