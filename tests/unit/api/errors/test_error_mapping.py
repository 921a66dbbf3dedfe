"""What a client reads of a wait or a relay that failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from modelswap.api.auth.identity import ANONYMOUS, Identity
from modelswap.api.errors.error_mapping import relay_error, wait_error
from modelswap.config.schema.schema import KeyScope
from modelswap.core.commands import Reason
from modelswap.http import EndReason


def failure(
    reason: Reason, detail: str = "", *, why: object = None, retry_after: float | None = None
) -> Any:
    return SimpleNamespace(reason=reason, detail=detail, retry_after=retry_after, failure=why)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_an_error(reason: Reason) -> None:
    """A client error or a 503: never an internal one."""
    error = wait_error(failure(reason, "b"), ANONYMOUS)
    assert error.status in {404, 429, 503}
    assert error.text


def test_the_output_of_a_server_is_for_administrators() -> None:
    """Others read what kind of failure it was."""
    why = SimpleNamespace(text="/home/me/m.gguf: no such file", brief="no model", is_lasting=True)
    failed = failure(Reason.LOAD_FAILED, why=why)
    reader = Identity("r", frozenset({"inference"}))
    assert wait_error(failed, ANONYMOUS).text.endswith("/home/me/m.gguf: no such file")
    error = wait_error(failed, reader)
    assert error.text == "the model could not be loaded: no model"
    assert error.should_retry is False


def test_a_limited_key_learns_no_other_model() -> None:
    """The model that would have to leave is named to others only."""
    swap = failure(Reason.WOULD_SWAP, "secret-model")
    assert "secret-model" in wait_error(swap, ANONYMOUS).text
    assert "secret-model" not in wait_error(swap, Identity("l", models=("m",))).text


def test_who_holds_the_memory_is_for_those_who_may_read() -> None:
    """Programs of the machine are named to keys with the scope `read` that are not limited to some models."""
    short = failure(Reason.NO_ROOM, "vllm holds 7 GiB", retry_after=5)
    told = wait_error(short, ANONYMOUS)
    assert (told.status, told.code, told.retry_after) == (503, "no_room", 5)
    assert "vllm" in told.text
    for identity in (
        Identity("i", frozenset({KeyScope.INFERENCE})),
        Identity("l", models=("m",)),
    ):
        assert wait_error(short, identity).text == "there is not enough free memory for the model"


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (EndReason.HEADER_TIMEOUT, 504),
        (EndReason.CONNECT_TIMEOUT, 504),
        (EndReason.STALLED, 504),
        (EndReason.UPSTREAM_LOST, 503),
        (EndReason.BODY_FAILED, 400),
        (EndReason.TRUNCATED, 502),
    ],
)
def test_a_relay_that_failed(reason: EndReason, status: int) -> None:
    """Timeouts are 504, a model that was stopped 503, a bad body 400, all else 502."""
    result: Any = SimpleNamespace(reason=reason, detail="why")
    assert relay_error(result).status == status


def test_a_peer_is_called_so() -> None:
    """A chain of servers says which of them failed."""
    result: Any = SimpleNamespace(reason=EndReason.TRUNCATED, detail="why")
    assert relay_error(result, by_peer=True).text == "peer proxy error: why"
