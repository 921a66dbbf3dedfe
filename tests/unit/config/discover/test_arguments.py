"""Arguments as text, and what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelswap.config.commands.words import split
from modelswap.config.discover.arguments import context_of, known_options, quoted
from support.found_models import found_model


@pytest.mark.parametrize(
    ("words", "context"),
    [
        (("-c", "4096"), 4096),
        (("--ctx-size=512", "--ctx-size", "1024"), 1024),
        (("--max-model-len", "8192"), 8192),
        (("--ctx-size", "0"), None),
        (("--ctx-size",), None),
        (("--ctx-size", "many"), None),
        (("--ctx-size", "9" * 5000), None),
        ((), None),
    ],
)
def test_the_context_that_arguments_set(words: tuple[str, ...], context: int | None) -> None:
    """The last flag counts; 0 means the model's own."""
    assert context_of(words) == context


@pytest.mark.parametrize("windows", [False, True])
def test_quoted_words_are_split_again(*, windows: bool) -> None:
    """A path reaches the server as it is, by the rules of the system."""
    words = (r"C:\my models\it's.gguf", "#1", "a b", 'say "x"', "", r"C:\folder\\", "x")
    assert split(quoted(words, windows=windows), windows=windows) == words


def test_adapters_of_a_store() -> None:
    """Each LoRA adapter that a store applies to its model is an argument."""
    options = known_options(found_model(adapters=(Path("/a"), Path("/b"))))
    assert options["lora"] == ("--lora", "/a", "--lora", "/b")


@pytest.mark.parametrize("value", ["0", "-1", "0.6", "1e-05", "151643"])
def test_a_number_of_a_store(value: str) -> None:
    """Its parameters are passed as they are written."""
    assert known_options(found_model(options={"seed": value}))["seed"] == ("--seed", value)


@pytest.mark.parametrize(
    "value", ["1\n#", "1\n", "${hf}", "--port", "1 2", "true", "[1]", "\u0663", "9" * 5000]
)
def test_a_parameter_that_is_no_number_is_left_out(value: str) -> None:
    """A store's text can neither end the quoting nor use a macro."""
    assert "seed" not in known_options(found_model(options={"seed": value}))
