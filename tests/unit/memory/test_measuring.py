"""One server's run, measured."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from modelswap.core.placement.policy import RAM, DeviceId
from modelswap.devices.capacity.reader import Held, MachineReader
from modelswap.devices.memory import DeviceMemory
from modelswap.memory.measuring import (
    LEAST_GROWTH,
    WHILE_LOADING,
    WHILE_USED,
    Measurement,
    Sample,
    growth,
)
from modelswap.units import Bytes, Seconds

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30
MIB = 1 << 20
GPU0 = DeviceId("gpu0")


def at(seconds: float) -> Seconds:
    return Seconds(seconds)


def sample(ram: int, file: int = 0, **gpus: int) -> Sample:
    return Sample(Held({"ram": ram, **gpus}, file))


def gpu(used: int, total: int = 80 * GIB, name: str = "gpu0") -> DeviceMemory:
    return DeviceMemory(name, "H100", total, total - used)


def ready_and_served(measurement: Measurement) -> None:
    measurement.on_ready(at(12))
    measurement.on_request_ended()


def test_a_run() -> None:
    """The largest figures of the run are worth storing after the first request, and again when they grow."""
    run = Measurement(at(10))
    run.on_sample(at(11), sample(5 * GIB, gpu0=GIB))
    run.on_ready(at(12))
    assert run.load == at(2)
    run.on_sample(at(12), sample(3 * GIB, gpu0=6 * GIB))
    assert run.worth_storing() is None
    run.on_request_ended()
    run.on_sample(at(13), sample(3 * GIB, gpu0=7 * GIB))
    peaks = run.worth_storing()
    assert peaks == {RAM: 5 * GIB, GPU0: 7 * GIB} == run.peaks
    assert run.held == {RAM: 3 * GIB, GPU0: 7 * GIB}
    stored = [run.is_stored]
    run.on_stored(peaks)
    assert [*stored, run.is_stored] == [False, True]
    assert run.worth_storing() is None
    run.on_sample(at(14), sample(5 * GIB + LEAST_GROWTH, gpu0=7 * GIB))
    assert run.worth_storing() is None
    run.on_sample(at(15), sample(6 * GIB, gpu0=7 * GIB))
    assert run.worth_storing() == {RAM: 6 * GIB, GPU0: 7 * GIB}


def test_files_that_a_load_reads_through() -> None:
    """Pages of files count once the server is ready: before that they may be only passed through."""
    run = Measurement(at(10))
    run.on_sample(at(11), sample(9 * GIB, 8 * GIB))
    assert run.peaks == {RAM: GIB}
    assert run.held == {RAM: 9 * GIB}
    ready_and_served(run)
    run.on_sample(at(12), sample(5 * GIB, 4 * GIB))
    assert run.worth_storing() == {RAM: 5 * GIB}


def test_a_sample_that_was_begun_before_the_server_was_ready() -> None:
    """It is one of the load, and no request was served before it."""
    run = Measurement(at(10))
    run.on_ready(at(12))
    run.on_request_ended()
    run.on_sample(at(11.9), sample(9 * GIB, 8 * GIB))
    assert (run.peaks, run.worth_storing()) == ({RAM: GIB}, None)
    assert not run.is_measured
    assert run.next_sample(at(12)) == at(0)
    run.on_sample(at(12), sample(9 * GIB, 8 * GIB))
    assert run.is_measured


def test_the_schedule() -> None:
    """Often while it loads, less often while it is used, at rest never."""
    run = Measurement(at(10))
    assert run.load is None
    assert run.next_sample(at(10.25)) == WHILE_LOADING - 0.25
    run.on_sample(at(11), sample(1))
    assert run.next_sample(at(11)) == WHILE_LOADING
    assert run.next_sample(at(99)) == at(0)
    run.on_ready(at(12))
    assert run.next_sample(at(12)) == at(0)
    run.on_sample(at(12), sample(1))
    assert run.next_sample(at(12)) is None
    assert run.next_sample(at(12), in_flight=1) == WHILE_USED
    run.on_request_ended()
    assert run.next_sample(at(12)) == at(0)  # the first request: the need can be stored then
    run.on_sample(at(13), sample(1))
    assert run.next_sample(at(14)) is None
    run.on_request_ended()
    assert run.next_sample(at(14)) == WHILE_USED - 1


def test_growth_of_totals() -> None:
    """A device that is in one reading alone is left out, and a shrinking one has not grown."""
    before = [gpu(GIB), gpu(5, name="gpu1"), gpu(1, name="gpu2")]
    now = [gpu(4 * GIB), gpu(3, name="gpu1"), gpu(1, name="gpu3")]
    assert growth(before, now) == {GPU0: 3 * GIB, DeviceId("gpu1"): 0}


def test_a_device_that_does_not_tell_what_processes_hold() -> None:
    """The totals' growth since before the start stands for it, and stays when later samples do not tell."""
    run = Measurement(at(10), [gpu(GIB)])
    ready_and_served(run)
    run.on_sample(at(12), Sample(Held({"ram": 7}), devices=[gpu(4 * GIB)]))
    assert run.worth_storing() == {RAM: 7, GPU0: 3 * GIB}
    run.on_others_changed()
    run.on_sample(at(13), Sample(Held({"ram": 8}), devices=[gpu(60 * GIB)]))
    assert run.held == {RAM: 8, GPU0: 3 * GIB}


def test_totals_while_other_servers_change() -> None:
    """Then they say nothing of this server: the device is not measured."""
    run = Measurement(at(10), [gpu(GIB)])
    run.on_others_changed()
    ready_and_served(run)
    run.on_sample(at(12), Sample(Held({"ram": 7}), devices=[gpu(60 * GIB)]))
    assert run.worth_storing() == {RAM: 7}


def test_what_a_device_tells_goes_before_totals() -> None:
    run = Measurement(at(10), [gpu(GIB)])
    ready_and_served(run)
    run.on_sample(at(12), Sample(Held({"gpu0": 2 * GIB}), devices=[gpu(60 * GIB)]))
    assert run.peaks == {GPU0: 2 * GIB}


def test_a_server_in_a_container() -> None:
    """The client's processes do not count; only totals do, and without them nothing is measured."""
    ram = DeviceMemory("ram", "memory", 100, 90)
    run = Measurement(at(10), [ram])
    ready_and_served(run)
    container = Sample(Held({"ram": 5}, 5), is_elsewhere=True, devices=[ram._replace(free=60)])
    run.on_sample(at(12), container)
    assert run.worth_storing() == {RAM: 30}
    run = Measurement(at(10))
    run.on_sample(at(11), container)
    assert run.peaks == {}


PROGRAM = """
import mmap, sys
def say(what):
    print(what, flush=True)
    sys.stdin.readline()
file = open(sys.argv[1], "rb")
load = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
sum(load[::4096])
say("loading")
load.close()
own = bytearray(300 << 20)
own[::4096] = b"x" * len(own[::4096])
say("ready")
more = bytearray(50 << 20)
more[::4096] = b"x" * len(more[::4096])
say("grown")
"""


def test_a_real_server(tmp_path: Path) -> None:
    """A process that reads 200 MiB of a file, keeps 300 MiB and grows by 50 is measured so."""
    path = tmp_path / "weights"
    path.write_bytes(b"w" * (200 * MIB))
    reader = MachineReader(drm=tmp_path, open_nvml=lambda: None)
    run = Measurement(at(0), reader.read())
    command = [sys.executable, "-c", PROGRAM, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def next_sample(now: float, said: bytes) -> None:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline().strip() == said
            run.on_sample(at(now), Sample(reader.held([process.pid]), devices=reader.read()))
            process.stdin.write(b"\n")
            process.stdin.flush()

        next_sample(1, b"loading")
        assert run.held[RAM] >= 200 * MIB
        assert run.peaks[RAM] < 50 * MIB
        ready_and_served(run)
        next_sample(12, b"ready")
        stored = run.worth_storing()
        assert stored is not None
        assert 300 * MIB <= stored[RAM] <= 340 * MIB
        run.on_stored(stored)
        next_sample(20, b"grown")
        grown = run.worth_storing()
        assert grown is not None
        assert 45 * MIB <= grown[RAM] - stored[RAM] <= 55 * MIB


def test_small_growth_of_large_models() -> None:
    """One percent of a large model is not worth a write."""
    run = Measurement(at(10))
    ready_and_served(run)
    run.on_sample(at(12), sample(100 * GIB))
    run.on_stored({RAM: Bytes(100 * GIB)})
    run.on_sample(at(13), sample(101 * GIB))
    assert run.worth_storing() is None


def test_pages_whose_content_was_copied_do_not_count() -> None:
    """As far as they are resident: what is not pages of files is never taken off."""
    run = Measurement(Seconds(0.0))
    run.reclaimable = Bytes(300)
    run.on_sample(Seconds(1.0), Sample(Held({"ram": 900}, 200)))
    assert (run.held, run.peaks) == ({RAM: 700}, {RAM: 700})
    run.on_ready(Seconds(2.0))
    run.on_sample(Seconds(3.0), Sample(Held({"ram": 1500}, 500)))
    assert (run.held, run.peaks) == ({RAM: 1200}, {RAM: 1200})
