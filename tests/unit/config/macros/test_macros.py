"""`${name}`: declarations, order, types, ports, what is left over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.units import Seconds

if TYPE_CHECKING:
    from modelswap.config.plan import Model
    from modelswap.config.tree.values import Json
    from support.config import LoadText


def _model(loaded: LoadText, text: str, name: str = "m") -> Model:
    found = loaded(text)
    assert found.plan is not None, found.lines()
    return found.plan.models[name]  # type: ignore[index] # a plain text names a ModelId


TYPED: list[tuple[str, str, Json]] = [
    ("{x: 5}", "${x}", 5),
    ("{x: 0.7}", "${x}", 0.7),
    ("{x: yes}", "${x}", "yes"),
    ("{x: true}", "${x}", True),
    ("{x: '5'}", "${x}", "5"),
    ("{x: 5, y: '${x}'}", "${y}", 5),
    ("{x: 1.0}", "v${x}", "v1"),
    ("{x: 1e21}", "v${x}", "v1e+21"),
    ("{x: 100000000.0}", "v${x}", "v1e+08"),
    ("{x: false}", "v${x}", "vfalse"),
    ("{x: 5}", "${x}0", "50"),
    ("{x: 1, y: '${x}${x}'}", "${y}-${x}", "11-1"),
    ("{x: '${MODEL_ID}!'}", "${x}", "m!"),
    ("{x: '${PORT}'}", "${x}", 5800),
    ("{}", "${PORT}", 5800),
    ("{}", "p${PORT}", "p5800"),
    ("{x: 2024-01-01}", "${x}", "2024-01-01"),
    ("{x: ~}", "<${x}>", "<>"),
    ("{1: one}", "${1}", "one"),
    ("{x: '${unknown}'}", "fine", "fine"),
    ("{x: '${y}', y: 5}", "${x}", 5),
    ("{x: '${y}-${z}', z: '${y}', y: '${MODEL_ID}'}", "${x}", "m-m"),
    ("{x: '${y}', y: '${x}'}", "unused", "unused"),
    ("{x: a}", "$x ${} ${a.b} ${a b}", "$x ${} ${a.b} ${a b}"),
    ("{llama-server: mine}", "${llama-server}", "mine"),
]


@pytest.mark.parametrize(("macros", "written", "expected"), TYPED)
def test_value_takes_the_macro(loaded: LoadText, macros: str, written: str, expected: Json) -> None:
    """A value that is one placeholder takes the type, any other takes the text."""
    text = f"macros: {macros}\nmodels: {{m: {{cmd: 'x ${{PORT}}', metadata: {{v: '{written}'}}}}}}"
    assert _model(loaded, text).metadata["v"] == expected


def test_llama_server_is_built_in(loaded: LoadText) -> None:
    """`${llama-server}` is a command line, though it is not declared."""
    model = _model(loaded, "models: {m: {cmd: '${llama-server} --port ${PORT}'}}")
    assert model.argv[-2:] == ("--port", "5800")
    assert "llama-server" in model.argv[0] or "modelswap.engine" in model.argv


def test_models_macro_replaces_the_global_in_place(loaded: LoadText) -> None:
    """A global macro that uses another one sees the model's value for it."""
    text = (
        "macros: {a: global, b: 'b=${a}'}\n"
        "models: {m: {macros: {a: own, c: '${b}'}, cmd: '${c} ${PORT}'}}"
    )
    assert _model(loaded, text).cmd == "b=own 5800"


def test_macros_reach_every_value_but_no_key(loaded: LoadText) -> None:
    """Macros apply at any depth; keys are left alone, but for those of setParamsByID."""
    text = (
        "macros: {a: x, n: 5}\nglobalTTL: ${n}\n"
        "models: {m: {cmd: 'c ${PORT}', metadata: {'${a}': [{k: '${a}'}]},"
        " filters: {setParamsByID: {'${a}-${MODEL_ID}-${PORT}': {p: 1}}}}}"
    )
    model = _model(loaded, text)
    assert model.metadata == {"${a}": [{"k": "x"}]}
    assert model.aliases == ("x-m-5800",)
    assert model.spec.ttl == Seconds(5)


WRONG = [
    ("macros: {PORT: 1}", "PORT is built in"),
    ("macros: {'a b': 1}", "letters, digits"),
    (f"macros: {{{'a' * 64}: 1}}", "at most 63"),
    ("macros: {a: [1]}", "expected text, a number, true or false; found a list"),
    ("macros: {a: {b: 1}}", "found a mapping"),
    ("macros: {a: 'x${a}'}", "cannot use itself"),
    ("macros: [a]", "expected a mapping"),
    ("models: {m: {cmd: '${nope}', proxy: http://h:1}}", "unknown macro 'nope'"),
    ("macros: {tmp: 1}\nmodels: {m: {cmd: '${tpm}', proxy: http://h:1}}", "did you mean 'tmp'?"),
    (
        "macros: {a: '${b}', b: 'x${a}'}\nmodels: {m: {cmd: '${a}', proxy: http://h:1}}",
        "expected macros without a circle; found a -> b -> a",
    ),
    (
        "macros: {b: '1${c}', c: '${d}', d: '-${b}'}\nmodels: {m: {cmd: '${d}'}}",
        "expected macros without a circle; found ",
    ),
    (
        "macros: {a: '${own}'}\nmodels: {m: {macros: {own: 1}, cmd: x, proxy: http://h:1}}\nlogToStdout: ${a}",
        "unknown macro 'own'",
    ),
    ("storePath: 1\nlogTimeFormat: '${MODEL_ID}'", "has no meaning here"),
    ("models: {m: {cmd: 'x ${PID}', proxy: http://h:1}}", "has no meaning here"),
    ("models: {m: {cmd: x, proxy: http://h:1, metadata: {p: '${PORT}'}}}", "has no meaning here"),
    (
        "models: {m: {cmd: x, proxy: http://h:1, filters: {setParamsByID: {'${q}': {}}}}}",
        "unknown macro in the name",
    ),
    (
        "macros: {a: k}\nmodels: {m: {cmd: x, proxy: http://h:1, filters: {setParamsByID: {'${a}': {}, k: {}}}}}",
        "two names become the same",
    ),
    ("models: {m: {macros: {PORT: 1}, cmd: x, proxy: http://h:1}}", "models.m.macros.PORT"),
    ("models: {m: {cmd: x, proxy: http://h:1, ttl: '${x}0', macros: {x: 5}}}", "found text"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong_macro_is_a_problem(loaded: LoadText, text: str, message: str) -> None:
    """A macro that cannot be put in place is a mistake at its place."""
    found = loaded(text)
    assert found.plan is None
    assert message in "\n".join(found.lines())


LITERAL = [
    "models: {m: {cmd: x, proxy: http://h:1, env: ['P=${HOME}/x']}}",
    "models: {m: {cmd: x, proxy: http://h:1, aliases: ['${any}']}}",
    "models: {m: {cmd: x, proxy: http://h:1, useModelName: '${any}'}}",
    "models: {m: {cmd: x, proxy: http://h:1, unknownKey: '${any}'}}",
    "groups: {g: {members: ['${any}']}}",
    "macros: {PID: 1}",
    "macros: {MODEL_ID: 1}",
    "models: {m: {cmd: x, proxy: 'http://h:${PORT}'}}",
    "models: {m: {cmd: x, proxy: http://h:1, cmdStop: 'stop ${PORT}'}}",
    "models: {m: {cmd: x}}",
]


@pytest.mark.parametrize("text", LITERAL)
def test_what_an_older_release_took_loads_with_a_warning(loaded: LoadText, text: str) -> None:
    """A file that some release accepted is accepted, and the odd part is named."""
    found = loaded(text)
    assert found.plan is not None
    assert len(found.warnings) >= 1
    assert not found.is_good(strict=True)


def test_unknown_top_level_keys_are_not_expanded_upon(loaded: LoadText) -> None:
    """Placeholders under unknown top-level keys are no mistakes; under `x-` keys there is no warning."""
    assert loaded("x-any: ${nope}").lines() == []
    assert loaded("any: ${nope}").plan is not None


def test_ports_go_up_in_order_of_ids(loaded: LoadText) -> None:
    """Each model that uses `${PORT}` gets the next port, by id in byte order."""
    text = (
        "macros: {first: 9000}\nstartPort: ${first}\nmodels:\n"
        "  b: {cmd: 'x ${PORT}'}\n  B: {cmd: 'x ${PORT}'}\n"
        "  a: {cmd: x, proxy: http://h:1}\n  c: {cmd: 'x ${PORT}', proxy: 'http://h:${PORT}/v1'}"
    )
    plan = loaded(text).plan
    assert plan is not None
    assert {k: m.port for k, m in plan.models.items()} == {
        "B": 9000,
        "a": None,
        "b": 9001,
        "c": 9002,
    }
    assert plan.models["c"].proxy == "http://h:9002/v1"  # type: ignore[index] # a plain text


def test_port_in_a_comment_does_not_count(loaded: LoadText) -> None:
    """Comments are gone before anything is expanded: they may name anything."""
    text = "models: {m: {cmd: \"x\\n# ${PORT} ${nope}\", proxy: 'http://h:1'}}"
    model = _model(loaded, text)
    assert (model.port, model.cmd) == (None, "x")


def test_comment_from_a_macro_is_dropped_when_splitting(loaded: LoadText) -> None:
    """A comment line that a macro brings in does not reach the arguments."""
    text = 'macros: {a: "-a\\n# gone\\n-b"}\nmodels: {m: {cmd: "x ${a} ${PORT}"}}'
    assert _model(loaded, text).argv == ("x", "-a", "-b", "5800")


def test_pid_stays_in_the_stop_command(loaded: LoadText) -> None:
    """`${PID}` is known only when the model is stopped."""
    model = _model(loaded, "models: {m: {cmd: 'x ${PORT}', cmdStop: 'kill ${PID} ${PORT}'}}")
    assert model.cmd_stop == "kill ${PID} 5800"


def test_model_at_another_port(loaded: LoadText) -> None:
    """A model can be had for another port, with the same identity."""
    text = "models: {m: {cmd: 'x ${PORT}', env: ['P=${PORT}'], metadata: {p: '${PORT}'}}}"
    model = _model(loaded, text)
    other = model.at_port(7000)
    assert (other.argv, other.proxy, other.env) == (
        ("x", "7000"),
        "http://localhost:7000",
        ("P=7000",),
    )
    assert (other.port, other.metadata, other.identity) == (7000, {"p": 7000}, model.identity)
    assert other.at_port(5800) == model
    assert model.at_port(5800) is model


def test_model_without_port_is_the_same_at_any(loaded: LoadText) -> None:
    """A model whose command names no `${PORT}` has one address."""
    model = _model(loaded, "models: {m: {cmd: x, proxy: 'http://h:1'}}")
    assert model.at_port(7000) is model


def test_macros_of_macros_do_not_fill_the_memory(loaded: LoadText) -> None:
    """A value that would grow without bound is a mistake, told at once."""
    rows = "".join(f"  a{n}: '{f'${{a{n - 1}}}' * 10}'\n" for n in range(1, 30))
    found = loaded(f"macros:\n  a0: xxxxxxxxxx\n{rows}models: {{m: {{cmd: '${{a29}}'}}}}")
    assert found.plan is None
    assert len(found.problems) == 1
    assert "at most 1 MiB with its macros" in found.problems[0].message
