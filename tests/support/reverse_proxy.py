"""A real nginx in front of a server, which serves it below a path prefix."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import subprocess
from typing import TYPE_CHECKING

from support.server import Answer, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NGINX = shutil.which("nginx")
_FORWARDED = (
    "proxy_set_header X-Forwarded-Prefix /forwarded; proxy_set_header X-Forwarded-Host $http_host;"
)


@contextlib.contextmanager
def nginx(folder: Path, behind: int) -> Iterator[int]:
    """The port of an nginx with the server at port `behind` below `/llm/`, and below `/forwarded/`.

    Below `/forwarded/` it says so; else the headers are what they are by default: `Host` is replaced.
    """
    assert NGINX is not None
    port = free_port()
    target = f"proxy_pass http://127.0.0.1:{behind}/; proxy_buffering off;"
    (folder / "nginx.conf").write_text(
        f"""daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
        events {{ worker_connections 64; }}
        http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          server {{ listen 127.0.0.1:{port}; merge_slashes off;
            location /llm/ {{ {target} }}
            location /forwarded/ {{ {target} {_FORWARDED} }} }} }}"""
    )
    command = [NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port), what="nginx")
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        return through(port, "/llm/health").status == 200
    except OSError:
        return False


def through(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    """Ask, and follow nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        got = connection.getresponse()
        fields = {name.lower(): value for name, value in got.getheaders()}
        return Answer(got.status, fields, got.read())
    finally:
        connection.close()
