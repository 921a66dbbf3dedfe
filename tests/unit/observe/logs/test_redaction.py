"""Masking of headers and secrets."""

from __future__ import annotations

from modelswap.observe.logs.redaction import HeaderMask, line_redactor


def test_credentials_in_headers_are_masked() -> None:
    """Every header that may carry a credential is masked, others are not; the first value counts."""
    hidden = (
        b"authorization proxy-authorization COOKIE set-cookie x-api-key api-key x-goog-api-key "
        b"x-auth-token x-custom proxy-thing"
    ).split()
    plain = (
        b"user-agent x-session-id x-litellm-session-id anthropic-ratelimit-tokens-remaining".split()
    )
    mask = HeaderMask(["X-Custom"])
    flat = mask.flatten([(name, b"v") for name in (*hidden, *plain, b"Host", b"user-agent")])
    assert {name.lower().encode() for name, value in flat.items() if value == "[REDACTED]"} == {
        name.lower() for name in hidden
    }
    assert "Host" not in flat
    assert flat["X-Session-Id"] == "v"


def test_the_longest_secret_is_masked_first() -> None:
    """A secret inside a longer one leaves no part of the longer one."""
    redact = line_redactor(["key", "key-long"])
    assert redact is not None
    assert redact(b"key-long key") == b"*** ***"
    assert line_redactor([]) is None
