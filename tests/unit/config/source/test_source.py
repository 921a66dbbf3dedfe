"""Files: finding, reading, the environment, anchors, duplicates, limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelswap.config.load import load
from modelswap.core.spec import ModelId

if TYPE_CHECKING:
    from support.config import LoadText

MODEL = "models: {m: {cmd: 'x ${PORT}', metadata: {v: %s}}}"

VALUES = [
    ("${env.E}", "8", 8),
    ("${env.E}", "true", True),
    ("${env.E}", "yes", "yes"),
    ("${env.E}", "", None),
    ("${env.E}0", "8", 80),
    ("'${env.E}'", "8", "8"),
    ("'${env.E}'", 'a"b\\c', 'a"b\\c'),
    ("${env.E}", 'a"b\\c', 'a"b\\c'),
    ('"${env.E}"', 'a"b\\c', 'a"b\\c'),
    ("${env.E}", "a: b # c [d]", "a: b # c [d]"),
    ("${env.E}", "*x", "*x"),
    ("[${env.E}]", "8", [8]),
    ("{k: ${env.E}}", "{a: b}", {"k": "{a: b}"}),
    ("${env.E}", "${env.F}", "second"),
    ("'${env.a-b}'", "x", "${env.a-b}"),
]


@pytest.mark.parametrize(("written", "value", "expected"), VALUES)
def test_environment_value_is_one_scalar(
    loaded: LoadText, written: str, value: str, expected: object
) -> None:
    """`${env.X}` may give a number or a word, never YAML, and no backslash is doubled."""
    plan = loaded(MODEL % written, {"E": value, "F": "second"}).plan
    assert plan is not None
    assert plan.models[ModelId("m")].metadata["v"] == expected


def test_environment_in_a_key(loaded: LoadText) -> None:
    """`${env.X}` may stand in a key."""
    plan = loaded("models: {'${env.E}': {cmd: 'x ${PORT}'}}", {"E": "named"}).plan
    assert plan is not None
    assert list(plan.models) == ["named"]


def test_key_from_the_environment_keeps_its_zeros(loaded: LoadText) -> None:
    """A key that looks like a number is not rewritten as one."""
    plan = loaded("apiKeys: [${env.K}]", {"K": "0012"}).plan
    assert plan is not None
    key = plan.settings.api_keys[0].key
    assert key is not None
    assert key.reveal() == "0012"


def test_macro_in_an_environment_value(loaded: LoadText) -> None:
    """A macro inside an environment value is expanded."""
    plan = loaded("macros: {a: 1}\n" + MODEL % "${env.E}", {"E": "<${a}>"}).plan
    assert plan is not None
    assert plan.models[ModelId("m")].metadata["v"] == "<1>"


@pytest.mark.parametrize("env", [{}, {"E": "a\nb"}, {"E": "a\rb"}, {"E": "a\0b"}])
def test_unusable_environment_is_a_problem(loaded: LoadText, env: dict[str, str]) -> None:
    """A variable that is not set, or of several lines, is a mistake at the place of use."""
    found = loaded("a: 1\nmodels: {m: {cmd: '${env.E}'}}", env)
    assert found.plan is None
    assert [(p.mark.line, "variable E" in p.message) for p in found.problems] == [(2, True)]


def test_commented_reference_is_not_looked_up(loaded: LoadText) -> None:
    """A YAML comment may name any variable."""
    assert loaded("# ${env.GONE}\nmodels: {}").plan is not None


BROKEN = [
    ("a: [1", "not valid YAML"),
    ("a: 1\na: 2", "given twice"),
    ("models: {m: {cmd: x, cmd: y}}", "given twice"),
    ("- a", "expected a mapping of keys in the file; found a list"),
    ("a: *nope", "unknown anchor"),
    ("a: &x [*x]", "contains itself"),
    ("? [1]\n: 2", "expected text as a key; found a collection"),
    ("a: " + "[" * 200 + "]" * 200, "nested deeper"),
    ("a: {<<: 1}", "expected a mapping or a list of mappings behind `<<`; found 1"),
    ("a: !!int x", "expected a value of the type !!int; found text"),
    ("a: !!binary '?'", "base64"),
    ("a: \x07", "not valid YAML"),
    ("a:\n\t- b", "not valid YAML"),
    ("models: []", "expected a mapping"),
    ("models: {m: 3}", "expected a mapping"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_broken_document_is_a_problem(loaded: LoadText, text: str, message: str) -> None:
    """A broken file is reported with its name, never raised."""
    found = loaded(text)
    assert found.plan is None
    assert message in str(found.problems[0])
    assert str(found.problems[0]).startswith("c.yaml")


def test_storm_of_aliases_is_refused(loaded: LoadText) -> None:
    """A few lines that stand for millions of values are refused."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "excessive aliasing" in str(loaded("\n".join(lines)).problems[0])


EMPTY = ["", "# nothing", "just words", "---\n...\n", "\ufeff", "null"]


@pytest.mark.parametrize("text", EMPTY)
def test_empty_file_is_a_configuration(loaded: LoadText, text: str) -> None:
    """An empty file starts a server without models."""
    plan = loaded(text).plan
    assert plan is not None
    assert plan.models == {}


def test_first_document_counts(loaded: LoadText) -> None:
    """Of several documents the first is used, whatever the others hold."""
    plan = loaded("startPort: 7\n---\nstartPort: [").plan
    assert plan is not None
    assert plan.settings.start_port == 7


def test_merge_keys_and_tags(loaded: LoadText) -> None:
    """`<<` adds what is not there, the first source wins; tags are honoured; BOM is accepted."""
    text = (
        "\ufeffx-a: &a {p: 1, q: 2}\nx-b: &b {q: 3, r: 4, <<: ~}\n"
        "models: {m: {cmd: 'x ${PORT}', metadata: {<<: [*a, *b], p: 0, s: !!str 5, "
        "f: !!float 1, '<<': quoted, t: <<, g: !x 1, h: !!binary aGk=, n: !!null }}}"
    )
    plan = loaded(text).plan
    assert plan is not None
    expected = {"p": 0, "q": 2, "r": 4, "s": "5", "f": 1.0, "<<": "quoted", "t": "<<"}
    assert plan.models[ModelId("m")].metadata == expected | {"g": "1", "h": "hi", "n": None}


def _write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_directory_is_read_in_order_of_names(tmp_path: Path) -> None:
    """--config comes first, then the directory's .yml and .yaml files by name; others are ignored."""
    directory = tmp_path / "d"
    directory.mkdir()
    (directory / "sub.yaml").mkdir()
    (directory / "x.txt").write_text("startPort: [")
    os.mkfifo(directory / "pipe.yaml")
    _write(directory, b="apiKeys: [bbb]", a="apiKeys: [aaa]", **{".dot": "apiKeys: [ddd]"})
    _write(tmp_path, main="apiKeys: [mmm]")
    plan = load(tmp_path / "main.yaml", directory, environ={}).plan
    assert plan is not None
    keys = [one.key.reveal() for one in plan.settings.api_keys if one.key]
    assert keys == ["mmm", "ddd", "aaa", "bbb"]


def test_unreadable_sources_are_problems(tmp_path: Path) -> None:
    """Nothing given, a missing file, a directory, bytes that are no text: each is one line."""
    empty = tmp_path / "empty"
    empty.mkdir()
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: 1\nb: \xff")
    inside = empty / "x.yaml"
    cases = [
        (load(None), "no configuration given"),
        (load(tmp_path / "missing.yaml"), "cannot be read: No such file"),
        (load(tmp_path), "cannot be read: Is a directory"),
        (load(Path("a\0b")), "not a usable file name"),
        (load(None, tmp_path / "missing"), "cannot be read"),
        (load(None, empty), "no .yml or .yaml file"),
        (load(binary), "binary.yaml:2: not UTF-8"),
    ]
    for found, message in cases:
        assert found.plan is None
        assert message in str(found.problems[0])
    inside.write_text("")
    assert "lies in --config-dir" in str(load(inside, empty).problems[0])


def test_file_beside_an_empty_directory_is_fine(tmp_path: Path) -> None:
    """An empty directory does not matter when a file is given; UTF-16 with a BOM is read."""
    (tmp_path / "d").mkdir()
    (tmp_path / "c.yml").write_bytes("startPort: 9".encode("utf-16"))
    plan = load(tmp_path / "c.yml", tmp_path / "d").plan
    assert plan is not None
    assert plan.settings.start_port == 9


def test_huge_file_is_refused(tmp_path: Path) -> None:
    """A file beyond the limit is not parsed."""
    (tmp_path / "c.yml").write_bytes(b"#" * ((16 << 20) + 1))
    assert "larger than 16 MiB" in str(load(tmp_path / "c.yml").problems[0])


MERGED = [
    ("models: {a: {cmd: x, proxy: http://h:1}}", "models: {b: {cmd: x, proxy: http://h:1}}", None),
    ("models: {a: }", "models: {a: }", "given in two files"),
    ("models:", "models: {}", "expected a mapping in every file that has it; found null"),
    ("startPort: 9000", "startPort: 9000", None),
    ("startPort: 9000", "startPort: '9000'", "expected the value that is in"),
    ("startPort:", "startPort: 9000", None),
    ("startPort: 9000", "startPort:", None),
    ("startPort: ~", "startPort: 9000", "expected the value that is in"),
    ("apiKeys: [aaa]", "apiKeys: {}", "expected a list that is in"),
    ("macros: {a: 1}", "macros: {b: 2}", None),
    ("macros: {a: 1}", "macros: {a: 2}", "expected the value that is in"),
    (
        "matrix: {sets: {a: m}}\nmodels: {m: {cmd: x, proxy: http://h:1}}",
        "matrix: {vars: {v: m}}",
        None,
    ),
    ("matrix: {sets: {a: m}}", "matrix: {sets: {b: m}}", "given in two files"),
    ("limits: {queue: 3}", "limits: {body: 4}", None),
]


@pytest.mark.parametrize(("first", "second", "message"), MERGED)
def test_files_are_merged(tmp_path: Path, first: str, second: str, message: str | None) -> None:
    """Two files become one tree; two values for one thing are a mistake of the second file."""
    _write(tmp_path, a=first, b=second)
    found = load(None, tmp_path, environ={})
    assert (found.plan is None) == (message is not None)
    if message is not None:
        (clash,) = (one for one in found.problems if message in str(one))
        assert clash.mark.file.endswith("b.yaml")


def test_variable_that_is_not_utf8(loaded: LoadText) -> None:
    """Bytes that no YAML file could hold are a mistake, told by the variable's name alone."""
    found = loaded("apiKeys: ['${env.KEY}']", {"KEY": os.fsdecode(b"\xff\xfesecret")})
    assert found.plan is None
    assert "KEY holds" in str(found.problems[0])
    assert "secret" not in str(found.problems)


@pytest.mark.parametrize(
    "text",
    [
        f"startPort: {'1' * 5000}",
        f"limits: {{body: {'9' * 5000}GiB}}",
        f"shutdownTimeout: {'9' * 5000}s",
    ],
    ids=["number", "size", "duration"],
)
def test_endless_digits(loaded: LoadText, text: str) -> None:
    """A number of any length is a mistake of the file, not an error of ours."""
    found = loaded(text)
    assert found.plan is None
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    ("text", "found_"),
    [
        *[(text, "an empty file") for text in ("", "\n\n", "# nothing\n", "---\n")],
        *[(text, "none, as in an empty file") for text in ("just words\n", "models = 3\n", "{}\n")],
    ],
)
def test_a_file_without_keys(tmp_path: Path, text: str, found_: str) -> None:
    """A file without keys is accepted, and an error under strict."""
    file = tmp_path / "c.yaml"
    file.write_text(text)
    found = load(file, environ={})
    assert found.is_good()
    assert not found.is_good(strict=True)
    assert f"{file}:1: expected keys, such as models; found {found_}" in found.lines()[0]
