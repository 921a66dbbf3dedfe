"""One model: from its tree to the frozen `Model`, for one port.

Law: everything that llama-swap settles per model is settled here, defaults
from the top level included; names across models are not.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from modelswap.config.macros.command import split, strip_comments
from modelswap.config.macros.macros import with_port
from modelswap.config.messages.diagnostics import Diagnostics
from modelswap.config.messages.found import FoundValue, of_text
from modelswap.config.plan import Capabilities, Filters, Model, Timeouts
from modelswap.config.schema.decode import Report, as_json, decode
from modelswap.config.schema.schema import RawModel
from modelswap.config.source.node import Map
from modelswap.core.spec import ModelId
from modelswap.net.address import Address, is_unix
from modelswap.units import Seconds

from .api_keys import upstream_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.config.macros.expansion import Template
    from modelswap.config.plan import Json
    from modelswap.config.schema.schema import RawCapabilities, RawFilters, RawTimeouts
    from modelswap.config.source.node import Path

COMFYUI: Final = "comfyui_auto"
LAST_PORT: Final = 65_535
_COMFYUI_CONCURRENCY: Final = 50
_OS_KEEPALIVE: Final = 15
_MEDIA: Final = ("text", "audio", "image")
_WINDOWS_STOP: Final = "taskkill /f /t /pid ${PID}"
_RESTART_KEYS: Final = ("cmd", "cmdStop", "env", "proxy", "checkEndpoint")
_HOST_PORT = re.compile(r"[\w.-]+:\d{1,5}(?:/\S*)?|\[[0-9a-fA-F:]+\]:\d{1,5}(?:/\S*)?")
_ADDRESS: Final = "an http:// or https:// address"
_VERSIONED = re.compile(r"/v1(/(models|embeddings|responses|messages|(chat/)?completions))?/*$")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NO_CHECK: Final = frozenset({"none", "false", "off", "no", "null", "disabled", "disable", "skip"})
"""Words that are paths to llama-swap, and so to us, whatever their authors meant."""
_CHECKED: Final = frozenset({"true", "yes", "on", "enabled", "enable"})
"""The same for those who want one."""
_PATH_SAFE: Final = "/%?&=:@!$'()*+,;~[]"


@dataclass(frozen=True, slots=True)
class Common:
    """What the top level says about every model."""

    start_timeout: Seconds
    unload_timeout: Seconds
    ttl: Seconds | None
    send_loading_state: bool
    priorities: Mapping[str, int]
    windows: bool


def build(template: Template, common: Common, report: Report, port: int | None = None) -> Model:
    """Make the model for `port`, or for the one that the file's order gives it."""
    port = template.port if port is None else port
    tree = template.tree if port is None else with_port(template.tree, port)
    path: Path = ("models", template.id)
    raw = decode(tree, RawModel, path, report)
    root = Map(template.mark).with_value("models", Map(template.mark).with_value(template.id, tree))
    places = Diagnostics(root, report)
    if port is not None and port > LAST_PORT:
        hint = "begin lower with `startPort`"
        places.warn(path, f"no port is left for it: {port} is beyond {LAST_PORT}", hint)

    def render(other: int) -> Model:
        return build(template, common, Report(), other)

    comfyui = template.id == COMFYUI
    concurrency = raw.concurrency if raw.concurrency > 0 else None
    if comfyui and concurrency is not None:
        concurrency = max(concurrency, _COMFYUI_CONCURRENCY)
    loading = raw.send_loading_state
    stop = _stop(raw.cmd_stop, windows=common.windows)
    return Model(
        id=ModelId(template.id),
        cmd=raw.cmd,
        argv=_argv(raw, path, places, windows=common.windows, blank=template.is_blank),
        cmd_stop=stop,
        stop_argv=split(stop, windows=common.windows),
        proxy=upstream_url(raw.proxy, (*path, "proxy"), places),
        check_endpoint=_check_endpoint(raw.check_endpoint, path, places),
        port=port,
        env=_env(raw.env, path, places),
        ttl=_ttl(raw.ttl, common, path, places),
        unload_timeout=Seconds(raw.unload_timeout or common.unload_timeout),
        start_timeout=common.start_timeout,
        name=raw.name.strip(),
        description=raw.description.strip(),
        aliases=(*raw.aliases, *automatic_aliases(template.id, raw)),
        unlisted=raw.unlisted,
        use_model_name=raw.use_model_name,
        concurrency=concurrency,
        send_loading_state=common.send_loading_state if loading is None else loading,
        metadata=raw.metadata,
        filters=filters(raw.filters),
        timeouts=timeouts(raw.timeouts, Timeouts(), path, places, stall=raw.stall_timeout),
        ignore_websockets=comfyui or raw.compat.ignore_websockets,
        capabilities=_capabilities(raw.capabilities, (*path, "capabilities"), places),
        api_key=upstream_key(raw.api_key, (*path, "apiKey"), places),
        forward_authorization=raw.forward_authorization,
        trust_page=raw.trust_page,
        priority=common.priorities.get(template.id, 0),
        restart_on_stall=raw.restart_on_stall,
        restore_on_failure=raw.restore_on_failure,
        identity=_identity(template.tree),
        render=render if template.port is not None else None,
    )


def _identity(tree: Map) -> str:
    """Hash what a running server was started with; `${PORT}` is still in it."""
    parts = [
        (key, None if (node := tree.get(key)) is None else as_json(node)) for key in _RESTART_KEYS
    ]
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _argv(
    raw: RawModel, path: Path, places: Diagnostics, *, windows: bool, blank: bool
) -> tuple[str, ...]:
    words = split(raw.cmd, windows=windows)
    if raw.health_check_timeout is not None:
        hint = "write it at the top level"
        places.warn((*path, "healthCheckTimeout"), "has no effect in a model", hint)
    if not raw.proxy.strip() and not blank:
        places.odd((*path, "proxy"), "an address", "so the model cannot be started")
    if not words and not blank:
        places.warn((*path, "cmd"), "no command: the model cannot be started")
    if any("\0" in word for word in words):
        places.problem((*path, "cmd"), "a command cannot hold a NUL")
    return words


def _stop(command: str | None, *, windows: bool) -> str:
    if command is None:
        return _WINDOWS_STOP if windows else ""
    return command if strip_comments(command).strip() else ""


def upstream_url(url: str, path: Path, places: Diagnostics, *, strict: bool = False) -> str:
    """The address of a server; empty when it is none, with a warning, or a problem if `strict`.

    What passes here, `http.Address` takes: it may not be asked from here.
    """
    if not url.strip():
        return ""
    if _HOST_PORT.fullmatch(url):
        what = "expected an http:// or https:// address"
        seen = of_text(url, path)
        hint = "write http:// or https:// before it"
        places.warn(path, what, hint, seen=seen, then="http:// is assumed")
        url = f"http://{url}"
    what, seen, hint = _wrong_address(url, path)
    if what:
        say = places.problem if strict else places.warn
        say(path, f"expected {what}", hint, seen=seen, then="nothing can be sent there")
        return ""
    if _VERSIONED.search(urlsplit(url).path):
        seen = of_text(url, path)
        then = "so /v1/models is asked for at /v1/v1/models"
        places.warn(path, "expected an address without /v1", "leave it out", seen=seen, then=then)
    return url


def _wrong_address(url: str, path: Path) -> tuple[str, FoundValue, str]:
    """What was expected, what was found, and what to do; a secret in it is not shown."""
    shown = of_text(url, path)
    if is_unix(url):
        why = _wrong_socket(url)
        return (_ADDRESS if why else ""), shown, why
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        is_usable = is_usable and (parts.port is None or parts.port > 0)
    except ValueError:
        return _ADDRESS, shown, ""
    if not is_usable or not url.isprintable() or " " in url:
        return _ADDRESS, shown, ""
    if parts.username is not None or parts.password is not None:
        seen = FoundValue("one with a user name or password, which is not shown")
        return _ADDRESS, seen, "a peer's key belongs into apiKey"
    if parts.fragment:
        return f"{_ADDRESS} without a fragment (#…)", shown, "leave it out"
    if not url.isascii():
        hint = "write them as %XX, a host's as xn--…"
        return f"{_ADDRESS} without non-ASCII characters", shown, hint
    return "", shown, ""


def _wrong_socket(url: str) -> str:
    try:
        Address.parse(url)
    except ValueError as error:
        return str(error)
    return ""


def _check_endpoint(path: str, model: Path, places: Diagnostics) -> str | None:
    if path.strip() == "none":
        return None
    place = (*model, "checkEndpoint")
    if path.strip().strip("/").lower() in _NO_CHECK:
        then = f"taken as the path /{path.strip().strip('/')}"
        places.odd(place, "a path, or none", then, "no check is written: none")
    elif path.strip().strip("/").lower() in _CHECKED:
        then = f"taken as the path /{path.strip().strip('/')}"
        places.odd(place, "a path, or none", then, "left out, it is /health")
    elif "://" in path:
        path = _path_of(path.strip())
        then = f"taken as {path}"
        places.odd(place, "a path, or none", then, "where the server listens is said by proxy")
    elif _HOST_PORT.fullmatch(path.strip()):
        then = f"taken as the path /{path.strip()}"
        places.odd(place, "a path, or none", then, "where the server listens is said by proxy")
    elif _ESCAPE.search(path):
        places.odd(place, "a path with whole escapes (%XX)", "sent as it is", "a % is written %25")
    return "/" + quote(path.removeprefix("/"), safe=_PATH_SAFE)


def _path_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "/"
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _env(entries: tuple[str, ...], path: Path, places: Diagnostics) -> tuple[str, ...]:
    for index, entry in enumerate(entries):
        if not entry.partition("=")[1] or entry.startswith("="):
            seen = of_text(entry, (*path, "env"))
            places.warn((*path, "env", index), "expected NAME=value", seen=seen)
        if "\0" in entry:
            places.problem((*path, "env", index), "an environment variable cannot hold a NUL")
    return entries


def _ttl(ttl: int | None, common: Common, path: Path, places: Diagnostics) -> Seconds | None:
    if ttl is None or ttl == -1:
        return common.ttl
    if ttl < 0:
        what = "seconds of at least 0, or -1"
        places.odd((*path, "ttl"), what, "taken as never", "0 is never, -1 is globalTTL")
    return Seconds(ttl) if ttl > 0 else None


def automatic_aliases(name: str, raw: RawModel) -> tuple[str, ...]:
    """The names that `setParamsByID` adds."""
    explicit = {name, *raw.aliases}
    return tuple(one for one in raw.filters.set_by_id if one not in explicit)


def filters(raw: RawFilters) -> Filters:
    """Sorted as they are applied; `model` is never touched."""
    words = {word.strip() for word in raw.strip.split(",")}
    by_id = {name: _settable(values or {}) for name, values in raw.set_by_id.items()}
    strip = tuple(sorted(words - {"", "model"}))
    return Filters(strip=strip, set=_settable(raw.set), set_by_id=by_id)


def _settable(values: Mapping[str, Json]) -> dict[str, Json]:
    return {key: values[key] for key in sorted(values) if key != "model"}


def timeouts(
    raw: RawTimeouts, base: Timeouts, path: Path, places: Diagnostics, *, stall: float | None = None
) -> Timeouts:
    """Seconds, where 0 has meant "no bound"; a `stallTimeout` bounds the wait for a head too."""

    def bound(key: str, value: int | None, default: Seconds | None) -> Seconds | None:
        if value is None:
            return default
        if value < 0:
            place = (*path, "timeouts", key)
            places.odd(place, "seconds of at least 0", "taken as no bound", "write 0")
        return Seconds(value) if value > 0 else None

    keepalive = raw.keepalive
    silence = Seconds(stall) if stall else None
    return Timeouts(
        connect=bound("connect", raw.connect, base.connect),
        keepalive=Seconds(_OS_KEEPALIVE)
        if keepalive == 0
        else (
            base.keepalive if keepalive is None else (Seconds(keepalive) if keepalive > 0 else None)
        ),
        response_header=bound(
            "responseHeader", raw.response_header, silence or base.response_header
        ),
        tls_handshake=bound("tlsHandshake", raw.tls_handshake, base.tls_handshake),
        expect_continue=bound("expectContinue", raw.expect_continue, base.expect_continue),
        idle_connection=bound("idleConn", raw.idle_connection, base.idle_connection),
        stall=silence,
    )


def _capabilities(raw: RawCapabilities, path: Path, places: Diagnostics) -> Capabilities:
    for key, values in (("in", raw.inputs), ("out", raw.outputs)):
        for index, value in enumerate(values):
            if value not in _MEDIA:
                what = f"one of {', '.join(_MEDIA)}"
                places.expected((*path, key, index), what, value=value)
    return Capabilities(
        inputs=tuple(dict.fromkeys(raw.inputs)),
        outputs=tuple(dict.fromkeys(raw.outputs)),
        tools=raw.tools,
        reranker=raw.reranker,
        context=raw.context or None,
    )
