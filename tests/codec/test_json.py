"""json and jsonb."""

from __future__ import annotations

import gc
import json
import math
import random
from typing import Any

import pytest

from codec.checks import (
    Case,
    assert_both_ways,
    assert_not_decoded,
    assert_refused,
    assert_same,
    assert_sent_as,
    decode,
    encode,
    names,
)
from pgasync.errors import DataError

DOCUMENTS: list[tuple[Any, str]] = [
    (None, "null"),
    (True, "true"),
    (0, "0"),
    (-12345678901234567890, "-12345678901234567890"),
    (1.5, "1.5"),
    ("", '""'),
    ("é€🐣", '"é€🐣"'),
    ([], "[]"),
    ({}, "{}"),
    ({"a": [1, None, {"b": "c"}]}, '{"a": [1, null, {"b": "c"}]}'),
]

CASES: list[Case] = [
    (pg_type, value, f"'{text}'")
    for pg_type in ("json", "jsonb")
    for value, text in DOCUMENTS
    if value is not None and not isinstance(value, str)
]

SENT: list[Case] = [
    ("jsonb", '{"a":1}', "'{\"a\": 1}'"),
    ("json", ' {"a":1} ', "' {\"a\":1} '"),
    ("jsonb", "null", "'null'"),
    ("jsonb", '"text"', "'\"text\"'"),
    ("jsonb", (1, 2), "'[1, 2]'"),
    ("jsonb", {"é": "\u2028"}, '\'{"é": "\u2028"}\''),
    ("json", {"a": 1}, "'{\"a\": 1}'"),
]


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_both_ways(conn: Any, case: Case) -> None:
    await assert_both_ways(conn, case)


@pytest.mark.parametrize("case", SENT, ids=names)
async def test_sent(conn: Any, case: Case) -> None:
    await assert_sent_as(conn, case)


@pytest.mark.parametrize(("value", "text"), DOCUMENTS)
@pytest.mark.parametrize("pg_type", ["json", "jsonb"])
async def test_document_arrives(conn: Any, pg_type: str, value: Any, text: str) -> None:
    assert_same(await conn.fetchval(f"select '{text}'::{pg_type}"), value)


async def test_a_null_document_is_not_null(conn: Any) -> None:
    row = await conn.fetchrow(
        "select 'null'::jsonb, null::jsonb, $1::jsonb is null, $2::jsonb is null",
        ["null", None],
    )
    assert tuple(row) == (None, None, False, True)


REFUSED: list[tuple[str, Any, str]] = [
    ("json", {1, 2}, "json_dumps does not take it"),
    ("jsonb", object(), "json_dumps does not take it"),
    ("jsonb", bytearray(b"{}"), "json_dumps does not take it"),
    ("json", "{}\0", "NUL"),
    ("jsonb", '"\ud800"', "surrogate"),
]


@pytest.mark.parametrize("case", REFUSED, ids=names)
def test_refused(case: tuple[str, Any, str]) -> None:
    assert_refused(*case)


def test_the_cause_is_kept() -> None:
    assert isinstance(assert_refused("json", {1}).__cause__, TypeError)
    circle: list[Any] = []
    circle.append(circle)
    assert isinstance(assert_refused("jsonb", circle).__cause__, ValueError)


def test_versions() -> None:
    assert encode("json", [1]) == (1, b"[1]")
    assert encode("jsonb", [1]) == (1, b"\1[1]")
    assert_not_decoded("jsonb", b"", "version")
    assert_not_decoded("jsonb", b"\2[1]", "version")
    assert_not_decoded("jsonb", b"[1]", "version")


GOOD = [
    *(text for _, text in DOCUMENTS),
    " \t\r\n[1 , 2]\n ",
    '{"a": 1, "a": 2}',
    '"\\ud83d\\udc23 \\ud800 \\u0000"',
    "1e5",
    "-0",
    "-0.0",
    "1E400",
    "NaN",
    "-Infinity",
    "9" * 4000,
    "[" * 100 + "]" * 100,
    '"' + "x" * 100_000 + '"',
    '{"k\\n": [true, false, null, 0.1e-7]}',
]

BAD = [
    "",
    " ",
    "{",
    "[1,]",
    "nul",
    "1 2",
    "[1] x",
    "\ufeff1",
    "\u00a01",
    "1\u00a0",
    "'a'",
    '"a',
    "01",
    '"\t"',
    "{1: 2}",
    "9" * 5000,
    "[" * 200_000,
]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and repr(one) == repr(other)


@pytest.mark.parametrize("text", GOOD, ids=lambda text: text[:20])
def test_equal_to_json_loads(text: str) -> None:
    data = text.encode("utf-8")
    assert same(decode("json", data), json.loads(text))
    assert same(decode("jsonb", b"\1" + data), json.loads(text))


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:20])
def test_what_json_loads_refuses(text: str) -> None:
    try:
        expected = json.loads(text)
    except (ValueError, RecursionError):
        assert_not_decoded("json", text.encode())
    else:  # an interpreter without a limit on the digits of an int
        assert same(decode("json", text.encode()), expected)


def test_mutations_equal_to_json_loads() -> None:
    dice = random.Random(5)
    alphabet = list('{}[]",:0123456789.eE+-truefalsn \\u\n')
    seen_good = 0
    for _ in range(5000):
        text = list('{"a": [1, -2.5e3, "x\\n", true, null], "b": {}}')
        for _ in range(dice.randint(1, 3)):
            text[dice.randrange(len(text))] = dice.choice(alphabet)
        joined = "".join(text)
        try:
            expected = json.loads(joined)
        except ValueError:
            assert_not_decoded("json", joined.encode())
        else:
            seen_good += 1
            assert same(decode("json", joined.encode()), expected)
    assert seen_good > 100


# The connection's own loads and dumps.


async def test_own_loads_and_dumps(conn: Any) -> None:
    core = conn._core
    core.configure({"json_loads": lambda text: ("loaded", text)})
    core.configure({"json_dumps": lambda value: b'{"dumped": true}'})
    value = await conn.fetchval("select $1::json", [object()])
    assert value == ("loaded", '{"dumped": true}')
    assert await conn.fetchval("select array['[1]'::jsonb]") == [("loaded", "[1]")]


@pytest.mark.parametrize("pg_type", ["json", "jsonb"])
async def test_without_loads_the_text(conn: Any, pg_type: str) -> None:
    conn._core.configure({"json_loads": None})
    assert await conn.fetchval(f"select '[1]'::{pg_type}") == "[1]"


async def test_without_dumps_only_text(conn: Any) -> None:
    conn._core.configure({"json_dumps": None})
    with pytest.raises(DataError, match="give JSON text as a str"):
        await conn.fetchval("select $1::json", [{}])
    assert await conn.fetchval("select $1::json", ["{}"]) == {}


async def test_bytes_are_text(conn: Any) -> None:
    """As orjson.dumps gives it; a dumps of one's own may make something of them."""
    for pg_type in ("json", "jsonb"):
        given = [b'{"a": [1]}', [b"1", b'"x"', None]]
        row = await conn.fetchrow(f"select $1::{pg_type}, $2::{pg_type}[]", given)
        assert tuple(row) == ({"a": [1]}, [1, "x", None])
    for dumps, wanted in ((None, [1]), (lambda raw: f'"{raw.hex()}"', "5b315d")):
        conn._core.configure({"json_dumps": dumps})
        assert await conn.fetchval("select $1::jsonb", [b"[1]"]) == wanted
    conn._core.configure({"json_dumps": None})
    with pytest.raises(DataError):
        await conn.fetchval("select $1::jsonb", [b"\xff"])


async def test_dumps_of_another_type(conn: Any) -> None:
    conn._core.configure({"json_dumps": lambda value: 5})
    with pytest.raises(DataError, match="json_dumps gave int"):
        await conn.fetchval("select $1::jsonb", [{}])


async def test_loads_that_raises(conn: Any) -> None:
    def bad(text: str) -> Any:
        raise LookupError(text)

    conn._core.configure({"json_loads": bad})
    with pytest.raises(DataError, match="cannot decode jsonb") as caught:
        await conn.fetchval("select '[1]'::jsonb from generate_series(1, 100)")
    cause: BaseException = caught.value
    while cause.__cause__ is not None:  # the driver adds the column's name
        cause = cause.__cause__
    assert isinstance(cause, LookupError)
    assert await conn.fetchval("select 1") == 1


async def test_loads_that_looks_at_every_object(conn: Any) -> None:
    """A list that is being filled must not be found by the collector."""

    def look(text: str) -> Any:
        for found in gc.get_objects():
            if type(found) is list:
                repr(found[-1:])
        return json.loads(text)

    conn._core.configure({"json_loads": look})
    sql = "select array['1', '2', '3']::jsonb[]"
    assert await conn.fetchval(sql) == [1, 2, 3]
