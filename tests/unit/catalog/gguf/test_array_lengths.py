"""Vocabularies that several files share are walked once."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from modelswap.catalog.gguf.array_lengths import ArrayLengths
from modelswap.catalog.gguf.header import read_header
from support.gguf_builder import STRING, U64, GgufBuilder

if TYPE_CHECKING:
    from pathlib import Path

WORDS = [f"word {number}" for number in range(3000)]


def test_a_known_array_is_not_walked_again(tmp_path: Path) -> None:
    """The second file with the same vocabulary takes its length from the first."""
    arrays = ArrayLengths()
    for number in range(2):
        builder = GgufBuilder(
            {"tokenizer.ggml.tokens": WORDS, "general.quantization_version": number}
        )
        found = read_header(builder.write(tmp_path / f"{number}.gguf"), arrays)
        assert found.metadata == {"general.quantization_version": number}
        assert arrays.guessed == bool(number)


def test_another_array_is_walked(tmp_path: Path) -> None:
    """The same beginning and the same count are not enough."""
    arrays = ArrayLengths()
    read_header(GgufBuilder({"k": WORDS, "after": 0}).write(tmp_path / "a.gguf"), arrays)
    others = [*WORDS[:2000], *(word + "!" for word in WORDS[2000:])]
    found = read_header(GgufBuilder({"k": others, "after": 1}).write(tmp_path / "b.gguf"), arrays)
    assert (found.metadata, arrays.guessed) == ({"after": 1}, False)


def test_a_wrong_guess_harms_nothing(tmp_path: Path) -> None:
    """A file made to be mistaken for another spoils the reading of neither."""
    arrays = ArrayLengths()
    head = ["x" * 100] * 20
    bait = [*head, *["y"] * 1980, "z" * 7920]
    honest = [*head, *["y"] * 1981]
    read_header(GgufBuilder({"k": honest, "after": 0}).write(tmp_path / "a.gguf"), arrays)
    for name, words in (("b", bait), ("c", honest), ("d", bait)):
        path = GgufBuilder({"k": words, "after": 1}).write(tmp_path / f"{name}.gguf")
        assert read_header(path, arrays).metadata == {"after": 1}


def test_a_guess_that_leads_astray_is_taken_back(tmp_path: Path) -> None:
    """Both arrays have the same bytes at all compared places; the second is longer, and read in full."""
    arrays = ArrayLengths()
    make = GgufBuilder({})
    word = make.string("w" * 8)
    after = make.string("after") + struct.pack("<IQ", U64, 0) + make.string("more") + b"\7\0\0\0\1"
    plain = make.string("k") + make.array(STRING, 4000, word * 4000)
    # One string swallows three words; three strings that read like the next key make up for them.
    swallowed = make.string("w" * 8 + 3 * word.decode())
    decoys = make.string("after") + struct.pack("<Q", 10) + after[21:31] + make.string("")
    words = word * 100 + swallowed + word * 3896
    tricky = make.string("k") + make.array(STRING, 4000, words + decoys)
    for name, raw in (("a", plain), ("b", tricky)):
        path = GgufBuilder({}, raw=raw + after, raw_keys=3).write(tmp_path / f"{name}.gguf")
        found = read_header(path, arrays)
        assert found.metadata == {"after": 0, "more": True}
        assert arrays.guessed == (name == "b")
