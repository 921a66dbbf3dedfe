"""Aliases, peers, selectors, profiles, preload: what a name may mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.http import Address
from modelswap.units import Seconds

if TYPE_CHECKING:
    from support.config import LoadText

MODELS = """
models:
  a: {cmd: 'x ${PORT}', aliases: [alpha]}
  b: {cmd: 'x ${PORT}', filters: {setParamsByID: {'b:high': {e: 1}, b: {e: 0}}}}
peers:
  p: {proxy: http://h:1, models: [m, shared, shared]}
  q: {proxy: http://h:2, models: [n, shared], apiKey: peer-secret}
"""


def test_names_of_a_good_file(loaded: LoadText) -> None:
    """Aliases, automatic ones among them, lead to models; peers keep their own time limits."""
    plan = loaded(MODELS).plan
    assert plan is not None
    assert plan.aliases == {"alpha": "a", "b:high": "b"}
    assert [m.aliases for m in plan.models.values()] == [("alpha",), ("b:high",)]
    assert plan.peers["p"].models == ("m", "shared")
    assert plan.peers["p"].timeouts.response_header == Seconds(60)
    key = plan.peers["q"].api_key
    assert key is not None
    assert key.reveal() == "peer-secret"


GOOD = [
    "models: {a: {cmd: x, proxy: http://h:1, aliases: [a, b, '']}, b: {cmd: x, proxy: http://h:1}}",
    "models: {a: {cmd: x, proxy: http://h:1, aliases: [n], filters: {setParamsByID: {n: {}}}}}",
    MODELS
    + "selectors: {m: {strategy: pin, targets: [p/m]}, s: {strategy: warm, targets: [alpha, b]}}",
    MODELS + "profiles: {d: {pins: {a: alpha, m: m, off: ~, off2: '', z: n, 'b:high': q/n}}}",
    MODELS + "selectors: {s: {strategy: pin, targets: [b]}}\nprofiles: {d: {pins: {s: s}}}",
    MODELS + "selectors: {s: {strategy: spillover, targets: [a, p/m, n]}}",
    "peers: {x: }",
]


@pytest.mark.parametrize("text", GOOD)
def test_names_that_may_be(loaded: LoadText, text: str) -> None:
    """Names that llama-swap accepts are accepted."""
    found = loaded(text)
    assert found.plan is not None, found.lines()


BAD = [
    ("models: {a: {aliases: [x, x]}}", "found 'x' of 'a', too"),
    (
        "models: {a: {aliases: [x]}, b: {aliases: [x]}}",
        "expected an alias of one model; found 'x' of 'a', too",
    ),
    (
        "models: {a: {filters: {setParamsByID: {b: {}}}}, b: {}}",
        "expected a free name; found another model's: 'b'",
    ),
    (
        "models: {a: {filters: {setParamsByID: {x: {}}}}, b: {aliases: [x]}}",
        "found an alias of 'b'",
    ),
    ("peers: {p: {models: [m]}}", "needs a proxy"),
    ("peers: {p: {proxy: http://h:1}}", "needs a list of models"),
    ("peers: {p: {proxy: 'http://[', models: [m]}}", "expected an http:// or https:// address"),
    (
        "peers: {p: {proxy: http://h:1, models: [q/m]}, p/q: {proxy: http://h:1, models: [m]}}",
        "found 'p/q/m' of peer 'p', too",
    ),
    (
        "peers: {p: {proxy: http://h:1, models: [m]}}\nmodels: {p/m: {}}",
        "expected a free name; found a local model's: 'p/m'",
    ),
    (
        "peers: {p: {proxy: http://h:1, models: [m]}}\nmodels: {x: {aliases: [p/m]}}",
        "expected a free name; found a local model's: 'p/m'",
    ),
    (
        MODELS + "selectors: {a: {strategy: pin, targets: [b]}}",
        "expected a free name; found a model's: 'a'",
    ),
    (
        MODELS + "selectors: {alpha: {strategy: pin, targets: [b]}}",
        "found a model's: 'alpha'",
    ),
    (MODELS + "selectors: {p/m: {strategy: pin, targets: [b]}}", "found a model's: 'p/m'"),
    (
        MODELS + "selectors: {' ': {strategy: pin, targets: [b]}}",
        "expected a selector's name; found a blank one",
    ),
    (MODELS + "selectors: {s: }", "expected a mapping with strategy and targets; found null"),
    (MODELS + "selectors: {s: {targets: [b]}}", "warm, pin, spillover"),
    (MODELS + "selectors: {s: {strategy: warn, targets: [b]}}", "did you mean 'warm'?"),
    (MODELS + "selectors: {s: {strategy: pin}}", "at least one target"),
    (MODELS + "selectors: {s: {strategy: pin, targets: [b, alpa]}}", "did you mean 'alpha'?"),
    (
        MODELS + "selectors: {s: {strategy: pin, targets: [shared]}}",
        "expected a model, an alias or a peer's model; found 'shared'",
    ),
    (
        MODELS + "selectors: {s: {strategy: pin, targets: [b]}, t: {strategy: pin, targets: [s]}}",
        "found 's', a selector itself",
    ),
    (
        MODELS + "selectors: {s: {strategy: warm, targets: [p/m]}}",
        "expected a local model for warm; found a peer's: 'p/m'",
    ),
    (
        MODELS + "selectors: {s: {strategy: spillover, targets: [a, alpha]}}",
        "found the one of an earlier target: 'alpha'",
    ),
    (
        MODELS + "selectors: {s: {strategy: spillover, targets: [a], settings: {spillover: 0}}}",
        "at least 1",
    ),
    (MODELS + "selectors: {s: {strategy: spillover, targets: [a, b]}}", "cannot run together"),
    (MODELS + "profiles: {' ': {pins: {a: b}}}", "expected a profile's name; found a blank one"),
    (MODELS + "profiles: {d: }", "expected at least one pin in pins; found none"),
    (MODELS + "profiles: {d: {pins: {}}}", "expected at least one pin in pins; found none"),
    (MODELS + "profiles: {d: {pins: {' ': a}}}", "expected a pin's name; found a blank one"),
    (MODELS + "profiles: {d: {pins: {p/m: a}}}", "found a peer's model: 'p/m'"),
    (
        MODELS + "profiles: {d: {pins: {x: y, y: a}}}",
        "expected a model, an alias, a peer's model or a selector; found 'y'",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_names_that_clash(loaded: LoadText, text: str, message: str) -> None:
    """A name with two meanings, or with none, is a problem."""
    found = loaded(text)
    assert found.plan is None
    assert message in "\n".join(map(str, found.problems))


def test_preload_resolves_aliases_and_drops_the_unknown(loaded: LoadText) -> None:
    """Preload holds real ids, in order; blanks vanish, unknown names with a warning."""
    text = MODELS + "hooks: {on_startup: {preload: [' alpha ', b, a, ' ', gone, p/m]}}"
    found = loaded(text)
    assert found.plan is not None
    assert found.plan.settings.preload == ("a", "b", "a")
    assert [w.message for w in found.warnings] == [
        "expected a local model; found 'gone', left out",
        "expected a local model; found 'p/m', left out",
    ]


def test_list_profiles(loaded: LoadText) -> None:
    """The earliest form of profiles is kept, without what is unknown; it may stand beside today's."""
    found = loaded(MODELS + "profiles: {old: [a, gone, b, a], empty: [], new: {pins: {x: a}}}")
    assert found.plan is not None
    assert found.plan.legacy_profiles == {"old": ("a", "b"), "empty": ()}
    assert list(found.plan.profiles) == ["new"]
    assert {w.key for w in found.warnings} == {"profiles.old"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://user:hunter2@127.0.0.1:9", "user name or password"),
        ("http://user@h", "user name or password"),
        ("http://h/#f", "fragment"),
        ("http://hö/", "non-ASCII"),
        ("http://h/ö", "non-ASCII"),
        ("http://h:0", "expected an http"),
        ("http://h/base?q=1", ""),
        ("http://[::1]:9/a", ""),
        ("https://h", ""),
        ("http://h/#", ""),
    ],
)
def test_an_address_that_passes_can_be_connected_to(
    loaded: LoadText, url: str, message: str
) -> None:
    """What the program's start would refuse, or every request meet, is reported with its line."""
    peer = loaded(f"peers:\n  p:\n    models: [m]\n    proxy: '{url}'\n")
    model = loaded(f"models:\n  m:\n    cmd: x\n    proxy: '{url}'\n")
    assert model.plan is not None
    if not message:
        assert peer.lines() == model.lines() == []
        assert Address.parse(url).host
        return
    with pytest.raises(ValueError, match=r"the (address|port)"):
        Address.parse(url)
    (problem,) = peer.problems
    (warning,) = model.warnings
    assert (problem.mark.line, problem.key) == (4, "peers.p.proxy")
    assert (warning.mark.line, warning.key) == (4, "models.m.proxy")
    assert message in problem.message
    assert message in warning.message
    assert "hunter2" not in f"{problem}{warning}"
