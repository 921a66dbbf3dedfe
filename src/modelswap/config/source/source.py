"""The files of a configuration are read and merged into one tree.

Guarantees: a value from the environment is text inside one scalar. It may become a number or a boolean
there, as the same word in the file would; it never becomes YAML. Files are merged as llama-swap merges
them, and each node keeps its own place.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Final

from modelswap.config.messages.report import Problem
from modelswap.config.tree.node import Map, Mark, Node, Scalar, is_null
from modelswap.deferred import dataclass, regex

from .document import BrokenDocumentError, parse
from .merge import merge

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping
    from pathlib import Path as FilePath

_ENV = regex(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")
_FORBIDDEN = regex(r"[\n\r\x00\ud800-\udfff]")
"""Surrogates stand for bytes that are not UTF-8."""
_PASSES: Final = 2
"""A value may itself hold `${env.X}`; that one's value may not."""
SUFFIXES: Final = (".yml", ".yaml")
_EMPTY: Final = "expected keys, such as models; found an empty file"
_NO_KEYS: Final = "expected keys, such as models; found none, as in an empty file"
MAX_FILE: Final = 16 << 20
"""Bytes of one file: a wrong path must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Source:
    """The merged tree of the files, and what was found while reading them."""

    root: Map
    files: tuple[str, ...]
    env_values: frozenset[str]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()


@dataclass(slots=True)
class Environment:
    """Looks variables up, and collects the values that are in the configuration."""

    variables: Mapping[str, str]
    used: set[str] = field(default_factory=set[str])
    problems: list[Problem] = field(default_factory=list[Problem])

    def expand(self, text: str, mark: Mark) -> str:
        for _ in range(_PASSES):
            text = _ENV.sub(lambda found: self._look_up(found, mark), text)
        return text

    def _look_up(self, found: re.Match[str], mark: Mark) -> str:
        name = found[1]
        value = self.variables.get(name)
        if value is None:
            message = f"environment variable {name} is not set"
            self.problems.append(Problem(mark, (), message, "an empty value would do"))
            return ""
        if _FORBIDDEN.search(value):
            message = f"environment variable {name} holds a line break, a NUL or bytes not UTF-8"
            self.problems.append(Problem(mark, (), message))
            return ""
        self.used.add(value)
        return value


def read(
    config: FilePath | None, directory: FilePath | None, variables: Mapping[str, str]
) -> Source:
    """Read the file first, then the directory's files by name; merge them in this order."""
    paths, problems = find(config, directory)
    environment = Environment(variables)
    root: Map | None = None
    warnings: list[Problem] = []
    for path in paths:
        found, more = read_file(path, environment)
        problems += more
        if not more and (found is None or not found.entries):
            empty = _EMPTY if found is None else _NO_KEYS
            warnings.append(Problem(Mark(str(path), 1), (), empty))
        if found is None:
            continue
        if root is None:
            root = found
        else:
            root, clashes = merge(root, found)
            problems += clashes
    problems += environment.problems
    files = tuple(str(path) for path in paths)
    nothing = Map(Mark(files[0] if files else ""))
    return Source(
        root or nothing, files, frozenset(environment.used), tuple(problems), tuple(warnings)
    )


def find(
    config: FilePath | None, directory: FilePath | None
) -> tuple[list[FilePath], list[Problem]]:
    if config is None and directory is None:
        return [], [Problem(Mark(""), (), "no configuration given", "use --config or --config-dir")]
    paths = [] if config is None else [config]
    if directory is None:
        return paths, []
    try:
        inside = sorted(p for p in directory.iterdir() if _is_source(p))
    except OSError as failure:
        return paths, [_cannot_read(directory, failure)]
    if config is not None and config.absolute() in {p.absolute() for p in inside}:
        message = "the file is given by --config and lies in --config-dir, too"
        return paths, [Problem(Mark(str(config)), (), message, "name it once")]
    if not inside and config is None:
        return [], [Problem(Mark(str(directory)), (), "no .yml or .yaml file in this directory")]
    return [*paths, *inside], []


def _is_source(path: FilePath) -> bool:
    """Tell whether this is a file, or a link to one, even a broken one; a pipe could block."""
    if not path.name.endswith(SUFFIXES) or path.is_dir():
        return False
    return path.is_file() or path.is_symlink()


def read_file(path: FilePath, environment: Environment) -> tuple[Map | None, list[Problem]]:
    """Read one file's mapping; None when it is empty or cannot be read."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE + 1)
    except OSError as failure:
        return None, [_cannot_read(path, failure)]
    except ValueError:
        return None, [Problem(Mark(file.replace("\0", "?")), (), "not a usable file name")]
    if len(raw) > MAX_FILE:
        return None, [Problem(Mark(file), (), f"larger than {MAX_FILE >> 20} MiB")]
    try:
        text = _decode(raw)
    except UnicodeDecodeError as failure:
        line = raw.count(b"\n", 0, failure.start) + 1
        return None, [Problem(Mark(file, line), (), "not UTF-8 text")]
    return read_text(text, file, environment)


def _decode(raw: bytes) -> str:
    utf16 = raw[:2] in {b"\xff\xfe", b"\xfe\xff"}
    return raw.decode("utf-16" if utf16 else "utf-8")


def read_text(text: str, file: str, environment: Environment) -> tuple[Map | None, list[Problem]]:
    """Parse the mapping in a file's text; None for an empty one."""
    try:
        node, problems = parse(text, file, environment.expand)
    except BrokenDocumentError as broken:
        return None, [broken.problem]
    return _root(node, problems)


def _root(node: Node | None, problems: list[Problem]) -> tuple[Map | None, list[Problem]]:
    if node is None or is_null(node):
        return None, problems
    if isinstance(node, Scalar):
        return Map(node.mark), problems  # llama-swap takes it for an empty file
    if isinstance(node, Map):
        return node, problems
    message = "expected a mapping of keys in the file; found a list"
    return None, [*problems, Problem(node.mark, (), message)]


def _cannot_read(path: FilePath, failure: OSError) -> Problem:
    return Problem(Mark(str(path)), (), f"cannot be read: {failure.strerror or 'unknown reason'}")
