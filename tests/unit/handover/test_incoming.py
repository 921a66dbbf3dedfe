"""How a process finds out that another one hands over to it."""

from __future__ import annotations

import json
import os
import socket

from modelswap.handover.incoming import VARIABLE, find_old_front


def test_the_variable_names_the_parent_and_the_descriptors() -> None:
    """The channel and the sockets are ours, not inheritable, and the variable is gone."""
    ours, theirs = socket.socketpair()
    listening = socket.socket()
    text = f"{os.getppid()}:{os.dup(ours.fileno())}:{os.dup(listening.fileno())}"
    variables = {VARIABLE: text, "OTHER": "x"}
    with ours, theirs, listening:
        found = find_old_front(variables)
        assert found is not None
        assert variables == {"OTHER": "x"}
        (one,) = found.listening
        with one:
            assert not one.get_inheritable()
        found.report_failure(["no"])
        assert json.loads(theirs.recv(1000)) == {"kind": "failed", "lines": ["no"]}
        found._socket.close()


def test_an_inherited_variable_is_ignored() -> None:
    """A variable of another parent, or without descriptors, is no hand-over."""
    assert find_old_front({}) is None
    assert find_old_front({VARIABLE: "1:5:6"}) is None
    assert find_old_front({VARIABLE: f"{os.getppid()}:x:y"}) is None
