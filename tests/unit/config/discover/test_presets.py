"""Presets of llama.cpp's router."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelswap.config.discover.presets import read_presets
from modelswap.config.messages.report import Report
from modelswap.units import Seconds
from support.found_models import found_model, load_found

if TYPE_CHECKING:
    from modelswap.config.load import Loaded

EXAMPLE = """\
version = 1

; for all
[*]
c = 8192
n-gpu-layers = 8
no-mmap = true

[plain] ; the found one
n-gpu-layers = 123 # more
jinja = true
LLAMA_ARG_CACHE_RAM = 0
load-on-startup = true
stop-timeout = 3

[custom_model]
model = /elsewhere/awesome.gguf
mmap =
alias = custom, mine
"""


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    return tmp_path / "presets.ini"


def _loaded(preset: Path, text: str, *names: str, config: str = "") -> Loaded:
    preset.write_text(text)
    models = [found_model(name) for name in names]
    config = "macros: {llama-server: srv}\n" + config
    return load_found(config, *models, presets=(preset,))


def _argv(found: Loaded, name: str) -> tuple[str, ...]:
    assert found.plan is not None, found.lines()
    argv = next(m.argv for id_, m in found.plan.models.items() if id_ == name)
    return tuple(word for word in argv[5:] if word not in ("--alias", name))


def test_a_section_wins_over_the_shared_one(preset: Path) -> None:
    """Keys are options by any name; a section's own value replaces that of `[*]`."""
    found = _loaded(preset, EXAMPLE, "plain", "other")
    assert _argv(found, "other") == (
        *("--model", "/models/other.gguf", "--ctx-size", "8192", "--n-gpu-layers", "8"),
        "--no-mmap",
    )
    assert _argv(found, "plain") == (
        *("--model", "/models/plain.gguf", "--ctx-size", "8192", "--n-gpu-layers", "123"),
        *("--no-mmap", "--jinja", "--cache-ram", "0"),
    )


def test_what_is_no_option_of_the_server(preset: Path) -> None:
    """`load-on-startup` preloads, `stop-timeout` is the grace period, `alias` gives names."""
    plan = _loaded(preset, EXAMPLE, "plain").plan
    assert plan is not None
    assert plan.settings.preload == ("plain",)
    assert [m.spec.stop_grace for id_, m in plan.models.items() if id_ == "plain"] == [Seconds(3)]
    assert plan.aliases == {"custom": "custom_model", "mine": "custom_model"}


def test_a_section_may_be_a_model_of_its_own(preset: Path) -> None:
    """With a path it needs no found model; a switch without a value is on."""
    assert _argv(_loaded(preset, EXAMPLE), "custom_model") == (
        *("--model", "/elsewhere/awesome.gguf", "--ctx-size", "8192", "--n-gpu-layers", "8"),
        "--mmap",
    )


def test_a_section_for_a_found_file_takes_its_place(preset: Path) -> None:
    """Two sections of one file are two models, and the file is not served a third time."""
    text = "[long]\nm = /models/plain.gguf\nc = 65536\n[short]\nmodel = /models/plain.gguf\n"
    plan = _loaded(preset, text, "plain").plan
    assert plan is not None
    assert list(plan.models) == ["long", "short"]
    assert plan.models["long"].capabilities.context == 65536  # type: ignore[index]  # ids are texts


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hf-repo = org/m:q8_0", "hf:org/m:Q8_0"),
        ("hfr = org/m\nhf-file = sub/m.gguf", "hf:org/m/sub/m.gguf"),
        ("LLAMA_ARG_HF_REPO = org/m", "hf:org/m"),
    ],
)
def test_a_repository_is_pulled(preset: Path, text: str, source: str) -> None:
    """A section with `hf-repo` is a model with a source; its options come last, templates behind them."""
    text = f"[far]\n{text}\nc = 512\nalias = away\nstop-timeout = 3\nload-on-startup = 1\n"
    found = _loaded(
        preset, text, config="discover: {templates: [{args: --verbose, ttl: 60, source: hf:x/y}]}"
    )
    plan = found.plan
    assert plan is not None, found.lines()
    model = plan.models["far"]  # type: ignore[index]  # ids are texts
    assert (model.source, model.is_missing, model.aliases) == (source, True, ("away",))
    assert model.argv[5:] == (
        *("--model", source, "--alias", "far", "--ctx-size", "512", "--verbose"),
    )
    assert model.capabilities is not None
    assert (model.capabilities.context, model.spec.ttl, model.spec.stop_grace) == (
        512,
        Seconds(60),
        Seconds(3),
    )
    assert plan.settings.preload == ("far",)
    assert found.source is not None


@pytest.mark.parametrize("more", ["hf-repo = nonsense", "hf-repo = org/m\nhf-token = secret"])
def test_a_repository_that_the_server_fetches(preset: Path, more: str) -> None:
    """What is no repository's name, or has a token of its own, is left to llama-server."""
    found = _loaded(preset, f"[far]\n{more}\n")
    assert found.plan is not None
    assert found.plan.models["far"].source == ""  # type: ignore[index]  # ids are texts
    assert _argv(found, "far")[:2] == ("--hf-repo", more.split()[2])


def test_the_router_s_names_of_found_models(preset: Path) -> None:
    """A section may call a model by its file's name, and that name is an alias then."""
    preset.write_text("[Plain-Q8_0]\nc = 512\n")
    model = replace(found_model(), path=Path("/models/Plain-Q8_0.gguf"))
    plan = load_found("", model, presets=(preset,)).plan
    assert plan is not None
    assert plan.aliases == {"Plain-Q8_0": "plain"}
    assert plan.models["plain"].argv[-2:] == ("--ctx-size", "512")  # type: ignore[index]  # ids are texts


def test_a_template_wins_over_presets(preset: Path) -> None:
    """As a command line does in llama.cpp: its arguments come last."""
    config = "discover: {templates: [{args: --ctx-size 1}]}"
    argv = _argv(_loaded(preset, "[*]\nc = 8192\n", "plain", config=config), "plain")
    assert argv[2:] == ("--ctx-size", "8192", "--ctx-size", "1")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[a]\n\nctx-sise = 1\n",
            ":3: a.ctx-sise: expected an option of llama-server; found an unknown one (did you mean 'ctx-size'?)",
        ),
        ("[a]\nwhat\n", ":2: a: expected `[model]`, `option = value` or a comment"),
        ("[a\n", ":1: default: expected `[model]`"),
    ],
)
def test_a_mistake_has_its_line(preset: Path, text: str, problem: str) -> None:
    """An unknown option is a problem with the line and the nearest one."""
    found = _loaded(preset, text)
    assert found.plan is None
    assert f"{preset}{problem}" in str(found.problems[0])


def test_what_has_no_effect_is_a_warning(preset: Path) -> None:
    """The address is not a preset's to give, and a section without a model is left out."""
    expected = "expected the name of a model that was found, `model` or `hf-repo`"
    found = _loaded(preset, "[nowhere]\nport = 1\nc = 2\n")
    assert [str(one) for one in found.warnings] == [
        f"{preset}:1: nowhere: {expected}, left out",
        f"{preset}:2: nowhere.port: has no effect: modelswap gives it to the server",
    ]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It is a problem that names the file."""
    found = load_found("", presets=(tmp_path / "none.ini",))
    assert "the presets cannot be read" in str(found.problems[0])
    binary = tmp_path / "binary.ini"
    binary.write_bytes(b"[a]\n\xff\xfe = 1\n")
    assert "no UTF-8 text" in str(load_found("", presets=(binary,)).problems[0])


def test_a_file_that_is_too_large_is_not_cut(tmp_path: Path) -> None:
    """Above 1 MiB nothing of it counts, and the limit is said; at 1 MiB all of it does."""
    file = tmp_path / "large.ini"
    text = "[a]\nmodel = /a.gguf\n;"
    file.write_text(text + "x" * ((1 << 20) - len(text)))
    assert load_found("", presets=(file,)).problems == ()
    with file.open("a") as stream:
        stream.write("x")
    (problem,) = load_found("", presets=(file,)).problems
    assert f"{file}: expected presets of at most 1 MiB; found more" in str(problem)


def test_presets_are_part_of_the_configuration(preset: Path) -> None:
    """`--watch-config` looks at the presets, too."""
    plan = _loaded(preset, "[*]\n").plan
    assert plan is not None
    assert plan.named_files == (str(preset),)


def test_a_later_file_replaces_a_section(tmp_path: Path) -> None:
    """Of two files the later one's section counts."""
    first, second = tmp_path / "a.ini", tmp_path / "b.ini"
    first.write_text("[m]\nc = 1\n[n]\nc = 2\n")
    second.write_text("[m]\nb = 3\n")
    found = read_presets((first, second), Report())
    assert {name: one.options for name, one in found.sections.items()} == {
        "m": {"batch-size": ("--batch-size", "3")},
        "n": {"ctx-size": ("--ctx-size", "2")},
    }


def test_a_stop_timeout_of_many_digits(preset: Path) -> None:
    """What is no number of seconds has no effect, and the model is served."""
    found = _loaded(preset, f"[plain]\nstop-timeout = {'9' * 5000}\n", "plain")
    assert _argv(found, "plain") == ("--model", "/models/plain.gguf")


def test_a_section_whose_file_has_a_projector_with_a_macro(preset: Path) -> None:
    """A section does not make a model usable whose files no command can hold."""
    preset.write_text("[mine]\nmodel = /models/plain.gguf\n")
    model = found_model(mmproj=Path("/models/mmproj-${hf}.gguf"))
    found = load_found("macros: {hf: hf_SECRET}", model, presets=(preset,))
    assert found.plan is not None
    assert not found.plan.models
    assert "its name holds a control character" in str(found.warnings[0])
