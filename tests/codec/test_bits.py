"""bit, varbit; money."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest

from codec.checks import (
    OIDS,
    Case,
    assert_both_ways,
    assert_not_decoded,
    assert_refused,
    assert_sent_as,
    decode,
    encode,
    names,
)
from pgasync import _core
from pgasync.types import BitString


class Empty(Decimal):
    """What is not written as a number is not one."""

    def __format__(self, spec: str, context: Any = None) -> str:
        return "-" if spec == "f" else super().__format__(spec)


class Count:
    """A whole number of a library's own."""

    def __index__(self) -> int:
        return 7


class Broken:
    def __index__(self) -> int:
        raise RuntimeError("index")


CASES: list[Case] = [
    ("varbit", BitString(""), "''"),
    ("varbit", BitString("1"), "'1'"),
    ("varbit", BitString("10110011"), "'10110011'"),
    ("varbit", BitString("000000001"), "'000000001'"),
    ("bit(1)", BitString("0"), "'0'"),
    ("bit(13)", BitString("1010101010101"), "'1010101010101'"),
    ("varbit", BitString("01" * 500), "repeat('01', 500)"),
]

SENT: list[Case] = [
    ("varbit", "0101", "'0101'"),
    ("varbit", "X1F", "X'1F'"),
    ("money", "1234.56", "'1234.56'"),
    ("money", 5, "'5.00'"),
    ("money", Count(), "'7.00'"),
    ("money", Decimal("1.5"), "'1.50'"),
    ("money", Decimal("1.5000"), "'1.50'"),
    ("money", Decimal("1E+3"), "'1000'"),
    ("money", Decimal("0E-30"), "'0'"),
    ("money", Decimal("-0E-999999999999999999"), "'0'"),
]

MONEY: list[Case] = [
    ("money", Decimal("0.00"), "'0'"),
    ("money", Decimal("0.01"), "'0.01'"),
    ("money", Decimal("-0.01"), "'-0.01'"),
    ("money", Decimal("12345.60"), "'12345.60'"),
    ("money", Decimal("92233720368547758.07"), "'92233720368547758.07'"),
    ("money", Decimal("-92233720368547758.08"), "'-92233720368547758.08'"),
]

REFUSED: list[tuple[str, Any, str]] = [
    ("varbit", 5, "BitString"),
    ("bit", b"01", "BitString"),
    ("money", 1.5, "Decimal or int"),
    ("money", True, "Decimal or int"),
    ("money", Broken(), "Decimal or int"),
    ("money", Decimal("1.005"), "2 digits"),
    ("money", Decimal("NaN"), "Decimal or int"),
    ("money", Decimal("Infinity"), "Decimal or int"),
    ("money", Decimal("92233720368547758.08"), "2**63"),
    ("money", Decimal("-92233720368547758.09"), "2**63"),
    ("money", Decimal("1E+1000000"), "2**63"),
    ("money", Decimal("1E-999999999999999999"), "2 digits"),
    ("money", Empty("5"), "Decimal or int"),
    ("money", 10**30, "2**63"),
]


@pytest.mark.parametrize("case", CASES + MONEY, ids=names)
async def test_both_ways(conn: Any, case: Case) -> None:
    await assert_both_ways(conn, case)


@pytest.mark.parametrize("case", SENT, ids=names)
async def test_sent_leniently(conn: Any, case: Case) -> None:
    await assert_sent_as(conn, case)


@pytest.mark.parametrize("case", REFUSED, ids=names)
def test_refused(case: tuple[str, Any, str]) -> None:
    assert_refused(*case)


@pytest.mark.parametrize("digits", [0, 3, 18])
def test_digits_of_money(digits: int) -> None:
    options = {"money_digits": digits}
    for units in (0, 5, -1234567, 2**63 - 1, -(2**63)):
        data = units.to_bytes(8, "big", signed=True)
        value = _core.codec_decode(OIDS["money"], data, options)
        assert value == Decimal(units).scaleb(-digits)
        assert value.as_tuple().exponent == -digits
        assert _core.codec_encode(OIDS["money"], value, options) == (1, data)


async def test_money_digits_of_a_connection(connect: Any) -> None:
    conn = await connect(autocommit=True, money_digits=0)
    assert await conn.fetchval("select '12.34'::money") == Decimal(1234)


def test_bit_string() -> None:
    bits = BitString("0101")
    assert bits == "0101" and int(bits) == 5 and len(bits) == 4
    assert BitString.from_int(5, 4) == bits
    assert BitString.from_int(0, 0) == BitString("") and int(BitString("")) == 0
    assert BitString.from_bytes(b"\x50", 4) == bits and bits.to_bytes() == b"\x50"
    assert BitString("").to_bytes() == b""
    assert repr(bits) == "BitString('0101')"
    assert type(pickle.loads(pickle.dumps(bits))) is BitString
    for wrong in ("2", "0 1", "x"):
        with pytest.raises(ValueError, match="made of 0 and 1"):
            BitString(wrong)
    for value, length in ((16, 4), (-1, 4), (0, -1)):
        with pytest.raises(ValueError, match=f"does not fit {length} bits"):
            BitString.from_int(value, length)
    for length in (-1, 9):
        with pytest.raises(ValueError, match=f"1 bytes have no {length} bits"):
            BitString.from_bytes(b"\x50", length)


def test_malformed() -> None:
    for data in (
        b"",
        b"\0\0\0",
        b"\0\0\0\1",
        b"\0\0\0\0\0",
        b"\0\0\0\x09\0",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff" + bytes(10),
    ):
        assert_not_decoded("varbit", data, "length")
    assert decode("varbit", b"\0\0\0\3\xff") == "111"
    assert encode("varbit", "") == (1, bytes(4))
