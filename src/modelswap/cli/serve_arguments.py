"""The arguments of `modelswap serve`, and what they mean.

Does not: say what is wrong with them, or show help; click does (`serve.py`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelswap.deferred import dataclass

from .terminal import fail, refuse_argument, say

if TYPE_CHECKING:
    from collections.abc import Iterable

CONFIG_HERE = Path("config.yaml")
_PATHS: Final = frozenset({"config", "config_dir", "state_dir", "tls_cert_file", "tls_key_file"})
_LISTS: Final = ("models_dir", "models_preset")
"""Options that may be repeated."""
_VALUES: Final = {
    f"--{name.replace('_', '-')}": name
    for name in (*sorted(_PATHS), "listen", "models_max", *_LISTS)
}
_DIGITS: Final = 9
"""Of a number of models: more than any machine holds."""
_FLAGS: Final = {
    "--watch-config": ("watch_config", True),
    "--models-autoload": ("models_autoload", True),
    "--no-models-autoload": ("models_autoload", False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeArguments:
    config: Path | None = None
    config_dir: Path | None = None
    models_dir: tuple[Path, ...] = ()
    models_preset: tuple[Path, ...] = ()
    listen: str | None = None
    models_autoload: bool | None = None
    models_max: int | None = None
    watch_config: bool = False
    state_dir: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    files: tuple[str, ...] = ()

    def serve(self, *, is_unnamed: bool) -> int:
        """Serve until told to stop; return the exit code, or exit and say what is wrong."""
        config, files = self.config, [file for file in self.files if file]
        config = _configuration(files, config or self.config_dir, is_unnamed=is_unnamed) or config
        if config is None and self.config_dir is None and CONFIG_HERE.exists():
            config = self._configuration_here()
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            fail("modelswap: --tls-cert-file and --tls-key-file go together")
        from modelswap.net.tls import import_asyncio  # noqa: PLC0415 - wrong arguments are told first

        import_asyncio()
        from modelswap.app.options import Options, StartError  # noqa: PLC0415 - the same
        from modelswap.app.start import serve  # noqa: PLC0415 - the same

        options = Options(
            config=config,
            config_dir=self.config_dir,
            models_dirs=self.models_dir,
            models_presets=self.models_preset,
            listen=self.listen,
            models_autoload=self.models_autoload,
            models_max=self.models_max,
            watch=self.watch_config,
            state_dir=self.state_dir,
            tls_cert=self.tls_cert_file,
            tls_key=self.tls_key_file,
        )
        try:
            return serve(options)
        except StartError as error:
            fail(*error.lines)

    def _configuration_here(self) -> Path | None:
        """Return the configuration of the working folder, as llama-swap takes it where none is named.

        Where models are named it is not read: what is served must not depend on where one stands.
        """
        if not self.models_dir and not self.models_preset:
            return CONFIG_HERE
        say(f"modelswap: {CONFIG_HERE} here is not read; for both: --config {CONFIG_HERE}")
        return None


def paths(values: Iterable[str]) -> tuple[Path, ...]:
    """Return the paths without the empty ones, as of unset variables."""
    return tuple(Path(value).expanduser() for value in values if value)


def plain(arguments: list[str]) -> ServeArguments | None:
    """Return what well-formed arguments ask for; `None` where click has to look at them."""
    given: dict[str, Any] = {}
    lists: dict[str, list[str]] = {name: [] for name in _LISTS}
    files: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if argument in _FLAGS:
            option, is_on = _FLAGS[argument]
            given[option] = is_on
        elif name in _VALUES:
            value = value if equals else next(rest, "-")
            if value.startswith("-"):
                return None
            if _VALUES[name] in lists:
                lists[_VALUES[name]].append(value)
            else:
                given[_VALUES[name]] = value
        elif argument.startswith("-"):
            return None
        else:
            files.append(argument)
    for name in _PATHS & given.keys():
        path = given[name] = Path(given[name]) if given[name] else None
        if path is not None and os.access(path, os.F_OK) and not os.access(path, os.R_OK):
            return None
    given |= {name: paths(values) for name, values in lists.items()}
    given["listen"] = given.get("listen") or None
    most = given.get("models_max") or None
    if most is not None and not (most.isascii() and most.isdecimal() and len(most) <= _DIGITS):
        return None
    given["models_max"] = None if most is None else int(most)
    return ServeArguments(**given, files=tuple(files))


def _configuration(files: list[str], named: Path | None, *, is_unnamed: bool) -> Path | None:
    """Return the configuration given without an option; refuse every other argument.

    A command line without a command is llama-swap's, which ignores arguments.
    """
    is_taken = named is None and bool(files) and (not is_unnamed or Path(files[0]).is_file())
    for extra in files[1 if is_taken else 0 :]:
        if not is_unnamed:
            refuse_argument(extra)
        say(f"modelswap: unexpected argument, ignored: {extra}")
    return Path(files[0]) if is_taken else None
