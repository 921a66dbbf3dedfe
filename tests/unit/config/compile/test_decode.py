"""Values of keys: go-yaml's conversions, bounds, defaults, everything per model."""

from __future__ import annotations

from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING

import pytest

from modelswap.units import Seconds

if TYPE_CHECKING:
    from support.config import LoadText

M = "models: {m: {cmd: 'x ${PORT}', %s}}"

GOOD = [
    ("unlisted: yes", "unlisted", True),
    ("unlisted: 'yes'", "unlisted", True),
    ("unlisted: Off", "unlisted", False),
    ("unlisted: ", "unlisted", False),
    ("ttl: 30.5", "spec.ttl", 30),
    ("ttl: 010", "spec.ttl", 8),
    ("ttl: ", "spec.ttl", None),
    ("ttl: 0", "spec.ttl", None),
    ("ttl: -1", "spec.ttl", None),
    ("ttl: -7", "spec.ttl", None),
    ("name: 1.10", "name", "1.1"),
    ("name: 2024-01-01", "name", "2024-01-01T00:00:00Z"),
    ("name: true", "name", "true"),
    ("name: ' a '", "name", "a"),
    ("useModelName: 5", "use_model_name", "5"),
    ("aliases: [a, ~, 5]", "aliases", ("a", "5")),
    ("aliases: ", "aliases", ()),
    ("filters: ", "filters.strip", ()),
    ("timeouts: ", "timeouts.connect", 30),
    ("timeouts: {connect: 0}", "timeouts.connect", None),
    ("timeouts: {connect: -1}", "timeouts.connect", None),
    ("timeouts: {keepalive: 0}", "timeouts.keepalive", 15),
    ("timeouts: {keepalive: -1}", "timeouts.keepalive", None),
    ("timeouts: {keepalive: 7}", "timeouts.keepalive", 7),
    ("timeouts: {responseHeader: 9}", "timeouts.response_header", 9),
    ("checkEndpoint: none", "check_endpoint", None),
    ("checkEndpoint: ' none '", "check_endpoint", None),
    ("checkEndpoint: None", "check_endpoint", "/None"),
    ("checkEndpoint: ''", "check_endpoint", "/"),
    ("checkEndpoint: v1/x?a=b", "check_endpoint", "/v1/x?a=b"),
    ("checkEndpoint: ' /health'", "check_endpoint", "/%20/health"),
    ("checkEndpoint: /health%zz", "check_endpoint", "/health%zz"),
    ('checkEndpoint: "/a\\r\\nb"', "check_endpoint", "/a%0D%0Ab"),
    ("proxy: ''", "proxy", ""),
    ("proxy: https://h/base", "proxy", "https://h/base"),
    ("proxy: 127.0.0.1:9", "proxy", "http://127.0.0.1:9"),
    ("proxy: '[::1]:9/a'", "proxy", "http://[::1]:9/a"),
    ("proxy: 'http://[x'", "proxy", ""),
    ("proxy: 'http://h:99999'", "proxy", ""),
    ("proxy: 'http://h:0'", "proxy", ""),
    ("proxy: 'ftp://h'", "proxy", ""),
    ("proxy: 'http://a b'", "proxy", ""),
    ("concurrencyLimit: 0", "spec.concurrency", None),
    ("concurrencyLimit: -3", "spec.concurrency", None),
    ("concurrencyLimit: 3", "spec.concurrency", 3),
    ("unloadTimeout: 0", "spec.stop_grace", 10),
    ("unloadTimeout: 5", "spec.stop_grace", 5),
    ("healthCheckTimeout: 500", "spec.start_timeout", 120),
    ("sendLoadingState: on", "send_loading_state", True),
    ("cmdStop: '# only'", "cmd_stop", ""),
    ("cmdStop: ", "cmd_stop", ""),
    ("env: [A=b, junk]", "env", ("A=b", "junk")),
    ("filters: {stripParams: 'b, a,,model, b'}", "filters.strip", ("a", "b")),
    ("filters: {strip_params: 'b', stripParams: 'a'}", "filters.strip", ("a",)),
    ("filters: {strip_params: 'b', stripParams: ''}", "filters.strip", ("b",)),
    (
        "filters: {setParams: {b: 1, model: x, a.b: {c: .inf}}}",
        "filters.set",
        {"a.b": {"c": "+Inf"}, "b": 1},
    ),
    (
        "filters: {setParamsByID: {high: {model: 1, e: 2}, low: ~}}",
        "filters.set_by_id",
        {"high": {"e": 2}, "low": {}},
    ),
    ("capabilities: {in: [text, text], context: 5}", "capabilities.inputs", ("text",)),
    ("capabilities: {context: 0}", "capabilities.context", None),
    ("stallTimeout: 1m30s", "timeouts.stall", 90.0),
    ("stallTimeout: 0", "timeouts.stall", None),
    ("stallTimeout: 90", "timeouts.response_header", 90.0),
    ("stallTimeout: 90, timeouts: {responseHeader: 0}", "timeouts.response_header", None),
    ("cmd_stop: kill", "cmd_stop", "kill"),
    ("cmd_stop: kill, cmdStop: new", "cmd_stop", "new"),
]


@pytest.mark.parametrize(("text", "attribute", "expected"), GOOD)
def test_value_of_a_model_key(
    loaded: LoadText, text: str, attribute: str, expected: object
) -> None:
    """A value is converted as go-yaml would, and has the meaning that the reference states."""
    found = loaded(M % text)
    assert found.plan is not None, found.lines()
    (model,) = found.plan.models.values()
    assert attrgetter(attribute)(model) == expected


BAD = [
    ("unlisted: 'true'", "unlisted", "expected true or false; found text 'true'"),
    ("unlisted: 1", "unlisted", "expected true or false"),
    ("unlisted: [a]", "unlisted", "found a list"),
    ("ttl: '5'", "ttl", "remove the quotes"),
    ("ttl: soon", "ttl", "expected a whole number; found text 'soon'"),
    ("ttl: true", "ttl", "expected a whole number"),
    ("ttl: .inf", "ttl", "expected a whole number"),
    ("ttl: 9e30", "ttl", "expected a whole number"),
    ("ttl: {}", "ttl", "found a mapping"),
    ("name: [a]", "name", "expected text; found a list"),
    ("cmdStop: [kill]", "cmdStop", "expected text"),
    ("env: {A: b}", "env", "expected a list; found a mapping"),
    ("aliases: a", "aliases", "expected a list"),
    ("metadata: [a]", "metadata", "expected a mapping"),
    ("filters: x", "filters", "expected a mapping"),
    ("filters: {setParamsByID: {a: 5}}", "setParamsByID.a", "expected a mapping"),
    ("unloadTimeout: -1", "unloadTimeout", "at least 0"),
    ("capabilities: {in: [smell]}", "capabilities.in[0]", "text, audio, image"),
    ("capabilities: {context: -1}", "context", "at least 0"),
    ("stallTimeout: soon", "stallTimeout", "expected a duration"),
    ("stallTimeout: -5s", "stallTimeout", "expected a duration"),
    ('env: ["A=\\0"]', "env[0]", "NUL"),
    ('cmdStop: x, cmd: "a\\0b ${PORT}"', "cmd", "given twice"),
]


@pytest.mark.parametrize(("text", "key", "message"), BAD)
def test_value_that_does_not_fit(loaded: LoadText, text: str, key: str, message: str) -> None:
    """A value of a wrong kind is a problem that names its key and what was expected."""
    found = loaded(M % text)
    assert found.plan is None
    assert any(key in p.key and message in f"{p.message} {p.hint}" for p in found.problems)


def test_nul_in_a_command_is_a_problem(loaded: LoadText) -> None:
    """No program can be given a NUL."""
    assert "NUL" in str(loaded('models: {m: {cmd: "a\\0b ${PORT}"}}').problems[0])


def test_all_problems_come_at_once(loaded: LoadText) -> None:
    """Every mistake is listed, in the order of the file, with line and column."""
    text = "startPort: x\nmodels:\n  a: {cmd: 'x ${PORT}', ttl: x}\n  b: {cmd: 'x ${nope}'}\nlogToStdout: all\n"
    found = loaded(text)
    assert [(p.mark.line, p.key) for p in found.problems] == [
        (1, "startPort"),
        (3, "models.a.ttl"),
        (4, "models.b.cmd"),
        (5, "logToStdout"),
    ]
    assert str(found.problems[3]).startswith("c.yaml:5: logToStdout: expected one of proxy")
    assert found.problems[0].mark.column == 12


def test_misspelt_key_has_the_nearest_as_hint(loaded: LoadText) -> None:
    """An unknown key is a warning with a suggestion, an error under strict."""
    found = loaded("HealthCheckTimeout: 3\n" + M % "concurencyLimit: 3, zzz: 1")
    hints = [w.hint for w in found.warnings]
    assert hints == ["did you mean 'healthCheckTimeout'?", "did you mean 'concurrencyLimit'?", ""]
    assert found.lines(strict=True)[0].startswith("error: c.yaml:1: HealthCheckTimeout")
    assert found.is_good()
    assert not found.is_good(strict=True)


def test_empty_model_loads(loaded: LoadText) -> None:
    """A model without a body is accepted, takes no port, and cannot be started."""
    found = loaded("models: {a: , b: {cmd: 'x ${PORT}'}}")
    assert found.plan is not None
    a, b = found.plan.models.values()
    assert (a.proxy, a.argv, a.port, b.port) == ("", (), None, 5800)
    assert "cannot be started" in found.warnings[0].message


def test_windows_stops_a_tree_by_default(loaded: LoadText) -> None:
    """On Windows a missing stop command is taskkill, an explicit empty one is not."""
    found = loaded(
        "models: {a: {cmd: 'C:\\x ${PORT}'}, b: {cmd: 'x ${PORT}', cmdStop: ''}}", windows=True
    )
    assert found.plan is not None
    a, b = found.plan.models.values()
    assert (a.cmd_stop, b.cmd_stop) == ("taskkill /f /t /pid ${PID}", "")
    assert a.argv == ("C:\\x", "5800")


def test_comfyui_gets_room(loaded: LoadText) -> None:
    """The model comfyui_auto has many requests at once, and its WebSockets are ignored."""
    for limit, expected in (("", None), ("concurrencyLimit: 2", 50), ("concurrencyLimit: 99", 99)):
        plan = loaded(f"models: {{comfyui_auto: {{cmd: 'x ${{PORT}}', {limit}}}}}").plan
        assert plan is not None
        (model,) = plan.models.values()
        assert (model.spec.concurrency, model.ignore_websockets) == (expected, True)


TOP = [
    ("healthCheckTimeout: 5", "settings.start_port", 5800),
    ("startPort: 0", "settings.start_port", 5800),
    ("logLevel: ' WARN '", "settings.log_level", "warn"),
    ("logLevel: loud", "settings.log_level", "info"),
    ("logTimeFormat: RFC3339", "settings.log_time_format", "rfc3339"),
    ("logTimeFormat: junk", "settings.log_time_format", ""),
    ("logToStdout: none", "settings.log_to_stdout", "none"),
    ("metricsMaxInMemory: -1", "settings.metrics_max_in_memory", 1000),
    ("captureBuffer: 2", "settings.capture_buffer", 2 << 20),
    ("captureBuffer: -2", "settings.capture_buffer", 0),
    ("ui: {activity: {session_id: [' X ', x, '', Y]}}", "settings.session_headers", ("X", "Y")),
    ("ui: {activity: {session_id: []}}", "settings.session_headers", ()),
    ("ui: {activity: {session_id: }}", "settings.session_headers", ()),
    ("ui:", "settings.session_headers", ("X-Session-ID", "X-Litellm-Session-Id")),
    ("performance: {every: 1m30s}", "settings.performance_every", 90.0),
    ("performance: {every: 0s}", "settings.performance_every", 5.0),
    ("performance: {disabled: yes}", "settings.performance_disabled", True),
    ("upstream: {ignorePaths: []}", "settings.ignore_paths", ()),
    ("limits: {body: 64MiB}", "settings.limits.body", 64 << 20),
    ("limits: {body: 1.5kB}", "settings.limits.body", 1500),
    ("limits: {body: 100}", "settings.limits.body", 100),
    ("limits: {headerTimeout: 500ms}", "settings.limits.header_timeout", 0.5),
    ("limits: {headerTimeout: 2.5}", "settings.limits.header_timeout", 2.5),
    ("shutdownTimeout: 0", "settings.shutdown_timeout", 0.0),
    ("keeper: {grace: 1m}", "settings.keeper_grace", 60.0),
    ("loading: {grace: 2}", "settings.loading_grace", 2.0),
    ("loading: {pulse: 15s}", "settings.loading_keep_alive", 15.0),
    ("loading: {pulse: 0}", "settings.loading_keep_alive", 0.05),
    ("routing: {scheduler: {settings: {fifo: {maxWait: 0}}}}", "settings.max_wait", inf),
    ("routing: {scheduler: {settings: {fifo: {maxWait: 5}}}}", "settings.max_wait", 5),
    ("", "settings.max_wait", None),
    ("trustedProxies: [10.0.0.0/8, ' ::1 ']", "settings.trusted_proxies", ("10.0.0.0/8", "::1")),
    (
        "allowedOrigins: ['*', x, 'null', 'app://a']",
        "settings.allowed_origins",
        ("*", "x", "null", "app://a"),
    ),
    ("clientIdHeader: ' X '", "settings.client_id_header", "X"),
    ("captures: {redactHeaders: [A, a]}", "settings.redact_headers", ("A",)),
    (
        "store: {path: ' /tmp/x.db ', retentionDays: 2, retentionRows: 9}",
        "settings.store_path",
        "/tmp/x.db",  # noqa: S108 - only looked at
    ),
    ("store: {path: x.db, retentionDays: 2}", "settings.store_retention", 172800),
    ("store: {path: x.db, retentionRows: 9}", "settings.store_rows", 9),
]


@pytest.mark.parametrize(("text", "attribute", "expected"), TOP)
def test_value_of_a_top_level_key(
    loaded: LoadText, text: str, attribute: str, expected: object
) -> None:
    """A top-level value is has the meaning that the reference states."""
    found = loaded(text)
    assert found.plan is not None, found.lines()
    assert attrgetter(attribute)(found.plan) == expected


def test_global_values_reach_the_models(loaded: LoadText) -> None:
    """Models take what the top level sets for all of them."""
    text = "globalTTL: 60\nunloadTimeout: 0\nhealthCheckTimeout: 3\nsendLoadingState: yes\n"
    plan = loaded(text + M % "unlisted: no").plan
    assert plan is not None
    (model,) = plan.models.values()
    assert [model.spec.ttl, model.spec.stop_grace, model.spec.start_timeout] == [
        Seconds(60),
        Seconds(10),
        Seconds(15),
    ]
    assert model.send_loading_state


BAD_TOP = [
    ("startPort: -1", "at least 0"),
    ("startPort: 70000", "at most 65535"),
    ("globalTTL: -1", "at least 0"),
    ("unloadTimeout: -1", "at least 0"),
    ("logToStdout: ''", "expected one of"),
    ("logRequests: 3", "expected true or false"),
    ("performance: {every: 5}", "with its unit"),
    ("performance: {every: 4s, disabled: true}", "at least 5s"),
    ("performance: {every: often}", "with its unit"),
    ("store: {}", "is needed"),
    ("store: {path: ' '}", "is needed"),
    ("store: {path: /tmp}", "is a directory"),
    ("store: {path: /nowhere/x.db}", "does not exist"),
    ('store: {path: "a\\0b"}', "not a usable file name"),
    ("upstream: {ignorePaths: ['(']}", "not a regular expression"),
    ("upstream: {ignorePaths: x}", "expected a list"),
    ("limits: {body: big}", "expected a size"),
    ("limits: {body: -1}", "expected a size"),
    ("limits: {queue: 0}", "at least 1"),
    (
        "limits: {headerTimeout: 0}",
        "c.yaml:1: limits.headerTimeout: expected a duration of more than 0; found 0",
    ),
    (
        "limits: {bodyTimeout: 0s}",
        "c.yaml:1: limits.bodyTimeout: expected a duration of more than 0; found text '0s'",
    ),
    ("trustedProxies: [lan]", "expected an address"),
    ("models: 5", "expected a mapping"),
]


@pytest.mark.parametrize(("text", "message"), BAD_TOP)
def test_wrong_top_level_value(loaded: LoadText, text: str, message: str) -> None:
    """A wrong top-level value is a problem with its place."""
    found = loaded(text)
    assert found.plan is None
    assert message in str(found.problems[0])


def test_accepted_key_without_effect_is_named(loaded: LoadText) -> None:
    """A key that does nothing here is listed as such."""
    assert loaded("logRequests: true").not_active == ("logRequests",)


def test_readonly_places_for_the_store(loaded: LoadText, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a directory that cannot be written is a problem."""
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "cannot be written" in str(loaded("store: {path: /etc/hostname}").problems[0])
    assert "its directory cannot" in str(loaded("store: {path: /tmp/none.db}").problems[0])


@pytest.mark.parametrize(
    "text",
    ["models: {m: {cmd: 'x ${PORT}', macros: }}", "macros: ", "models: ", "selectors: \npeers: "],
)
def test_null_is_as_good_as_absent(loaded: LoadText, text: str) -> None:
    """Nothing behind a key of a mapping is an empty mapping."""
    assert loaded(text).lines() == []


@pytest.mark.parametrize(
    "text",
    ["models: {m: {cmd: 'x ${PORT}', filters: {setParamsByID: [a]}}}", "profiles: [a]", "peers: a"],
)
def test_list_where_names_belong(loaded: LoadText, text: str) -> None:
    """A list where a mapping of names belongs is a problem."""
    assert "expected a mapping" in str(loaded(text).problems[0])


def test_no_port_is_left(loaded: LoadText) -> None:
    """Models for which no port is left are named; the others work."""
    rows = "".join(f"{m}: {{cmd: 'x ${{PORT}}', proxy: 'http://h'}}, " for m in "abc")
    found = loaded(f"startPort: 65534\nmodels: {{{rows}}}")
    assert found.plan is not None
    (warning,) = found.warnings
    assert warning.path == ("models", "c")
    assert "no port is left for it" in warning.message


def test_a_model_s_health_check_timeout_has_no_effect(loaded: LoadText) -> None:
    """The global key counts; the model's own is accepted with a warning."""
    found = loaded(f"healthCheckTimeout: 30\n{M % 'healthCheckTimeout: 60'}")
    assert found.plan is not None
    assert [model.spec.start_timeout for model in found.plan.models.values()] == [Seconds(30)]
    assert found.warnings[0].path == ("models", "m", "healthCheckTimeout")
