"""The table of endpoints: what it says, and that no other module says it."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import modelswap
from modelswap.api.protocols.stream_dialect import StreamDialect
from modelswap.api.routes import (
    OTHER,
    PROBES,
    ROUTES,
    ModelLocation,
    Starts,
    Table,
    allowed,
    by_query,
    choose,
    endpoint_of,
    speaks_anthropic,
    starts_below,
)
from modelswap.observe.captures import KEEP_ALL, CaptureMask
from modelswap.observe.usage.usage import UsageFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelswap.api.routes import Route

SOURCE = Path(modelswap.__file__).parent
ELSEWHERE = {
    # What a model server is asked by default whether it is ready: a path of its own.
    ("config/plan.py", "/health"),
    ("config/schema/schema.py", "/health"),
    ("launch/protocol.py", "/health"),
    # The demo is a client.
    ("demo/requests.py", "/health"),
    ("demo/requests.py", "/v1/chat/completions"),
    ("demo/requests.py", "/v1/embeddings"),
    # So is the command line.
    ("cli/running_server/plan.py", "/api/plan"),
    ("cli/running_server/decisions.py", "/api/decisions"),
}


def by_path(route: Route) -> tuple[object, ...]:
    """The columns that follow from the path alone, whatever the method."""
    return route.dialect, route.shows_loading, route.captured, route.usage


def test_rows_with_one_upstream_path_agree() -> None:
    """What depends on the path that the server sees is the same in all its rows."""
    for route in ROUTES:
        if route.model in {ModelLocation.BODY, ModelLocation.QUERY}:
            assert by_path(endpoint_of(route.upstream_path)) == by_path(route), route.path


def test_the_coroutines_that_are_imported_later_exist() -> None:
    """Each name that the table has for a module imported when it is used is a coroutine function there."""
    later = [
        inspect.getclosurevars(route.handler).nonlocals
        for route in ROUTES
        if route.handler and "_deferred" in str(route.handler)
    ]
    found = {(one["module"], one["name"]) for one in later}
    assert {
        ("observability", "metrics"),
        ("explaining", "plan"),
        ("explaining", "decisions"),
    } < found
    for module, name in found:
        there = import_module(f"modelswap.api.control.{module}")
        assert inspect.iscoroutinefunction(getattr(there, name)), name


def test_a_pattern_has_defaults() -> None:
    """`endpoint_of` does not look at patterns, so their rows say nothing of their own."""
    for route in ROUTES:
        if "{" in route.path:
            assert by_path(route) == by_path(OTHER), route.path


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completions", StreamDialect.CHAT),
        ("/chat/completions", StreamDialect.CHAT),
        ("/v1/completions", StreamDialect.TEXT),
        ("/completions", StreamDialect.NATIVE),
        ("/completion", StreamDialect.NATIVE),
        ("/infill", StreamDialect.NATIVE),
        ("/v1/responses", StreamDialect.RESPONSES),
        ("/responses", StreamDialect.RESPONSES),
        ("/v1/messages", StreamDialect.MESSAGES),
        ("/messages", StreamDialect.MESSAGES),
        ("/v1/responses/7", None),
        ("/v1/audio/speech", None),
        ("/v1/messages/count_tokens", None),
        ("/v1/images/generations", None),
        ("/unknown", None),
        ("/", None),
    ],
)
def test_the_dialect_of_a_path(path: str, dialect: StreamDialect | None) -> None:
    """Streams whose events are known have a dialect; nothing is added to the others."""
    assert endpoint_of(path).dialect is dialect


@pytest.mark.parametrize(
    ("path", "mask"),
    [
        ("/v1/chat/completions", KEEP_ALL),
        ("/v1/audio/speech", CaptureMask(response_body=False)),
        ("/v1/audio/voices", CaptureMask(request_body=False)),
        ("/v1/audio/transcriptions", CaptureMask(request_body=False)),
        ("/v1/audio/translations", CaptureMask(request_body=False)),
        ("/v1/images/generations", CaptureMask(response_body=False)),
        ("/v1/images/edits", CaptureMask(request_body=False, response_body=False)),
        ("/v1/images/variations", CaptureMask(request_body=False, response_body=False)),
        ("/sdapi/v1/txt2img", CaptureMask(response_body=False)),
        ("/sdapi/v1/img2img", CaptureMask(request_body=False, response_body=False)),
        ("/unknown", KEEP_ALL),
    ],
)
def test_captures_keep_no_media(path: str, mask: CaptureMask) -> None:
    """Sound, images and uploads are not kept."""
    assert endpoint_of(path).captured == mask


def test_only_infill_answers_with_a_list() -> None:
    """`/infill` of llama.cpp; every other body is an object."""
    lists = [route.path for route in ROUTES if route.usage is not UsageFormat.OBJECT]
    assert lists == ["/infill"]


def test_the_loading_state_is_shown_by_one_path() -> None:
    """`sendLoadingState` is for chats, and for their usual path alone."""
    assert [route.path for route in ROUTES if route.shows_loading] == ["/v1/chat/completions"]


@pytest.mark.parametrize(
    ("method", "path", "starts"),
    [
        ("GET", "/health", Starts.UNLESS_POLLED),
        ("HEAD", "/v1/health", Starts.UNLESS_POLLED),
        ("GET", "/metrics", Starts.NEVER),
        ("GET", "/slots", Starts.NEVER),
        ("POST", "/slots", Starts.ALWAYS),
        ("GET", "/lora-adapters", Starts.ALWAYS),
        ("GET", "/", Starts.ALWAYS),
    ],
)
def test_probes_below_upstream(method: str, path: str, starts: Starts) -> None:
    """Monitors load nothing; the health of a model that is down loads it."""
    assert starts_below(method, path) is starts


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/messages", True),
        ("/v1/messages/count_tokens", True),
        ("/v/messages", True),
        ("/v/messages/count_tokens", True),
        ("/messages", True),
        ("/upstream/m/messages", True),
        ("/upstream/m/v1/messages", True),
        ("/upstream/org/m/v1/messages", True),
        ("/any/v1/messages/batches", True),
        ("/upstream/org/m/messages", False),
        ("/x/messages", False),
        ("/v1/messages2", False),
        ("/v1/chat/completions", False),
    ],
)
def test_paths_whose_clients_expect_errors_of_anthropic(path: str, *, expected: bool) -> None:
    """`/v1/messages` below any prefix, `/messages` only where a server's paths begin."""
    assert speaks_anthropic(path) is expected


def test_a_row_is_found_by_path_and_method() -> None:
    """An exact path first, then the longest pattern; a GET row answers HEAD; ANY answers the rest."""
    table = Table()
    found = table.find("/v1/models/org/name")
    assert found is not None
    methods, params = found
    assert params == {"id": "org/name"}
    assert choose(methods, "HEAD") is choose(methods, "GET")
    assert choose(methods, "POST") is None
    assert allowed(methods) == "GET, HEAD"
    found = table.find("/api/inflight/7/cancel")
    assert found is not None
    assert found[1] == {"id": "7"}
    assert table.find("/api/inflight/7/8/cancel") is None
    upstream = table.find("/upstream/m/health")
    assert upstream is not None
    assert upstream[1] == {"path": "m/health"}
    assert choose(upstream[0], "PATCH") is not None


@pytest.mark.parametrize(
    ("path", "query", "location"),
    [
        ("/metrics", "", ModelLocation.NONE),
        ("/metrics", "model=", ModelLocation.NONE),
        ("/metrics", "model=a", ModelLocation.QUERY),
        ("/props", "model=a", ModelLocation.QUERY),
        ("/props", "autoload=1", ModelLocation.NONE),
        ("/slots", "", ModelLocation.QUERY),
        ("/logs", "model=a", ModelLocation.NONE),
    ],
)
def test_some_rows_depend_on_the_query(path: str, query: str, location: ModelLocation) -> None:
    """`/metrics` and `/props` are of a model where the query names one, else of this server."""
    found = Table().find(path)
    assert found is not None
    route = choose(found[0], "GET")
    assert route is not None
    assert by_query(route, query).model is location


def constants(file: Path) -> Iterator[str]:
    """Every string of a module that is not a docstring."""
    text = file.read_text()
    if '"/' not in text:  # no string begins like a path: do not parse it
        return
    tree = ast.parse(text)
    texts = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            yield node.value


def test_no_other_module_names_a_path() -> None:
    """A fact about an endpoint has one place; a list of paths elsewhere would be a second one."""
    paths = {part for route in (*ROUTES, *PROBES) for part in (route.path, route.upstream_path)}
    paths |= {route.path.partition("{")[0] for route in ROUTES}
    paths -= {"/"}  # also a separator
    found = {
        (file.relative_to(SOURCE).as_posix(), text)
        for file in SOURCE.rglob("*.py")
        if file != SOURCE / "api/routes.py"
        for text in constants(file)
        if text in paths
    }
    assert found == ELSEWHERE
