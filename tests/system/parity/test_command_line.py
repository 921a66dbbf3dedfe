"""Flags, exit codes and messages when nothing starts."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trustme

from modelswap.cli import normalise
from support.server import ROOT, Modelswap, command, free_port, wait_until
from support.streams import model, opened

if TYPE_CHECKING:
    from pathlib import Path

    from support.streams import Serve


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("-watch-config=true", ["--watch-config"]),
        ("--watch-config=1", ["--watch-config"]),
        ("-watch-config=false", []),
        ("-watch-config=maybe", ["--watch-config=maybe"]),
    ],
)
def test_switch_with_a_value(written: str, meant: list[str]) -> None:
    """Go's flags take `=true` and `=false` for switches, and service files have them."""
    assert normalise(["-config", "c", written]) == ["serve", "--config", "c", *meant]


@pytest.mark.parametrize("flag", ["-version", "--version"])
def test_version(flag: str) -> None:
    """`version: …`, exit 0."""
    ended = command(flag)
    assert (ended.returncode, ended.stdout.startswith("version: ")) == (0, True)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(flag: str) -> None:
    """Usage, exit 0."""
    ended = command(flag)
    assert ended.returncode == 0
    assert "Usage" in ended.stdout


def test_unknown_flags() -> None:
    """Exit 2."""
    assert command("-no-such-flag").returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "--config", "good.yaml", "other.yaml"),
        ("check", "--config-dir", ".", "other.yaml"),
        ("check", "good.yaml", "other.yaml"),
        ("serve", "--config", "good.yaml", "other.yaml"),
        ("schema", "other.yaml"),
        ("demo", "other.yaml"),
    ],
)
def test_an_argument_too_many(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Exit 2 and the argument's name: the command would not do what was typed."""
    (tmp_path / "good.yaml").write_text("models: {}\n")
    ended = command(*arguments, directory=tmp_path)
    assert ended.returncode == 2
    assert "other.yaml" in ended.stderr.splitlines()[-1]
    assert "unexpected" in ended.stderr
    assert not ended.stdout


def test_an_argument_too_many_without_a_command(tmp_path: Path) -> None:
    """A line for llama-swap, which ignores them: it goes on, and they are named."""
    (tmp_path / "bad.yaml").write_text("models: [\n")
    ended = command("-config", "bad.yaml", "stray", directory=tmp_path)
    assert ended.returncode == 1
    assert "unexpected argument, ignored: stray" in ended.stderr
    assert "bad.yaml:" in ended.stderr


def test_no_configuration(tmp_path: Path) -> None:
    """Exit 1, and which flags to use."""
    ended = command("serve", directory=tmp_path)
    assert ended.returncode == 1
    assert "--config" in ended.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("-config", "missing.yaml"),
        ("-config", "bad.yaml"),
        ("-config-dir", "empty"),
        ("-config", "good.yaml", "-tls-cert-file", "x.pem"),
        ("-config", "good.yaml", "-listen", "nonsense"),
    ],
)
def test_what_does_not_start(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Exit 1 with a reason on stderr and nothing on stdout."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "good.yaml").write_text("models: {}\n")
    (tmp_path / "bad.yaml").write_text("models: [\n")
    ended = command(*flags, directory=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.strip()
    assert not ended.stdout
    assert "Traceback" not in ended.stderr


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    """Better: every mistake, each with its line, not the first alone."""
    text = "startPort: 0\nlogToStdout: nobody\nmodels:\n  a:\n    cmd: x ${PORT}\n    ttl: -2\n"
    (tmp_path / "bad.yaml").write_text(text)
    ended = command("-config", "bad.yaml", directory=tmp_path)
    assert ended.returncode == 1
    for place in ("bad.yaml:1", "bad.yaml:2", "bad.yaml:6"):
        assert place in ended.stderr, ended.stderr


def test_single_dashes(tmp_path: Path) -> None:
    """`-config=… -listen … -watch-config`, as with llama-swap; a stop is exit 0."""
    server = Modelswap(tmp_path / "s", f"models:\n{model('a')}")
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_STATE_HOME": str(tmp_path / "state")}
    flags = [
        f"-config={server.config_file}",
        "-listen",
        f"127.0.0.1:{server.port}",
        "-watch-config",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "modelswap", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
    ) as process:  # fmt: skip
        server.process = process
        try:
            wait_until(lambda: reachable(server), seconds=30)
            assert server.chat("a").status == 200
        finally:
            process.terminate()
            assert process.wait(40) == 0


def reachable(server: Modelswap) -> bool:
    try:
        return server.ask("GET", "/health").status == 200
    except OSError:
        return False


def test_a_taken_port(serve: Serve, tmp_path: Path) -> None:
    """Exit 1, and — better — no preloaded model is left behind."""
    first = serve("models: {}\n")
    text = f"hooks: {{on_startup: {{preload: [a]}}}}\nmodels:\n{model('a')}"
    second = Modelswap(tmp_path / "second", text, port=first.port)
    process = second.spawn()
    assert process.wait(30) == 1
    assert "cannot listen" in second.log()
    assert second.finish() == {}


@pytest.mark.parametrize("host", ["[::]", ""])
def test_every_interface_is_both_families(tmp_path: Path, host: str) -> None:
    """`[::]:P` accepts IPv4 too, as Go does; its clients have their usual address."""
    server = Modelswap(tmp_path / "s", f"models:\n{model('a')}")
    server.flags = ("--listen", f"{host}:{server.port}")
    server.start()
    try:
        assert server.chat("a").status == 200
        connection = http.client.HTTPConnection("::1", server.port, timeout=10)
        connection.request("GET", "/health", headers={"Host": f"[::1]:{server.port}"})
        assert connection.getresponse().status == 200
        connection.close()
        assert '"::ffff:' not in server.log()
    finally:
        assert server.finish() == {}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("foo bar:80", "found the host 'foo bar', which is neither an address nor a name"),
        ("256.1.1.1:80", "found the host '256.1.1.1', which is not an IPv4 address"),
        ("[::1:80", "found the host '[::1', which is not an IPv6 address in brackets"),
        ("::1:80", "found an IPv6 address without brackets"),
        ("host:99999", "found the port 99999, which is above 65535"),
        ("127.0.0.1", "found no port"),
        ("unix:m.sock", "found a Unix socket whose path is not absolute: 'm.sock'"),
        ("nosuch.invalid:80", "on nosuch.invalid:80: the name 'nosuch.invalid' is not known here"),
        ("1.2.3.4:80", "cannot listen on 1.2.3.4:80: cannot assign requested address"),
        ("[fd00::7]:80", "cannot listen on [fd00::7]:80: cannot assign requested address"),
        ("unix:/nosuch/m.sock", "cannot listen on unix:/nosuch/m.sock: its folder does not exist"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_had(tmp_path: Path, address: str, said: str) -> None:
    """Exit 1 and one line: what was expected and what was found, in words."""
    (tmp_path / "c.yaml").write_text("models: {}\n")
    flags = ("--config", "c.yaml", "--state-dir", "state", "--listen", address)
    ended = command("serve", *flags, directory=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.endswith(f"{said}\n")
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("modelswap: ")


def test_a_stop_waits_for_requests(serve: Serve) -> None:
    """SIGTERM: what runs is finished, models are stopped, exit 0."""
    server = serve(f"models:\n{model('a')}")
    body = {"model": "a", "stream": True, "n": 20, "delay_ms": 25}
    with opened(server, "POST", "/v1/chat/completions", body) as stream:
        assert stream.read1(10)
        assert server.process is not None
        server.process.terminate()
        assert stream.read().endswith(b"data: [DONE]\n\n")
    assert server.process.wait(40) == 0
    assert server.processes() == {}


def test_a_second_signal_stops_at_once(serve: Serve) -> None:
    """Better: the second Ctrl-C ends at once."""
    server = serve(f"models:\n{model('a', '--deaf')}")
    assert server.chat("a").status == 200
    body = {"model": "a", "stream": True, "n": 1000, "delay_ms": 50}
    with opened(server, "POST", "/v1/chat/completions", body) as stream:
        assert stream.read1(10)
        assert server.process is not None
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: "stopping" in server.log())
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(8) != 0  # before the model is killed
    wait_until(lambda: server.processes() == {})


def test_no_key_on_other_interfaces(tmp_path: Path) -> None:
    """Better: the default is loopback; opening it without keys is warned of."""
    server = Modelswap(tmp_path / "s", "models: {}\n", port=free_port())
    server.flags = ("--listen", f":{server.port}")
    server.start()
    try:
        wait_until(lambda: "no apiKeys are set" in server.log())
    finally:
        assert server.finish() == {}


def test_tls(tmp_path: Path) -> None:
    """`-tls-cert-file` and `-tls-key-file`: the same over HTTPS."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    key, chain = tmp_path / "key.pem", tmp_path / "cert.pem"
    issued.private_key_pem.write_to_path(key)
    for number, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(chain, append=number > 0)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    server = Modelswap(tmp_path / "s", f"models:\n{model('a')}")
    server.flags = ("-tls-cert-file", str(chain), "--tls-key-file", str(key))
    server.spawn()
    try:
        wait_until(lambda: "https://" in server.log())
        wire = http.client.HTTPSConnection("localhost", server.port, timeout=10, context=context)
        wire.request("POST", "/v1/rerank", '{"model":"a"}', {"Content-Type": "application/json"})
        assert wire.getresponse().status == 200
        wire.close()
    finally:
        assert server.finish() == {}


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("start", [(), ("serve",)])
def test_an_empty_value_is_an_option_not_given(
    tmp_path: Path, start: tuple[str, ...], *, joined: bool
) -> None:
    """Units and scripts with unset variables: `-listen ""`, `--state-dir=`, `-watch-config=`."""
    server = Modelswap(tmp_path / "s", f"models:\n{model('a')}")
    given = ("-listen", f"127.0.0.1:{server.port}", "-config", str(server.config_file))
    names = ("-config-dir", "--state-dir", "-tls-cert-file", "--tls-key-file")
    empty = [x for name in names for x in ([f"{name}="] if joined else [name, ""])]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_STATE_HOME": str(tmp_path / "state")}
    flags = [*start, *given, *empty, "-watch-config=", ""]
    with subprocess.Popen(
        [sys.executable, "-m", "modelswap", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: reachable(server), seconds=30)
            assert (tmp_path / "state" / "modelswap").is_dir()
        finally:
            process.terminate()
            assert process.wait(40) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "--config", "", "good.yaml"),
        ("check", "--config-dir=", "--config=", "--strict=", "--quiet=", "good.yaml"),
        ("check", "--config", "", "--config-dir", "", ""),
    ],
)
def test_an_empty_value_for_check(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """The same for `check`: the file that is named, else `config.yaml`."""
    for name in ("good.yaml", "config.yaml"):
        (tmp_path / name).write_text("models: {}\n")
    ended = command(*arguments, directory=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_empty_addresses_are_the_default(tmp_path: Path) -> None:
    """`-listen ""` and `-config ""` mean the default address and `config.yaml`."""
    (tmp_path / "config.yaml").write_text("models: [\n")
    ended = command("-config", "", "-listen", "", "-config-dir", "", directory=tmp_path)
    assert ended.returncode == 1
    assert "config.yaml:2" in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [("serve", "good.yaml"), ("good.yaml",), ("serve", "--config", "", "good.yaml"), ("good",)],
)
def test_serve_takes_a_file_as_check_does(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """`serve FILE` and `FILE` alone are `--config FILE`."""
    text = f"models:\n{model('a')}"
    server = Modelswap(tmp_path / "s", text)
    for name in ("good.yaml", "good"):
        (tmp_path / name).write_text(text)
    flags = [*arguments, "--listen", f"127.0.0.1:{server.port}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_STATE_HOME": str(tmp_path / "state")}
    with subprocess.Popen(
        [sys.executable, "-m", "modelswap", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=tmp_path,
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: reachable(server), seconds=30)
        finally:
            process.terminate()
            assert process.wait(40) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("missing.yaml",), 1, "missing.yaml"),
        (("serve", "missing.yaml"), 1, "missing.yaml"),
        (("srve",), 2, "no command 'srve'; did you mean 'serve'?"),
        (("zzzzzz",), 2, "there are serve, check"),
        (("good.yaml", "other.yaml"), 2, "unexpected argument: other.yaml"),
        (("good.yaml", "--config", "other.yaml"), 2, "unexpected argument: good.yaml"),
    ],
)
def test_files_and_misspelt_commands(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """A file that is missing is named; what is neither command nor file says which commands there are."""
    (tmp_path / "good.yaml").write_text("models: {}\n")
    ended = command(*arguments, directory=tmp_path)
    assert ended.returncode == code
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_check_looks_at_the_machine(tmp_path: Path) -> None:
    """A missing program or file is a warning of `check`, shell syntax an error under --strict."""
    text = "models:\n  a:\n    cmd: no-such-program --port ${PORT} -m /no/such.gguf"
    file = tmp_path / "c.yaml"
    file.write_text(f"{text}\n")
    for flags in ((), ("--strict",)):
        ended = command("check", *flags, "c.yaml", directory=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert "warning: c.yaml:3: models.a.cmd: expected a program on this machine" in ended.stderr
        assert "'no-such-program'" in ended.stderr
        assert "'/no/such.gguf'" in ended.stderr
    file.write_text(f"{text} > log 2>&1\n")
    assert command("check", "c.yaml", directory=tmp_path).returncode == 0
    ended = command("check", "--strict", "c.yaml", directory=tmp_path)
    assert ended.returncode == 1
    assert "error: c.yaml:3: models.a.cmd: expected no shell syntax" in ended.stderr


def test_an_empty_file_under_strict(tmp_path: Path) -> None:
    """An empty file is a good configuration, but not under --strict."""
    (tmp_path / "c.yaml").touch()
    assert command("check", "c.yaml", directory=tmp_path).returncode == 0
    ended = command("check", "--strict", "c.yaml", directory=tmp_path)
    assert ended.returncode == 1
    assert "error: c.yaml:1: expected keys" in ended.stderr
