"""What `/proc` says of the machine, beside what psutil makes of it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from modelswap.observe.metrics import host

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
MEMINFO = """MemTotal:       24680000 kB
MemFree:        18000000 kB
MemAvailable:   22000000 kB
Cached:          4000000 kB
SwapTotal:       2000000 kB
SwapFree:        1500000 kB
HugePages_Total:       0
"""
TIMES = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 {}\ncpu1 {}\nintr 1 2\n"


def test_a_sample_needs_no_psutil() -> None:
    code = (
        "import sys\n"
        "from modelswap.observe.metrics.performance import Performance\n"
        "performance = Performance()\n"
        "performance.sample()\n"
        "assert performance.latest()[0] is not None\n"
        "assert 'psutil' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_memory_is_what_psutil_says() -> None:
    """Of what does not change while it is read."""
    found, expected = host.memory(), psutil.virtual_memory()
    assert found.total == expected.total
    assert found.swap_total == psutil.swap_memory().total
    assert abs(found.used - expected.used) < expected.total / 10


def test_memory_in_use_is_what_is_not_available(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    found = host.memory(tmp_path)
    assert (found.used, found.free) == (2680000 << 10, 18000000 << 10)
    assert (found.swap_total, found.swap_used) == (2000000 << 10, 500000 << 10)


@pytest.mark.parametrize("line", ["", "MemAvailable: 0 kB\n", "MemAvailable: 99999999 kB\n"])
def test_memory_that_is_not_known_is_left_to_psutil(tmp_path: Path, line: str) -> None:
    """Old kernels and some containers do not say what is available."""
    (tmp_path / "meminfo").write_text(MEMINFO.replace("MemAvailable:   22000000 kB\n", line))
    assert host.memory(tmp_path).total == psutil.virtual_memory().total


def test_traffic_is_what_psutil_says() -> None:
    assert host.traffic().keys() == psutil.net_io_counters(pernic=True).keys()


def test_traffic_of_a_name_with_a_colon(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    figures = " ".join(str(n) for n in range(1, 17))
    (tmp_path / "net/dev").write_text(f"Inter-|\n face |\n  eth0:1: {figures}\nlo:{figures}\n")
    assert host.traffic(tmp_path) == {"eth0:1": (1, 9), "lo": (1, 9)}


def test_processors_are_busy_since_they_were_asked_before(tmp_path: Path) -> None:
    """Waiting for a disk is idle; the time of guests counts once; time that runs back does not count."""
    stat = tmp_path / "stat"
    processors = host.Processors(tmp_path)
    stat.write_text(TIMES.format("0 0 0 0 0 0 0 0 0 0", "50 0 0 0 0 0 0 0 0 0"))
    assert processors.busy() == [0.0, 0.0]
    stat.write_text(TIMES.format("20 5 5 60 7 1 1 1 20 5", "40 0 0 0 0 0 0 0 0 0"))
    assert processors.busy() == [33.0, 0.0]
    assert processors.busy() == [0.0, 0.0]


def test_a_processor_that_is_switched_on_is_seen(tmp_path: Path) -> None:
    processors = host.Processors(tmp_path)
    (tmp_path / "stat").write_text("cpu 1 1 1 1 1 1 1 1\ncpu0 1 1 1 1 1 1 1 1\n")
    assert processors.busy() == [0.0]
    (tmp_path / "stat").write_text("cpu0 2 1 1 1 1 1 1 1\ncpu3 9 9 9 9 9 9 9 9\n")
    assert processors.busy() == [100.0, 0.0]
