"""Functions of the C library, called without `ctypes`, which costs half a megabyte and 1.5 ms.

Does not: tell `errno`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` itself would cost the keeper a megabyte
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def c_function(name: str) -> Callable[..., int] | None:
    """Return a function that takes numbers, bytes and null pointers; `None` where it is missing."""
    if sys.platform != "linux":
        return None
    try:
        import _ctypes  # noqa: PLC0415 - may be missing in small builds

        whole_program: Any = None
        address = _ctypes.dlsym(_ctypes.dlopen(whole_program, 0), name)
        call = _ctypes.call_function
    except (ImportError, AttributeError, OSError):
        return None
    return lambda *values: int(call(address, values))
