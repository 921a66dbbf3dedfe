"""The table of llama-server's options."""

from __future__ import annotations

import pytest

from modelswap.config.discover.llama_options import RESERVED, options_by_key


@pytest.mark.parametrize(
    ("key", "name", "takes_value", "is_opposite"),
    [
        ("c", "ctx-size", True, False),
        ("LLAMA_ARG_CTX_SIZE", "ctx-size", True, False),
        ("Cr", "cpu-range", True, False),
        ("C", "cpu-mask", True, False),
        ("HF_TOKEN", "hf-token", True, False),
        ("ngl", "n-gpu-layers", True, False),
        ("mlock", "mlock", False, False),
        ("no-mmap", "mmap", False, True),
        ("nkvo", "kv-offload", False, True),
        ("LLAMA_ARG_KV_OFFLOAD", "kv-offload", False, False),
    ],
)
def test_an_option_has_all_its_names(
    *, key: str, name: str, takes_value: bool, is_opposite: bool
) -> None:
    """Short and long names, variables, and the opposite of a switch lead to the option."""
    option, found_opposite = options_by_key()[key]
    assert (option.name, option.takes_value, found_opposite) == (name, takes_value, is_opposite)


def test_reserved_options_exist() -> None:
    """What has no effect is an option of llama-server."""
    assert {name for name in RESERVED if name not in options_by_key()} == set()


def test_the_engine_s_flags_are_options() -> None:
    """Each long flag of the bundled engine is a key that a preset may use."""
    from modelswap.engine.table import FLAGS  # noqa: PLC0415 - the engine is not imported elsewhere

    names = {name.lstrip("-") for flag in FLAGS for name in flag.names if name.startswith("--")}
    assert names - options_by_key().keys() == set()
