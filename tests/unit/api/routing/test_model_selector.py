"""Where a request says which model it wants."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelswap.api.routing.model_selector import (
    NamedModel,
    NameLocation,
    find,
    find_in_json,
    find_in_multipart,
    only_model_key,
    plain_json,
    raw_values,
    source_of,
)
from modelswap.errors import BadRequestError, NotFoundError

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("method", "kind", "source"),
    [
        ("GET", JSON, NameLocation.QUERY),
        ("POST", "application/json; charset=utf-8", NameLocation.JSON),
        ("POST", "APPLICATION/JSON", NameLocation.JSON),
        ("POST", "multipart/form-data; boundary=x", NameLocation.MULTIPART),
        ("POST", FORM, NameLocation.FORM),
        ("POST", None, NameLocation.FORM),
        ("HEAD", None, NameLocation.FORM),
    ],
)
def test_sources(method: str, kind: str | None, source: NameLocation) -> None:
    """Method and content type say where to look."""
    assert source_of(method, kind) is source


@pytest.mark.parametrize(
    ("method", "kind", "query", "body", "ask"),
    [
        (
            "GET",
            None,
            "model=a&model=b",
            b"",
            NamedModel("a", stream=False, source=NameLocation.QUERY),
        ),
        (
            "GET",
            JSON,
            "model=a%2Fb&stream=true",
            b'{"model":"z"}',
            NamedModel("a/b", stream=True, source=NameLocation.QUERY),
        ),
        ("GET", None, "model&stream&supermodel=x&model=a", b"", None),
        (
            "GET",
            None,
            "stream=false&model=a+b&stream=true",
            b"",
            NamedModel("a b", stream=False, source=NameLocation.QUERY),
        ),
        ("HEAD", None, "model=a", b"", NamedModel("a", stream=False, source=NameLocation.QUERY)),
        (
            "POST",
            JSON,
            "model=q",
            b'{"model":"a","stream":true}',
            NamedModel("a", stream=True, source=NameLocation.JSON),
        ),
        (
            "POST",
            JSON,
            "",
            b' \n{"stream":false,"model":"a"}',
            NamedModel("a", stream=False, source=NameLocation.JSON),
        ),
        (
            "POST",
            None,
            "",
            b'{"model":"x"}',
            NamedModel("x", stream=False, source=NameLocation.JSON),
        ),
        (
            "POST",
            FORM,
            "",
            b' {"model":"x"}',
            NamedModel("x", stream=False, source=NameLocation.JSON),
        ),
        (
            "POST",
            "text/plain",
            "model=q",
            b'{"a":1}',
            NamedModel("q", stream=False, source=NameLocation.QUERY),
        ),
        (
            "POST",
            FORM,
            "model=a",
            b"model=b&stream=true",
            NamedModel("b", stream=True, source=NameLocation.FORM),
        ),
        (
            "POST",
            FORM,
            "model=a",
            b"x=b",
            NamedModel("a", stream=False, source=NameLocation.QUERY),
        ),
        (
            "POST",
            FORM,
            "",
            b"mo%64el=b&model=b",
            NamedModel("b", stream=False, source=NameLocation.FORM),
        ),
        (
            "POST",
            None,
            "model=a",
            b"model=b",
            NamedModel("a", stream=False, source=NameLocation.QUERY),
        ),
        (
            "POST",
            None,
            "model=a",
            b"{broken",
            NamedModel("a", stream=False, source=NameLocation.QUERY),
        ),
        (
            "POST",
            FORM,
            "",
            b"{a=1&model=x",
            NamedModel("x", stream=False, source=NameLocation.FORM),
        ),
    ],
)
def test_where_the_model_is(
    method: str, kind: str | None, query: str, body: bytes, ask: NamedModel | None
) -> None:
    """The table of places, JSON without its type included."""
    if ask is None:
        with pytest.raises(NotFoundError):
            find(method, kind, query, body)
    else:
        assert find(method, kind, query, body) == ask


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model":5}', "5"),
        (b'{"model":5.0}', "5"),
        (b'{"model":0.5}', "0.5"),
        (b'{"model":true}', "true"),
        (b'{"model":"a\\u00e9"}', "a\u00e9"),
        (b'{"mod\\u0065l":"a"}', "a"),
        (b'{"x":{"model":"b"},"model":"a","model2":"model"}', "a"),
        (b'{"model":7,"x":{"model":"b"}}', "7"),
    ],
)
def test_names_in_json(body: bytes, model: str) -> None:
    """Scalars become text; only the top level counts; escapes are read."""
    assert find_in_json(body).model == model


@pytest.mark.parametrize(("stream", "shown"), [(b"true", True), (b"1", False), (b'"true"', False)])
def test_only_true_streams(stream: bytes, *, shown: bool) -> None:
    """`stream` is a boolean or nothing."""
    assert find_in_json(b'{"model":"a","stream":' + stream + b"}").stream is shown


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"model":null}',
        b'{"model":""}',
        b'{"model":["a"]}',
        b'{"model":{"a":1}}',
        b"[1]",
        b'"a"',
        b"5",
    ],
)
def test_no_model(body: bytes) -> None:
    """Without a name there is llama-swap's 404."""
    with pytest.raises(NotFoundError, match="no model id could be identified"):
        find("POST", JSON, "model=q", body)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"model":"a"',
        b'{"model":"a"} x',
        b'{"model":"a",}',
        b"\xef\xbb\xbf" + b'{"model":"a"}',
        b'{"model":"a\xff"}',
        b'{"model":"a","x":"\xff"}',
        b'{"model":"a","x":NaN}',
        b'{"model":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":5,"x":' + b"[" * 100_000,
        b'{"model":1e999999}x',
    ],
)
def test_broken_json_is_refused(body: bytes) -> None:
    """What no model server could read is a 400, and the message shows no byte of it."""
    with pytest.raises(BadRequestError) as caught:
        find("POST", JSON, "", body)
    assert "\ufffd" not in caught.value.text


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","model":"a"}',
        b'{"model":"","model":"b"}',
        b'{"mod\\u0065l":"a","model":"b"}',
        b'{"\\u006dode\\u006C":"a","x":{},"model":"b"}',
        b'{"model":5,"model":"b"}',
        b'{"model":"b","m\\u006fdel":[1]}',
        b'{"x":"' + b"A" * 100_000 + b'","model":"a","model":"b"}',
        b'{"x":"' + b"A" * 100_000 + b'","model":1,"model":"b"}',
        b'{"x":[' + b'"A",' * 50_000 + b'1],"model":1,"mo\\u0064el":"b"}',
    ],
)
def test_two_models_are_refused(body: bytes) -> None:
    """Two top-level `model` keys, however spelled, could be read differently: 400."""
    with pytest.raises(BadRequestError, match="more than one"):
        find_in_json(body)


def test_a_hostile_body_is_not_walked_for_ever() -> None:
    """Telling duplicates apart has a bound; what lies beyond it is refused."""
    body = b'{"x":[' + b"[]," * 300_000 + b'1],"x":1,"model":1,"y":{"model":2}}'
    with pytest.raises(BadRequestError, match="cannot be read"):
        find_in_json(body)


def test_two_models_in_a_form_are_refused() -> None:
    """An urlencoded body with two different models is ambiguous."""
    with pytest.raises(BadRequestError):
        find("POST", FORM, "", b"model=a&model=b")


def test_broken_json_without_its_type() -> None:
    """A body that looks like JSON and names no model otherwise gets the JSON message."""
    with pytest.raises(BadRequestError, match="not valid JSON"):
        find("POST", None, "", b'{"model":')


@pytest.mark.parametrize("body", [b"", b"x", b"model=b", b"{}"])
def test_nothing_found(body: bytes) -> None:
    """A body without a type is not a form."""
    with pytest.raises(NotFoundError):
        find("POST", None, "stream=true", body)


def test_multipart() -> None:
    """For forms with files the query comes first, then the field."""
    assert find_in_multipart("model=a", {"model": "b", "stream": "true"}) == NamedModel(
        "a", stream=True, source=NameLocation.QUERY
    )
    assert find_in_multipart("", {"model": "b"}) == NamedModel(
        "b", stream=False, source=NameLocation.MULTIPART
    )
    with pytest.raises(NotFoundError):
        find_in_multipart("", {})


def test_only_model_key() -> None:
    """The place of the only key, or nothing when there are several."""
    assert only_model_key(b'{"model":"a"}') == 8
    assert only_model_key(b'{"mod\\u0065l":"a"}') == 13
    assert only_model_key(b'{"model":{"model":1}}') is None
    assert only_model_key(b'{"x":"' + b"A" * 70_000 + b'","model":1}') == 70_015


def test_raw_values_of_nonsense() -> None:
    """The quick reader knows nothing about what it cannot read."""
    assert raw_values(b"[") is None
    assert raw_values(b'{"a": [1, 2]}') == {"a": b"[1, 2]"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["model", "stream", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.lists(st.tuples(st.sampled_from(["model", "stream", "x"]), json_values), max_size=5),
    st.integers(0, 2),
)
def test_agreement_with_a_full_reader(members: list[tuple[str, object]], pad: int) -> None:
    """For any object: the name a full parser sees, or a refusal when there are two."""
    body = ("{" + ",".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in members) + "}").encode()
    body += b" " * (pad * 40_000)
    names = [value for key, value in members if key == "model"]
    try:
        found: str | None = find_in_json(body).model
    except NotFoundError:
        found = None
    except BadRequestError:
        assert len(names) > 1
        return
    assert len(names) < 2
    if not names or names[0] in (None, "") or isinstance(names[0], (list, dict)):
        assert found is None
    elif isinstance(names[0], bool):
        assert found == str(names[0]).lower()
    else:
        assert found == str(names[0])


def test_an_empty_json_body_names_no_model() -> None:
    """Nothing is not broken JSON: there is no model in it (404)."""
    with pytest.raises(NotFoundError):
        find("POST", "application/json", "", b"")


BIG = "x" * 200_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'{{"a":"{BIG}","model":"m","stream":true}}', ("m", True)),
        (f'{{"model":"m","a":["{BIG}","{BIG}\\\\"],"stream":true}}', ("m", True)),
        (f'{{"model":"m\\"{BIG[:9]}","a":"{BIG}\\"","b":1}}', ('m"' + BIG[:9], False)),
        (f'{{"{BIG}":{{"model":"inner"}},"model":"m"}}', ("m", False)),
    ],
)
def test_long_strings_are_jumped_over(text: str, expected: tuple[str, bool]) -> None:
    """Images and documents are not read to find the model beside them."""
    ask = find("POST", "application/json", "", text.encode())
    assert (ask.model, ask.stream) == expected


@pytest.mark.parametrize(
    "text",
    [
        f'{{"a":"{BIG}","model":"m","model":"n"}}',
        f'{{"a":"{BIG}","model":"m"',
        f'{{"a":"{BIG}',
        f'{{"model":"m","a":"{BIG}\\"}}',
        f'{{"model":"m","a":"{BIG}"}} "',
    ],
)
def test_what_is_broken_beside_long_strings_is_refused(text: str) -> None:
    """Jumping over a string hides neither a second model nor a broken end."""
    with pytest.raises(BadRequestError):
        find("POST", "application/json", "", text.encode())


@given(st.binary(max_size=30), st.sampled_from(["", '"stream":true,', '"m\\u006fdel":"b",']))
def test_the_short_way_agrees_with_the_long_one_and_never_raises(odd: bytes, member: str) -> None:
    """Any bytes in a member that nobody reads: the short way knows the name, or leaves it to the long."""
    body = b'{"model":"a",' + member.encode() + b'"x":"' + odd + b'"}'
    plain = plain_json(body)
    if plain is not None:
        found = find_in_json(body)
        assert (found.model, found.stream) == (plain.model, plain.stream)
        body.decode()
