"""What an identity may do."""

from __future__ import annotations

from modelswap.api.auth.identity import Identity
from modelswap.config.plan import KeyScope


def test_scopes() -> None:
    """`admin` holds everything; the others only themselves."""
    reader = Identity("r", frozenset({"read"}))
    assert [reader.may(s) for s in KeyScope] == [False, True, False]
    assert Identity("a", frozenset({"admin"})).may(KeyScope.INFERENCE)


def test_model_patterns() -> None:
    """Patterns match any name by which the model is known, and case matters."""
    identity = Identity("m", models=("llama-*", "x/y"))
    assert identity.may_use("llama-3")
    assert identity.may_use("other", "llama-3")
    assert not identity.may_use("Llama-3", "x")
