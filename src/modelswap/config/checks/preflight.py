"""`check` looks on this machine for the programs, files and folders that the commands name.

Does not: run at the start of `serve`, which must not wait for a slow disk; refuse anything. What is
missing is a fact of this machine, and a warning even under `--strict`.
"""

# ruff: noqa: PTH109, PTH112, PTH113, PTH116, PTH117 - a name is looked up as the text that the program gets

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Final

from modelswap.config.commands import shell_syntax
from modelswap.config.compile.policy import routing_policy
from modelswap.config.messages.found_value import LONGEST_PATH, FoundValue
from modelswap.deferred import regex

from .shared_addresses import warn_of_unnamed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from modelswap.config.messages.diagnostics import Diagnostics
    from modelswap.config.plan import Model, Plan
    from modelswap.config.tree.node import Path

_MODEL_FILE = regex(r"\.(?:gguf|ggml|bin|safetensors|onnx|pt|pth|mlpackage|nemo)$")
_PART = regex(r"-(\d{5})-of-(\d{5})\.gguf$")
_SCRIPT = regex(r"\.(?:py|sh|js|mjs|pl|rb)$")
_FILES: Final = frozenset({
    "-m", "--model", "-mm", "--mmproj", "-md", "--model-draft", "--spec-draft-model", "-mv",
    "--model-vocoder", "--lora", "--control-vector", "--vae", "--clip_l", "--clip_g", "--clip-l",
    "--clip-g", "--t5xxl", "--diffusion-model", "--llm", "--taesd", "--control-net",
    "--upscale-model", "--whisper-model", "--tokenizer",
})  # fmt: skip
"""The value is a model's file, or a name that the server looks up elsewhere: only a path is checked."""
_ALWAYS_FILES: Final = frozenset({
    "--chat-template-file", "--grammar-file", "--json-schema-file", "-jf", "--api-key-file",
    "--ssl-key-file", "--ssl-cert-file", "--models-preset", "--config", "--config-file",
    "--env-file", "--lookup-cache-static", "-lcs", "--prompt-file", "--system-prompt-file",
    "--mcp-config",
})  # fmt: skip
_FOLDERS: Final = frozenset({
    "--model-dir", "--models-dir", "--slot-save-path", "--lora-model-dir", "--lora-dir",
    "--embd-dir", "--media-path",
})  # fmt: skip
_ELSEWHERE: Final = frozenset({
    "docker", "podman", "nerdctl", "ssh", "kubectl", "lxc", "incus", "wsl", "apptainer",
    "singularity", "distrobox", "toolbox", "machinectl", "systemd-nspawn", "flatpak", "chroot",
    "docker-compose", "autossh", "mosh", "limactl", "multipass", "vagrant", "pct", "crun", "runc",
    "ctr", "container", "ramalama", "finch", "oc", "microk8s", "k3s", "flatpak-spawn", "host-spawn",
})  # fmt: skip
"""Programs whose arguments name files of another machine or a container."""
_WRAPPERS: Final = frozenset({"env", "nohup", "setsid", "exec", "nice", "time"})
_ASSIGNED = regex(r"[A-Za-z_]\w*=")
_TAKES_WORD: Final = frozenset({"-u", "-C", "-S", "-f", "-o", "--unset", "--chdir"})
"""Options of wrappers that take the next word."""
_BEFORE_PROGRAM: Final = frozenset({"", "exec", "&&", "||", ";", "|", "then", "do", "nohup"})
_KINDS: Final = {
    **dict.fromkeys(_FILES | _ALWAYS_FILES, "a file"),
    **dict.fromkeys(_FOLDERS, "a folder"),
}
_DOWNLOADS: Final = frozenset({"-mu", "--model-url", "-hf", "-hfr", "--hf-repo"})
"""Options by which llama.cpp downloads the model: `-m` is where it will be."""
_GOES_TO: Final = frozenset(
    ["--directory", "--chdir", "--cwd", "--workdir", "--working-directory", "--working-dir"]
)
"""Options of programs that run the rest in another folder."""
_VOLUMES: Final = frozenset({"-v", "--volume"})
_OPEN: Final = regex(r"[$*`~{}]")
"""Shell syntax: the path is not the real one; `shell_syntax` reports it."""


def preflight(plan: Plan, diagnostics: Diagnostics) -> None:
    """Warn of what the commands name and this machine does not have, and of shell syntax."""
    if not diagnostics.report.problems:  # else the routing may be incomplete
        warn_of_unnamed(plan, routing_policy(plan), diagnostics)
    for model in plan.models.values():
        path = ("models", model.id)
        _check_command(model.cmd, model, (*path, "cmd"), diagnostics)
        _check_command(model.cmd_stop, model, (*path, "cmdStop"), diagnostics)
        for index, entry in enumerate(model.env):
            value = entry.partition("=")[2]
            is_here = os.path.isabs(value) and not _goes_elsewhere(model.argv)
            if is_here and _MODEL_FILE.search(value):
                _check_exists(value, "a file", (*path, "env", index), diagnostics)


def _check_command(command: str, model: Model, path: Path, diagnostics: Diagnostics) -> None:
    given = any(entry.startswith("PORT=") for entry in model.env)
    together: dict[tuple[str, str], list[str]] = {}
    for what, then, hint in shell_syntax.findings(command):
        if not (what == "$PORT" and given):
            together.setdefault((then, hint), []).append(what)
    for (then, hint), found in together.items():
        message = "expected no shell syntax: no shell reads a command"
        seen = FoundValue(", ".join(map(repr, found)))
        diagnostics.warn(path, message, hint, seen=seen, then=then)
    _check_arguments([word.text for word in shell_syntax.words(command)], model, path, diagnostics)


def _check_arguments(
    arguments: list[str], model: Model, path: Path, diagnostics: Diagnostics
) -> None:
    if not arguments or "=" in arguments[0]:
        return
    _check_program(arguments[0], model, path, diagnostics)
    if shell_syntax.name_of(arguments[0]) in _WRAPPERS:
        _check_arguments(_behind_wrapper(arguments), model, path, diagnostics)
        return
    if _goes_elsewhere(arguments):
        for folder in _host_sides(arguments):
            _check_exists(folder, "a file or folder", path, diagnostics)
        return
    script = shell_syntax.script_index(arguments)
    if script is None:
        goes = any(word.partition("=")[0] in _GOES_TO for word in arguments)
        takes_relative = not goes and arguments[0] not in shell_syntax.BUILT_IN  # such as `cd`
        for value, kind in _named(arguments, takes_relative=takes_relative):
            _check_exists(value, kind, path, diagnostics)
    else:
        inner = [word.text for word in shell_syntax.words(arguments[script])]
        _check_script(inner, model, path, diagnostics)


def _check_script(words: list[str], model: Model, path: Path, diagnostics: Diagnostics) -> None:
    """Check a shell's script: only absolute paths, since it may change the folder (`cd`)."""
    if _goes_elsewhere(words):
        return
    for before, word in zip(["", *words], words, strict=False):
        if os.path.isabs(word) and (before in _BEFORE_PROGRAM or before.endswith(";")):
            _check_program(word.rstrip(";"), model, path, diagnostics)
    for value, kind in _named(["", *words], takes_relative=False):
        _check_exists(value.rstrip(";"), kind, path, diagnostics)


def _goes_elsewhere(words: Sequence[str]) -> bool:
    """Tell whether `docker`, `ssh` and the like run the rest, also behind `sudo` or another program."""
    return not _ELSEWHERE.isdisjoint(map(shell_syntax.name_of, words))


def _behind_wrapper(arguments: Sequence[str]) -> list[str]:
    """Return the command that `env A=b`, `nohup` and the like run; none where options may hide it."""
    at = 1
    while at < len(arguments) and (
        arguments[at].startswith("-") or _ASSIGNED.match(arguments[at]) or arguments[at].isdigit()
    ):
        if arguments[at] in _TAKES_WORD:
            return []
        at += 1
    return list(arguments[at:])


def _check_program(program: str, model: Model, path: Path, diagnostics: Diagnostics) -> None:
    if program.startswith("~") or _OPEN.search(program) or program in shell_syntax.BUILT_IN:
        return
    own = [entry.partition("=")[2] for entry in model.env if entry.startswith("PATH=")]
    search = own[-1] if own else os.environ.get("PATH", os.defpath)
    if "/" in program:
        if os.path.isdir(program):
            _warn_missing(program, "a program", "which is a folder", path, diagnostics)
        elif not _may_exist(program):
            _warn_missing(program, "a program", "which is not there", path, diagnostics)
        elif os.path.isfile(program) and not os.access(program, os.X_OK):
            _warn_missing(program, "a program", "which may not be executed", path, diagnostics)
    elif shutil.which(program, path=search) is None:
        where = "the PATH that env sets" if own else "the PATH"
        _warn_missing(program, "a program", f"which is not in {where}", path, diagnostics)


def _host_sides(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the folders of this machine that a container mounts: of `-v HOST:CONTAINER` and `--mount`."""
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        option, separator, value = word.partition("=")
        value = value if separator else following
        if option in _VOLUMES:
            yield from _paths([value.partition(":")[0]])
        elif option == "--mount" and "type=bind" in value:
            parts = [part.partition("=") for part in value.split(",")]
            yield from _paths([path for name, _, path in parts if name in {"source", "src"}])
        elif option == "--env-file":
            yield from _paths([value])


def _paths(values: Sequence[str]) -> Iterator[str]:
    """Yield the values that are paths; a volume has a name instead."""
    yield from (value for value in values if value.startswith(("/", "./", "../")))


def _named(arguments: Sequence[str], *, takes_relative: bool) -> Iterator[tuple[str, str]]:
    is_python = shell_syntax.name_of(arguments[0]).startswith("python")
    is_first = takes_relative
    at = 1
    while at < len(arguments):
        word = arguments[at]
        option, separator, value = word.partition("=")
        kind = _KINDS.get(option)
        at += 1
        if kind is None or (is_python and is_first and option == "-m"):
            if not word.startswith("-"):
                yield from _positional(word, may_be_script=is_first)
            is_first = is_first and word.startswith("-") and word != "-m"
            continue
        is_first = False
        if not separator:
            value = arguments[at] if at < len(arguments) else ""
            at += 1
        for one in _list(value) if option in _FILES else [value]:
            is_path = _is_path(one) or (option not in _FILES and bool(one))
            if option in {"-m", "--model"} and not _DOWNLOADS.isdisjoint(arguments):
                continue
            if is_path and (takes_relative or os.path.isabs(one)):
                yield one, kind


def _positional(word: str, *, may_be_script: bool) -> Iterator[tuple[str, str]]:
    is_model = os.path.isabs(word) and _MODEL_FILE.search(word)
    if is_model or (may_be_script and _SCRIPT.search(word) and "/" in word):
        yield word, "a file"


def _list(value: str) -> list[str]:
    """Split `--lora A,B`; drop the weight of `--lora A:0.5`."""
    return [re.sub(r":[\d.]+$", "", one) for one in value.split(",")]


def _is_path(value: str) -> bool:
    is_rooted = value.startswith(("/", "./", "../"))
    return is_rooted or (_MODEL_FILE.search(value) is not None and "://" not in value)


def _check_exists(value: str, kind: str, path: Path, diagnostics: Diagnostics) -> None:
    if _OPEN.search(value) or "\0" in value:
        return
    for one in _parts(value):
        if not _may_exist(one):
            where = "there" if os.path.isabs(one) else f"in {os.getcwd()}"
            _warn_missing(one, kind, f"which is not {where}", path, diagnostics)
            return
    if kind == "a folder" and os.path.isfile(value):
        _warn_missing(value, kind, "which is a file", path, diagnostics)


def _may_exist(value: str) -> bool:
    """Tell whether something exists, or may exist unseen: the server may run as another user."""
    try:
        os.stat(value)
    except PermissionError:
        return True
    except (OSError, ValueError):  # a NUL in it
        return False
    return True


def _parts(value: str) -> list[str]:
    """Return all files of a model in several parts: the command names the first."""
    found = _PART.search(value)
    if found is None:
        return [value]
    stem, count = value[: found.start()], min(int(found[2]), 999)
    return [value, *(f"{stem}-{n:05}-of-{found[2]}.gguf" for n in range(1, count + 1))]


def _warn_missing(value: str, kind: str, why: str, path: Path, diagnostics: Diagnostics) -> None:
    diagnostics.missing(path, kind, FoundValue("", value, LONGEST_PATH), why)
