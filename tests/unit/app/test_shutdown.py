"""A signal that came during a hand-over reaches the new process as it was."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from modelswap.app.shutdown import Shutdown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_signal_is_remembered(number: signal.Signals) -> None:
    """Ctrl-C stops the models, whatever `keeper.onRestart` says: it must not become a SIGTERM."""
    shutdown = Shutdown()
    shutdown.handle_signals()
    os.kill(os.getpid(), number)
    async with asyncio.timeout(30):
        await shutdown.asked.wait()
    assert shutdown.signal is number
