"""bool, int2, int4, int8, oid, float4, float8, numeric."""

from __future__ import annotations

import datetime as dt
import enum
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
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
    round_trip,
)

NAN = float("nan")
INF = float("inf")

CASES: list[Case] = [
    ("bool", True, "'t'"),
    ("bool", False, "'f'"),
    ("int2", -32768, "'-32768'"),
    ("int2", 0, "0"),
    ("int2", 32767, "32767"),
    ("int4", -2147483648, "'-2147483648'"),
    ("int4", -1, "'-1'"),
    ("int4", 2147483647, "2147483647"),
    ("int8", -9223372036854775808, "'-9223372036854775808'"),
    ("int8", 9223372036854775807, "9223372036854775807"),
    ("oid", 0, "0"),
    ("oid", 4294967295, "4294967295"),
    ("float4", 1.5, "1.5"),
    ("float4", -0.0, "'-0'"),
    ("float4", 3.4028234663852886e38, "'3.4028235e38'"),
    ("float4", 1.401298464324817e-45, "'1e-45'"),
    ("float4", NAN, "'NaN'"),
    ("float4", INF, "'inf'"),
    ("float8", 0.1, "'0.1'"),
    ("float8", 1.7976931348623157e308, "'1.7976931348623157e308'"),
    ("float8", 5e-324, "'5e-324'"),
    ("float8", NAN, "'NaN'"),
    ("float8", INF, "'Infinity'"),
    ("float8", -INF, "'-Infinity'"),
    ("numeric", Decimal("0"), "'0'"),
    ("numeric", Decimal("0.000"), "'0.000'"),
    ("numeric", Decimal("1.10"), "'1.10'"),
    ("numeric", Decimal("-12.3400"), "'-12.3400'"),
    ("numeric", Decimal("10000"), "'10000'"),
    ("numeric", Decimal("99999999.99999999"), "'99999999.99999999'"),
    ("numeric", Decimal("0.00001"), "'0.00001'"),
    (
        "numeric",
        Decimal("1234567890123456789012345678901234567890.1"),
        "'1234567890123456789012345678901234567890.1'",
    ),
    ("numeric", Decimal("NaN"), "'NaN'"),
    ("numeric", Decimal("Infinity"), "'Infinity'"),
    ("numeric", Decimal("-Infinity"), "'-Infinity'"),
]


class Colour(enum.IntEnum):
    RED = 7


class Index:
    def __index__(self) -> int:
        return 11


# What is taken though it is not the type's own Python type.
SENT: list[Case] = [
    ("bool", "yes", "'yes'"),
    ("int2", "12", "12"),
    ("int4", True, "1"),
    ("numeric", True, "1"),
    ("float8", True, "1"),
    ("int4", Colour.RED, "7"),
    ("int4", Index(), "11"),
    ("int4", 7.0, "7"),
    ("int4", Decimal("7E+2"), "700"),
    ("int4", Decimal("7.00"), "7"),
    ("int8", -9223372036854775808.0, "'-9223372036854775808'"),
    ("int8", " 42 ", "42"),
    ("oid", Colour.RED, "7"),
    ("float4", 3, "3"),
    ("float4", Decimal("0.5"), "0.5"),
    ("float4", 0.1, "0.1"),
    ("float8", 3, "3"),
    ("float8", Decimal("0.1"), "0.1"),
    ("float8", Colour.RED, "7"),
    ("float8", "1e3", "1000"),
    ("numeric", 5, "5"),
    ("numeric", Colour.RED, "7"),
    ("numeric", 2**200, f"'{2**200}'"),
    ("numeric", 0.1, "0.1"),
    ("numeric", 1e22, "1e22"),
    ("numeric", -2.5e-10, "'-0.00000000025'"),
    ("numeric", NAN, "'NaN'"),
    ("numeric", -INF, "'-Infinity'"),
    ("numeric", Decimal("1E+3"), "1000"),
    ("numeric", Decimal("-0"), "0"),
    ("numeric", "12.50", "12.50"),
]

REFUSED: list[tuple[str, Any, str]] = [
    ("bool", 1, "True or False"),
    ("bool", b"t", "True or False"),
    ("int2", 32768, "-32768 to 32767"),
    ("int4", 2147483648, "-2147483648 to 2147483647"),
    ("int4", -2147483649, "-2147483648 to 2147483647"),
    ("int4", 2**100, "-2147483648 to 2147483647"),
    ("int8", 2**63, "9223372036854775807"),
    ("int8", 9223372036854775808.0, "9223372036854775807"),
    ("oid", -1, "0 to 4294967295"),
    ("oid", 2**32, "0 to 4294967295"),
    ("int4", 1.5, "round it"),
    ("int4", NAN, "not an integer"),
    ("int4", INF, "not an integer"),
    ("int4", Decimal("0.1"), "round it"),
    ("int4", Decimal("NaN"), "not an integer"),
    ("int4", Decimal("sNaN"), "not an integer"),
    ("int4", Decimal("1E+999999999"), "not an integer of that size"),
    ("int4", Fraction(3), "give an int"),
    ("int4", [1], "give an int"),
    ("int4", b"1", "give an int"),
    ("float4", 1e39, "use float8"),
    ("float4", 1e-60, "use float8"),
    ("float8", 10**400, "no float value"),
    ("float8", 1j, "give a float"),
    ("float8", b"1", "give a float"),
    ("numeric", 1j, "give a Decimal"),
    ("numeric", Decimal("sNaN"), "131072 digits"),
    ("numeric", Decimal("1E+131072"), "131072 digits"),
    ("numeric", Decimal("1E-16384"), "16383 behind"),
]


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_both_ways(conn: Any, case: Case) -> None:
    await assert_both_ways(conn, case)


@pytest.mark.parametrize("case", SENT, ids=names)
async def test_sent_leniently(conn: Any, case: Case) -> None:
    await assert_sent_as(conn, case)


@pytest.mark.parametrize("case", REFUSED, ids=names)
def test_refused(case: tuple[str, Any, str]) -> None:
    assert_refused(*case)


@pytest.mark.parametrize("case", CASES, ids=names)
def test_round_trip(case: Case) -> None:
    assert_same(round_trip(case[0], case[1]), case[1])


def test_bytes_of_integers() -> None:
    assert encode("int2", -2) == (1, b"\xff\xfe")
    assert encode("int4", 258) == (1, b"\0\0\1\2")
    assert encode("int8", -1) == (1, b"\xff" * 8)
    assert encode("oid", 4294967295) == (1, b"\xff" * 4)
    assert decode("oid", b"\xff" * 4) == 4294967295


def test_negative_zero_keeps_its_sign() -> None:
    assert math.copysign(1, round_trip("float8", -0.0)) == -1
    assert math.copysign(1, round_trip("float4", -0.0)) == -1


def test_integers_beyond_the_interpreters_text_limit() -> None:
    value = -(10**131071)
    assert round_trip("numeric", value) == Decimal(value)
    assert encode("text", 10**5000) == (1, b"1" + b"0" * 5000)


def test_what_no_server_sends() -> None:
    assert_not_decoded("bool", b"\2", "neither 0 nor 1")
    assert_not_decoded("int4", b"\0" * 5, "5 bytes, not 4")
    assert_not_decoded("numeric", b"\0" * 7)
    assert_not_decoded("numeric", b"\0\1\0\0\0\0\0\0" + b"\x27\x10")  # digit 10000
    assert_not_decoded("numeric", b"\0\2\0\0\0\0\0\0" + b"\0\1")  # 2 digits, 1 there
    assert_not_decoded("numeric", b"\0\0\0\0\x12\x34\0\0")  # unknown sign


def test_failing_conversions_are_chained() -> None:
    class Bad:
        def __index__(self) -> int:
            raise ArithmeticError("no index today")

    error = assert_refused("int4", Bad())
    assert isinstance(error.__cause__, ArithmeticError)
    error = assert_refused("float8", Bad())
    assert isinstance(error.__cause__, ArithmeticError)


def test_an_interrupt_is_not_converted() -> None:
    class Stop:
        def __index__(self) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode("int4", Stop())
    with pytest.raises(KeyboardInterrupt):
        encode("float8", Stop())
    with pytest.raises(KeyboardInterrupt):
        encode("numeric", Stop())


@pytest.mark.parametrize(
    ("pg_type", "value", "same"),
    [
        ("bool", np.bool_(True), True),
        ("int4", np.int64(-5), -5),
        ("numeric", np.float32(1.5), Decimal("1.5")),
        ("numeric[]", [np.float32(1.5), np.int8(2)], [Decimal("1.5"), Decimal(2)]),
        ("float8", np.float32(1.5), 1.5),
        ("timestamp", np.datetime64("2024-02-29T12:00"), dt.datetime(2024, 2, 29, 12)),
        ("date", np.datetime64("2024-02-29"), dt.date(2024, 2, 29)),
        ("interval", np.timedelta64(5, "s"), dt.timedelta(seconds=5)),
        ("text", np.str_("x"), "x"),
    ],
)
def test_scalars_of_numpy(pg_type: str, value: object, same: object) -> None:
    assert encode(pg_type, value) == encode(pg_type, same)


def test_scalars_of_numpy_that_do_not_fit() -> None:
    assert_refused("bool", np.int64(1), "True or False")
    assert_refused("date", np.float32(1.5), "datetime.date")
    assert_refused("int4", np.complex64(1), "give an int")
