"""From a command and real files to a need."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelswap.core.placement.policy import DeviceId
from modelswap.memory import predict as module
from modelswap.memory.predict import predict
from modelswap.units import Bytes
from support.gguf_builder import GgufBuilder, Tensor, chat_model, projector
from support.sized_models import Q4_0, adapter, dense

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from modelswap.memory.estimate import Estimate

MIB = 1 << 20
GPUS = {DeviceId("gpu0"): Bytes(1000)}


def small(**shape: Any) -> GgufBuilder:
    return dense(**({"layers": 2, "vocab": 1000, "embd": 256, "heads": 4, "kv_heads": 2} | shape))


def said(command: Sequence[object], env: Any = (), *, gpus: bool = False) -> Estimate | None:
    return predict([str(word) for word in command], env, GPUS if gpus else {})


def known(command: Sequence[object], env: Any = (), *, gpus: bool = False) -> Estimate:
    found = said(command, env, gpus=gpus)
    assert found is not None
    return found


def part(found: Estimate, name: str) -> int:
    return sum(one.bytes for one in found.parts if one.name == name)


def test_a_model_is_weighed_by_its_file(tmp_path: Path) -> None:
    """Its weights are its tensors, its cache follows the flags."""
    path = small().write(tmp_path / "a.gguf")
    found = known(["llama-server", "-m", path, "-c", "1024"])
    size = sum(tensor.size for tensor in small().tensors)
    assert part(found, "weights") == size
    assert part(found, "KV cache") == 2 * 1024 * 2 * (2 * 64) * 2
    assert (found.gpu, found.devices) == (0, ())


def test_a_split_model_is_one(tmp_path: Path) -> None:
    """Both files count, in whichever name the command says the first."""
    one = small().write(tmp_path / "a-00001-of-00002.gguf")
    alone = part(known(["llama-server", "-m", small().write(tmp_path / "b.gguf")]), "weights")
    assert said(["llama-server", "-m", one]) is None  # the second part is missing
    GgufBuilder({}, [Tensor("blk.1.more.weight", (64, 64))]).write(
        tmp_path / "a-00002-of-00002.gguf"
    )
    assert part(known(["llama-server", "-m", one]), "weights") == alone + 64 * 64 * 2


def test_all_files_count(tmp_path: Path) -> None:
    """A draft model, a projector and an adapter, in one command."""
    model, draft = small().write(tmp_path / "m.gguf"), small(layers=1).write(tmp_path / "d.gguf")
    eyes, lora = projector().write(tmp_path / "p.gguf"), adapter().write(tmp_path / "l.gguf")
    command = ["llama-server", "-m", model, "-md", draft, "--mmproj", eyes, "--lora", lora]
    found = known(command)
    sizes = sum(t.size for builder in (small(), small(layers=1)) for t in builder.tensors)
    assert part(found, "weights") == sizes
    assert part(found, "projector") == sum(t.size for t in projector().tensors)
    assert part(found, "adapters") == sum(t.size for t in adapter().tensors)
    lora.unlink()
    assert said(command) is None


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """The same command, another file of that name."""
    path = tmp_path / "a.gguf"
    before = known(["llama-server", "-m", small().write(path)])
    path.unlink()
    after = known(["llama-server", "-m", small(layers=3).write(path)])
    assert part(after, "weights") > part(before, "weights")


def test_an_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second prediction opens nothing."""
    command = ["llama-server", "-m", small().write(tmp_path / "a.gguf")]
    first = known(command)
    monkeypatch.delattr(module, "read_header")
    assert known(command) is first


def test_the_environment_decides_over_gpus(tmp_path: Path) -> None:
    """`CUDA_VISIBLE_DEVICES` names those that it takes, or says that there is none."""
    command = ["llama-server", "-m", small().write(tmp_path / "a.gguf"), "-ngl", "99"]
    assert known(command, {}, gpus=True).devices == ()
    assert known(command, ["CUDA_VISIBLE_DEVICES=1"], gpus=True).devices == ("gpu1",)
    assert known(command, ["CUDA_VISIBLE_DEVICES="], gpus=True).gpu == 0
    assert known([*command, "--device", "none"], {}, gpus=True).gpu == 0
    assert known(command, {}, gpus=True).gpu > 0


def test_quantized_weights_are_copied_on_a_cpu_with_wide_registers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On x86-64 with AVX2 and on ARM; not on other machines."""
    command = ["llama-server", "-m", small(kind=Q4_0).write(tmp_path / "a.gguf"), "-c", "256"]

    def copied(machine: str, flags: bytes) -> bool:
        monkeypatch.setattr("platform.machine", lambda: machine)
        monkeypatch.setattr(module, "read_bytes", lambda _: flags)
        module._known.clear()
        return known(command).reclaimable > 0

    assert copied("x86_64", b"flags : sse avx avx2 fma")
    assert copied("AMD64", b"")  # Windows has no such file
    assert not copied("x86_64", b"flags : sse avx fma")
    assert copied("aarch64", b"")
    assert not copied("riscv64", b"")
    module._known.clear()


@pytest.mark.parametrize(
    "command",
    [
        ["llama-server"],
        ["llama-server", "-m", "/does/not/exist.gguf"],
        ["llama-server", "-m", "a\0b"],
        ["llama-server", "-m", "/"],
        ["llama-server", "-hf", "owner/model"],
        ["sh", "-c", "llama-server -m 'open"],
        ["whisper-server", "-m", "/does/not/exist.bin"],
        ["whisper-server"],
        ["vllm", "serve", "a/model"],
        ["sleep", "10"],
        [],
    ],
    ids=str,
)
def test_nothing_is_said_of_what_is_not_known(command: list[str]) -> None:
    """No exception, no number."""
    assert said(command) is None


@pytest.mark.parametrize("data", [b"", b"GGUF", b"GGUF\3\0\0\0" + b"\xff" * 16, b"<html>"])
def test_a_broken_file_is_not_weighed(tmp_path: Path, data: bytes) -> None:
    """Nor one whose download is not complete."""
    path = tmp_path / "a.gguf"
    path.write_bytes(data)
    assert said(["llama-server", "-m", path]) is None
    whole = small().write(tmp_path / "b.gguf")
    with whole.open("r+b") as file:
        file.truncate(whole.stat().st_size // 2)
    assert said(["llama-server", "-m", whole]) is None


def test_other_servers_are_weighed_coarsely(tmp_path: Path) -> None:
    """By the sizes of their files, or their share of a GPU."""
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(1000))
    whisper = known(["whisper-server", "-m", path])
    assert part(whisper, "weights") == 1000
    diffusion = known(["sd-server", "--diffusion-model", path, "--vae", path], gpus=True)
    assert (part(diffusion, "weights"), diffusion.gpu > 2000) == (2000, True)
    assert known(["vllm", "serve", "a/model"], gpus=True).gpu == 900


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 400), data=st.binary(min_size=1, max_size=16))
def test_a_damaged_file_is_weighed_or_not_and_never_fails(
    tmp_path: Path, at: int, data: bytes
) -> None:
    """Any bytes in a header: a bounded number, or none."""
    path = chat_model().write(tmp_path / "a.gguf")
    damaged = tmp_path / "b.gguf"
    damaged.unlink(missing_ok=True)
    shutil.copy(path, damaged)
    with damaged.open("r+b") as file:
        file.seek(at)
        file.write(data)
    found = said(["llama-server", "-m", damaged])
    assert found is None or 0 < found.ram < 1 << 63
