"""Load a configuration: files → tree → macros → records → plan.

Guarantees: a mistake of the user is a `Problem`, never an exception, and one load finds all of them.
There is a plan exactly when there is no problem. No message holds a secret.
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from modelswap.core.spec import ModelId
from modelswap.deferred import dataclass
from modelswap.units import Seconds

from .checks.shared_addresses import warn_of_shared
from .commands.secrets import values_in
from .compile.decode import decode
from .compile.models import Common, build
from .compile.name_index import (
    NameIndex,
    aliases,
    check_peer_names,
    idle_model,
    list_profiles,
    peers,
    preload,
    profiles,
    selectors,
)
from .compile.policy import compile_policy, routing_policy
from .compile.routing import counts_models, memory_routing, priorities, routing
from .compile.settings import settings, start_timeout, unload_timeout
from .discover.disk.places import NONE_ASKED
from .macros.expansion import Expanded, MoreModels, expand_file
from .messages.diagnostics import Diagnostics
from .messages.report import Report, presentable
from .plan import Plan, Secret
from .redact import is_secret
from .schema.field_types import keys_of
from .schema.schema import RawModel
from .schema.schema_root import RawConfig
from .source.legacy import modernise
from .source.misindented import without_misindented
from .source.source import Source, read
from .tree.node import NOWHERE, Map, MapEntry, NodeKind, Scalar, is_null, locate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path as FilePath

    from modelswap.core.placement.policy import DeviceId
    from modelswap.core.spec import IdleModel

    from .discover.discovery import FoundModels
    from .discover.disk.places import Discovery
    from .macros.expansion import Complete
    from .messages.report import Problem
    from .plan import DeviceSettings, Model, Settings

    Check = Callable[[Plan, Diagnostics], None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The result: a plan, or the reasons why there is none."""

    plan: Plan | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    not_active: tuple[str, ...] = ()
    """Keys that are in the file, are accepted, and have no effect."""
    source: Source | None = None
    """The files as they were read, where models are pulled: `load_source` completes these then."""

    def lines(self, *, strict: bool = False) -> list[str]:
        """Return the lines to print: problems first; under `strict` a warning counts as one."""
        out = [f"error: {problem}" for problem in self.problems]
        for warning in self.warnings:
            label = "error" if strict and not warning.of_machine else "warning"
            out.append(f"{label}: {warning}")
        return out

    def is_good(self, *, strict: bool = False) -> bool:
        """Tell whether there is a plan; under `strict` a warning about the file counts, too."""
        of_file = any(not warning.of_machine for warning in self.warnings)
        return self.plan is not None and not (strict and of_file)


def load(
    config: FilePath | None,
    config_dir: FilePath | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    check: Check | None = None,
    discovery: Discovery = NONE_ASKED,
    models_max: int | None = None,
) -> Loaded:
    """Load `--config` and `--config-dir`. Never raises for what the files say.

    `check` may report more about the plan, as `preflight` does. `discovery` finds models on disk, where
    the files or the command line ask for it; it alone may take long. `models_max` is what the command line
    says in place of the key.
    """
    if config is None and config_dir is None and discovery.is_asked:
        source = Source(Map(NOWHERE), (), frozenset(), ())
    else:
        source = read(config, config_dir, os.environ if environ is None else environ)
    return load_source(
        source,
        windows=sys.platform == "win32",
        check=check,
        discovery=discovery,
        models_max=models_max,
    )


def load_source(
    source: Source,
    *,
    windows: bool = False,
    check: Check | None = None,
    discovery: Discovery = NONE_ASKED,
    models_max: int | None = None,
) -> Loaded:
    """Make the plan out of files that have been read; `check` may report more about it."""
    report = Report(list(source.problems), list(source.warnings))
    keys = keys_of(RawConfig)
    root = modernise(without_misindented(source.root, keys.keys(), report), report)
    if models_max is not None:
        told = Scalar(NOWHERE, NodeKind.INT, models_max, str(models_max))
        root = root.with_value("modelsMax", told)
    found = _found_models(root, discovery, report, windows=windows)
    more = None if found is None else MoreModels(found, found.scratch)
    has_presets = found is not None and found.has_presets(root)
    pulled = _pulled_models(root, report, windows=windows, has_presets=has_presets)
    expanded = expand_file(root, frozenset(keys), _llama_server, report, more, complete=pulled)
    raw = decode(expanded.root, RawConfig, (), report)
    diagnostics = Diagnostics(_with_models(root, expanded), report)
    plan = _plan(raw, expanded, source, diagnostics, found, windows=windows)
    if found is not None:
        found.promote()
    if not report.problems:
        warn_of_shared(plan, routing_policy(plan), diagnostics)
        _check_needs(plan, diagnostics)
        plan = replace(plan, policy=compile_policy(plan))
    if check is not None:
        check(plan, diagnostics)
    secrets = plan.secrets
    problems = presentable(report.problems, secrets, report.file_paths)
    warnings = presentable(report.warnings, secrets, report.file_paths)
    not_active = ("logRequests",) if source.root.get("logRequests") is not None else ()
    kept = None if pulled is None else source
    return Loaded(None if problems else plan, problems, warnings, not_active, kept)


def _found_models(
    root: Map, discovery: Discovery, report: Report, *, windows: bool
) -> FoundModels | None:
    if not discovery.is_asked and is_null(root.get("discover")):
        return None
    from .discover.discovery import FoundModels  # noqa: PLC0415 - most configurations name their models

    return FoundModels(discovery, report, windows=windows)


def _pulled_models(
    root: Map, report: Report, *, windows: bool, has_presets: bool
) -> Complete | None:
    """Return what completes the models that have a `source`, as presets may give them; None where there is none."""
    models = root.get("models")
    trees = [entry.value for entry in models.entries] if isinstance(models, Map) else []
    if not has_presets and all(
        is_null(tree.get("source")) for tree in trees if isinstance(tree, Map)
    ):
        return None
    from .discover.pulled_models import PulledModels  # noqa: PLC0415 - only where models are pulled

    return PulledModels(report, windows=windows)


def _llama_server() -> str:
    """Return the command behind `${llama-server}`: this machine's, else that of `modelswap[engine]`."""
    from shutil import which  # noqa: PLC0415 - with what it imports, a millisecond of the start

    found = which("llama-server")
    return shlex.join([found] if found else [sys.executable, "-m", "modelswap.engine"])


def _with_models(root: Map, expanded: Expanded) -> Map:
    """Return the tree in which places are looked up: the one after the macros."""
    entries = tuple(MapEntry(t.id, t.mark, t.tree) for t in expanded.templates)
    return expanded.root.with_value("models", Map(locate(root, ("models",)), entries))


def _plan(
    raw: RawConfig,
    expanded: Expanded,
    source: Source,
    diagnostics: Diagnostics,
    found: FoundModels | None,
    *,
    windows: bool,
) -> Plan:
    report = diagnostics.report
    preloaded = raw.hooks.on_startup.preload
    if found is not None:
        preloaded += found.preload
    raw_models = _raw_models(expanded)
    alias_of = aliases(raw_models, diagnostics, () if found is None else found.served)
    offered = peers(raw.peers, diagnostics)
    names = NameIndex(raw_models, alias_of, offered, may_change=found is not None)
    check_peer_names(names, offered, diagnostics)
    chosen = selectors(raw.selectors, names, diagnostics)
    on_idle = idle_model(raw.hooks.on_idle, names, diagnostics)
    common = _common(raw, names, on_idle, diagnostics, windows=windows)
    models = {
        ModelId(t.id): build(
            t, common, found.scratch if found is not None and t.id in found.served else report
        )
        for t in expanded.templates
    }
    memory = memory_routing(
        raw, expanded.root, models.values(), diagnostics, finds_models=found is not None
    )
    has_default_group = memory is None and not counts_models(expanded.root)
    if raw.request_ttl is not None:
        from .compile.idle import check_request_ttl  # noqa: PLC0415 - most files leave it to the ttl

        check_request_ttl(raw.request_ttl, models.values(), diagnostics)
    started = preload(preloaded, names, diagnostics)
    top = settings(raw, started, on_idle, diagnostics)
    return Plan(
        settings=top,
        models=models,
        aliases=alias_of,
        peers=offered,
        selectors=chosen,
        profiles=profiles(raw.profiles, chosen, names, diagnostics),
        legacy_profiles=list_profiles(raw.list_profiles, raw_models, diagnostics),
        devices=_devices(raw, diagnostics),
        memory=memory,
        routing=routing(
            raw.routing.router, names, chosen, diagnostics, has_default_group=has_default_group
        ),
        secrets=_secrets(raw, raw_models, top, source, models),
        files=source.files,
        discovered=None if found is None else found.discovered,
        key_files=tuple(
            one.key_file for one in raw.api_keys if not isinstance(one, str) and one.key_file
        ),
    )


def _common(
    raw: RawConfig,
    names: NameIndex,
    on_idle: IdleModel | None,
    diagnostics: Diagnostics,
    *,
    windows: bool,
) -> Common:
    """Return what the file says for all models."""
    return Common(
        start_timeout=start_timeout(raw, diagnostics),
        unload_timeout=unload_timeout(raw),
        ttl=Seconds(raw.global_ttl) if raw.global_ttl else None,
        request_ttl=raw.request_ttl,
        idle_model=None if on_idle is None else on_idle.model,
        send_loading_state=raw.send_loading_state,
        priorities=priorities(raw.routing.scheduler, names, diagnostics),
        windows=windows,
    )


def _devices(raw: RawConfig, diagnostics: Diagnostics) -> Mapping[DeviceId, DeviceSettings]:
    if not raw.devices:
        return {}
    from .compile.memory import devices  # noqa: PLC0415 - most files name no device

    return devices(raw.devices, diagnostics)


def _check_needs(plan: Plan, diagnostics: Diagnostics) -> None:
    if plan.devices:
        from .compile.memory import warn_of_too_large  # noqa: PLC0415 - as above

        warn_of_too_large(plan, diagnostics)


def _raw_models(expanded: Expanded) -> dict[str, RawModel]:
    """Decode the models for their names; `build` reports the mistakes in them."""
    scratch = Report()
    return {t.id: decode(t.tree, RawModel, ("models", t.id), scratch) for t in expanded.templates}


def _secrets(
    raw: RawConfig,
    raw_models: Mapping[str, RawModel],
    top: Settings,
    source: Source,
    models: Mapping[ModelId, Model],
) -> tuple[Secret, ...]:
    values = {value for value in source.env_values if is_secret(value)}
    values |= {one.key.reveal() for one in top.api_keys if one.key is not None}
    values |= {one if isinstance(one, str) else one.value for one in raw.api_keys}
    values |= {one.api_key.strip() for one in raw.peers.values() if one is not None}
    values |= {one.api_key.strip() for one in raw_models.values()}
    texts = (
        text
        for one in models.values()
        for text in (one.cmd, one.cmd_stop, *one.env, one.proxy, one.source)
    )
    public = [name for one in models.values() for name in (one.id, *one.aliases)]
    values |= values_in(texts, names=public)
    return tuple(Secret(value) for value in sorted(values - {""}))
