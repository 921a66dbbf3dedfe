"""The top level of the file becomes `Settings`: bounds, lists, limits.

Guarantees: a value that llama-swap corrects silently is corrected here, with a warning where the author
could be surprised.
"""

from __future__ import annotations

import ipaddress
import os
from math import inf
from typing import TYPE_CHECKING, Final

from modelswap.config.messages.hints import nearest
from modelswap.config.plan import PathPattern, Settings
from modelswap.config.regex.re2_syntax import IGNORE_BY_DEFAULT, PatternError, compile_pattern
from modelswap.config.schema.field_types import values_of
from modelswap.config.schema.schema_root import FIRST_PORT, LOG_LEVELS, SettingKeys
from modelswap.net.address import LAST_PORT
from modelswap.units import Bytes, Seconds

from .api_keys import api_keys
from .sites import hosts, origins

if TYPE_CHECKING:
    from modelswap.config.messages.diagnostics import Diagnostics
    from modelswap.config.schema.schema_root import RawConfig, RawStore
    from modelswap.core.spec import IdleModel, ModelId

TIME_FORMATS: Final = (
    "ansic", "unixdate", "rubydate", "rfc822", "rfc822z", "rfc850", "rfc1123", "rfc1123z",
    "rfc3339", "rfc3339nano", "kitchen", "stamp", "stampmilli", "stampmicro", "stampnano",
)  # fmt: skip
_SHORTEST_HEALTH: Final = 15
"""Seconds; llama-swap's own bound."""
_SHORTEST_SAMPLE: Final = 5.0
"""Seconds; llama-swap's own bound."""
_DAY: Final = 86_400  # seconds
_RECORDS: Final = 1000
"""Records in memory where the file has none or fewer, as in llama-swap."""
_UNLOAD: Final = 10
"""Seconds that 0 stands for, as in llama-swap."""
_SHORTEST_KEEP_ALIVE: Final = 0.05
"""Seconds between keep-alives: no client's deadline needs more of them."""


def start_timeout(raw: RawConfig, diagnostics: Diagnostics) -> Seconds:
    if raw.health_check_timeout < _SHORTEST_HEALTH:
        what = f"seconds of at least {_SHORTEST_HEALTH}"
        diagnostics.tolerated(("healthCheckTimeout",), what, f"taken as {_SHORTEST_HEALTH}")
    return Seconds(max(_SHORTEST_HEALTH, raw.health_check_timeout))


def unload_timeout(raw: RawConfig) -> Seconds:
    """Return the grace period of a stop; 0 means the default."""
    return Seconds(raw.unload_timeout or _UNLOAD)


def settings(
    raw: RawConfig,
    preload: tuple[ModelId, ...],
    idle_model: IdleModel | None,
    diagnostics: Diagnostics,
) -> Settings:
    fifo = raw.routing.scheduler.settings.fifo
    records = raw.metrics_max_in_memory
    store = raw.store
    return Settings(
        log_level=_log_level(raw.log_level, diagnostics),
        log_time_format=_time_format(raw.log_time_format, diagnostics),
        metrics_max_in_memory=records if records > 0 else _RECORDS,
        capture_buffer=Bytes(max(0, raw.capture_buffer) << 20),
        store_path=None if store is None else store_path(store, diagnostics),
        store_retention=_retention(store),
        store_rows=None if store is None else store.retention_rows,
        session_headers=_headers(raw.ui.activity.session_id or ()),
        performance_disabled=raw.performance.disabled,
        performance_every=_every(raw.performance.every, diagnostics),
        start_port=_start_port(raw.start_port, diagnostics),
        api_keys=api_keys(raw.api_keys, diagnostics),
        ignore_paths=_ignore_paths(raw.upstream.ignore_paths, diagnostics),
        preload=preload,
        idle_model=idle_model,
        allowed_hosts=hosts(raw.allowed_hosts, diagnostics),
        allowed_origins=origins(raw.allowed_origins, diagnostics),
        trusted_proxies=_networks(raw.trusted_proxies, diagnostics),
        client_id_header=raw.client_id_header.strip() or None,
        background_header=raw.background_header.strip() or None,
        redact_headers=_headers(raw.captures.redact_headers),
        limits=raw.limits,
        loading_grace=Seconds(raw.loading.grace),
        loading_keep_alive=Seconds(max(_SHORTEST_KEEP_ALIVE, raw.loading.keep_alive)),
        pull=raw.pull,
        keeper_grace=Seconds(raw.keeper.grace),
        keeper_keeps=raw.keeper.on_restart == "keep",
        max_wait=None if fifo.max_wait is None else Seconds(fifo.max_wait or inf),
        **values_of(raw, SettingKeys),
    )


def _log_level(text: str, diagnostics: Diagnostics) -> str:
    level = text.strip().lower()
    if level in LOG_LEVELS:
        return level
    what = f"one of {', '.join(LOG_LEVELS)}"
    diagnostics.tolerated(("logLevel",), what, "taken as info", nearest(level, LOG_LEVELS))
    return "info"


def _time_format(text: str, diagnostics: Diagnostics) -> str:
    name = text.strip().lower()
    if not name or name in TIME_FORMATS:
        return name
    what = f"one of {', '.join(TIME_FORMATS)}"
    hint = nearest(name, TIME_FORMATS)
    diagnostics.tolerated(("logTimeFormat",), what, "no time is shown", hint)
    return ""


def _retention(store: RawStore | None) -> Seconds | None:
    days = None if store is None else store.retention_days
    return None if days is None else Seconds(days * _DAY)


def store_path(store: RawStore, diagnostics: Diagnostics) -> str | None:
    """Return the file's path as written; a place where no file can be is a mistake."""
    path = store.path.strip()
    wrong = _wrong_store(path) if path else "a path is needed"
    if wrong:
        diagnostics.expected(("store", "path"), f"a file to keep records in ({wrong})")
    return path or None


def _wrong_store(path: str) -> str:
    if "\0" in path:
        return "this is not a usable file name"
    # no `Path`: it would drop the slash at the end of what can only be a directory
    if os.path.isdir(path):  # noqa: PTH112
        return "this is a directory"
    if os.path.exists(path):  # noqa: PTH110
        return "" if os.access(path, os.W_OK) else "it cannot be written"
    parent = os.path.dirname(path) or "."  # noqa: PTH120
    if not os.path.isdir(parent):  # noqa: PTH112
        return "its directory does not exist"
    return "" if os.access(parent, os.W_OK) else "its directory cannot be written"


def _headers(names: tuple[str, ...]) -> tuple[str, ...]:
    """Trim the names; keep the first spelling of each."""
    found: dict[str, str] = {}
    for name in names:
        if name.strip():
            found.setdefault(name.strip().lower(), name.strip())
    return tuple(found.values())


def _every(span: float | None, diagnostics: Diagnostics) -> Seconds:
    if not span:
        return Seconds(_SHORTEST_SAMPLE)
    if span < _SHORTEST_SAMPLE:
        diagnostics.expected(("performance", "every"), "a duration of at least 5s")
    return Seconds(span)


def _start_port(port: int, diagnostics: Diagnostics) -> int:
    if port == 0:
        diagnostics.tolerated(("startPort",), "a port of at least 1", f"taken as {FIRST_PORT}")
    elif port > LAST_PORT:
        diagnostics.expected(("startPort",), f"a port of at most {LAST_PORT}")
    return port or FIRST_PORT


def _ignore_paths(
    sources: tuple[str, ...] | None, diagnostics: Diagnostics
) -> tuple[PathPattern, ...]:
    if sources is None:
        return (compile_pattern(IGNORE_BY_DEFAULT),)
    found: dict[str, PathPattern] = {}
    for index, source in enumerate(sources):
        try:
            if source not in found:
                found[source] = compile_pattern(source)
        except PatternError as wrong:
            path = ("upstream", "ignorePaths", index)
            diagnostics.expected(path, f"a regular expression of RE2 ({wrong})", value=source)
    return tuple(found.values())


def _networks(networks: tuple[str, ...], diagnostics: Diagnostics) -> tuple[str, ...]:
    for index, network in enumerate(networks):
        try:
            ipaddress.ip_network(network.strip(), strict=False)
        except ValueError:
            path, what = ("trustedProxies", index), "an address or a network"
            diagnostics.expected(path, what, "such as 10.0.0.0/8", value=network)
    return tuple(network.strip() for network in networks)
