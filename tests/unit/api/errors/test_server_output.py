"""The last lines of a model server's output."""

from __future__ import annotations

import json

import pytest

from modelswap.api.auth.identity import ANONYMOUS, Identity
from modelswap.api.errors.error_mapping import wait_error
from modelswap.api.errors.error_responses import response_for
from modelswap.api.errors.server_output import LAST_LINES, last_lines
from modelswap.api.protocols.stream_dialect import StreamDialect, error_event
from modelswap.core.commands import Fail, Reason
from modelswap.core.failure import Cause, failure
from modelswap.core.spec import ModelId, RequestId
from modelswap.errors import LoadFailedError
from modelswap.observe.logs.logs import Logs

A = ModelId("a")


async def lines_of(output: bytes) -> list[str]:
    logs = Logs(to_stdout="none")
    logs.configure(redact=lambda data: data.replace(b"sk-1", b"***"))
    logs.model_output(A, output)
    logs.model_ended(A)
    return last_lines(logs, A)


async def test_the_last_lines() -> None:
    """Not more than a few, without empty ones, secrets masked, control characters escaped, also without an end."""
    text = (
        b"first\n" + b"".join(b"line %d\n\n" % n for n in range(20)) + b"\x1b[31mkey sk-1\nno end"
    )
    found = await lines_of(text)
    assert len(found) == LAST_LINES
    assert found[-2:] == ["\\x1b[31mkey ***", "no end"]
    assert found[0] == "line 12"
    assert await lines_of(b"") == []


async def test_bounds() -> None:
    """A long line is cut at its end; one whose beginning is not looked at is left out."""
    (cut,) = await lines_of(b"x" * 900 + b"\n")
    assert cut == "x" * 500 + " …"
    assert await lines_of(b"y" * 15_000 + b"\n" + b"z" * 3_000 + b"\nend\n") == [
        "z" * 500 + " …",
        "end",
    ]


def failed() -> Fail:
    return Fail(RequestId(1), Reason.LOAD_FAILED, failure=failure(Cause.CRASHED, "boom"))


def test_who_gets_them() -> None:
    """A key with the scope `admin`, and everybody without keys; nobody where no server has failed."""
    assert wait_error(failed(), ANONYMOUS, lambda: ["one"]).log == ("one",)
    reader = Identity("r", frozenset({"inference", "read"}))
    assert wait_error(failed(), reader, lambda: pytest.fail("asked for")).log == ()
    stuck = Fail(RequestId(1), Reason.LOAD_FAILED, "a was killed but does not exit")
    assert wait_error(stuck, ANONYMOUS, lambda: pytest.fail("asked for")).log == ()


LINES = ("<script>", "no such tensor")


def load_failed() -> LoadFailedError:
    error = LoadFailedError("the model could not be loaded: boom")
    error.log = LINES
    return error


def test_where_they_stand() -> None:
    """In the details of a JSON error, of either protocol; below the message in text and HTML, escaped there."""
    body = json.loads(response_for(load_failed()).body)
    assert body["error"]["details"] == {"log": [*LINES]}
    claude = json.loads(response_for(load_failed(), anthropic=True).body)
    assert claude["error"]["details"] == {"log": [*LINES]}
    text = response_for(load_failed(), accept="text/plain").body.decode()
    assert text.splitlines()[1:] == [*LINES]
    page = response_for(load_failed(), accept="text/html").body.decode()
    assert "<pre>&lt;script&gt;\nno such tensor</pre>" in page
    bare = LoadFailedError("x")
    assert "details" not in json.loads(response_for(bare).body)["error"]
    assert b"<pre>" not in response_for(bare, accept="text/html").body


@pytest.mark.parametrize("dialect", [*StreamDialect, None])
def test_in_a_stream(dialect: StreamDialect | None) -> None:
    """The error event of every protocol has them."""
    data = error_event(dialect, 503, "m", log=LINES).split(b"data: ")[1]
    assert json.loads(data)["error"]["details"] == {"log": [*LINES]}
