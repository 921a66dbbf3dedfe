"""The sums of an estimate."""

from __future__ import annotations

from modelswap.memory.estimate import CACHE, Estimate, Part
from modelswap.units import Bytes


def test_parts_are_summed_by_where_they_lie() -> None:
    """What may be given up is no need."""
    found = Estimate(
        parts=(
            Part(name="weights", bytes=Bytes(5), is_on_gpu=True),
            Part(name="program", bytes=Bytes(7), is_on_gpu=True),
            Part(name="weights", bytes=Bytes(11)),
            Part(name="copied weights", bytes=Bytes(13), is_reclaimable=True),
        )
    )
    assert (found.gpu, found.ram, found.reclaimable) == (12, 11, 13)


def test_what_stays_of_a_server_that_fits_itself() -> None:
    """All but its cache; where there are GPUs, what lies in the machine's memory."""
    found = Estimate(
        parts=(
            Part(name="weights", bytes=Bytes(5), is_on_gpu=True),
            Part(name="program", bytes=Bytes(7)),
            Part(name=CACHE, bytes=Bytes(11)),
            Part(name="copied weights", bytes=Bytes(13), is_reclaimable=True),
        )
    )
    assert (found.least_ram(has_gpus=True), found.least_ram(has_gpus=False)) == (7, 12)
