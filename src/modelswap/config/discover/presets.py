"""Reads the presets of llama.cpp's router: INI files with llama-server's options for each model.

A section names a model; `[*]` holds what counts for all of them. A section wins over `[*]`. What a
template of the configuration adds comes later in the command, so it wins over both, as llama.cpp's
command line does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from modelswap.config.messages.hints import nearest
from modelswap.config.tree.node import NOWHERE, Mark

from .llama_options import PRESET_ONLY, RESERVED, LlamaOption, options_by_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from modelswap.config.messages.report import Report

SHARED: Final = "*"
"""The section that counts for all models."""
_UNNAMED: Final = "default"
"""The section of keys before the first header, as llama.cpp calls it."""
_LARGEST: Final = 1 << 20
"""Bytes of a preset file: a wrong path must not fill the memory."""
_HEADER = re.compile(r"\[\s*([^\]]+?)\s*\]\s*(?:[;#].*)?")
_PAIR = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*([^;#]*?)[ \t]*(?:[;#].*)?")
_NO: Final = frozenset({"off", "disabled", "false", "0"})

Words = tuple[str, ...]
Options = dict[str, Words]
"""The words of each option by the option's name, so that a later one replaces an earlier one."""


@dataclass(slots=True)
class Section:
    name: str
    mark: Mark
    options: Options = field(default_factory=dict[str, Words])
    preset: dict[str, str] = field(default_factory=dict[str, str])
    """`load-on-startup` and the like: what is no option of llama-server."""

    def value(self, option: str) -> str:
        """Return an option's value; empty when it is not there."""
        return self.options[option][-1] if option in self.options else ""


@dataclass(frozen=True, slots=True)
class Presets:
    shared: Section
    sections: Mapping[str, Section]

    def of(self, section: Section | None) -> Section:
        """Return what counts for a model: its section over the shared one."""
        if section is None:
            return self.shared
        options = self.shared.options | section.options
        return Section(section.name, section.mark, options, self.shared.preset | section.preset)


def read_presets(files: tuple[Path, ...], report: Report) -> Presets:
    """Read the files in order; a later one's section replaces an earlier one's."""
    shared = Section(SHARED, NOWHERE)
    sections: dict[str, Section] = {}
    for file in files:
        for one in _read(file, report):
            if one.name == SHARED:
                shared = one
            else:
                sections[one.name] = one
    return Presets(shared, sections)


def _read(file: Path, report: Report) -> list[Section]:
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
        text = data[:_LARGEST].decode()
    except OSError as failure:
        reason = failure.strerror or "unknown reason"
        report.problem(Mark(str(file)), (), f"the presets cannot be read: {reason}")
        return []
    except ValueError:
        report.problem(Mark(str(file)), (), "expected presets; found no UTF-8 text")
        return []
    if len(data) > _LARGEST:
        message = f"expected presets of at most {_LARGEST >> 20} MiB; found more: name another file"
        report.problem(Mark(str(file)), (), message)
        return []
    here = Section(_UNNAMED, Mark(str(file), 1))
    found = {here.name: here}
    for number, line in enumerate(text.splitlines(), 1):
        mark, written = Mark(str(file), number), line.strip()
        header, pair = _HEADER.fullmatch(written), _PAIR.fullmatch(written)
        if not written or written[0] in ";#":
            continue
        if header is not None:
            here = found[header[1]] = Section(header[1], mark)
        elif pair is not None:
            _enter(pair[1], pair[2], here, mark, report)
        else:
            message = "expected `[model]`, `option = value` or a comment; found another line"
            report.problem(mark, (here.name,), message)
    if not found[_UNNAMED].options:
        del found[_UNNAMED]
    return [*found.values()]


def _enter(key: str, value: str, section: Section, mark: Mark, report: Report) -> None:
    if key in PRESET_ONLY:
        section.preset[key] = value
        return
    known = options_by_key().get(key)
    if known is None:
        names = [*options_by_key(), *PRESET_ONLY]
        message = "expected an option of llama-server; found an unknown one"
        report.problem(mark, (section.name, key), message, nearest(key, names))
        return
    option, is_opposite = known
    if option.name in RESERVED:
        report.warn(mark, (section.name, key), "has no effect: modelswap gives it to the server")
        return
    section.options[option.name] = _words(option, value, is_opposite=is_opposite)


def _words(option: LlamaOption, value: str, *, is_opposite: bool) -> Words:
    if option.takes_value:
        return (f"--{option.name}", value)
    if is_no(value) != is_opposite:
        return (f"--{option.opposite}",) if option.opposite else ()
    return (f"--{option.name}",)


def is_no(value: str) -> bool:
    """Tell whether a switch's value turns it off; one without a value is on."""
    return value.lower() in _NO
