"""Found models beside those that are written in the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelswap.catalog.found import ModelFormat, ModelKind
from modelswap.config.describe import describe
from modelswap.config.diff import diff
from modelswap.units import Bytes, Seconds
from support.config import load_text
from support.found_models import ListedModels, found_model, load_found

if TYPE_CHECKING:
    from modelswap.config.load import Loaded
    from modelswap.config.plan import Model, Plan

LLAMA = "macros: {llama-server: srv}\n"
"""What stands for `${llama-server}` here."""


def _plan(found: Loaded) -> Plan:
    assert found.plan is not None, found.lines()
    return found.plan


def _one(found: Loaded, name: str = "plain") -> Model:
    return next(model for id_, model in _plan(found).models.items() if id_ == name)


def _refused(found: Loaded) -> dict[str, str]:
    """Return the models that are not served: the path's name and the reason."""
    discovered = _plan(found).discovered
    assert discovered is not None
    return {one.model.path.name: one.reason for one in discovered.models if one.reason}


def test_a_found_model_is_a_model() -> None:
    """Its command starts llama-server with the file, at a port; its aliases are names of it."""
    found = load_found(LLAMA, found_model(aliases=("short",)))
    model = _one(found)
    assert model.argv == (
        *("srv", "--host", "127.0.0.1", "--port", "5800"),
        *("--model", "/models/plain.gguf", "--alias", "plain"),
    )
    assert model.proxy == "http://localhost:5800"
    assert _plan(found).aliases == {"short": "plain"}
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("more", "added"),
    [
        ({"mmproj": Path("/models/mm proj.gguf")}, ("--mmproj", "/models/mm proj.gguf")),
        ({"tools": True}, ("--jinja",)),
        (
            {"kind": ModelKind.EMBEDDING, "context_length": 512},
            ("--embedding", "--batch-size", "512", "--ubatch-size", "512"),
        ),
        (
            {"kind": ModelKind.RERANK, "context_length": 40960},
            ("--reranking", "--batch-size", "2048", "--ubatch-size", "2048"),
        ),
        (
            {"options": {"num_ctx": "4096", "temperature": "0.6", "stop": "<end>"}},
            ("--ctx-size", "4096", "--temperature", "0.6"),
        ),
    ],
)
def test_arguments_follow_from_the_model(more: dict[str, Any], added: tuple[str, ...]) -> None:
    """What is known of a model decides its arguments; a store's parameters are translated."""
    assert _one(load_found(LLAMA, found_model(**more))).argv[9:] == added


def test_capabilities_follow_from_the_model() -> None:
    """Lists say what a found model can do, and its context."""
    model = found_model(vision=True, tools=True, reasoning=True, context_length=8192)
    shown = _one(load_found(LLAMA, model)).capabilities
    assert (shown.inputs, shown.outputs, shown.context) == (("text", "image"), ("text",), 8192)
    assert (shown.tools, shown.reasoning, shown.embedding, shown.reranker) == (
        True, True, False, False,
    )  # fmt: skip


def test_what_is_known_is_in_the_metadata() -> None:
    """The metadata hold what the header says; nothing where it says nothing."""
    model = _one(load_found(LLAMA, found_model(quantization="q4_k_m", parameters=8_030_000_000)))
    assert model.metadata["found"] == {
        "source": "folder",
        "format": "gguf",
        "architecture": "llama",
        "quantization": "q4_k_m",
        "parameters": 8_030_000_000,
        "size": 3 << 30,
    }
    assert model.description == "llama 8.03B q4_k_m 3 GiB"


def test_a_name_with_blanks_and_quotes_is_one_word() -> None:
    """A path reaches the server as it is."""
    path = Path("/my models/it's $HOME #1; rm.gguf")
    assert _one(load_found(LLAMA, found_model(path=path))).argv[6] == str(path)


@pytest.mark.parametrize(
    "name", ["a${PORT}", "a${x}", "a\nb", "a\n#", "a\rb", "a\x1bb", "a\x85b", "a\u2028b", "a\udc80"]
)
def test_a_name_that_no_command_can_hold_harms_nothing(name: str) -> None:
    """It is listed with the reason, and the others are served."""
    found = load_found(LLAMA, found_model(name), found_model())
    assert list(_plan(found).models) == ["plain"]
    assert len(_refused(found)) == 1


@pytest.mark.parametrize("key", ["path", "mmproj", "adapters"])
@pytest.mark.parametrize("name", ["/m/a\n#", "/m/${x}"])
def test_a_path_that_no_command_can_hold_is_refused(key: str, name: str) -> None:
    """No file or folder's name adds arguments, whichever of the model's files has it."""
    path = Path(name)
    found = load_found(LLAMA, found_model("a", **{key: (path,) if key == "adapters" else path}))
    assert list(_plan(found).models) == []
    (reason,) = _refused(found).values()
    assert reason == "its name holds a control character, `${` or bytes that are not UTF-8"


@pytest.mark.parametrize(
    "more",
    [
        {"architecture": "${hf}"},
        {"quantization": "q${hf}"},
        {"aliases": ("x${hf}", "short")},
        {"options": {"seed": "${hf}", "stop": "${hf}"}},
    ],
)
def test_a_file_cannot_use_macros(tmp_path: Path, more: dict[str, Any]) -> None:
    """Macros are for the configuration's author: what a file says of itself shows no secret."""
    preset = tmp_path / "presets.ini"
    preset.write_text("[named]\nmodel = /models/named.gguf\n")
    text = "macros: {llama-server: srv, hf: hf_SECRET}\n"
    models = found_model(**more), found_model("named", **more)
    found = load_found(text, *models, presets=(preset,))
    plan = _plan(found)
    assert sorted(plan.models) == ["named", "plain"]
    for model in plan.models.values():
        shown = f"{model.description} {dict(model.metadata)} {model.argv} {model.aliases}"
        assert "llama" in shown or "architecture" in more
        assert "hf_SECRET" not in shown
    assert set(plan.aliases) <= {"short"}


def test_a_broken_file_is_listed_and_the_others_are_served() -> None:
    """Its reason is in the plan and in `check`; it is no model."""
    found = load_found(LLAMA, found_model("bad", problem="it is truncated"), found_model())
    assert list(_plan(found).models) == ["plain"]
    assert _refused(found) == {"bad.gguf": "it is truncated"}
    assert "not served: /models/bad.gguf: it is truncated" in describe(_plan(found))


def test_written_models_keep_their_ports() -> None:
    """Found models take the ports after those of the file, whatever their names."""
    text = LLAMA + "models: {zed: {cmd: srv $${PORT}}}".replace("$$", "$")
    plan = _plan(load_found(text, found_model("alpha")))
    assert {name: model.port for name, model in plan.models.items()} == {"zed": 5800, "alpha": 5801}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("models: {plain: {cmd: other}}", "the configuration has a model of this name"),
        (
            "models: {a: {cmd: other, aliases: [plain]}}",
            "the configuration has this name as an alias of 'a'",
        ),
        (
            "models: {a: {cmd: other, filters: {setParamsByID: {plain: {}}}}}",
            "the configuration has this name as an alias of 'a'",
        ),
        (
            "models: {a: {cmd: srv -m /models/../models/plain.gguf}}",
            "the configuration serves this file as 'a'",
        ),
        (
            "models: {a: {cmd: 'srv --model=${dir}/plain.gguf'}}\nmacros: {dir: /models}",
            "the configuration serves this file as 'a'",
        ),
        (
            "models: {a: {cmd: x}}\nselectors: {plain: {strategy: warm, targets: [a]}}",
            "the configuration has a selector of this name",
        ),
        (
            "peers: {far: {proxy: 'http://h:1', models: [plain]}}",
            "the configuration has it as a model of the peer 'far'",
        ),
    ],
)
def test_what_is_written_wins(text: str, reason: str) -> None:
    """A found model of a name or a file that the configuration has is left out, and it says why."""
    found = load_found(text, found_model())
    assert all("--model" not in model.argv for model in _plan(found).models.values())
    assert _refused(found) == {"plain.gguf": reason}


def test_a_written_alias_is_not_taken() -> None:
    """A found model is served without the aliases that have another meaning."""
    text = LLAMA + "models: {a: {cmd: other, aliases: [one]}}"
    found = load_found(
        text, found_model(aliases=("one", "two", "a", "other")), found_model("other")
    )
    assert _plan(found).aliases == {"one": "a", "two": "plain"}


def test_names_of_found_models_may_be_used() -> None:
    """Groups, selectors and preload of the file may name a model that is found."""
    text = LLAMA + (
        "groups: {g: {members: [plain]}}\n"
        "selectors: {s: {strategy: warm, targets: [plain]}}\n"
        "hooks: {on_startup: {preload: [plain]}}"
    )
    found = load_found(text, found_model())
    assert found.warnings == ()
    assert _plan(found).settings.preload == ("plain",)


def test_a_name_whose_file_is_gone_is_left_out() -> None:
    """A file that goes away makes no configuration invalid: what names it is left out, and says so."""
    text = LLAMA + (
        "selectors: {s: {strategy: warm, targets: [gone, plain]}, t: {strategy: pin, targets: [gone]}}\n"
        "profiles: {p: {pins: {x: gone}}}\n"
        "routing: {scheduler: {settings: {fifo: {priority: {gone: 5}}}}}\n"
        "groups: {g: {members: [gone, plain]}}\n"
        "hooks: {on_startup: {preload: [gone]}}"
    )
    found = load_found(text, found_model())
    assert {name: one.targets for name, one in _plan(found).selectors.items()} == {"s": ("plain",)}
    assert len(found.warnings) == 6
    assert all("left out" in str(one) for one in found.warnings)
    assert load_text(text).plan is None


TEMPLATES = """
discover:
  templates:
    - ttl: 600
      env: [A=1]
    - match: "qwen3*"
      args: --ctx-size 16384
      env: [B=2]
      capabilities: {tools: true}
    - match: [LLAMA, rerank]
      args: >
        --threads ${n}
      aliases: ["${MODEL_ID}-llama"]
macros: {n: 4, llama-server: srv}
"""


def test_templates_add_up() -> None:
    """All that match count: a later key wins, mappings merge, lists join, arguments add up."""
    plan = _plan(
        load_found(TEMPLATES, found_model("qwen3-8b", architecture="qwen3"), found_model("other"))
    )
    qwen, other = plan.models["qwen3-8b"], plan.models["other"]  # type: ignore[index]  # ids are texts
    assert (qwen.spec.ttl, other.spec.ttl) == (Seconds(600), Seconds(600))
    assert (qwen.env, other.env) == (("A=1", "B=2"), ("A=1",))
    assert qwen.argv[9:] == ("--ctx-size", "16384")
    assert (qwen.capabilities.context, other.capabilities.context) == (16384, None)
    assert (qwen.capabilities.tools, qwen.capabilities.inputs) == (True, ("text",))
    assert other.argv[9:] == ("--threads", "4")
    assert other.aliases == ("other-llama",)


def test_a_name_in_a_template_that_fits_two_models() -> None:
    """One more file must not make a configuration invalid: the first model has the name, and it is said."""
    text = LLAMA + (
        "discover: {templates: [{aliases: [coder], filters: {setParamsByID: {high: {a: 1}}}}]}\n"
        "models: {mine: {cmd: 'x ${PORT}', filters: {setParamsByID: {coder: {}}}}}"
    )
    found = load_found(text, found_model("a"), found_model("b"))
    assert _plan(found).aliases == {"coder": "mine", "high": "a"}
    assert len(found.warnings) == 2
    assert all("left out" in str(one) for one in found.warnings)


def test_a_template_may_give_the_command() -> None:
    """It has the path, the arguments, the id and the port to fill in."""
    text = """
discover:
  templates:
    - cmd: my ${MODEL_ARGS} -p ${PORT} ${MODEL_PATH} ${MODEL_ID}
      args: -x
"""
    model = _one(load_found(text, found_model(tools=True)))
    assert model.argv == (
        "my",
        "--alias",
        "plain",
        "--jinja",
        "-x",
        "-p",
        "5800",
        "/models/plain.gguf",
        "plain",
    )


def test_safetensors_need_a_template() -> None:
    """Without a command they are listed and not served; arguments come after a template's command."""
    model = found_model(format=ModelFormat.SAFETENSORS, path=Path("/models/plain"))
    assert "need a template" in _refused(load_found("", model))["plain"]
    text = """
discover:
  templates:
    - match: safetensors
      cmd: vllm serve ${MODEL_PATH} --port ${PORT}
    - args: --max-model-len 8192
"""
    argv = _one(load_found(text, model)).argv
    assert argv == (
        *("vllm", "serve", "/models/plain", "--port", "5800"),
        *("--max-model-len", "8192"),
    )


def test_a_mistake_in_a_template_is_said_once() -> None:
    """However many models a template fits, its mistake is one problem at its line."""
    text = "discover:\n  templates:\n    - cmd: srv ${MODLE_PATH} --port ${PORT}\n      ttl: soon\n"
    found = load_found(text, found_model(), found_model("other"))
    assert [(one.mark.line, one.key) for one in found.problems] == [
        (3, "discover.templates[0].cmd"),
        (4, "discover.templates[0].ttl"),
    ]


def test_an_unknown_key_has_a_hint() -> None:
    """A misspelt key of `discover` or of a template is a warning with the nearest key."""
    found = load_found("discover: {pahts: [/tmp], templates: [{macth: x}]}")
    assert [(one.key, one.hint) for one in found.warnings] == [
        ("discover.pahts", "did you mean 'paths'?"),
        ("discover.templates[0].macth", "did you mean 'match'?"),
    ]


@pytest.mark.parametrize("written", ["{dir}", "[{dir}]", "{{paths: {dir}}}", "{{paths: [{dir}]}}"])
def test_folders_may_be_written_short(tmp_path: Path, written: str) -> None:
    """One folder, a list of them, and the mapping mean the same."""
    listed = ListedModels((found_model(),))
    text = f"discover: {written.format(dir=tmp_path)}"
    load_found(text, find=listed, folders=(tmp_path,))
    assert listed.places is not None
    assert listed.places.folders == (tmp_path,)


def test_stores_are_known_by_name() -> None:
    """A store that is not read is a problem with the nearest name."""
    found = load_found("discover: {stores: [olama]}")
    assert [one.hint for one in found.problems] == ["did you mean 'ollama'?"]


def test_a_missing_folder(tmp_path: Path) -> None:
    """On the command line it is a mistake; in the file it may be there later."""
    missing = tmp_path / "missing"
    on_command_line = load_found("", folders=(missing,))
    assert str(missing) in str(on_command_line.problems[0])
    in_file = load_found(f"discover: {missing}")
    assert in_file.plan is not None
    assert str(missing) in str(in_file.warnings[0])


def test_a_place_that_cannot_be_read_is_a_warning() -> None:
    """What could not be looked at is said; the rest is served."""
    found = load_found("", find=ListedModels((found_model(),), ("/x: permission denied",)))
    assert list(_plan(found).models) == ["plain"]
    assert "permission denied" in str(found.warnings[0])


def test_nothing_is_looked_for_unless_asked() -> None:
    """A configuration without `discover` has no found models, and no list of them."""
    found = load_text("models: {a: {cmd: x}}")
    assert _plan(found).discovered is None


def test_a_new_file_is_one_more_model() -> None:
    """Between two looks the other models are the same: a reload leaves them alone."""
    before = _plan(load_found(LLAMA, found_model("m")))
    after = _plan(load_found(LLAMA, found_model("m"), found_model("a")))
    change = diff(before, after)
    assert [change.added, change.removed, change.changed] == [{"a"}, set(), set()]
    assert change.same == {"m"}


def test_an_exchanged_file_is_another_server() -> None:
    """A file of another size under the same name changes the model, so that it starts anew."""
    before = _plan(load_found(LLAMA, found_model("m")))
    after = _plan(load_found(LLAMA, found_model("m", size=Bytes(7))))
    assert diff(before, after).changed == {"m"}


_TEXT = st.text(st.characters(blacklist_characters="/"), min_size=1, max_size=12) | st.sampled_from(
    [
        "${PORT}",
        "${MODEL_ID}",
        "$(x)",
        "'",
        '"',
        "\\",
        "#",
        "a b",
        "-m",
        "${llama-server}",
        "é",
        "\u2028",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_TEXT, _TEXT, _TEXT), max_size=4))
def test_whatever_files_are_called_there_is_a_plan(names: list[tuple[str, str, str]]) -> None:
    """Any id, alias and file name is served as it is, or listed with the reason; it is never a mistake."""
    models = [
        found_model(id_, aliases=(alias,), path=Path("/m") / f"{file}.gguf")
        for id_, alias, file in names
    ]
    found = load_found(LLAMA, *models)
    assert found.problems == ()
    assert found.warnings == ()
    discovered = _plan(found).discovered
    assert discovered is not None
    assert len(discovered.models) == len(models)
    for entry in discovered.models:
        if not entry.reason:
            argv = _one(found, entry.id).argv
            assert argv[argv.index("--model") + 1] == str(entry.model.path)


def test_a_template_that_names_a_source() -> None:
    """It has no effect, which is a warning at its place."""
    found = load_found("discover:\n  templates:\n    - source: hf:a/b\n", found_model())
    assert [(one.mark.line, str(one)) for one in found.warnings] == [
        (3, ("c.yaml:3: discover.templates[0].source: has no effect: a found model has its file, "
            "and nothing is pulled for it (models.<id>.source pulls a model)")),
    ]  # fmt: skip
    assert found.plan is not None
    assert [model.source for model in found.plan.models.values()] == [""]
