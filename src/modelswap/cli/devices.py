"""`modelswap devices`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from .commands import HELP
from .terminal import fail

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from modelswap.devices.capacity.reader import MachineReader

_MIB: Final = 1 << 20
"""Bytes."""
_GIB: Final = 1 << 30
"""Bytes."""


@click.command(context_settings=HELP)
def command() -> None:
    """Show the memory of this machine's devices, and who uses it.

    Of each device: its size, what a new model could take, what the models of
    every running modelswap hold, and what other programs use, with the largest
    of them. `ram` is the machine's memory, or less where a cgroup limits it; pages
    of files count as free there. GPUs that the environment hides
    (CUDA_VISIBLE_DEVICES and the like) are not shown: no model would see them.
    """
    from modelswap.devices.capacity.reader import MachineReader  # noqa: PLC0415 - --help must be quick
    from modelswap.launch.local.processes import all_server_processes  # noqa: PLC0415 - the same

    reader = MachineReader()
    try:
        for line in described(reader, all_server_processes()):
            click.echo(line)
    except OSError as error:
        fail(f"modelswap: the devices cannot be read: {error}")
    finally:
        reader.close()


def described(reader: MachineReader, ours: Collection[int]) -> Iterator[str]:
    """Yield the lines; *ours* are the processes of model servers."""
    held = reader.held(ours)
    devices = reader.read()
    rows = [("device", "total", "free", "models", "others", "")]
    for device in devices:
        models = others = "?"
        if device.id in held.by_device:
            own = held.own[device.id]
            models, others = size(own), size(device.used_by_others(own))
        rows.append((device.id, size(device.total), size(device.free), models, others, device.name))
    yield from _table(rows)
    if held.file_pages >= _MIB:
        yield f"ram: {size(held.file_pages)} of the models' files and libraries are in memory; they count as free"
    for device in devices:
        found = [one for one in reader.holders(device, ours) if one.bytes >= _MIB]
        if found:
            named = ", ".join(
                f"{one.name} {size(one.bytes)}{f' (pid {one.pid})' if one.pid else ''}"
                for one in found
            )
            yield f"{device.id}: others are {named}"
    yield from _notes(devices[0].vendor, has_gpus=len(devices) > 1, is_known=len(held.by_device) >= len(devices))  # fmt: skip


def _notes(vendor: str, *, has_gpus: bool, is_known: bool) -> Iterator[str]:
    from modelswap.devices import nvml  # noqa: PLC0415 - as above

    if vendor == "Apple":
        yield "The GPU uses the machine's memory: `ram` is the only device."
    elif not has_gpus and nvml.is_present():
        yield "NVIDIA's driver is there, but tells of no GPU with memory of its own."
    elif not has_gpus:
        yield "There is no GPU that is known: `ram` is the only device."
    if not is_known:
        yield "?: the driver does not tell what each process holds, as in a container."


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield the rows with numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *numbers, last in rows:
        cells = [number.rjust(width) for number, width in zip(numbers, widths[1:-1], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells, last]).rstrip()


def size(number: int) -> str:
    """Return bytes as people read them."""
    return f"{number / _GIB:.1f} GiB" if number >= _GIB else f"{number // _MIB} MiB"
