"""The JSON reader in C gives what json.loads gives, and refuses what it refuses."""

from __future__ import annotations

import json
import math
import pickle
import random
import struct
import sys
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.checks import OIDS, assert_refused, encode
from pgasync import _core
from pgasync.errors import DataError
from pgasync.types import JSON_NULL, Json

JSON = OIDS["json"]
NUMERIC = struct.pack(">4h3h", 3, 1, 0, 4, 1, 2345, 6789)


def read(text: str | bytes, **options: Any) -> Any:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return _core.codec_decode(JSON, data, options)


def same(got: Any, expected: Any) -> bool:
    """Equal, of the same types, in the same order; NaN is NaN and -0.0 not 0.0."""
    if type(got) is not type(expected):
        return False
    if isinstance(expected, dict):
        pairs = zip(got.items(), expected.items(), strict=True)
        return len(got) == len(expected) and all(
            same(list(a), list(b)) for a, b in pairs
        )
    if isinstance(expected, list):
        return len(got) == len(expected) and all(map(same, got, expected))
    if isinstance(expected, float):
        return repr(got) == repr(expected)
    return bool(got == expected)


def assert_as_json_loads(text: str) -> bool:
    """True where both take it."""
    try:
        expected = json.loads(text)
    except (ValueError, RecursionError):
        with pytest.raises(DataError):
            read(text)
        return False
    assert same(read(text), expected), text
    return True


NASTY = """
NaN|-Infinity|Infinity|-NaN|1.|.5|01|-|-0|-0.0|0.0|1e5|1E+5|1e|1e400|-1e400|1e-400
5e-324|"\\ud800"|"\\udc00\\ud800"|"\\ud83d\\ude00"|"\\ud83dx"|"\\ud83d\\n"
"\\ud83d\\u0041"|"\\ud83d\\ud83d\\ude00"|"\x7f"|"\x1f"|"\\/\\b\\f\\n\\r\\t\\\\\\""
"\\x"|"\\"|"|"a|"\\u12G4"|"\\u+123"|"\\u 123"|"\\u12"|"\\u0000"|[1,]|[,1]|[1 2]|[|]
[]|[ ]|{}|{ }|{"a":1,}|{"a" :1}|{"a" 1}|{"a"}|{"a":}|{1:2}|{"a":1,"a":2}|{,}|{|1 2
nullx|nul|true|tru|TRUE|null|false| 1 |\ufeff1|\u00a01|[[[[]]]]|[[]|[{"a":[{}]}]
{"":""}|""|1.5e-|-01|00|0e0|0E-0|1.0|1.10|123456789012345678|1234567890123456789
-9223372036854775808|18446744073709551616|1e22|1e23|123456789012345.6e-22
9007199254740993.0|9007199254740992.0|0.1|0.30000000000000004|1.7976931348623157e308
2.2250738585072011e-308|4.35|2.675|1e-7|3.14159|123456789.123456789|0.000001|1e99999
1e-99999|1e000000000005|[1.5,2.5e3]|"é"|"日本"|"😀"|{"é":"ü"}
"""
TEXTS = NASTY[1:-1].replace("\n", "|").split("|")


@pytest.mark.parametrize("text", TEXTS)
def test_nasty(text: str) -> None:
    assert_as_json_loads(text)


def test_enough_of_them_are_taken() -> None:
    taken = [text for text in TEXTS if assert_as_json_loads(text)]
    assert 60 < len(taken) < len(TEXTS) - 30


DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=400, deadline=None)
@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_documents(document: Any, ascii_only: bool, indent: Any) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: not in a database
        with pytest.raises(DataError):
            read(text)
        return
    assert same(read(text), json.loads(text))


@settings(max_examples=400, deadline=None)
@given(DOCUMENTS, st.randoms(use_true_random=False))
def test_changed_documents(document: Any, dice: random.Random) -> None:
    text = json.dumps(document)
    for _ in range(8):
        at = dice.randrange(len(text) + 1)
        piece = dice.choice([*'"\\{}[],:-+.eE0159tfn \n\x00u', "", "\\u", "00", "ÿ"])
        assert_as_json_loads(text[:at] + piece + text[at + dice.randrange(3) :])


@settings(max_examples=300, deadline=None)
@given(
    st.floats(allow_nan=False, allow_infinity=False) | st.decimals(-100, 100, places=9)
)
def test_numbers(number: float | Decimal) -> None:
    for text in (f"{number}", f"{number:.3e}", f"{number:.17g}"):
        assert_as_json_loads(text)


def test_bytes_that_are_no_text() -> None:
    for data in (b'"\xff"', b'"\\n\xff"', b'"\xed\xa0\x80"', b'{"\xc3": 1}', b'"a\xc3'):
        with pytest.raises(DataError, match="not a JSON document, at byte"):
            read(data)


def test_the_place_is_named() -> None:
    with pytest.raises(DataError, match=r"cannot decode json: .*at byte 6"):
        read("[1, 2 3]")


@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_depth(brackets: tuple[str, str]) -> None:
    """As deep as the server parses, and no deeper than there is a limit, whatever the
    interpreter's own is: it is no matter of the C stack."""
    left, right = brackets
    levels = left.count("[") + left.count("{")
    assert same(
        read(left * 100 + "1" + right * 100), json.loads(left * 100 + "1" + right * 100)
    )
    limit = sys.getrecursionlimit()
    for raised in (limit, 10**7):
        sys.setrecursionlimit(raised)
        try:
            deep = read(left * (20_000 // levels) + "1" + right * (20_000 // levels))
            for text in (left * 200_000, left * 200_000 + "1" + right * 200_000):
                with pytest.raises(DataError) as caught:
                    read(text)
                assert isinstance(caught.value.__cause__, RecursionError)
        finally:
            sys.setrecursionlimit(limit)
        depth = 0
        while deep != 1:
            deep = deep[0] if isinstance(deep, list) else deep["a"]
            depth += 1
        assert depth == 20_000


async def test_as_deep_as_the_server(conn: Any) -> None:
    value = await conn.fetchval(
        "select (repeat('[', 5000) || repeat(']', 5000))::jsonb"
    )
    depth = 1
    while value:
        value, depth = value[0], depth + 1
    assert depth == 5000


def test_too_many_digits() -> None:
    text = "1" * 4000
    assert read(text) == int(text)
    with pytest.raises(DataError) as caught:
        read("1" * 5000)
    assert isinstance(caught.value.__cause__, ValueError)


def test_long_strings_and_keys() -> None:
    for size in (1, 7, 8, 9, 15, 16, 17, 39, 40, 41, 1000, 70_000):
        for char in ("a", "é", "\\n", "\\u00e9", "日", "\\ud83d\\ude00"):
            text = f'{{"{char * size}": "{char * size}"}}'
            assert_as_json_loads(text)


def test_what_ends_a_long_string() -> None:
    """Wherever it stands among the bytes that are looked at eight at a time."""
    for front in range(20):
        for back in range(12):
            for piece in (
                '"',
                "\\",
                '\\"',
                "\x1f",
                "\x00",
                "\x7f",
                "\x80",
                "!",
                "#",
                "[",
                "]",
            ):
                assert_as_json_loads(f'"{"a" * front}{piece}{"z" * back}"')


def test_keys_are_shared() -> None:
    for name in ("name", "größe", "名前", "😀", "\x80"):
        one, other = read(f'{{"{name}": 1}}'), read(f'{{"{name}": 2}}')
        assert list(one) == [name]
        assert next(iter(one)) is next(iter(other))
    for turn in range(5000):  # whatever is remembered, the keys are right
        key = f"{'kéy' if turn % 2 else 'key'}{turn % 700}"
        assert read(f'{{"{key}": {turn}}}') == {key: turn}


def test_exact_numbers() -> None:
    document = read(
        "[1.10, 1e400, -0.0, 12345678901234567890, 1, 1E-7]", json_exact=True
    )
    assert list(map(str, document)) == [
        "1.10",
        "1E+400",
        "-0.0",
        "12345678901234567890",
        "1",
        "1E-7",
    ]
    assert [type(item) for item in document] == [
        Decimal,
        Decimal,
        Decimal,
        int,
        int,
        Decimal,
    ]


def test_exact_numbers_are_no_matter_of_the_context() -> None:
    with localcontext() as context:
        context.prec = 2
        context.traps = dict.fromkeys(context.traps, False)
        assert str(read("[1.23456]", json_exact=True)[0]) == "1.23456"
        assert str(_core.codec_decode(OIDS["numeric"], NUMERIC)) == "12345.6789"
        for text in (
            "1e9999999999999999999",
            "-1e9999999999999999999",
            "1.5e-9999999999999999999",
        ):
            with pytest.raises(DataError):
                read(text, json_exact=True)


def test_null() -> None:
    assert read("null") is None
    assert read(" null ", json_null=True) is JSON_NULL
    assert read("[null]", json_null=True) == [None]
    assert read("null", json_null=True, json_loads=json.loads) is JSON_NULL


async def test_exact_round_trip(connect: Any) -> None:
    conn = await connect(autocommit=True, json_numbers="exact", json_null="sentinel")
    for text in (
        "1.10",
        "1e400",
        "12345678901234567890",
        "null",
        '{"a": [1.50, null]}',
    ):
        value, server = await conn.fetchrow(
            f"select '{text}'::jsonb, '{text}'::jsonb::text"
        )
        assert await conn.fetchval("select ($1::jsonb)::text", [value]) == server
    assert await conn.fetchval("select null::jsonb") is None


def test_what_is_sent() -> None:
    assert encode("json", Json(None)) == (1, b"null")
    assert encode("jsonb", Json("x")) == (1, b'\x01"x"')
    assert encode("json", JSON_NULL) == (1, b"null")
    assert encode("json", {"a": Decimal("1.10")}) == (1, b'{"a": 1.10}')
    assert encode("json", [Decimal("1E+400"), {1: (Decimal(2),)}]) == (
        1,
        b'[1E+400, {"1": [2]}]',
    )
    assert encode("json", {"a": JSON_NULL, "b": [Json({"c": Decimal("0.10")})]}) == (
        1,
        b'{"a": null, "b": [{"c": 0.10}]}',
    )
    assert _core.codec_encode(JSON, [float(1), "é"], {"json_exact": True}) == (
        1,
        b'[1.0, "\\u00e9"]',
    )
    for circle in ([Decimal(1)], [1]):
        circle.append(circle)  # type: ignore[arg-type]
        for exact in (False, True):
            with pytest.raises(DataError, match="json_dumps does not take it"):
                _core.codec_encode(JSON, circle, {"json_exact": exact})
    assert_refused("json", {"a": Decimal("NaN")}, "json_dumps does not take it")
    assert_refused("json", {"a": object()}, "json_dumps does not take it")
    assert_refused("json", {"a": [Decimal(1), object()]}, "does not take it")


def test_json_objects() -> None:
    assert Json([1]) == Json([1]) != Json([2])
    assert Json(1) != 1
    assert not JSON_NULL and Json(5)
    assert pickle.loads(pickle.dumps(JSON_NULL)) is JSON_NULL
    assert pickle.loads(pickle.dumps(Json({"a": 1}))) == Json({"a": 1})
    assert (repr(JSON_NULL), repr(Json("x"))) == ("JSON_NULL", "Json('x')")


def test_libraries_that_read_bytes() -> None:
    seen: list[Any] = []

    def loads(data: Any) -> Any:
        seen.append(data)
        return json.loads(data)

    assert read('{"a": 1}', json_loads=loads) == {"a": 1}
    loads.__module__ = "orjson"
    assert read('{"a": 1}', json_loads=loads) == {"a": 1}
    assert seen == ['{"a": 1}', b'{"a": 1}']
    import msgspec

    assert read('{"a": 1}', json_loads=msgspec.json.decode) == {"a": 1}
    assert read('{"a": 1}', json_loads=msgspec.json.Decoder().decode) == {"a": 1}
    assert math.isinf(read("1e400"))
