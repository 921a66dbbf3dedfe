"""What the catalog says of a file is what llama.cpp does with it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest

from modelswap.catalog.gguf.header import read_header
from modelswap.catalog.roots import Root
from modelswap.catalog.scan import scan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelswap.catalog.found import FoundModel


def loads(path: Path) -> bool:
    """Tell whether llama.cpp serves a file: it listens, or its process ends."""
    command = [sys.executable, "-m", "modelswap.engine", "-m", str(path), "--port", "0", "-c", "64"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as engine:
        assert engine.stdout is not None
        try:
            return any("modelswap engine: listening" in line for line in engine.stdout)
        finally:
            engine.kill()


def copied(
    source: Path, target: Path, *, parts: int = 0, big_endian: bool = False, extra: str = ""
) -> None:
    """Write a model again: split, in the other byte order, or with one more tensor."""
    reader = gguf.GGUFReader(source)
    order = gguf.GGUFEndian.BIG if big_endian else gguf.GGUFEndian.LITTLE
    writer = gguf.GGUFWriter(target, "llama", endianess=order, split_max_tensors=parts)
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            kind = field.types[0]
            inner = field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    if extra:
        writer.add_tensor(extra, np.zeros((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def whole(source: Path, folder: Path) -> None:
    copied(source, folder / "m.gguf")


def split(source: Path, folder: Path) -> None:
    copied(source, folder / "m.gguf", parts=8)


def split_with_a_hole(source: Path, folder: Path) -> None:
    split(source, folder)
    sorted(folder.iterdir())[1].unlink()


def renamed_parts(source: Path, folder: Path) -> None:
    split(source, folder)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"piece-{number}.gguf")


def an_encoder_inside(source: Path, folder: Path) -> None:
    copied(source, folder / "m.gguf", extra="v.patch_embd.weight")


def other_byte_order(source: Path, folder: Path) -> None:
    copied(source, folder / "m.gguf", big_endian=True)


def data_cut_off(source: Path, folder: Path) -> None:
    whole(source, folder)
    os.truncate(folder / "m.gguf", source.stat().st_size - 1000)


def header_cut_off(source: Path, folder: Path) -> None:
    whole(source, folder)
    os.truncate(folder / "m.gguf", read_header(source).data_offset // 2)


def of_ollama(source: Path, folder: Path) -> None:
    (folder / "m.gguf").write_bytes(source.read_bytes().replace(b"llama", b"olmo3", 1))


def empty(_: Path, folder: Path) -> None:
    (folder / "m.gguf").touch()


def only(folder: Path) -> FoundModel:
    (model,) = scan([Root(folder)]).models
    return model


@pytest.mark.parametrize("make", [whole, split])
def test_what_is_listed_is_loaded(
    make: Callable[[Path, Path], None], weights: dict[str, Path], tmp_path: Path
) -> None:
    """A model without a problem is served under its path."""
    make(weights["red"], tmp_path)
    model = only(tmp_path)
    assert model.problem == ""
    assert loads(model.path)


@pytest.mark.parametrize(
    "make",
    [
        split_with_a_hole, renamed_parts, an_encoder_inside, other_byte_order, data_cut_off,
        header_cut_off, of_ollama, empty,
    ],
)  # fmt: skip
def test_what_has_a_problem_is_not_loaded(
    make: Callable[[Path, Path], None], weights: dict[str, Path], tmp_path: Path
) -> None:
    """llama.cpp refuses each file that the catalog holds something against."""
    make(weights["red"], tmp_path)
    model = only(tmp_path)
    assert model.problem
    assert not loads(model.path)
