"""HTTP errors: from the reason of a failure to the bytes that a client reads.

error_mapping     why a wait or a relay failed → an exception of `modelswap.errors`
error_responses   an exception → status, headers and body
error_objects     the JSON of the errors of OpenAI, Anthropic and llama-server
negotiation       JSON, plain text or HTML, by `Accept`
server_output     the last lines of a server whose start failed
"""
