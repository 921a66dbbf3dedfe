"""Names of models, as people would type them: `qwen3-8b:q4_k_m`.

A name is what the file is called, in lower case, with the quantization as its tag. Where the file's
name says nothing (`model.gguf`, a hash), the folder names the model, and where no folder does, the
header. Names are the same whatever was scanned first.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_NAME: Final = 160
"""Characters of a name; file systems allow 255 for each folder."""
_DIGEST: Final = 8
"""Characters of a path's hash: enough to tell the files of one machine apart."""
_PART: Final = re.compile(r"-(\d{5})-of-(\d{5})$")
_QUANTIZATION: Final = re.compile(
    r"(?:(?<=[-_. ])|^)"
    r"((?:ud-|i1-)?(?:iq[1-8]|q[1-8]|tq[12])(?:_[0-9a-z]{1,3}){0,3}|(?:ud-)?(?:bf16|f16|f32|fp16|fp32)"
    r"|mxfp4(?:_moe)?|nvfp4|fp8)"
    r"(?=[-_. ]|$)",
    re.IGNORECASE,
)
"""How file names say their quantization; Unsloth's `UD-` and mradermacher's `i1-` belong to it."""
_HASH: Final = re.compile(
    r"(sha256[-:])?[0-9a-f]{16,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE
)
_MEANINGLESS: Final = {
    "model", "models", "ggml-model", "gguf", "ggufs", "ggml", "weights", "file", "files", "data", "llm", "llms",
    "main", "default", "latest", "merged", "converted", "output", "final", "checkpoint", "params",
    "unsloth", "consolidated", "snapshots", "blobs", "hub", "cache", "downloads", "mnt", "volume",
    "tmp", "huggingface",
}  # fmt: skip
"""Names of files and folders that say nothing of the model inside."""
_REPOSITORY_ENDING: Final = re.compile(r"[-_.](i1[-_.])?gguf$", re.IGNORECASE)
_CACHED_DOWNLOAD: Final = re.compile(r"^[^_]+_.+?-GGUF_(?=.)", re.IGNORECASE)
"""What older builds of llama.cpp put before the names of files in their cache: OWNER_REPO-GGUF_."""
_ODD: Final = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True, slots=True)
class StemParts:
    """A file's name without its ending."""

    base: str
    """Lower case; empty where it says nothing of the model."""
    tag: str
    """Its quantization, lower case."""


@dataclass(frozen=True, slots=True)
class NameChoice:
    """Names that one model may have."""

    base: str
    tag: str
    longer: tuple[str, ...]
    """Names to take instead, in order, while another model has the same name."""
    aliases: tuple[str, ...]
    """Other names that it has where no other model claims them."""
    path: str
    """Tells it apart when nothing else does."""
    is_broken: bool = False
    """Names of broken ones never change those of others."""

    @property
    def name(self) -> str:
        return tagged(self.base, self.tag)

    def at(self, level: int) -> str:
        names = (self.name, *self.longer)
        if level < len(names):
            return names[level]
        digest = hashlib.sha256(self.path.encode("utf-8", "surrogateescape")).hexdigest()
        return f"{self.name}@{digest[:_DIGEST]}"


def part_of(stem: str) -> tuple[str, int, int] | None:
    """Return the stem, the number and the count of one part of a split file."""
    found = _PART.search(stem)
    return (stem[: found.start()], int(found[1]), int(found[2])) if found else None


def parts_of(stem: str) -> list[str]:
    """Return the stems of all parts of the split file that one part belongs to, in order; else the stem alone."""
    found = part_of(stem)
    if found is None or found[2] <= 1:
        return [stem]
    whole, _, count = found
    return [f"{whole}-{number:05}-of-{count:05}" for number in range(1, count + 1)]


def stem_parts(stem: str) -> StemParts:
    file = _CACHED_DOWNLOAD.sub("", stem)
    if file != stem and (parts := stem_parts(file)).base:
        return parts
    found = list(_QUANTIZATION.finditer(stem))
    if not found:
        return StemParts(meaningful(stem), "")
    last = found[-1]
    return StemParts(meaningful(stem[: last.start()] + stem[last.end() :]), last[0].lower())


def meaningful(text: str) -> str:
    """Return a name in its typed form; empty where it says nothing of a model."""
    name = typed(_REPOSITORY_ENDING.sub("", text.strip("-_. ")))
    if name in _MEANINGLESS or _HASH.fullmatch(name) or not any(map(str.isalpha, name)):
        return ""
    return "" if re.fullmatch(r"v\d+|rev-?\d+|" + _QUANTIZATION.pattern, name) else name


def typed(text: str) -> str:
    """Return a text as it is typed in a name: lower case, without blanks."""
    name = _ODD.sub("-", text.lower())
    return re.sub(r"[-_.]*-[-_.]*|[_.]{2,}", "-", name).strip("-_.")[:MOST_NAME]


def tagged(base: str, tag: str) -> str:
    return f"{base}:{tag}" if tag else base


def from_header(basename: str, size_label: str, finetune: str, name: str) -> str:
    """Return the name that a header gives, such as `qwen3-8b-instruct`."""
    base = typed(basename)
    for part in map(typed, (size_label, finetune)):
        if base and part and part not in base:
            base = f"{base}-{part}"
    return base or meaningful(name)


def assign(choices: Sequence[NameChoice]) -> list[tuple[str, tuple[str, ...]]]:
    """Give each model its id and its aliases; no two models share one."""
    levels = [0] * len(choices)
    whole = [index for index, choice in enumerate(choices) if not choice.is_broken]
    broken = [index for index, choice in enumerate(choices) if choice.is_broken]
    _tell_apart(choices, levels, whole, set())
    taken = {choices[index].at(levels[index]).casefold() for index in whole}
    aliases = _aliases(choices, levels, whole, taken)
    for names in aliases.values():
        taken.update(map(str.casefold, names))
    _tell_apart(choices, levels, broken, taken)
    return [
        (choice.at(level), aliases.get(index, ()))
        for index, (choice, level) in enumerate(zip(choices, levels, strict=True))
    ]


def _tell_apart(
    choices: Sequence[NameChoice], levels: list[int], members: Iterable[int], taken: set[str]
) -> None:
    """Raise the levels of all that share a name, until none does."""
    members = list(members)
    while True:
        names = {index: choices[index].at(levels[index]).casefold() for index in members}
        counts = Counter(names.values())
        same = [index for index in members if counts[names[index]] > 1 or names[index] in taken]
        raised = [index for index in same if levels[index] <= len(choices[index].longer)]
        if not raised:
            return
        for index in raised:
            levels[index] += 1


def _aliases(
    choices: Sequence[NameChoice], levels: list[int], members: list[int], taken: set[str]
) -> dict[int, tuple[str, ...]]:
    wanted: dict[int, dict[str, str]] = {}
    for index in members:
        spelled = wanted[index] = {}
        for alias in filter(None, (choices[index].base, *choices[index].aliases)):
            spelled.setdefault(alias.casefold(), alias)
    claims = Counter(folded for spelled in wanted.values() for folded in spelled)
    found: dict[int, tuple[str, ...]] = {}
    for index, spelled in wanted.items():
        own = choices[index].at(levels[index])
        found[index] = tuple(
            alias
            for folded, alias in spelled.items()
            if claims[folded] == 1
            and (folded not in taken or (folded == own.casefold() and alias != own))
        )
    return found
