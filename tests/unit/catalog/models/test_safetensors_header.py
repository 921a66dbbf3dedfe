"""Headers of safetensors files end in a summary or a sentence, whatever the bytes are."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelswap.catalog.models.safetensors_header import SafetensorsError, read_safetensors

if TYPE_CHECKING:
    from pathlib import Path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.one_of(st.none(), st.integers(), st.text(max_size=5)),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            ),
        ).map(lambda value: repr(value).replace("'", '"').encode()),
    ),
    length=st.one_of(st.none(), st.integers(0, (1 << 64) - 1)),
)
def test_any_header_ends_well(header: bytes, length: int | None, tmp_path: Path) -> None:
    """Random bytes, JSON of any shape, lengths of any size."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header)
    try:
        assert read_safetensors(path).parameters >= 0
    except SafetensorsError as problem:
        assert str(problem)  # noqa: PT017 - either outcome is right
