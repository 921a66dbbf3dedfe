"""Headers of GGUF files: whole ones are read in full, the others end in one sentence."""

from __future__ import annotations

import os
import struct
from itertools import product
from typing import TYPE_CHECKING, Literal

import gguf
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelswap.catalog.gguf import window
from modelswap.catalog.gguf.array_lengths import ArrayLengths
from modelswap.catalog.gguf.header import read_header
from modelswap.catalog.gguf.metadata import MOST_KEYS, MOST_STRING, is_wanted
from modelswap.catalog.gguf.tensors import BLOCKS, MOST_TENSORS
from modelswap.catalog.gguf.window import MOST_STRINGS, GgufError
from modelswap.catalog.models.summary import summarize
from modelswap.demo.weights import CHAT_TEMPLATE, write_model
from support.gguf_builder import ARRAY, STRING, U32, GgufBuilder, Tensor, chat_model

if TYPE_CHECKING:
    from pathlib import Path

Order = Literal["<", ">"]
BASE = {"general.architecture": "llama", "llama.context_length": 4096}


def refusal(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(GgufError) as caught:
        read_header(path)
    return str(caught.value)


@pytest.mark.parametrize(("version", "order"), [*product((1, 2, 3), "<>")])
def test_each_version_and_byte_order_is_read(version: int, order: Order, tmp_path: Path) -> None:
    """The layouts of all versions say the same."""
    metadata = {
        **BASE,
        "llama.rope.freq_base": 0.5,
        "x.flag": True,
        "x.big": 1 << 40,
        "x.list": [1, 2],
    }
    tensors = [Tensor("a", (32, 4)), Tensor("b", (64,), kind=0)]
    path = GgufBuilder(metadata, tensors, version=version, order=order).write(tmp_path / "m.gguf")
    found = read_header(path)
    assert (found.version, found.is_big_endian) == (version, order == ">")
    assert found.metadata == {**metadata, "x.list": (1, 2)}
    assert [(t.name, t.dimensions, t.offset, t.size) for t in found.tensors] == [
        ("a", (32, 4), 0, 256), ("b", (64,), 256, 256),
    ]  # fmt: skip
    assert found.parameters == 192
    assert found.data_end == path.stat().st_size


def test_what_the_demo_writes_is_read(tmp_path: Path) -> None:
    """A file that llama.cpp runs: its facts are those that it was written with."""
    write_model(tmp_path / "m.gguf", layers=3, ctx=2048, vocab=2000, pooling="last", name="blue")
    found = read_header(tmp_path / "m.gguf", ArrayLengths())
    reference = gguf.GGUFReader(tmp_path / "m.gguf")
    assert found.text("general.name") == "blue"
    assert found.of_model("context_length") == 2048
    assert found.of_model("pooling_type") == gguf.PoolingType.LAST
    assert found.text("tokenizer.chat_template") == CHAT_TEMPLATE
    assert found.lengths["tokenizer.ggml.tokens"] == 2000
    assert "tokenizer.ggml.tokens" not in found.metadata
    assert [(t.name, t.elements, t.size) for t in found.tensors] == [
        (t.name, int(t.n_elements), int(t.n_bytes)) for t in reference.tensors
    ]
    assert found.data_offset == reference.data_offset
    assert found.data_end == (tmp_path / "m.gguf").stat().st_size


def test_sizes_of_blocks_are_those_of_ggml() -> None:
    """The table of types agrees with the library of llama.cpp."""
    known = {
        kind.value: (kind.name.lower(), *gguf.GGML_QUANT_SIZES[kind])
        for kind in gguf.GGMLQuantizationType
        if kind in gguf.GGML_QUANT_SIZES
    }
    assert {kind: block for kind, block in BLOCKS.items() if kind in known} == known


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    """A header that ends at any byte before its end is cut off, and says so."""
    metadata = {**BASE, "general.tags": ["x", "y"], "tokenizer.ggml.tokens": ["ab"] * 70, "z": 1.5}
    whole = GgufBuilder(metadata, [Tensor("a", (32, 4))]).header()
    end = len(whole.rstrip(b"\0")) + 8  # the offset of the last tensor is zero, as is the padding
    texts = {refusal(tmp_path / "m.gguf", whole[:size]) for size in range(4, end - 8)}
    assert all("is cut off" in text or "are left in the file" in text for text in texts)
    assert refusal(tmp_path / "m.gguf", b"") == "is empty (0 bytes)"
    for size in range(1, 4):
        assert "instead of b'GGUF'" in refusal(tmp_path / "m.gguf", whole[:size])


def test_cut_off_data_leaves_the_header(tmp_path: Path) -> None:
    """A download that has not ended has a whole header; where the data should end is known."""
    path = chat_model().write(tmp_path / "m.gguf")
    os.truncate(path, path.stat().st_size - 1)
    found = read_header(path)
    assert found.data_end == path.stat().st_size + 1


@pytest.mark.parametrize(
    ("builder", "text"),
    [
        (GgufBuilder({}, version=4), "has version 4 of GGUF; versions 1 to 3 are read"),
        (GgufBuilder({"general.alignment": 48}), "has the alignment 48; a power of two is expected"),
        (GgufBuilder({"general.alignment": "x"}), "has the alignment 'x'; a power of two is expected"),
        (GgufBuilder({}, [Tensor("a", (1,)), Tensor("a", (1,))]), "has the tensor 'a' twice"),
        (GgufBuilder({}, [Tensor("a", (1,) * 5)]), "gives 'a' 5 dimensions; at most 4 exist"),
        (
            GgufBuilder({}, [Tensor("a", (31,), kind=2)]),
            "gives 'a' rows of 31 elements; q4_0 has blocks of 32",
        ),
        (
            GgufBuilder({}, [Tensor("a", (1 << 62, 2))]),
            f"gives 'a' {1 << 63} elements at 0; at most {1 << 62} exist",
        ),
        (
            GgufBuilder({}, [Tensor(str(number), (1 << 60,), kind=99) for number in range(5)]),
            f"has more than {1 << 62} parameters",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(builder: GgufBuilder, text: str, tmp_path: Path) -> None:
    """Each contradiction is said with what was found and what was expected."""
    assert refusal(tmp_path / "m.gguf", builder.header()) == text


def keyed(raw: bytes, keys: int = 1) -> bytes:
    return GgufBuilder({}, raw=raw, raw_keys=keys).header()


def test_hostile_lengths_are_refused(tmp_path: Path) -> None:
    """Lengths beyond the file, beyond all bounds, and nested arrays end the reading at once."""
    path = tmp_path / "m.gguf"
    make = GgufBuilder({})
    key = make.string("k")
    number = struct.Struct("<I").pack
    huge = struct.pack("<Q", 1 << 63)
    assert "at most 65535 are accepted" in refusal(path, keyed(huge + b"k"))
    assert "is cut off: the value of 'k'" in refusal(path, keyed(key + number(STRING) + huge))
    assert "elements; 0 bytes are left" in refusal(path, keyed(key + make.array(U32, 1 << 63, b"")))
    assert "strings in arrays" in refusal(path, keyed(key + make.array(STRING, 1 << 63, b"")))
    assert "strings; 0 bytes are left" in refusal(
        path, keyed(key + make.array(STRING, 1 << 20, b""))
    )
    assert "nests arrays in 'k'" in refusal(path, keyed(key + make.array(ARRAY, 1, b"\0" * 64)))
    assert "unknown type 13" in refusal(path, keyed(key + number(13) + b"\0" * 64))
    assert "unknown type 99" in refusal(path, keyed(key + make.array(99, 1, b"\0" * 64)))
    assert "has the key 'k' twice" in refusal(path, keyed((key + number(7) + b"\1") * 2, 2))
    assert f"at most {MOST_KEYS} are read" in refusal(path, keyed(b"", MOST_KEYS + 1))
    tensors = b"GGUF" + number(3) + struct.pack("<QQ", MOST_TENSORS + 1, 0)
    assert f"at most {MOST_TENSORS} are read" in refusal(path, tensors)
    length = refusal(path, keyed(key + make.array(STRING, 2000, huge + b"\0" * 20_000)))
    assert "is cut off" in length


def test_strings_without_content_are_bounded(tmp_path: Path) -> None:
    """A file of empty strings costs as much as a vocabulary of four million words, not more."""
    count = MOST_STRINGS + 1
    path = tmp_path / "m.gguf"
    path.write_bytes(keyed(GgufBuilder({}).string("k") + GgufBuilder({}).array(STRING, count, b"")))
    os.truncate(path, 8 * count + 1000)
    with pytest.raises(GgufError, match="strings in arrays; at most"):
        read_header(path)


def test_long_values_are_not_kept(tmp_path: Path) -> None:
    """Texts of licences, vocabularies and long arrays are skipped; what follows is read."""
    metadata = {
        "general.license": "x" * (MOST_STRING + 1),
        "tokenizer.ggml.tokens": ["token"] * 3000,
        "tokenizer.ggml.scores": [1.0] * 3000,
        "general.tags": ["y"] * 100,
        "long": [7] * 5000,
        "after": 1,
    }
    found = read_header(GgufBuilder(metadata).write(tmp_path / "m.gguf"))
    assert found.metadata == {"after": 1}
    assert found.lengths["tokenizer.ggml.tokens"] == 3000


def test_strings_larger_than_a_block_are_skipped(tmp_path: Path) -> None:
    """A token of megabytes is no reason to read it."""
    metadata = {"tokenizer.ggml.tokens": ["a", "b" * (3 << 20), "c"], "after": 1}
    found = read_header(GgufBuilder(metadata).write(tmp_path / "m.gguf"))
    assert found.metadata == {"after": 1}


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (b"tjgg\3\0\0\0", "is a GGJT file of the years before GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "is a web page, not a GGUF file"),
        (b"\0" * 100, "was reserved and never written"),
        (b"\x80\x02}q\0", r"starts with b'\x80\x02}q' instead of b'GGUF'"),
    ],
)
def test_other_formats_are_named(start: bytes, text: str, tmp_path: Path) -> None:
    """What lies under the name of a GGUF file by mistake is called by its own."""
    assert text in refusal(tmp_path / "m.gguf", start)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A pipe does not hold the reader up."""
    os.mkfifo(tmp_path / "m.gguf")
    with pytest.raises(GgufError, match="is not a regular file"):
        read_header(tmp_path / "m.gguf")
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "absent.gguf")


def test_a_file_may_shrink_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program cuts it after it was opened: that is an error, and no end of this process."""
    path = GgufBuilder({**BASE, "k": ["word"] * 50_000}).write(tmp_path / "m.gguf")
    monkeypatch.setattr(window, "_read_at", lambda fd, count, at: os.pread(fd, min(count, 9), at))
    with pytest.raises(GgufError, match="is cut off: "):
        read_header(path)


def test_long_words_are_left_out_of_short_lists(tmp_path: Path) -> None:
    """A tag of many kilobytes is not one to show."""
    builder = GgufBuilder({"general.tags": ["chat", "x" * (MOST_STRING + 1), "small"], "after": 1})
    found = read_header(builder.write(tmp_path / "m.gguf"))
    assert found.metadata == {"general.tags": ("chat", "small"), "after": 1}


def test_long_names_of_tensors_are_refused(tmp_path: Path) -> None:
    """llama.cpp accepts 63 bytes."""
    data = GgufBuilder({}, [Tensor("x" * 300, (1,))]).header()
    assert refusal(tmp_path / "m.gguf", data) == "gives tensor 1 a name of 300 bytes"


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
NUMBERS = st.one_of(
    st.booleans(), st.integers(0, (1 << 64) - 1), st.floats(width=32, allow_nan=False)
)
VALUES = st.one_of(
    NUMBERS, NAMES, st.lists(NAMES, max_size=5), st.lists(st.integers(0, 9), max_size=5)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    metadata=st.dictionaries(
        NAMES.filter(lambda key: key != "general.alignment"), VALUES, max_size=8
    ),
    shapes=st.dictionaries(NAMES, st.lists(st.integers(0, 99), max_size=4).map(tuple), max_size=6),
    version=st.sampled_from([1, 2, 3]),
    order=st.sampled_from(["<", ">"]),
)
def test_what_is_written_is_read(
    metadata: dict[str, object],
    shapes: dict[str, tuple[int, ...]],
    version: int,
    order: Order,
    tmp_path: Path,
) -> None:
    """Any keys and tensors come back as they were."""
    tensors = [Tensor(name, shape) for name, shape in shapes.items()]
    path = GgufBuilder(metadata, tensors, version=version, order=order).write(tmp_path / "m.gguf")
    found = read_header(path)
    wanted = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in metadata.items()
        if is_wanted(key)
    }
    assert found.metadata == wanted
    assert [(t.name, t.dimensions) for t in found.tensors] == list(shapes.items())
    assert found.data_end <= path.stat().st_size


@pytest.fixture(scope="module")
def real_header(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("real") / "m.gguf"
    write_model(path, vocab=400)
    return path.read_bytes()[: read_header(path).data_offset]


MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 1 << 16), st.one_of(st.binary(min_size=1, max_size=9), st.just(b"\xff" * 8))
    ),
    min_size=1,
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(mutations=MUTATIONS, cut=st.integers(0, 1 << 16), first=st.booleans())
def test_mutated_headers_end_well(
    mutations: list[tuple[int, bytes]], cut: int, real_header: bytes, tmp_path: Path, *, first: bool
) -> None:
    """Whatever becomes of a real header, the outcome is a header or a sentence."""
    data = bytearray(real_header)
    for place, replacement in mutations:
        at = place % (400 if first else len(data))  # the first bytes hold most of the structure
        data[at : at + len(replacement)] = replacement
    path = tmp_path / "m.gguf"
    path.write_bytes(bytes(data[: cut % len(data)] if cut % 3 == 0 else data))
    arrays = ArrayLengths()
    outcomes = []
    for _ in range(2):
        try:
            found = read_header(path, arrays)
            msgspec.msgpack.encode(summarize(found))
            outcomes.append(repr(found))
        except GgufError as problem:
            outcomes.append(str(problem))
            assert len(outcomes[-1]) < 2000
    assert outcomes[0] == outcomes[1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), version=st.sampled_from([1, 2, 3]))
def test_random_bytes_end_well(data: bytes, version: int, tmp_path: Path) -> None:
    """Bytes without any structure, too."""
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + struct.pack("<I", version) + data)
    try:
        msgspec.msgpack.encode(summarize(read_header(tmp_path / "m.gguf")))
    except GgufError as problem:
        assert str(problem)  # noqa: PT017 - either outcome is right
