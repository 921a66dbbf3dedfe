"""`apiKeys`, and that no secret is ever shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.config.describe import describe
from modelswap.config.redact import redact

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.config.plan import ApiKey
    from support.config import LoadText

HASH = "sha256:" + "a" * 64


def _key(loaded: LoadText, text: str) -> ApiKey:
    found = loaded(f"apiKeys: [{text}]")
    assert found.plan is not None, found.lines()
    return found.plan.settings.api_keys[0]


def test_plain_key_may_do_everything(loaded: LoadText) -> None:
    """A text is a key with every scope, named by its place; a number is a text, too."""
    key = _key(loaded, "5, ~")
    assert key.key is not None
    assert (key.name, key.key.reveal()) == ("key-1", "5")
    assert not key.is_named
    assert key.scopes == {"inference", "read", "admin"}


def test_key_record(loaded: LoadText) -> None:
    """A record limits what its key may do."""
    key = _key(
        loaded,
        f"{{name: n, keyHash: '{HASH.upper()}', scopes: [read], models: ['a*'], rateLimit: 5,"
        " expires: 2030-01-31, background: yes}",
    )
    assert (key.name, key.key, key.key_hash) == ("n", None, HASH)
    assert key.is_named
    assert not _key(loaded, "{key: abc}").is_named
    assert (key.scopes, key.models, key.rate_limit) == (frozenset({"read"}), ("a*",), 5)
    assert (key.expires, key.background) == ("2030-01-31T00:00:00Z", True)


@pytest.mark.parametrize("text", ["'2030-01-31T01:00:00'", "'2030-01-31T02:00:00+01:00'"])
def test_expiry_is_in_utc(loaded: LoadText, text: str) -> None:
    """A moment without an offset is UTC; another offset is converted."""
    assert _key(loaded, f"{{key: abc, expires: {text}}}").expires == "2030-01-31T01:00:00Z"


def test_key_file(loaded: LoadText, tmp_path: Path) -> None:
    """A key may lie in a file of its own."""
    (tmp_path / "k").write_text("  from-file\n")
    key = _key(loaded, f"{{keyFile: '{tmp_path}/k'}}")
    assert key.key is not None
    assert key.key.reveal() == "from-file"


BAD = [
    ("''", "cannot be empty"),
    ("'secret word'", "found one that contains a space"),
    ("{name: x}", "exactly one of"),
    (f"{{key: a1b2, keyHash: '{HASH}'}}", "exactly one of"),
    ("{key: 'a b'}", "found one that contains a space"),
    ("{keyHash: abc}", "64 hexadecimal digits"),
    (
        "{keyFile: /nowhere/k}",
        "expected a file that can be read (No such file or directory); found '/nowhere/k'",
    ),
    ("{keyFile: /dev/null}", "expected a file that holds a key; found an empty one"),
    ('{keyFile: "a\\0b"}', "not a readable text"),
    ("{key: abc, scopes: [amin]}", "did you mean 'admin'?"),
    ("{key: abc, rateLimit: 0}", "at least 1"),
    ("{key: abc, expires: soon}", "expected a date"),
    ("{key: abc, name: n}, {key: def, name: n}", "expected a name of its own; found 'n'"),
    ("[abc]", "expected text; found a list"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_wrong_key_is_a_problem_without_the_key(loaded: LoadText, text: str, message: str) -> None:
    """A wrong key is named by its place in the list."""
    found = loaded(f"apiKeys: [{text}]")
    assert found.plan is None
    shown = "\n".join(found.lines())
    assert message in shown
    assert "apiKeys" in shown
    assert "secret word" not in shown


def test_no_secret_is_in_a_message(loaded: LoadText) -> None:
    """A value from the environment is masked wherever a message would quote it."""
    env = {"S": "hunter2-secret"}
    found = loaded(
        "models: {a: {cmd: x, proxy: http://h:1, aliases: ['${env.S}', '${env.S}']}}", env
    )
    assert found.plan is None
    assert "hunter2-secret" not in "\n".join(found.lines())
    assert "***" in "\n".join(found.lines())
    named = loaded("selectors: {'${env.S}': {strategy: pin, targets: ['${env.S}']}}", env)
    assert "hunter2-secret" not in "\n".join(named.lines()) + repr(named)


def test_no_secret_is_in_repr_or_description(loaded: LoadText) -> None:
    """Neither repr nor description of a plan shows keys, environment values, peers' keys."""
    text = (
        "apiKeys: [key-aaaa]\npeers: {p: {proxy: 'http://h/${env.S}', models: [m], apiKey: key-bbbb}}\n"
        "models: {a: {cmd: 'x --api-key ${env.S} ${PORT}', env: ['K=${env.S}']}}"
    )
    found = loaded(text, {"S": "hunter2-secret"})
    assert found.plan is not None
    shown = repr(found) + "\n".join(describe(found.plan))
    for secret in ("key-aaaa", "key-bbbb", "hunter2-secret"):
        assert secret not in shown
    (model,) = found.plan.models.values()
    assert redact(found.plan, model.cmd) == "x --api-key *** 5800"


def test_longest_secret_is_masked_first(loaded: LoadText) -> None:
    """Nothing of a longer secret is left when a shorter one is its beginning."""
    plan = loaded("apiKeys: [abcd, abcd-efgh, 'k']").plan
    assert plan is not None
    assert redact(plan, "abcd-efgh abcd k") == "*** *** k"


@pytest.mark.parametrize("value", ["80", "8080", "true", "localhost", "abc"])
def test_ordinary_value_is_no_secret(loaded: LoadText, value: str) -> None:
    """Ports, switches and very short words are not masked."""
    plan = loaded("models: {a: {cmd: 'x ${env.V} ${PORT}'}}", {"V": value}).plan
    assert plan is not None
    assert redact(plan, f"x {value}") == f"x {value}"


@pytest.mark.parametrize("key", ["a b", "two\\nlines", "nul\\0"])
@pytest.mark.parametrize(
    "text",
    [
        'models: {{m: {{cmd: x, apiKey: "{key}"}}}}',
        'peers: {{p: {{proxy: "http://h:1", models: [m], apiKey: "{key}"}}}}',
    ],
)
def test_a_key_that_fits_into_no_header(loaded: LoadText, text: str, key: str) -> None:
    """It is a mistake of the file, not found out by each request; the message does not show it."""
    (line,) = (str(one) for one in loaded(text.format(key=key)).problems)
    assert "apiKey: expected a key without spaces or control characters" in line


def test_a_model_s_key(loaded: LoadText) -> None:
    """It may come from the environment, is a secret, and needs no restart when it changes."""
    text = "models: {m: {cmd: x, apiKey: '${env.K}', proxy: 'http://h:1/k-5678'}}"
    one, two = (loaded(text, {"K": f"k-{n}"}).plan for n in ("5678", "1234"))
    assert one is not None
    assert two is not None
    (old,), (new,) = one.models.values(), two.models.values()
    assert old.api_key is not None
    assert old.api_key.reveal() == "k-5678"
    assert redact(one, "a k-5678 b") == "a *** b"
    literal = loaded("models: {m: {cmd: x, apiKey: ' k-999 '}}").plan
    assert literal is not None
    assert redact(literal, "a k-999 b") == "a *** b"
    assert old.identity == new.identity
