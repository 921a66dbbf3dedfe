"""Models of the file that name a source: before their files are here, and after."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from modelswap.config.describe import describe
from modelswap.core.spec import ModelId
from modelswap.units import Seconds
from support.config import load_text
from support.gguf_builder import chat_model, projector

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.config.load import Loaded
    from modelswap.config.plan import Model

A = ModelId("a")
SOURCE = "hf:owner/Foo-GGUF:Q4_K_M"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hugging Face's cache, empty."""
    for name in ("HUGGINGFACE_HUB_CACHE", "HF_HOME", "OLLAMA_MODELS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "hub"


@pytest.fixture
def snapshot(cache: Path) -> Path:
    """The folder of the one revision of `owner/Foo-GGUF`."""
    repository = cache / "models--owner--Foo-GGUF"
    folder = repository / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    return folder


def model_of(loaded: Loaded) -> Model:
    assert loaded.plan is not None, loaded.lines()
    return loaded.plan.models[A]


def test_a_model_that_is_not_here() -> None:
    """It has the default command, in which the source stands for the file, and is said not to be here."""
    loaded = load_text(f"models: {{a: {{source: '{SOURCE}', aliases: [nick]}}}}")
    model = model_of(loaded)
    assert (model.is_missing, model.source, model.pull_name) == (True, SOURCE, SOURCE)
    assert model.argv[-4:] == ("--model", SOURCE, "--alias", "a")
    assert model.aliases == ("nick",)
    assert loaded.warnings == ()
    assert loaded.plan is not None
    assert f"not pulled yet: a: {SOURCE}; the first request for it pulls it" in describe(
        loaded.plan
    )
    assert loaded.source is not None  # to be made complete later


def test_a_model_that_is_here(snapshot: Path) -> None:
    """Its file, its projector and what its header says are those of a found model."""
    file = chat_model().write(snapshot / "Foo-Q4_K_M.gguf")
    eyes = projector().write(snapshot / "mmproj-Foo-F16.gguf")
    loaded = load_text(f"models: {{a: {{source: '{SOURCE}'}}}}")
    model = model_of(loaded)
    assert not model.is_missing
    assert str(file) in model.argv
    assert model.argv[model.argv.index("--mmproj") + 1] == str(eyes)
    assert model.capabilities.inputs == ("text", "image")
    assert model.capabilities.context
    assert loaded.plan is not None
    assert not any("not pulled" in line for line in describe(loaded.plan))


def test_what_a_store_holds_for_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters and adapters of a model of Ollama count, as for one that is found."""
    store = tmp_path / "ollama"
    monkeypatch.setenv("OLLAMA_MODELS", str(store))
    (store / "blobs").mkdir(parents=True)
    layers: list[dict[str, object]] = []
    blobs: dict[str, Path] = {}
    parameters = b'{"temperature": 0.6, "num_ctx": 4096, "stop": ["x"]}'
    weights = chat_model().write(tmp_path / "made.gguf").read_bytes()
    for kind, data in (("model", weights), ("adapter", b"lora"), ("params", parameters)):
        digest = sha256(data).hexdigest()
        blobs[kind] = store / "blobs" / f"sha256-{digest}"
        blobs[kind].write_bytes(data)
        media = f"application/vnd.ollama.image.{kind}"
        layers.append({"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)})
    manifest = store / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "latest"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    model = model_of(load_text("models: {a: {source: 'ollama:tiny'}}"))
    added = ("--lora", str(blobs["adapter"]), "--ctx-size", "4096", "--temperature", "0.6")
    assert set(added) <= set(model.argv)
    assert model.capabilities.context == 4096


def test_the_identity_follows_the_files(snapshot: Path) -> None:
    """A reload sees another model when the files have come, and the same one when nothing has changed."""
    text = f"models: {{a: {{source: '{SOURCE}'}}, b: {{cmd: srv}}}}"
    before = load_text(text).plan
    chat_model().write(snapshot / "Foo-Q4_K_M.gguf")
    after, again = load_text(text).plan, load_text(text).plan
    assert before is not None
    assert after is not None
    assert again is not None
    assert before.models[A].identity != after.models[A].identity == again.models[A].identity
    assert before.models[ModelId("b")].identity == after.models[ModelId("b")].identity


def test_a_command_of_its_own(snapshot: Path) -> None:
    """It takes the files by macros; nothing is added to it, and no template changes it."""
    file = chat_model().write(snapshot / "Foo-Q4_K_M.gguf")
    loaded = load_text(f"""
discover: {{templates: [{{args: --added, ttl: 99}}]}}
models:
  a:
    source: {SOURCE}
    cmd: srv --port ${{PORT}} -m ${{MODEL_PATH}} --eyes "${{MODEL_MMPROJ}}" ${{MODEL_ARGS}}
    description: mine
""")
    model = model_of(loaded)
    assert model.argv[3:] == ("-m", str(file), "--eyes", "", "--alias", "a", *model.argv[9:])
    assert "--added" not in model.argv
    assert (model.description, model.spec.ttl) == ("mine", None)
    assert model.metadata["found"]["architecture"] == "qwen3"  # type: ignore[index,call-overload]  # JSON


def test_macros_are_not_for_texts_of_files(snapshot: Path) -> None:
    """Neither a header nor a file's name tells what the author's macros hold."""
    text = f"macros: {{token: s3cr3t}}\nmodels: {{a: {{source: '{SOURCE}'}}}}"
    file = chat_model(general__architecture="${token}").write(snapshot / "Foo-Q4_K_M.gguf")
    model = model_of(load_text(text))
    assert "s3cr3t" not in f"{model.description} {model.metadata} {model.argv}"
    file.rename(snapshot / "Foo-${token}-Q4_K_M.gguf")
    loaded = load_text(text)
    assert model_of(loaded).is_missing
    assert "s3cr3t" not in f"{model_of(loaded).argv} {loaded.lines()}"
    assert "its files cannot be served: its name holds" in loaded.lines()[0]


def test_templates_fit_pulled_models() -> None:
    """Without a command of its own a model is started as a found one, templates included."""
    loaded = load_text(f"""
discover: {{templates: [{{match: gguf, args: --ctx-size 99, ttl: 7}}]}}
models: {{a: {{source: '{SOURCE}'}}}}
""")
    model = model_of(loaded)
    assert model.argv[-2:] == ("--ctx-size", "99")
    assert model.spec.ttl == Seconds(7)


def test_macros_in_a_source() -> None:
    """The file's macros, the model's own and its id may be parts of it."""
    loaded = load_text("""
macros: {owner: someone}
models: {a: {source: 'hf:${owner}/${MODEL_ID}:${q}', macros: {q: q8_0}}}
""")
    assert model_of(loaded).pull_name == "hf:someone/a:Q8_0"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nonsense", "c.yaml:3: models.a.source: expected hf:OWNER/REPO, "),
        ("hf:owner", "a repository is written OWNER/REPO"),
        ("[1]", "models.a.source: expected text"),
        ('"a\\u0000b"', "control character"),
        (f"hf:o/{'x' * 3000}", "has 3005 characters"),
    ],
)
def test_mistakes(source: str, said: str) -> None:
    """A wrong source is one problem with its line; nothing that follows from it is reported."""
    loaded = load_text(f"models:\n  a:\n    source: {source}\n")
    assert loaded.plan is None
    [line] = [line for line in loaded.lines() if line.startswith("error")]
    assert said in line
    assert not any("MODEL_PATH" in line or "${PORT}" in line for line in loaded.lines())


def test_secrets_of_an_address_stay_secret() -> None:
    """Neither a password nor a signature is in what is shown of a model."""
    source = "https://user:hunter2@host/dir/a.gguf?sig=abcdef"
    loaded = load_text(f"models: {{a: {{source: '{source}'}}}}")
    model = model_of(loaded)
    assert model.source == source
    assert loaded.plan is not None
    for text in (model.cmd, model.pull_name, *describe(loaded.plan)):
        assert "hunter2" not in text
        assert "abcdef" not in text


def test_a_broken_file(snapshot: Path) -> None:
    """What came and cannot be read is a warning about this machine; the model is tried all the same."""
    (snapshot / "Foo-Q4_K_M.gguf").write_bytes(b"GGUF but not really")
    loaded = load_text(f"models: {{a: {{source: '{SOURCE}'}}}}")
    [warning] = loaded.warnings
    assert warning.of_machine
    assert "Foo-Q4_K_M.gguf" in warning.message
    assert not model_of(loaded).is_missing


def test_safetensors_need_a_command(snapshot: Path) -> None:
    """Only GGUF has a default command; the folder is what a template's server is given."""
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    without = load_text("models: {a: {source: 'hf:owner/Foo-GGUF'}}")
    assert model_of(without).argv == ()
    template = "discover: {templates: [{match: safetensors, cmd: 'vllm ${MODEL_PATH} ${PORT}'}]}"
    loaded = load_text(f"{template}\nmodels: {{a: {{source: 'hf:owner/Foo-GGUF'}}}}")
    assert model_of(loaded).argv[:2] == ("vllm", str(snapshot))


def test_files_that_cannot_be_looked_at(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model counts as missing, and it is said why."""
    chat_model().write(snapshot / "Foo-Q4_K_M.gguf")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("modelswap.config.discover.pulled_models.describe", refuse)
    loaded = load_text(f"models: {{a: {{source: '{SOURCE}'}}}}")
    assert model_of(loaded).is_missing
    assert "Permission denied" in loaded.warnings[0].message


def test_a_source_that_is_null() -> None:
    """A key without a value is none."""
    loaded = load_text("models: {a: {source: , cmd: srv}}")
    assert model_of(loaded).pull_name == ""
    assert loaded.source is None


def test_an_id_with_a_comma() -> None:
    """llama-server would take it for several names."""
    loaded = load_text(f"models: {{'a,b': {{source: '{SOURCE}'}}}}")
    assert loaded.plan is not None
    assert "--alias" not in loaded.plan.models[ModelId("a,b")].argv
