"""Units as types: a number whose unit matters carries it in its type.

Units: `Seconds` is a duration, or a point of the loop's monotonic clock; `Bytes` is a size.
"""

from __future__ import annotations

from typing import NewType

Seconds = NewType("Seconds", float)
Bytes = NewType("Bytes", int)
