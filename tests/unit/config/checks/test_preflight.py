"""What `check` looks for: programs, files, folders, and shell syntax that no shell reads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from modelswap.config.checks.preflight import preflight
from modelswap.config.commands import shell_syntax
from modelswap.config.commands.words import split
from modelswap.config.load import Loaded, load

if TYPE_CHECKING:
    from pathlib import Path

    from modelswap.config.messages.diagnostics import Diagnostics
    from modelswap.config.plan import Plan


def _check(folder: Path, command: str, *more: str) -> Loaded:
    lines = "".join(f"      {line}\n" for line in command.splitlines())
    rest = "".join(f"    {line}\n" for line in more)
    file = folder / "c.yaml"
    file.write_text(f"models:\n  m:\n    cmd: |\n{lines}{rest}    proxy: http://localhost:9\n")
    return load(file, environ={}, check=preflight)


SYNTAX = [
    ("true && x", "'&&'", "sh -c"),
    ("true || x", "'||'", "sh -c"),
    ("true | tee x", "'|'", "sh -c"),
    ("true; x", "';'", "sh -c"),
    ("true ; x", "';'", "sh -c"),
    ("true > x", "'>'", "sh -c"),
    ("true >> x", "'>>'", "sh -c"),
    ("true >x", "'>x'", "sh -c"),
    ("true 2>&1", "'2>&1'", "sh -c"),
    ("true 2>/dev/null", "'2>/dev/null'", "sh -c"),
    ("true &> x", "'&>'", "sh -c"),
    ("true < x", "'<'", "sh -c"),
    ("true </x", "'</x'", "sh -c"),
    ("true &", "'&'", "sh -c"),
    ("true $HOME/x", "'$HOME'", "${env.HOME}"),
    ('true "$HOME/x"', "'$HOME'", "${env.HOME}"),
    ("true ${HOME:-/x}", "'${HOME:-/x}'", "${env.HOME}"),
    ("true $(nproc)", "'$(nproc)'", "sh -c"),
    ("true `nproc`", "'`nproc`'", "sh -c"),
    ("true ~/x", "'~'", "${env.HOME}"),
    ("true --x=~/x", "'~'", "${env.HOME}"),
    ("true /x/*.gguf", "'*'", "files"),
    ("A=b true", "'A=…'", 'env: ["A=…"]'),
    ("cd /x", "'cd'", "sh -c"),
    ("export A=b", "'export'", "sh -c"),
    ("source x", "'source'", "sh -c"),
    ("sh -c true && x", "'&&'", "sh -c"),
]


@pytest.mark.parametrize(("command", "found", "hint"), SYNTAX)
def test_shell_syntax(tmp_path: Path, command: str, found: str, hint: str) -> None:
    """A warning names what only a shell would do, and what to write instead."""
    checked = _check(tmp_path, command)
    lines = [line for line in checked.lines() if "no shell" in line]
    assert any(found in line and hint in line for line in lines), checked.lines()
    assert all("c.yaml:3: models.m.cmd: " in line for line in lines)
    assert checked.plan is not None
    assert not checked.is_good(strict=True)


PLAIN = [
    "sh -c 'cd / && exec true > /dev/null 2>&1; true $HOME `id` ~/x'",
    'bash -lc "true && true"',
    "env A=b sh -c 'true | true'",
    'true --chat-template-kwargs \'{"a": "$x && ~/y"}\'',
    "true --override-kv a=str:b '&&' \"|\" '>' \\&\\&",
    "true --reverse-prompt <|im_end|> <s> a|b http://h/?a=1&b=2",
    "true -ot \"\\.ffn_.*_exps\\.=CPU\" -ot 'blk\\.(1|2)$' --cost 5$ 100% --origins * https://*/x",
    "ssh host cd /x && true $HOME",
    "true 'a;b' a;b",
    "true -r </s> --stop </think>",
    'bash -o pipefail -c "a | b $X"',
    'bash -euo pipefail -c "a | b $X"',
    'bash --rcfile /x -ic "a | b $X"',
    'docker run --rm --entrypoint bash img -c "a | b $X"',
    'docker run --rm --entrypoint=/bin/sh img -c "a | b $X"',
    'su - user -c "cd /x && $HOME/y"',
    'sshpass -p x ssh host "cd ~/x && $Y"',
    "timeout 9 autossh host cd ~/x && $Y",
    'tmux new-session -d "a $X; b"',
    'powershell -Command "$env:A=1; $x | y"',
    "cmd.exe /c a && b",
]


@pytest.mark.parametrize("command", PLAIN)
def test_no_shell_syntax(tmp_path: Path, command: str) -> None:
    """What is quoted, what a shell reads, and what only looks alike is left alone."""
    assert [line for line in _check(tmp_path, command).lines() if "no shell" in line] == []


@pytest.mark.parametrize(
    "command", [*(row[0] for row in SYNTAX), *PLAIN, "a\\\n b 'c", '"a\\"b" c\\ d']
)
def test_words_are_those_of_the_command(command: str) -> None:
    """The words that are checked are those that the program gets."""
    assert tuple(word.text for word in shell_syntax.words(command)) == split(command)


def test_no_value_of_a_variable_is_shown(tmp_path: Path) -> None:
    """A token before the program is not repeated."""
    assert "hf_abc" not in str(_check(tmp_path, "HF_TOKEN=hf_abc true").lines())


MISSING = [
    ("no-such-program --x", "a program", "'no-such-program', which is not in the PATH"),
    ("/no/program", "a program", "'/no/program', which is not there"),
    ("/", "a program", "'/', which is a folder"),
    ("env A=b /no/program", "a program", "'/no/program'"),
    ("nohup no-such-program", "a program", "'no-such-program'"),
    ("sh -c 'cd /x && exec /no/program -m y.gguf'", "a program", "'/no/program'"),
    ("sh -c 'exec true -m /no/y.gguf'", "a file", "'/no/y.gguf'"),
    ("true -m /no/x.gguf", "a file", "'/no/x.gguf', which is not there"),
    ("true --model=/no/x.gguf", "a file", "'/no/x.gguf'"),
    ("true -m no/x.gguf", "a file", "'no/x.gguf', which is not in "),
    ("true --mmproj /no/m.gguf", "a file", "'/no/m.gguf'"),
    ("true -md /no/d.gguf", "a file", "'/no/d.gguf'"),
    ("true --lora /no/l.gguf:0.5", "a file", "'/no/l.gguf'"),
    ("true --chat-template-file t.jinja", "a file", "'t.jinja'"),
    ("true --model /no/hf-model", "a file", "'/no/hf-model'"),
    ("true --models-dir /no/models", "a folder", "'/no/models'"),
    ("true --models-dir /etc/hostname", "a folder", "'/etc/hostname', which is a file"),
    ("true /no/w.safetensors", "a file", "'/no/w.safetensors'"),
    ("python3 /no/app.py", "a file", "'/no/app.py'"),
    ("docker run -v /no/host:/models img -m /models/x.gguf", "a file or folder", "'/no/host'"),
    ("docker run --mount type=bind,source=/no/b,target=/x img", "a file or folder", "'/no/b'"),
]


@pytest.mark.parametrize(("command", "kind", "why"), MISSING)
def test_what_is_missing(tmp_path: Path, command: str, kind: str, why: str) -> None:
    """A program, a file, a folder that is not there: a warning, under strict, too."""
    checked = _check(tmp_path, command)
    lines = [line for line in checked.lines(strict=True) if why in line]
    assert len(lines) == 1, checked.lines()
    assert lines[0].startswith(
        f"warning: {tmp_path}/c.yaml:3: models.m.cmd: expected {kind} on this"
    )
    assert checked.is_good(strict="docker" not in command)


THERE = [
    "true -m Qwen/Qwen3-8B --tokenizer org/name",
    "python3 -m http.server",
    "sh -c 'cd /no && true -m x.gguf'",
    "true -hf org/repo:Q4 --alias a",
    "true",
]


@pytest.mark.parametrize("command", THERE)
def test_what_is_no_file_is_not_checked(tmp_path: Path, command: str) -> None:
    """A name that the server looks up elsewhere, a module, a path inside a container."""
    assert _check(tmp_path, command).lines() == []


ELSEWHERE = [
    "sudo -E docker run img -m /no/x.gguf --chat-template-file /no/t.jinja",
    "timeout 1d podman run img -m /no/x.gguf",
    "nice docker run img -m /no/x.gguf",
    "flatpak-spawn --host llama-server -m /no/x.gguf",
    "limactl shell default llama-server -m /no/x.gguf",
    "ramalama serve /no/x.gguf",
    "ssh.exe host llama-server -m /no/x.gguf",
    "llama-server --model-url https://h/x.gguf -m /no/x.gguf",
    "llama-server -hf org/repo -m /no/x.gguf",
    "uv run --directory /x main.py --config c.yml",
]


@pytest.mark.parametrize("command", ELSEWHERE)
def test_files_of_other_places_are_not_checked(tmp_path: Path, command: str) -> None:
    """What a container or another machine has, what will be downloaded, what is in another folder."""
    for name in ("docker", command.split(maxsplit=1)[0]):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    variables = f"PATH={tmp_path}" + (", MODEL=/no/x.gguf" if "docker" in command else "")
    assert _check(tmp_path, command, f"env: [{variables}]").lines() == []


def test_container_paths_are_not_checked(tmp_path: Path) -> None:
    """Of a container's command only its program and the folders of this machine count."""
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)
    command = f"docker run -v {tmp_path}:/models -v cache:/c img -m /models/x.gguf --mmproj /m.gguf"
    assert _check(tmp_path, command, f"env: [PATH={tmp_path}]").lines() == []


def test_the_path_of_the_model_counts(tmp_path: Path) -> None:
    """A program is searched for where the server will be: in the PATH that `env` sets."""
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert _check(tmp_path, "mine", f"env: [PATH={tmp_path}]").lines() == []
    (line,) = _check(tmp_path, "mine", "env: [PATH=/no]").lines()
    assert "'mine', which is not in the PATH that env sets" in line


def test_a_file_that_may_not_be_executed(tmp_path: Path) -> None:
    """A program without the permission has a warning."""
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    assert "which may not be executed" in _check(tmp_path, str(program)).lines()[0]


def test_a_folder_that_a_shell_would_enter(tmp_path: Path) -> None:
    """Beside the `cd` that no shell reads, files in that folder are not called missing."""
    lines = _check(tmp_path, "cd /opt && ./run -m x.gguf").lines()
    assert all("no shell reads" in line for line in lines)


def test_what_this_user_may_not_see_is_not_missing(tmp_path: Path) -> None:
    """`check` may be run by another user than the service: what it cannot see is not called missing."""
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    file = tmp_path / "c.yaml"
    file.write_text(
        f"models:\n  m: {{cmd: '{hidden}/run -m {hidden}/x.gguf', proxy: http://h:9}}\n"
    )

    def look_as_another(plan: Plan, diagnostics: Diagnostics) -> None:
        if os.geteuid() == 0:
            os.seteuid(65534)
            try:
                preflight(plan, diagnostics)
            finally:
                os.seteuid(0)

    assert load(file, environ={}, check=look_as_another).lines() == []


def test_files_that_are_there(tmp_path: Path) -> None:
    """There is no warning of what is there; of a model in parts, all parts are checked."""
    (tmp_path / "x.gguf").touch()
    parts = [tmp_path / f"y-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    for part in parts:
        part.touch()
    command = f"true -m {tmp_path}/x.gguf --models-dir {tmp_path} --model-draft {parts[0]}"
    assert _check(tmp_path, command).lines() == []
    parts[2].unlink()
    assert str(parts[2]) in _check(tmp_path, command).lines()[0]


def test_the_stop_command_and_the_environment_count(tmp_path: Path) -> None:
    """`cmdStop` is a command, too; a model file in `env` is checked."""
    checked = _check(
        tmp_path, "true", "cmdStop: no-such-stop | x", "env: [LLAMA_ARG_MODEL=/no/x.gguf]"
    )
    lines = "\n".join(checked.lines())
    assert "models.m.cmdStop: expected a program" in lines
    assert "models.m.cmdStop: expected no shell syntax" in lines
    assert "models.m.env[0]: expected a file" in lines


def test_commands_that_may_share_a_server(tmp_path: Path) -> None:
    """Two models on one fixed port that may run together, whose commands do not name it: a warning of check."""
    text = "models:\n  a: {cmd: sleep inf, proxy: 'http://localhost:9'}\n  b:\n    cmd: sleep inf\n    proxy: http://localhost:9\ngroups: {g: {swap: no, members: [a, b]}}\n"
    file = tmp_path / "c.yaml"
    file.write_text(text)
    assert load(file, environ={}).lines() == []
    (line,) = load(file, environ={}, check=preflight).lines()
    assert "c.yaml:5: models.b.proxy: expected an address of its own; found that of 'a'" in line
