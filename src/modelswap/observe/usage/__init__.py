"""Token figures of responses.

`meter` (`Meter`): reads them while a response streams. `usage`: the objects that servers report.
`decoding`: gzip and deflate. `failure_text`: the reason in an error response.
"""
