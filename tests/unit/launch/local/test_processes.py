"""Which processes belong to a server, asked about real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelswap.launch.local.processes import all_server_processes, is_elsewhere, processes_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

KEEPER = """
import os, subprocess, sys
from modelswap.keeper.child import become_reaper_of_orphans
become_reaper_of_orphans()
server = subprocess.Popen(["sh", "-c", sys.argv[1]], process_group=0, env={**os.environ, "MODELSWAP_RUN": "k.1"})
other = subprocess.Popen(["sleep", "1000"], process_group=0, env={**os.environ, "MODELSWAP_RUN": "k.2"})
print(server.pid, other.pid, flush=True)
sys.stdin.readline()
server.kill()
server.wait()
print(flush=True)
sys.stdin.read()
"""
SERVER = """
sleep 1000 &
echo child $! >&2
(setsid sh -c 'echo session $$ >&2; exec sleep 1001' &)
(env -u MODELSWAP_RUN sh -c 'echo group $$ >&2; exec sleep 1002' &)
echo done 0 >&2
wait
"""
"""A server with a child; an orphan in a session of its own; and an orphan in its group, without the mark."""


class AKeeper:
    """A process that starts servers as the keeper does, and becomes the parent of their orphans."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self.server, self.other = map(int, process.stdout.readline().split())
        told = dict(process.stderr.readline().split() for _ in range(4))
        self.child, self.session, self.group = map(
            int, (told[n] for n in ("child", "session", "group"))
        )

    def kill_the_main_process(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._process.stdout.readline()


@contextmanager
def a_keeper() -> Iterator[AKeeper]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", KEEPER, SERVER]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        keeper = AKeeper(process)
        try:
            yield keeper
        finally:
            for pid in (keeper.child, keeper.session, keeper.group, keeper.other):
                os.kill(pid, 9)
            process.kill()


def test_all_processes_of_a_server() -> None:
    """Children, and orphans by mark or by group, are the server's; another server's are not."""
    with a_keeper() as keeper:
        expected = {keeper.server, keeper.child, keeper.session, keeper.group}
        assert set(processes_of(keeper.server)) == expected
        assert processes_of(keeper.server)[0] == keeper.server
        assert processes_of(keeper.other) == [keeper.other]
        marked = {keeper.server, keeper.child, keeper.session, keeper.other}
        assert marked <= set(all_server_processes())
        assert keeper.group not in all_server_processes()


def test_after_the_main_process_has_exited() -> None:
    """What is left in its group is found."""
    with a_keeper() as keeper:
        keeper.kill_the_main_process()
        assert set(processes_of(keeper.server)) == {keeper.child, keeper.group}


def test_a_process_without_a_keeper() -> None:
    """One that no keeper marked has its descendants alone; one that never was has none."""
    assert processes_of(os.getpid())[0] == os.getpid()
    assert processes_of(999_999_999) == []


def test_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelswap.procfs.HAS_PROC", False)
    assert processes_of(12) == [12]


def test_a_client_of_a_container(tmp_path: Path) -> None:
    """Its processes say nothing of the model's memory, unless podman's monitor is among them."""
    started: list[subprocess.Popen[bytes]] = []
    for name in ("docker", "conmon"):
        program = tmp_path / name
        program.symlink_to("/bin/sh")
        command = [str(program), "-c", "echo; read x"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        started.append(process)
    docker, conmon = (process.pid for process in started)
    assert is_elsewhere([os.getpid(), docker])
    assert not is_elsewhere([docker, conmon])
    assert not is_elsewhere([os.getpid()])
    for process in started:
        process.communicate()
