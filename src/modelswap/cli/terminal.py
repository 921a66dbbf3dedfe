"""What all commands share: their names, and what is said on standard error."""

from __future__ import annotations

import sys
from typing import Final, Never

COMMANDS: Final = {
    "serve": "Serve every model of a configuration on one port.",
    "check": "Check a configuration, or show what it amounts to.",
    "pull": "Download models: from Hugging Face, Ollama's registry, or any address.",
    "plan": "Say what would happen to a request for a model now, and why.",
    "decisions": "List the newest starts and swaps: who asked, who left, why, how it ended.",
    "reload": "Have the running server load its configuration again, or hand over to a new one.",
    "devices": "Show the memory of this machine's devices, and who uses it.",
    "schema": "Print the JSON Schema of the configuration, for editors.",
    "demo": "Try it now: real engine, three tiny models, no downloads.",
}
TO_A_SERVER: Final = frozenset({"plan", "decisions", "reload"})
"""Commands that a running server answers; they have a folder of their own."""


def say(*lines: str) -> None:
    """Print to standard error, which may be closed."""
    if sys.stderr is not None:
        print(*lines, sep="\n", file=sys.stderr)  # noqa: T201 - the command line's output


def refuse_argument(argument: str) -> Never:
    """Exit with 2: the command would ignore the argument."""
    say(f"modelswap: unexpected argument: {argument}")
    sys.exit(2)


def fail(*lines: str) -> Never:
    """Print why the command failed, and exit with 1."""
    say(*lines)
    sys.exit(1)
