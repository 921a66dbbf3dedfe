"""What the keeper takes of the standard library, without the wrappers that cost memory.

`signal`, `socket`, `json` and `contextlib` import `enum`, `re`, `functools` and `collections`: two of the
eleven megabytes that a keeper had, and half of its start. CPython keeps the same functions in the modules
below them. Where one is missing, the module of the standard library is used instead.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` itself would cost the keeper a megabyte
if TYPE_CHECKING:
    import signal as signal  # noqa: PLC0414 - exported
    import socket as socket  # noqa: PLC0414 - exported
    from collections.abc import Callable
    from contextlib import suppress as suppress  # noqa: PLC0414 - exported
    from typing import Any
else:
    try:
        import _signal as signal
        import _socket as socket
    except ImportError:
        import signal  # noqa: F401 - exported
        import socket  # noqa: F401 - exported

    class suppress:  # noqa: N801 - the name in `contextlib`
        def __init__(self, *kinds: type[BaseException]) -> None:
            self._kinds = kinds

        def __enter__(self) -> None:
            pass

        def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
            return kind is not None and issubclass(kind, self._kinds)


class _Scanning:
    """How JSON is read: as `json.loads` does by default."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = parse_constant = float
    parse_int = int


def _find_json() -> tuple[Callable[[object], str], Callable[[str], object]]:
    try:
        from _json import (  # noqa: PLC0415 - CPython's own
            encode_basestring_ascii,
            make_encoder,
            make_scanner,
        )

        basics = (None, _refuse, encode_basestring_ascii, None, ": ", ", ")
        is_sorted, skips_keys, allows_nan = False, False, True  # as `json.dumps` does by default
        encode = make_encoder(*basics, is_sorted, skips_keys, allows_nan)
        scanning: Any = _Scanning
        scan = make_scanner(scanning)
    except (ImportError, TypeError):
        import json  # noqa: PLC0415 - only where it must be

        return json.dumps, json.loads

    def loads(text: str) -> object:
        try:
            value, end = scan(text, 0)
        except StopIteration as error:
            raise ValueError("no value") from error
        if end != len(text):
            raise ValueError("more than a value")
        return value

    return lambda value: "".join(encode(value, 0)), loads


def _refuse(value: object) -> object:
    raise TypeError(f"no JSON: {value!r}")


dumps, loads = _find_json()
