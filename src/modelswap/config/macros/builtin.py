"""Macros that exist without being declared.

`${llama-server}` is the program of that name when the machine has one, else the engine that comes with
`modelswap[engine]`. A macro of the same name in the file wins.
"""

from __future__ import annotations

import shlex
import shutil
import sys

LLAMA_SERVER = "llama-server"


def llama_server_command() -> str:
    """Return the start of a command line, quoted for the configuration's own splitter."""
    found = shutil.which(LLAMA_SERVER)
    words = [found] if found else [sys.executable, "-m", "modelswap.engine"]
    return shlex.join(words)
