"""The API of llama.cpp's router: its list of models, its events, its orders.

records           the records of `GET /models`
events            the stream of `GET /models/sse`
load_progress     how far a load is, from what the operating system counts
handlers          the control routes
"""
