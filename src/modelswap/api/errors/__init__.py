"""HTTP errors: from the reason of a failure to the bytes that a client reads.

error_mapping     why a wait or a relay failed → an exception of `modelswap.errors`
error_responses   an exception → status, headers and body
error_objects     the JSON of OpenAI's and Anthropic's errors
negotiation       JSON, plain text or HTML, by `Accept`
"""
