"""`serve` reads well-formed arguments as click does, and leaves the others to click."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.cli import serve
from modelswap.cli.serve_arguments import ServeArguments, plain

if TYPE_CHECKING:
    from pathlib import Path

WELL_FORMED = [
    "",
    "config.yaml",
    "--config a.yaml",
    "--config=a.yaml",
    "--config a.yaml --config b.yaml",
    "--config a.yaml --config=",
    "--config= --config-dir d",
    "--listen :8080 a.yaml b.yaml",
    "--listen=unix:/x=y",
    "--watch-config --config a.yaml --watch-config",
    "a.yaml --watch-config",
    "--models-dir m --models-dir=n --models-dir= --models-preset p.ini",
    "--state-dir d --tls-cert-file c --tls-key-file k",
    "--models-max 2",
    "--models-max=0 --models-max=",
]
LEFT_TO_CLICK = [
    "--help",
    "-h",
    "--confg a.yaml",
    "--config",
    "--config --listen",
    "--watch-config=maybe",
    "--models-max many",
    "--models-max -1",
    "--models-max=1.5",
    "--models-max 1234567890",
    "-x",
    "a.yaml -- b.yaml",
]


def by_click(arguments: list[str]) -> ServeArguments:
    context = serve.command.make_context("serve", list(arguments))  # it takes them out
    return ServeArguments(**context.params)


@pytest.mark.parametrize("line", WELL_FORMED)
def test_reads_what_click_reads(line: str) -> None:
    assert plain(line.split()) == by_click(line.split())


@pytest.mark.parametrize("line", LEFT_TO_CLICK)
def test_leaves_the_rest_to_click(line: str) -> None:
    assert plain(line.split()) is None


WORDS = [
    *("--config", "--config=", "--config=a.yaml", "--config-dir", "--config-dir=d", "--state-dir"),
    *(
        "--listen",
        "--listen=",
        "--listen=:1",
        "--tls-cert-file",
        "--tls-key-file",
        "--watch-config",
        "--models-max=3",
        "--models-max=x",
    ),
    *("--confi", "--config=-", "--listen=-1", "--watch-config=", "--watch-config=true", "-config"),
    *("", "-", "--", "-x", "-h", "--help", "serve", "a.yaml", "a=b", "\udcff", "--config=\udcff"),
]


@given(st.lists(st.sampled_from(WORDS), max_size=5))
def test_accepts_only_what_click_accepts(arguments: list[str]) -> None:
    """In any order and number, with empty words and bytes that are no UTF-8: the same, or left to click."""
    found = plain(arguments)
    if found is not None:
        assert found == by_click(arguments)


def test_knows_every_option() -> None:
    """A new option of the command is read here as well."""
    for option in serve.command.params:
        if isinstance(option, click.Option):
            value = [] if option.is_flag else ["3"]
            given = [*option.opts, *value]
            assert plain(given) == by_click(given)
            assert plain(given) != ServeArguments()


@pytest.mark.parametrize("option", ["--config", "--state-dir", "--tls-key-file"])
def test_a_file_that_cannot_be_read_is_left_to_click(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """It says which option names it."""
    monkeypatch.setattr("os.access", lambda _, mode: mode == os.F_OK)  # root may read every file
    arguments = [option, str(tmp_path)]
    assert plain(arguments) is None
    with pytest.raises(click.BadParameter, match="not readable"):
        by_click(arguments)


@pytest.mark.parametrize("option", ["--models-dir", "--models-preset"])
def test_models_that_cannot_be_read_are_left_to_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """The other models are served."""
    monkeypatch.setattr("os.access", lambda _, mode: mode == os.F_OK)
    arguments = [option, str(tmp_path)]
    assert plain(arguments) == by_click(arguments)
