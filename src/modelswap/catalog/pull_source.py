"""Where a model is pulled from: `hf:OWNER/REPO:Q4_K_M`, `https://host/model.gguf`, `ollama:NAME:TAG`.

Guarantees: two spellings of one source have one canonical text; a text never holds a password or the
query of a URL, which may be a signature.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from modelswap.deferred import dataclass, regex
from modelswap.digest import sha256

EXPECTED: Final = (
    "expected hf:OWNER/REPO, hf:OWNER/REPO:QUANTIZATION, hf:OWNER/REPO/FILE.gguf,"
    " https://HOST/FILE.gguf or ollama:NAME:TAG"
)
DEFAULT_REGISTRY: Final = "registry.ollama.ai"
DEFAULT_NAMESPACE: Final = "library"
DEFAULT_TAG: Final = "latest"

_MOST_TEXT: Final = 2000
"""Characters of a source; signed URLs have some hundreds."""
_MOST_SHOWN: Final = 120
"""Characters of a wrong source that an error quotes: enough to find it in a file."""
_DIGITS: Final = 8
"""Hexadecimal digits of a query's digest: they tell two queries apart, and tell nothing of either."""
_OWNER_PARTS: Final = 2
"""Parts of a repository's name: owner and name."""
_MOST_OLLAMA_PARTS: Final = 3
"""Parts of a name in Ollama's registry: host, namespace and name."""
_HUB_PART: Final = regex(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
"""An owner or a name as the hub allows them: at most 96 characters; no dot or dash at an end."""
_QUANTIZATION: Final = regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FILE_PART: Final = regex(r"(?!\.{1,2}$)[^\x00-\x1f\x7f\\/:]{1,255}")
_OLLAMA_PART: Final = regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
"""A namespace, a name or a tag; Ollama allows at most 80 characters."""
_OLLAMA_HOST: Final = regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,249}(?::[0-9]{1,5})?")
_HOST_AND_PORT: Final = regex(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
_UNPRINTABLE: Final = regex(r"[\x00-\x1f\x7f\ud800-\udfff]")
_USER: Final = regex(r"(?is)^((?:https?|ftp):/{0,2}).*@|^([a-z]*:)[^/]*@")
"""What may be a name and a password, also where slashes are missing or too many."""
_HUB_HOSTS: Final = ("huggingface.co", "hf.co", "www.huggingface.co")
_ENDING: Final = ".gguf"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository of Hugging Face's hub; at most one of quantization and file is given."""

    repository: str
    """`OWNER/NAME`."""
    quantization: str = ""
    """Upper case, such as `Q4_K_M`; empty: the one that llama.cpp's `-hf` would choose."""
    file: str = ""
    """Path of a GGUF file in the repository."""

    @property
    def text(self) -> str:
        if self.file:
            return f"hf:{self.repository}/{self.file}"
        return f"hf:{self.repository}:{self.quantization}".removesuffix(":")


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A GGUF file at an address of its own."""

    url: str = field(repr=False)
    """The whole address: a secret where it has a password or a query."""

    @property
    def text(self) -> str:
        """The address without password; a digest stands for the query."""
        found = urlsplit(self.url)
        query = ""
        if found.query:
            query = f"?{sha256(found.query.encode()).hexdigest()[:_DIGITS]}"
        return urlunsplit((found.scheme, _address(found), found.path, "", "")) + query


@dataclass(frozen=True, slots=True)
class OllamaSource:
    """A model of an Ollama registry."""

    host: str
    namespace: str
    name: str
    tag: str

    @property
    def base(self) -> str:
        """The name without its tag; parts that are Ollama's own are left out, as Ollama does."""
        parts = [self.host, self.namespace, self.name]
        if self.host == DEFAULT_REGISTRY:
            parts = parts[1:] if self.namespace != DEFAULT_NAMESPACE else parts[2:]
        return "/".join(parts)

    @property
    def text(self) -> str:
        return f"ollama:{self.base}:{self.tag}"


PullSource = HubSource | UrlSource | OllamaSource


def parse_source(text: str) -> PullSource:
    """Return what a text names; raise `WrongSourceError` saying what was found and what was expected."""
    text = text.strip()
    if len(text) > _MOST_TEXT:
        raise _wrong(text, f"it has {len(text)} characters, at most {_MOST_TEXT} are accepted")
    if _UNPRINTABLE.search(text):
        raise _wrong(text, "it has a control character")
    scheme, colon, rest = text.partition(":")
    match scheme.lower() if colon else "":
        case "hf" | "huggingface":
            return _hub(rest.removeprefix("//"), text)
        case "http" | "https":
            return _url(text)
        case "ollama":
            return _ollama(rest.removeprefix("//"), text)
        case _:
            raise _wrong(text, "it does not begin with hf:, https: or ollama:")


def canonical(text: str) -> str:
    """Return the one spelling of a source, without secrets; raise `ValueError` as `parse_source`."""
    return parse_source(text).text


class WrongSourceError(ValueError):
    """A text that names no source: what was found, without secrets, and what is wrong with it."""

    def __init__(self, found: str, reason: str) -> None:
        super().__init__(f"{found!r} names no source: {reason}; {EXPECTED}")
        self.found = found
        self.reason = reason


def _wrong(text: str, reason: str) -> WrongSourceError:
    return WrongSourceError(_shown(text), reason)


def _shown(text: str) -> str:
    """Return a wrong text as an error may quote it: without password and query."""
    text = _USER.sub(r"\1\2", text.partition("?")[0].partition("#")[0])
    text = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _hub(rest: str, text: str) -> HubSource:
    path, colon, quantization = rest.partition(":")
    parts = path.split("/")
    if len(parts) < _OWNER_PARTS or not all(parts):
        raise _wrong(text, "a repository is written OWNER/REPO")
    owner, name, *file = parts
    for part in (owner, name):
        if not _HUB_PART.fullmatch(part) or "--" in part or ".." in part:
            raise _wrong(text, f"{_shown(part)!r} is no name of an owner or a repository")
    repository = f"{owner}/{name}"
    if file:
        return HubSource(repository, file=_file(file, text, has_tag=bool(colon)))
    if colon and not _QUANTIZATION.fullmatch(quantization):
        raise _wrong(text, f"{_shown(quantization)!r} is no quantization, such as Q4_K_M")
    quantization = "" if quantization.lower() == DEFAULT_TAG else quantization.upper()
    return HubSource(repository, quantization)


def _file(parts: list[str], text: str, *, has_tag: bool) -> str:
    if has_tag:
        raise _wrong(text, "a file has no quantization behind it")
    if not all(_FILE_PART.fullmatch(part) for part in parts):
        raise _wrong(text, f"{_shown('/'.join(parts))!r} is no path of a file")
    if not parts[-1].lower().endswith(_ENDING):
        raise _wrong(text, f"{_shown(parts[-1])!r} does not end in {_ENDING}")
    return "/".join(parts)


def _url(text: str) -> HubSource | UrlSource:
    try:
        found = urlsplit(text)
        port = found.port
    except ValueError:
        raise _wrong(text, "its address cannot be read") from None
    host = (found.hostname or "").lower()
    if not _HOST_AND_PORT.fullmatch(_address(found)) or port == 0:
        raise _wrong(text, "it has no host")
    if host in _HUB_HOSTS and found.query in {"", "download=true"}:  # the site's links to files
        hub = _hub_page(found, text)
        if hub is not None:
            return hub
    path = quote(unquote(found.path), safe="/~!$&'()*+,;=:@")
    name = unquote(path.rpartition("/")[2])
    if not name.lower().endswith(_ENDING) or not _FILE_PART.fullmatch(name):
        raise _wrong(text, f"the path does not end in the name of a {_ENDING} file")
    address = found.netloc.rpartition("@")
    netloc = address[0] + address[1] + _address(found)
    return UrlSource(urlunsplit((found.scheme.lower(), netloc, path, found.query, "")))


def _address(found: SplitResult) -> str:
    """Return host and port, without the user's name and password."""
    return found.netloc.rpartition("@")[2].lower()


def _hub_page(found: SplitResult, text: str) -> HubSource | None:
    """Return what an address of the hub's site names; `None`: a file of another revision."""
    parts = unquote(found.path).strip("/").split("/")
    owner_and_name, rest = parts[:_OWNER_PARTS], parts[_OWNER_PARTS:]
    if not rest:
        return _hub("/".join(owner_and_name), text)
    if rest[0] in {"resolve", "blob"} and rest[1:2] == ["main"]:
        return _hub("/".join([*owner_and_name, *rest[2:]]), text)
    if rest[0] == "resolve":
        return None
    raise _wrong(text, "it is a page of the hub, not a file")


def _ollama(rest: str, text: str) -> OllamaSource:
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        path, tag = rest, DEFAULT_TAG
    parts = path.split("/")
    if not 1 <= len(parts) <= _MOST_OLLAMA_PARTS:
        raise _wrong(text, "a name is written NAME, NAMESPACE/NAME or HOST/NAMESPACE/NAME")
    host = parts[0].lower() if len(parts) == _MOST_OLLAMA_PARTS else DEFAULT_REGISTRY
    namespace = parts[-2] if len(parts) >= _OWNER_PARTS else DEFAULT_NAMESPACE
    for part in (namespace, parts[-1], tag):
        if not _OLLAMA_PART.fullmatch(part) or ".." in part:
            raise _wrong(text, f"{_shown(part)!r} is no name of a model, and no tag")
    if not _OLLAMA_HOST.fullmatch(host) or ".." in host:
        raise _wrong(text, f"{_shown(host)!r} is no host")
    return OllamaSource(host, namespace, parts[-1], tag)
