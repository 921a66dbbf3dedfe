"""Hints: near and of the right kind, or what another program calls it; else none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from modelswap.config.messages.foreign_names import FOREIGN_NAMES
from modelswap.config.messages.hints import nearest
from modelswap.config.schema.field_types import keys_of

if TYPE_CHECKING:
    from support.config import LoadText

TOP = [
    ("listen: 0.0.0.0:8080", "--listen"),
    ("host: 0.0.0.0", "--listen"),
    ("port: 8080", "--listen"),
    ("address: 0.0.0.0", "--listen"),
    ("bind: 0.0.0.0", "--listen"),
    ("ttl: 300", "'globalTTL'"),
    ("idleTimeout: 300", "'globalTTL'"),
    ("keep_alive: 5m", "'globalTTL'"),
    ("preload: [a]", "'hooks.on_startup.preload'"),
    ("cmd: llama-server", "'models.<id>.cmd'"),
    ("proxy: http://h:1", "'models.<id>.proxy'"),
    ("stripParams: temperature", "'models.<id>.filters.stripParams'"),
    ("health_check_timeout: 60", "'healthCheckTimeout'"),
    ("healthCheckTimeOut: 60", "'healthCheckTimeout'"),
    ("HEALTHCHECKTIMEOUT: 60", "'healthCheckTimeout'"),
    ("log_level: debug", "'logLevel'"),
    ("start-port: 9000", "'startPort'"),
    ("api_key: abc", "'apiKeys'"),
    ("apiKey: abc", "'apiKeys'"),
    ("apikey: abc", "'apiKeys'"),
    ("model_list: []", "models: {ID"),
    ("model: {a: 1}", "'models'"),
    ("members: [a]", "'groups.<id>.members'"),
    ("tls_cert: x", "--tls-cert-file"),
    ("OLLAMA_HOST: x", "--listen"),
    ("cors: ['*']", "'allowedOrigins'"),
    ("loglevel: debug", "'logLevel'"),
    ("startPrt: 9000", "'startPort'"),
]
MODEL = [
    ("stripParams: a", "'filters.stripParams'"),
    ("setParams: {a: 1}", "'filters.setParams'"),
    ("strip_params: a", "'filters.stripParams'"),
    ("tools: true", "'capabilities.tools'"),
    ("vision: true", "'capabilities.in'"),
    ("idleTimeout: 300", "'ttl'"),
    ("idle_timeout: 5m", "'ttl'"),
    ("keep_alive: 5m", "'ttl'"),
    ("host: 127.0.0.1", "'proxy'"),
    ("port: 9000", "${PORT}"),
    ("endpoint: http://h", "'proxy'"),
    ("url: http://h", "'proxy'"),
    ("base_url: http://h", "'proxy'"),
    ("ctx_size: 4096", "write it into cmd"),
    ("context_length: 4096", "write it into cmd"),
    ("gpu_layers: 99", "write it into cmd"),
    ("temperature: 0.7", "filters.setParams"),
    ("concurrency: 3", "'concurrencyLimit'"),
    ("max_concurrency: 3", "'concurrencyLimit'"),
    ("concurrency_limit: 3", "'concurrencyLimit'"),
    ("environment: [A=b]", "'env'"),
    ("command: x", "'cmd'"),
    ("args: [x]", "'cmd'"),
    ("exec: x", "'cmd'"),
    ("model: /x.gguf", "--model FILE"),
    ("autostart: true", "'hooks.on_startup.preload'"),
    ("alias: [a]", "'aliases'"),
    ("exclusive: true", "groups"),
    ("health_check: /h", "'checkEndpoint'"),
    ("check_endpoint: /h", "'checkEndpoint'"),
    ("unloadTimout: 3", "'unloadTimeout'"),
    ("startPort: 3", "'startPort'"),
    ("memry: {ram: 1GiB}", "'memory'"),
    ("memry: 6GiB", "'memory'"),
    ("vram: 6GiB", "'memory'"),
    ("pined: true", "'pinned'"),
]


def _hint(loaded: LoadText, text: str) -> str:
    found = loaded(text)
    (warning,) = [w for w in found.warnings if w.message == "unknown key, ignored"]
    return warning.hint


@pytest.mark.parametrize(("text", "hint"), TOP)
def test_hint_at_the_top(loaded: LoadText, text: str, hint: str) -> None:
    """What people write at the top level leads to what they meant."""
    assert hint in _hint(loaded, text)


@pytest.mark.parametrize(("text", "hint"), MODEL)
def test_hint_in_a_model(loaded: LoadText, text: str, hint: str) -> None:
    """What people write in a model leads to what they meant."""
    assert hint in _hint(loaded, f"models: {{m: {{cmd: 'x ${{PORT}}', {text}}}}}")


NONE = ["zzz: 1", "hoster: 1", "stores: 5", "limit: 5", "models: {m: {cmd: x, proxy: 'http://h', tt: x}}",
        "models: {m: {cmd: x, proxy: 'http://h', nam: [a]}}", "peers: {p: {proxy: 'http://h', models: [m], ttl: 5}}"]  # fmt: skip


@pytest.mark.parametrize("text", NONE)
def test_no_hint_is_better_than_a_wrong_one(loaded: LoadText, text: str) -> None:
    """What is not near, or not of the kind, has no hint."""
    assert _hint(loaded, text) == ""


MACROS = [
    ("${HOME}", "${env.HOME}"),
    ("${HF_TOKEN}", "${env.HF_TOKEN}"),
    ("${env_HOME}", "${env.HOME}"),
    ("${port}", "'${PORT}'"),
    ("${Port}", "'${PORT}'"),
    ("${MODEL}", "'${MODEL_ID}'"),
    ("${model-id}", "'${MODEL_ID}'"),
    ("${modelsDir}", "'${models_dir}'"),
    ("${models_dirr}", "'models_dir'"),
]


@pytest.mark.parametrize(("written", "hint"), MACROS)
def test_hint_for_a_macro(loaded: LoadText, written: str, hint: str) -> None:
    """An unknown macro leads to the variable, the built-in or the declared one that was meant."""
    found = loaded(f"macros: {{models_dir: /m}}\nmodels: {{m: {{cmd: 'x {written} ${{PORT}}'}}}}")
    (problem,) = found.problems
    assert hint in problem.hint


def test_foreign_names_are_not_keys() -> None:
    """No word of the table is a key of its record: the table would say that it is another one."""
    from modelswap.config.schema import schema, schema_root  # noqa: PLC0415 - by name

    for record, words in FOREIGN_NAMES.items():
        cls = getattr(schema, record, None) or getattr(schema_root, record)
        known = {"".join(c for c in name.lower() if c.isalnum()) for name in keys_of(cls)}
        assert not known & words.keys(), record


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("tpm", "tmp", True),
        ("host", "hooks", False),
        ("idleTimeout", "unloadTimeout", False),
        ("matrx", "matrix", True),
        ("a", "b", False),
        ("Qwen3_8B", "qwen3-8b", True),
        ("x" * 500, "x" * 499, False),
    ],
)
def test_near(word: str, known: str, near: bool) -> None:  # noqa: FBT001 - a table
    """Near means few letters for the word's length."""
    assert bool(nearest(word, [known])) is near


def test_many_misspelt_names_take_bounded_time(loaded: LoadText) -> None:
    """1,000 unknown members among 1,000 models: the names are prepared once, not at each comparison."""
    models = "".join(f"  m{n}: {{cmd: x ${{PORT}}}}\n" for n in range(1000))
    members = ", ".join(f"z{n}" for n in range(1000))
    began = time.process_time()
    found = loaded(f"models:\n{models}groups: {{g: {{members: [{members}]}}}}\n")
    assert len(found.warnings) == 1000
    assert time.process_time() - began < 4
