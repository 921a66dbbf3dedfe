"""Names that look like paths, headers or log lines, and bodies with two readings."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

import pytest

from support.raw_http import JSON, dialled, is_alive, rss, status_of, statuses, wait_for

if TYPE_CHECKING:
    from support.server import Modelswap
    from support.streams import RecordingPeer, Serve

CHAT = "/v1/chat/completions"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}
UPLOAD = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def server(serve: Serve, peer: RecordingPeer) -> Modelswap:
    return serve(
        f"""
limits: {{body: 64MiB}}
models:
  real: {{cmd: "/no/such/program ${{PORT}}"}}
  "../up": {{cmd: "/no/such/program ${{PORT}}"}}
peers:
  far: {{proxy: "{peer.url}/base", models: [free, "odd name"], filters: {{setParams: {{x.y: 1}}}}}}
  plain: {{proxy: "{peer.url}", models: [bare]}}
upstream: {{ignorePaths: ["(a+)+$x"]}}
"""
    )


def raw_get(server: Modelswap, path: str) -> bytes:
    return server.raw(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1")
    )


@pytest.mark.parametrize(
    "path",
    [
        "/ui/%2e%2e/api/pages.py", "/ui/..%2fapi/pages.py", "/ui/%2e%2e%2f%2e%2e%2fconfig/load.py",
        "/ui/..\\..\\config\\load.py", "/ui/..%5capi%5cpages.py", "/ui/%00", "/ui/index.html%00.js",
        "/ui//etc/passwd", "/ui/%2fetc%2fpasswd", "/ui/%252e%252e/x.py", "/ui/\\etc\\passwd.txt",
        "/ui/%c0%ae%c0%ae/pages.py", "/ui/index.html/../../x.py", "/ui/__init__.py", "/ui/.",
        "/ui/%ef%bc%8e%ef%bc%8e/x.py", "/ui/C:/windows/win.ini",
    ],
)  # fmt: skip
def test_ui_paths_serve_no_other_file(server: Modelswap, path: str) -> None:
    """Whatever the spelling: the page, 400, 404 or a redirect to a clean path; never another file."""
    raw = raw_get(server, path)
    is_page = b"<!doctype html" in raw.lower()
    assert is_page or statuses(raw)[0] in {307, 400, 404}
    assert b"root:" not in raw
    assert b"import" not in raw


@pytest.mark.parametrize(
    "path",
    [
        "/upstream/free/%2e%2e/%2e%2e/secret", "/upstream/free/..%2f..%2fsecret",
        "/upstream/free/x%00y", "/upstream/free/..\\..\\secret", "/v1/responses/%2e%2e/slots?model=free",
        "/v1/responses/..%5c..%5cslots?model=free", "/v1/videos/%2E%2E%2Fx?model=free",
        "/logs/stream/%2e%2e/x", "/api/captures/%2e%2e", "/v1/models/%2e%2e%2fetc",
    ],
)  # fmt: skip
def test_no_path_escapes_its_prefix(server: Modelswap, peer: RecordingPeer, path: str) -> None:
    """A path that means another one after decoding is refused, and no upstream sees it."""
    before = len(peer.requests)
    assert statuses(raw_get(server, path)) == [400]
    assert len(peer.requests) == before


def test_encoded_slashes_go_on_as_they_came(server: Modelswap, peer: RecordingPeer) -> None:
    """`%2F` is data below a model, and is not decoded."""
    assert status_of(server, "GET", "/upstream/free/userdata/a%2Fb%20c?x=%2F") == 200
    assert peer.last.target == "/base/userdata/a%2Fb%20c?x=%2F"


@pytest.mark.parametrize(
    "path",
    ["//\\evil.example", "//\\evil.example/..//", "//%5cevil.example//", "///evil.example/.."],
)
def test_no_redirect_leads_to_another_site(server: Modelswap, path: str) -> None:
    """A cleaned path begins with one slash, also as browsers read it."""
    raw = raw_get(server, path)
    where = re.search(rb"\r\nLocation: ([^\r]*)\r\n", raw)
    if where is not None:
        assert not re.match(rb"[/\\]{2}|/?[a-z]+:", where[1])
        assert b"\\" not in where[1]
    else:
        assert statuses(raw)[0] in {400, 404}


@pytest.mark.parametrize(
    "path",
    [
        "/upstream/free%0d%0aSet-Cookie:%20a=b", "/upstream/free?x=%0d%0aSet-Cookie:a", "/comfyui%0d%0aX:y",
        "//a%0d%0aSet-Cookie:%20a=b", "/upstream/real/x%0d%0aSet-Cookie:%20a=b",
        "/v1/models/%0d%0aSet-Cookie:%20a=b", "/%0d%0aSet-Cookie:%20a=b",
    ],
)  # fmt: skip
def test_a_path_injects_no_header(server: Modelswap, path: str) -> None:
    """Percent-encoded line ends stay encoded wherever the path is echoed."""
    raw = raw_get(server, path)
    assert len(statuses(raw)) == 1
    head = raw.partition(b"\r\n\r\n")[0].lower()
    assert b"\r\nset-cookie" not in head
    assert b"\r\nx:y" not in head


@pytest.mark.parametrize(
    "name",
    ["a\r\nSet-Cookie: x=y", "../../etc/passwd", "..", "/etc/passwd", "a\0b", "$(id)", "`id`", "; id",
     "\u202e", "a" * 1024, "<script>", "real\n", " real", "REAL", "real/", "\uff52\uff45\uff41\uff4c", "real\u0000", "%72eal"],
)  # fmt: skip
@pytest.mark.parametrize("accept", ["application/json", "text/html", "text/plain"])
def test_a_name_is_looked_up_and_nothing_else(server: Modelswap, name: str, accept: str) -> None:
    """An unknown name is 404 whatever is in it; the response is escaped for its form."""
    answer = server.ask("POST", CHAT, {"model": name}, {"Accept": accept})
    assert answer.status == 404
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    if accept != "text/plain":
        assert b"<script>" not in answer.body
    assert server.running() == {}


def test_an_overlong_name_is_refused(server: Modelswap) -> None:
    """A name that is too long is echoed nowhere: it is refused with a short response."""
    for size in (1025, 5000, 60_000, 1 << 20):
        for body in ({"model": "a" * size}, {"model": "a" * size, "pad": ["x"] * 30_000}):
            answer = server.ask("POST", CHAT, body)
            assert answer.status in {400, 404}
            assert len(answer.body) < 500
    log = server.ask("GET", "/api/metrics/activity?limit=5").body
    assert b"aaaaaaaaaaaaaaaa" * 70 not in log


TWICE = [
    b'{"model":"bare","model":"real"}',
    b'{"model":"real","model":"bare"}',
    b'{"model":"bare","\\u006dodel":"real"}',
    b'{"m\\u006fd\\u0065l":"bare","model":"real"}',
    b'{"model":"bare","x":{"model":"no"},"model":"bare"}',
    b'{"model":"bare","model":1}',
    b'{"model":null,"model":"bare"}',
    b'{"model":["bare"],"model":"bare"}',
    b'{"model":"bare","pad":"' + b"x" * 70000 + b'","model":"real"}',
    b'{"model":"bare","pad":[' + b'"x",' * 9000 + b'1],"m\\u006Fdel":"real"}',
]


@pytest.mark.parametrize("body", TWICE, ids=range(len(TWICE)))
@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain", "application/x-www-form-urlencoded"]
)
def test_two_model_keys(server: Modelswap, peer: RecordingPeer, body: bytes, kind: str) -> None:
    """Two `model` keys, escaped, far apart or of other types: 400, and no upstream is asked."""
    before = len(peer.requests)
    assert status_of(server, "POST", CHAT, body, {"Content-Type": kind}) == 400
    assert len(peer.requests) == before


def test_a_model_further_down_is_no_second_one(server: Modelswap, peer: RecordingPeer) -> None:
    """Only the top level counts."""
    body = b'{"tools":[{"model":"x"}],"model":"bare","messages":[{"content":"\\"model\\""}]}'
    assert status_of(server, "POST", CHAT, body, JSON) == 200
    assert peer.last.body == body


def part(name: str, value: bytes, more: str = "") -> bytes:
    return (
        f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode()
        + value
        + b"\r\n"
    )


FORMS = {
    "two models": part("model", b"bare") + part("model", b"real") + b"--b--\r\n",
    "second after the file": part("model", b"bare") + part("file", b"x" * 100) + part("model", b"real") + b"--b--\r\n",
    "model is a file": part("model", b"bare", '; filename="x"') + b"--b--\r\n",
    "two names": part("model", b"bare", '; name="other"') + b"--b--\r\n",
    "bare line feeds": part("model", b"bare").replace(b"\r\n", b"\n") + b"--b--\n",
    "no end": part("model", b"bare"),
    "giant part header": b"--b\r\nX: " + b"y" * 20000 + b"\r\n" + part("model", b"bare")[5:] + b"--b--\r\n",
    "too many parts": part("x", b"") * 100_000 + part("model", b"bare") + b"--b--\r\n",
    "giant model": part("model", b"m" * 100_000) + b"--b--\r\n",
    "no name": b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + part("model", b"bare") + b"--b--\r\n",
    "preamble": b"y" * 10000 + b"\r\n" + part("model", b"bare") + b"--b--\r\n",
}  # fmt: skip


@pytest.mark.parametrize("case", FORMS)
def test_a_form_with_two_readings(server: Modelswap, peer: RecordingPeer, case: str) -> None:
    """Refused with 400; the upstream never gets a whole request of it."""
    before = len(peer.requests)
    status = status_of(server, "POST", UPLOAD, FORMS[case], MULTIPART)
    assert status in {400, 502}
    assert len(peer.requests) == before
    assert is_alive(server)


@pytest.mark.parametrize(
    "kind",
    ["; boundary=b; boundary=c", "", "; boundary=", '; boundary="b', "; boundary=" + "b" * 99],
)
def test_a_boundary_with_two_readings(server: Modelswap, kind: str) -> None:
    """A form whose boundary is not exactly one is refused."""
    body = part("model", b"bare") + b"--b--\r\n"
    assert (
        status_of(server, "POST", UPLOAD, body, {"Content-Type": f"multipart/form-data{kind}"})
        == 400
    )


@pytest.mark.parametrize(
    "model", ["model=bare&model=real", "model=real&%6dodel=bare", "m%6fdel=bare&model=real"]
)
def test_two_models_in_a_form_body(server: Modelswap, peer: RecordingPeer, model: str) -> None:
    """Also in an urlencoded body."""
    before = len(peer.requests)
    assert status_of(server, "POST", CHAT, model.encode(), FORM) == 400
    assert len(peer.requests) == before


DEEP = 100_000
BOMBS = {
    "arrays": b'{"x":' + b"[" * DEEP + b"]" * DEEP + b',"model":"bare"}',
    "objects": b'{"x":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b',"model":"bare"}',
    "open arrays": b'{"model":"bare","x":' + b"[" * DEEP,
    "behind the model": b'{"model":"bare","x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "with a filter": b'{"model":"free","x":{"y":' + b"[" * DEEP + b"]" * DEEP + b"}}",
    "whole body": b"[" * DEEP + b"]" * DEEP,
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_deep_nesting(server: Modelswap, bomb: str, kind: str) -> None:
    """A hundred thousand levels are 400 (404 where no object says a model), and no crash."""
    assert status_of(server, "POST", CHAT, BOMBS[bomb], {"Content-Type": kind}) in {400, 404}
    assert is_alive(server)


BROKEN = {
    "latin-1": b'{"model":"bare","x":"\xff"}', "overlong": b'{"model":"bare","x":"\xc0\xae"}',
    "surrogate": b'{"model":"bare","x":"\xed\xa0\x80"}', "cut": b'{"model":"bare"', "tail": b'{"model":"bare"} x',
    "two boms": b"\xef\xbb\xbf" * 2 + b'{"model":"bare"}', "nul": b'{"model":"bare"}\0', "control": b'{"model":"ba\nre"}',
    "utf-16": '{"model":"bare"}'.encode("utf-16"), "comment": b'{"model":"bare"/**/}', "nan": b'{"model":"bare","x":NaN}',
    "single": b"{'model':'bare'}", "two": b'{"model":"bare"}{"model":"real"}',
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_json_is_not_guessed(server: Modelswap, peer: RecordingPeer, case: str) -> None:
    """Two programs could read it differently: 400."""
    before = len(peer.requests)
    assert status_of(server, "POST", CHAT, BROKEN[case], JSON) == 400
    assert len(peer.requests) == before


@pytest.mark.parametrize(
    "number", [b"1" * 5000, b"1e400", b"-1e308", b"1" * 4000 + b".5", b"0." + b"1" * 5000]
)
def test_huge_numbers(server: Modelswap, number: bytes) -> None:
    """As a model they name no configured model; elsewhere they are passed on unchanged."""
    assert status_of(server, "POST", CHAT, b'{"model":' + number + b"}", JSON) in {400, 404}
    body = b'{"model":"free","x":{"z":' + number + b"}}"
    assert status_of(server, "POST", CHAT, body, JSON) in {200, 400}
    assert is_alive(server)


def test_a_form_is_read_within_bounds(server: Modelswap) -> None:
    """An urlencoded body of many megabytes is refused, not searched on the event loop."""
    body = b"model&" * (8 << 20)
    assert status_of(server, "POST", CHAT, body, FORM, seconds=20) == 413


def test_ignore_paths_match_an_endless_path_in_bounded_time(server: Modelswap) -> None:
    """A path that makes a careless `ignorePaths` slow has bounds; the server answers meanwhile."""
    path = "/upstream/real/" + "a" * 7000
    assert status_of(server, "GET", path, seconds=20) in {409, 503}
    assert is_alive(server)


def test_log_lines_cannot_be_forged(server: Modelswap) -> None:
    """Control characters of paths, names and agents are escaped: one request, one line."""
    agent = "x\x9b31m\x85[INFO] forged by agent\xe2\x80\xa8"
    server.raw(
        b"GET /a%0d%0a[INFO]%20forged HTTP/1.1\r\nHost: localhost\r\nUser-Agent: "
        + agent.encode("latin-1") + b"\r\nConnection: close\r\n\r\n"
    )  # fmt: skip
    server.ask("POST", CHAT, {"model": "x\n[INFO] forged by model\x1b[31m"})
    wait_for(lambda: b"forged by agent" in server.log_file.read_bytes())
    printed = server.log_file.read_bytes().decode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", printed)
    assert not [line for line in printed.splitlines() if line.startswith("[INFO] forged")]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_csv_export_holds_no_formula(server: Modelswap, start: str) -> None:
    """A cell that a spreadsheet would evaluate is quoted in the CSV export."""
    name = f"{start}cmd|' /C calc'!A0"
    assert server.ask("POST", CHAT, {"model": name}).status == 404

    def cells() -> list[str]:
        text = server.ask("GET", "/api/metrics/export?format=csv").body.decode()
        return [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]

    wait_for(lambda: any(name in cell for cell in cells()))
    assert not [cell for cell in cells() if cell.startswith(start) and len(cell) > 9]


@pytest.mark.parametrize(
    "last", ["1\n\ndata: smuggled", "x-1", "0-99999999999999999999", "é", "-1", "1" * 4000]
)
def test_a_forged_event_id(server: Modelswap, last: str) -> None:
    """`Last-Event-ID` is looked up and never echoed."""
    with dialled(server, 5) as sock:
        sock.sendall(
            b"GET /api/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: "
            + last.replace("\n", "%0a").encode("latin-1", "replace") + b"\r\n\r\n"
        )  # fmt: skip
        seen = b""
        while b"modelStatus" not in seen:
            seen += sock.recv(65536)
    assert b"smuggled" not in seen


def test_invented_names_do_not_fill_the_memory(server: Modelswap) -> None:
    """Thousands of unknown models: no labels in `/metrics`, little growth."""
    with dialled(server, 20) as sock:
        before = 0
        for number in range(3000):
            body = json.dumps({"model": f"invented-{number}-" + "x" * 900}).encode()
            sock.sendall(
                b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
                % (CHAT.encode(), len(body), body)
            )
            assert b"404" in sock.recv(65536)
            if number == 500:
                before = rss(server.pid)
    assert b"invented-" not in server.ask("GET", "/metrics").body
    assert rss(server.pid) - before < 64 << 20
