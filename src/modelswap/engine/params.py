"""Turns settings into the wheel's parameters, and reads the files that flags name."""

from __future__ import annotations

import json
from functools import reduce
from typing import TYPE_CHECKING, Any, cast

from .flags import Kind, Setting, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType

_SETS = frozenset({"model_alias"})
_DEFAULT_PORT = 8080  # of llama-server


def build(wheel: ModuleType, settings: Sequence[Setting]) -> Any:
    """Return `CommonParams` with llama-server's defaults and the settings, in order."""
    params = wheel.CommonParams()
    params.port = _DEFAULT_PORT
    for setting in settings:
        _assign(wheel, params, setting)
    return params


def _assign(wheel: ModuleType, params: Any, setting: Setting) -> None:
    *path, name = setting.target.split(".")
    owner = reduce(getattr, path, params)
    value = _value(wheel, owner, name, setting)
    try:
        setattr(owner, name, value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{setting.flag.names[-1]}: {error}") from None
    if setting.target == "timeout_read":
        params.timeout_write = value


def _value(wheel: ModuleType, owner: Any, name: str, setting: Setting) -> Any:
    kind, raw = setting.flag.kind, setting.value
    if setting.target == "lora_adapters":
        return [*owner.lora_adapters, wheel.CommonAdapterLoraInfo(str(raw), 1.0)]
    if setting.target == "tensor_split":
        shares = list(cast("Iterable[float]", raw))
        most = len(owner.tensor_split)
        if len(shares) > most:
            raise UsageError(f"{setting.flag.names[-1]}: takes at most {most} numbers")
        return shares + [0.0] * (most - len(shares))
    if setting.target == "speculative.types":
        return [constant(wheel, str(raw))]
    if kind is Kind.NAMES:
        names = cast("Iterable[str]", raw)
        return set(names) if name in _SETS else list(names)
    if kind is Kind.FILE:
        return _file(setting, str(raw))
    if kind is Kind.JSON:
        return _template_values(setting, str(raw))
    is_named = kind in (Kind.CHOICE, Kind.SWITCH) or setting.target != setting.flag.target
    return constant(wheel, raw) if is_named and isinstance(raw, str) else raw


def constant(wheel: ModuleType, name: str) -> Any:
    """Look up `ENUM.MEMBER` in the wheel."""
    enum, _, member = name.partition(".")
    return getattr(getattr(wheel, enum), member)


def _file(setting: Setting, path: str) -> str | list[str]:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib's import slows every start
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{setting.flag.names[-1]}: cannot read '{path}': {error}") from None
    return text.split() if setting.target == "api_keys" else text


def _template_values(setting: Setting, text: str) -> dict[str, str]:
    """Read a JSON object; llama.cpp keeps each value as its JSON text."""
    try:
        values: Any = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{setting.flag.names[-1]}: not JSON: {error}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{setting.flag.names[-1]}: takes a JSON object")
    return {key: json.dumps(value) for key, value in cast("dict[str, Any]", values).items()}
