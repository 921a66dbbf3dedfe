"""The web page, and the web pages of model servers.

static_files      files of the page, and the redirects to it
model_pages       pages of model servers get origins of their own
model_redirects   where a model server may redirect a browser
"""
