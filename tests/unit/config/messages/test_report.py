"""Problems as values, and the report that collects them."""

from __future__ import annotations

from modelswap.config.messages.found_value import FoundValue, describe_text
from modelswap.config.messages.report import Problem, Report
from modelswap.config.tree.node import Mark, Seq

M = Mark("c.yaml", 3, 5)


def test_a_problem_is_one_line() -> None:
    """File, line, path, message, value, consequence and hint, in this order."""
    found = FoundValue("", "x\n")
    problem = Problem(M, ("models", "m", "env", 0), "expected a", "write b", found, then="left out")
    assert str(problem) == "c.yaml:3: models.m.env[0]: expected a; found 'x\\n', left out (write b)"


def test_a_wrong_value_is_remembered_with_all_below_it() -> None:
    """What follows from a value of a wrong type need not be reported."""
    report = Report()
    report.expected("a mapping", Seq(M), ("store",))
    assert [str(one) for one in report.problems] == [
        "c.yaml:3: store: expected a mapping; found a list"
    ]
    assert report.is_wrong(("store",))
    assert report.is_wrong(("store", "path"))
    assert not report.is_wrong(("models",))


def test_a_secret_of_any_text_is_not_shown() -> None:
    """The key's name decides, whatever the value is."""
    assert describe_text("s3cret", ("apiKeys", 0)).text(str) == "a value that is not shown"
    assert describe_text("", ("logLevel",)).text(str) == "an empty text"
