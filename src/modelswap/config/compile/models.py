"""One model: from its tree to the frozen `Model`, for one port.

Guarantees: everything that llama-swap settles per model is settled here, defaults from the top level
included.
Does not: compare names across models; `name_index` does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from modelswap.config.commands.words import split, strip_comments
from modelswap.config.macros.macros import with_port
from modelswap.config.messages.diagnostics import Diagnostics
from modelswap.config.messages.found_value import FoundValue, describe_text
from modelswap.config.messages.report import Report
from modelswap.config.plan import Capabilities, Filters, Model, Timeouts
from modelswap.config.schema.field_types import keys_of, values_of
from modelswap.config.schema.schema import (
    CapabilityKeys,
    CoreKeys,
    ModelKeys,
    RawModel,
    RawTimeouts,
)
from modelswap.config.tree.node import Map
from modelswap.config.tree.values import as_json
from modelswap.core.spec import ModelId, ModelSpec
from modelswap.deferred import dataclass, regex
from modelswap.digest import sha256
from modelswap.net.address import DEFAULT_PORTS, LAST_PORT, Address, is_unix, split_url
from modelswap.units import Seconds

from .api_keys import upstream_key
from .decode import decode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.config.macros.expansion import Template
    from modelswap.config.schema.schema import RawCapabilities, RawFilters
    from modelswap.config.schema.schema_idle import RawRequestTtl
    from modelswap.config.tree.node import Path
    from modelswap.config.tree.values import Json
    from modelswap.core.placement.policy import DeviceId
    from modelswap.core.spec import TtlBounds
    from modelswap.units import Bytes

COMFYUI: Final = "comfyui_auto"
_COMFYUI_CONCURRENCY: Final = 50
"""Requests at once, at the least: its web page sends many."""
_OS_KEEPALIVE: Final = 15
"""Seconds: what Go, and so llama-swap, takes for the system's own interval."""
_MEDIA: Final = ("text", "audio", "image")
_WINDOWS_STOP: Final = "taskkill /f /t /pid ${PID}"
_RESTART_KEYS: Final = ("cmd", "cmdStop", "env", "proxy", "checkEndpoint", "(files)")
_HOST_PORT = regex(r"[\w.-]+:\d{1,5}(?:/\S*)?|\[[0-9a-fA-F:]+\]:\d{1,5}(?:/\S*)?")
_ADDRESS: Final = "an http:// or https:// address"
_VERSIONED = regex(r"/v1(/(models|embeddings|responses|messages|(chat/)?completions))?/*$")
_ESCAPE = regex(r"%(?![0-9A-Fa-f]{2})")
_NO_CHECK: Final = frozenset({"none", "false", "off", "no", "null", "disabled", "disable", "skip"})
"""Words that are taken as paths, as in llama-swap, though their authors mean `none`."""
_CHECKED: Final = frozenset({"true", "yes", "on", "enabled", "enable"})
"""The same for authors who want a probe."""
_PATH_SAFE: Final = "/%?&=:@!$'()*+,;~[]"


@dataclass(frozen=True, slots=True)
class Common:
    start_timeout: Seconds
    unload_timeout: Seconds
    ttl: Seconds | None
    request_ttl: RawRequestTtl | None
    idle_model: ModelId | None
    send_loading_state: bool
    priorities: Mapping[str, int]
    windows: bool


def build(template: Template, common: Common, report: Report, port: int | None = None) -> Model:
    """Make the model for `port`, by default the port that its place in the file gives it."""
    port = template.port if port is None else port
    tree = template.tree if port is None else with_port(template.tree, port)
    path: Path = ("models", template.id)
    raw = decode(tree, RawModel, path, report)
    root = Map(template.mark).with_value("models", Map(template.mark).with_value(template.id, tree))
    diagnostics = Diagnostics(root, report)
    if port is not None and port > LAST_PORT:
        hint = "begin lower with `startPort`"
        diagnostics.warn(path, f"no port is left for it: {port} is beyond {LAST_PORT}", hint)

    def render(other: int) -> Model:
        return build(template, common, Report(), other)

    is_comfyui = template.id == COMFYUI
    loading = raw.send_loading_state
    cmd_stop = _stop(raw.cmd_stop, windows=common.windows)
    return Model(
        id=ModelId(template.id),
        spec=_spec(template.id, raw, common, diagnostics),
        cmd=raw.cmd,
        argv=_argv(raw, path, diagnostics, windows=common.windows, blank=template.is_blank),
        cmd_stop=cmd_stop,
        stop_command=split(cmd_stop, windows=common.windows),
        proxy=upstream_url(raw.proxy, (*path, "proxy"), diagnostics),
        check_endpoint=_check_endpoint(raw.check_endpoint, path, diagnostics),
        port=port,
        env=_env(raw.env, path, diagnostics),
        aliases=(*raw.aliases, *automatic_aliases(template.id, raw)),
        send_loading_state=common.send_loading_state if loading is None else loading,
        filters=filters(raw.filters),
        timeouts=timeouts(raw.timeouts, Timeouts(), path, diagnostics, stall=raw.stall_timeout),
        ignore_websockets=is_comfyui or raw.compat.ignore_websockets,
        capabilities=_capabilities(raw.capabilities, (*path, "capabilities"), diagnostics),
        memory=_memory(raw.memory, (*path, "memory"), diagnostics),
        api_key=upstream_key(raw.api_key, (*path, "apiKey"), diagnostics),
        source=raw.source if raw.pull_name else "",
        pull_name=raw.pull_name,
        is_missing=bool(raw.is_missing),
        identity=_identity(template.tree),
        render=render if template.port is not None else None,
        **values_of(raw, ModelKeys),
    )


def _spec(name: str, raw: RawModel, common: Common, diagnostics: Diagnostics) -> ModelSpec:
    concurrency = raw.concurrency if raw.concurrency > 0 else None
    if name == COMFYUI and concurrency is not None:
        concurrency = max(concurrency, _COMFYUI_CONCURRENCY)
    ttl, request_ttl = _lifetime(name, raw, common, diagnostics)
    return ModelSpec(
        id=ModelId(name),
        start_timeout=common.start_timeout,
        stop_grace=Seconds(raw.unload_timeout or common.unload_timeout),
        ttl=ttl,
        request_ttl=request_ttl,
        concurrency=concurrency,
        priority=common.priorities.get(name, 0),
        **values_of(raw, CoreKeys),
    )


def _identity(tree: Map) -> str:
    """Hash what a running server was started with, `${PORT}` unexpanded."""
    parts = [
        (key, None if (node := tree.get(key)) is None else as_json(node)) for key in _RESTART_KEYS
    ]
    return sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _argv(
    raw: RawModel, path: Path, diagnostics: Diagnostics, *, windows: bool, blank: bool
) -> tuple[str, ...]:
    words = split(raw.cmd, windows=windows)
    if raw.health_check_timeout is not None:
        hint = "write it at the top level"
        diagnostics.warn((*path, "healthCheckTimeout"), "has no effect in a model", hint)
    if not raw.proxy.strip() and not blank:
        diagnostics.tolerated((*path, "proxy"), "an address", "so the model cannot be started")
    if not words and not blank:
        diagnostics.warn((*path, "cmd"), "no command: the model cannot be started")
    if any("\0" in word for word in words):
        diagnostics.problem((*path, "cmd"), "a command cannot hold a NUL")
    return words


def _stop(command: str | None, *, windows: bool) -> str:
    if command is None:
        return _WINDOWS_STOP if windows else ""
    return command if strip_comments(command).strip() else ""


def upstream_url(url: str, path: Path, diagnostics: Diagnostics, *, strict: bool = False) -> str:
    """Return the address of a server; empty when it is unusable, with a warning, or a problem if `strict`.

    `net.address.Address` takes every URL that passes here.
    """
    if not url.strip():
        return ""
    if _HOST_PORT.fullmatch(url):
        hint = "write http:// or https:// before it"
        diagnostics.tolerated(path, _ADDRESS, "http:// is assumed", hint, value=url)
        url = f"http://{url}"
    what, seen, hint = _wrong_address(url, path)
    if what:
        say = diagnostics.problem if strict else diagnostics.warn
        say(path, f"expected {what}", hint, seen=seen, then="nothing can be sent there")
        return ""
    if _VERSIONED.search(split_url(url).path):
        then = "so /v1/models is asked for at /v1/v1/models"
        diagnostics.tolerated(path, "an address without /v1", then, "leave it out", value=url)
    return url


def _wrong_address(url: str, path: Path) -> tuple[str, FoundValue, str]:
    """Return what was expected, what was found, and what to do; a secret is not shown."""
    shown = describe_text(url, path)
    if is_unix(url):
        why = _wrong_socket(url)
        return (_ADDRESS if why else ""), shown, why
    try:
        parts = split_url(url)
        is_usable = parts.scheme in DEFAULT_PORTS and bool(parts.host) and parts.port != 0
    except ValueError:
        return _ADDRESS, shown, ""
    if not is_usable or not url.isprintable() or " " in url:
        return _ADDRESS, shown, ""
    if parts.has_credentials:
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


def _check_endpoint(path: str, model: Path, diagnostics: Diagnostics) -> str | None:
    written = path.strip()
    if written == "none":
        return None
    place, what, hint = (*model, "checkEndpoint"), "a path, or none", ""
    then = f"taken as the path /{written.strip('/')}"
    if written.strip("/").lower() in _NO_CHECK:
        hint = "no check is written: none"
    elif written.strip("/").lower() in _CHECKED:
        hint = "left out, it is /health"
    elif "://" in path:
        path = _path_of(written)
        then, hint = f"taken as {path}", "where the server listens is said by proxy"
    elif _HOST_PORT.fullmatch(written):
        then, hint = f"taken as the path /{written}", "where the server listens is said by proxy"
    elif _ESCAPE.search(path):
        what = "a path with whole escapes (%XX)"
        then, hint = "sent as it is", "a % is written %25"
    if hint:
        diagnostics.tolerated(place, what, then, hint)
    return "/" + quote(path.removeprefix("/"), safe=_PATH_SAFE)


def _path_of(url: str) -> str:
    try:
        parts = split_url(url)
    except ValueError:
        return "/"
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _env(entries: tuple[str, ...], path: Path, diagnostics: Diagnostics) -> tuple[str, ...]:
    for index, entry in enumerate(entries):
        if not entry.partition("=")[1] or entry.startswith("="):
            seen = describe_text(entry, (*path, "env"))
            diagnostics.warn((*path, "env", index), "expected NAME=value", seen=seen)
        if "\0" in entry:
            diagnostics.problem((*path, "env", index), "an environment variable cannot hold a NUL")
    return entries


def _ttl(ttl: int | None, common: Common, path: Path, diagnostics: Diagnostics) -> Seconds | None:
    if ttl is None or ttl == -1:
        return common.ttl
    if ttl < 0:
        what = "seconds of at least 0, or -1"
        diagnostics.tolerated((*path, "ttl"), what, "taken as never", "0 is never, -1 is globalTTL")
    return Seconds(ttl) if ttl > 0 else None


def _memory(
    raw: Mapping[str, int | None] | None, path: Path, diagnostics: Diagnostics
) -> Mapping[DeviceId, Bytes]:
    if not raw:
        return {}
    from .memory import needs  # noqa: PLC0415 - most files declare no need

    return needs(raw, path, diagnostics)


def _lifetime(
    name: str, raw: RawModel, common: Common, diagnostics: Diagnostics
) -> tuple[Seconds | None, TtlBounds | None]:
    """Return the `ttl`, and what requests may ask for instead."""
    path: Path = ("models", name)
    ttl = _ttl(raw.ttl, common, path, diagnostics)
    if name != common.idle_model and raw.request_ttl is None and common.request_ttl is None:
        return ttl, None
    from .idle import lifetime  # noqa: PLC0415 - most files leave it to the ttl

    is_idle_model = name == common.idle_model
    return lifetime(raw, common.request_ttl, ttl, path, diagnostics, is_idle_model=is_idle_model)


def automatic_aliases(name: str, raw: RawModel) -> tuple[str, ...]:
    """Return the names that `setParamsByID` adds."""
    explicit = {name, *raw.aliases}
    return tuple(one for one in raw.filters.set_by_id if one not in explicit)


def filters(raw: RawFilters) -> Filters:
    """Return the filters in the order in which they apply; `model` is never changed."""
    words = {word.strip() for word in raw.strip.split(",")}
    by_id = {name: _settable(values or {}) for name, values in raw.set_by_id.items()}
    strip = tuple(sorted(words - {"", "model"}))
    return Filters(strip=strip, set=_settable(raw.set), set_by_id=by_id)


def _settable(values: Mapping[str, Json]) -> dict[str, Json]:
    return {key: values[key] for key in sorted(values) if key != "model"}


def timeouts(
    raw: RawTimeouts,
    base: Timeouts,
    path: Path,
    diagnostics: Diagnostics,
    *,
    stall: float | None = None,
) -> Timeouts:
    """Return the deadlines, where 0 means none; a `stallTimeout` bounds the wait for a head, too."""
    bounds: dict[str, Seconds | None] = {"stall": Seconds(stall) if stall else None}
    for name, key in keys_of(RawTimeouts).items():
        value: int | None = getattr(raw, key.attribute)
        if value is None:
            continue
        if value < 0 and name != "keepalive":
            place = (*path, "timeouts", name)
            diagnostics.tolerated(place, "seconds of at least 0", "taken as no bound", "write 0")
        bounds[key.attribute] = Seconds(value) if value > 0 else None
    if raw.keepalive == 0:
        bounds["keepalive"] = Seconds(_OS_KEEPALIVE)
    if stall and raw.response_header is None:
        bounds["response_header"] = Seconds(stall)
    return replace(base, **bounds)


def _capabilities(raw: RawCapabilities, path: Path, diagnostics: Diagnostics) -> Capabilities:
    for key, values in (("in", raw.inputs), ("out", raw.outputs)):
        for index, value in enumerate(values):
            if value not in _MEDIA:
                what = f"one of {', '.join(_MEDIA)}"
                diagnostics.expected((*path, key, index), what, value=value)
    return Capabilities(
        inputs=tuple(dict.fromkeys(raw.inputs)),
        outputs=tuple(dict.fromkeys(raw.outputs)),
        context=raw.context or None,
        **values_of(raw, CapabilityKeys),
    )
