"""SHA-256 of small texts: CPython's own, as `hashlib`'s needs OpenSSL, which a front without TLS lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256 as sha256  # noqa: PLC0414 - exported
else:
    try:
        from _sha2 import sha256  # CPython 3.12 and later
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:  # left out of this build
            from hashlib import sha256  # noqa: F401 - exported
