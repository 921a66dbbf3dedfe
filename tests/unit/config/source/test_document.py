"""Bounds on what a few lines stand for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.config import LoadText

BIG = "x" * 100_000
ALIASES = ", ".join(["*a"] * 20_000)
MANY = ", ".join(f"k{n}: '{'y' * 4000}'" for n in range(24))
TOO_MUCH = {
    "texts": f"models:\n  m:\n    cmd: x ${{PORT}}\n    metadata: {{a: &a {BIG}, b: [{ALIASES}]}}\n",
    "unknown key": f"x-a: &a {BIG}\nx-b: [{ALIASES}]\n",
    "commands": f"x-a: &a x ${{PORT}} {BIG}\nmodels:\n" + "".join(f"  m{n}: {{cmd: *a}}\n" for n in range(20_000)),
    "environment": f"x-a: &a A={BIG}\nmodels: {{m: {{cmd: 'x ${{PORT}}', env: [{ALIASES}]}}}}\n",
    "keys": f"x-a: &a {BIG}\napiKeys: [{ALIASES}]\n",
    "models": f"x-a: &a {{cmd: 'x ${{PORT}}', metadata: {{{MANY}}}}}\nmodels:\n" + "".join(f"  m{n}: *a\n" for n in range(20_000)),
    "merges": f"x-a: &a {{cmd: 'x ${{PORT}}', metadata: {{{MANY}}}}}\nmodels:\n" + "".join(f"  m{n}: {{<<: *a}}\n" for n in range(20_000)),
    "laughs": "a0: &a0 x\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)),
    "merge laughs": "a0: &a0 {k: x}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}], k{n}: {{<<: *a{n - 1}}}}}\n" for n in range(1, 12)),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_MUCH)
def test_aliases_stand_for_a_bounded_amount(loaded: LoadText, name: str) -> None:
    """Some lines that stand for gigabytes are one mistake, found at once."""
    begun = time.process_time()
    found = loaded(TOO_MUCH[name])
    assert time.process_time() - begun < 3
    (problem,) = found.problems
    assert "excessive aliasing" in problem.message


def test_macros_become_a_bounded_amount(loaded: LoadText) -> None:
    """Many uses of one long macro are one mistake."""
    uses = ", ".join(["'${q}'"] * 20_000)
    begun = time.process_time()
    found = loaded(
        f"macros: {{q: {BIG}}}\nmodels: {{m: {{cmd: 'x ${{PORT}}', metadata: {{b: [{uses}]}}}}}}"
    )
    assert time.process_time() - begun < 3
    (problem,) = found.problems
    assert (problem.key, "at most 64 MiB" in problem.message) == ("macros", True)


def test_shared_defaults_for_many_models_load(loaded: LoadText) -> None:
    """A thousand models that share their defaults are a file as any other."""
    text = "x-d: &d {cmd: 'x ${PORT}', ttl: 5, env: [A=b], metadata: {a: 1, b: 2}}\nmodels:\n"
    plan = loaded(text + "".join(f"  m{n}: {{<<: *d}}\n" for n in range(1000))).plan
    assert plan is not None
    assert len(plan.models) == 1000
