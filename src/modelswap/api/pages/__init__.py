"""The web page, and the pages of model servers."""
