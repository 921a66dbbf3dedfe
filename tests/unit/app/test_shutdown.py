"""What a front sends to the one that has taken over, when it was asked to end meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from modelswap.app.shutdown import Shutdown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_end_is_passed_on_as_it_came(number: signal.Signals) -> None:
    """Ctrl-C stops the models, whatever `keeper.onRestart` says: it must not become a SIGTERM."""
    shutdown = Shutdown()
    shutdown.attend()
    os.kill(os.getpid(), number)
    async with asyncio.timeout(5):
        await shutdown.asked.wait()
    assert shutdown.signal is number
