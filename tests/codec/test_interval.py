"""Interval: months, days and microseconds go through Python as they are."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.checks import assert_refused, decode, encode
from pgasync.types import Interval, IntervalParts

LITERALS = [
    "0",
    "1 month",
    "1 year",
    "-1 month",
    "1 month -1 day",
    "-1 month 1 day",
    "1 year -2 months 3 days -04:05:06.789",
    "1 day",
    "24:00:00",
    "-24:00:00",
    "48:00:01",
    "1 day -00:00:01",
    "-1 day 00:00:01",
    "-1 day -00:00:01",
    "3 days 25:00:00",
    "-00:00:00.000001",
    "178000000 years",
    "2147483647 months 2147483 days",
    "-2147483648 months",
    "2147483647 days",
    "2562047788:00:54.775807",
    "-2562047788:00:54.775807",
    "2000000 years 11 months 29 days 23:59:59.999999",
    "1000000 years -300000000 days",
]


@pytest.mark.parametrize("literal", LITERALS)
async def test_the_same_text_comes_back(connect: Any, literal: str) -> None:
    conn = await connect(autocommit=True, out_of_range="sentinel")
    sql = f"select v, v::text from (select interval '{literal}' as v) q"
    value, text = await conn.fetchrow(sql)
    assert await conn.fetchval("select $1::interval::text", [value]) == text
    assert await conn.fetchval("select $1::interval = $2", [value, literal]) is True
    if type(value) is not dt.timedelta:
        assert str(value) == text
    array = await conn.fetchval("select $1::interval[]", [[value, None]])
    assert array == [value, None]


PARTS = st.tuples(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1),
)
SMALL = st.tuples(
    st.integers(-30, 30),
    st.integers(-400, 400),
    st.integers(-(10**12), 10**12),
)


@settings(max_examples=300, deadline=None)
@given(PARTS | SMALL)
def test_any_parts(parts: tuple[int, int, int]) -> None:
    months, days, usecs = parts
    wire = struct.pack("!qii", usecs, days, months)
    value = decode_any(wire)
    assert encode("interval", value) == (1, wire)
    if type(value) is dt.timedelta:
        assert months == 0
        assert value == dt.timedelta(days=days, microseconds=usecs)
    elif type(value) is Interval:
        assert value.parts == parts
        assert pickle.loads(pickle.dumps(value)).parts == parts


def decode_any(wire: bytes) -> Any:
    from codec.checks import OIDS
    from pgasync import _core

    return _core.codec_decode(OIDS["interval"], wire, {"beyond": "sentinel"})


def test_as_a_timedelta() -> None:
    value = Interval(months=14, days=-3, microseconds=5)
    assert value == dt.timedelta(days=365 + 60 - 3, microseconds=5)
    assert hash(value) == hash(dt.timedelta(days=422, microseconds=5))
    assert value.parts == IntervalParts(14, -3, 5) and value.months == 14
    assert type(value + dt.timedelta(1)) is dt.timedelta
    assert (-value).parts == (-14, 3, -5)
    assert dt.date(2024, 1, 1) + Interval(days=1) == dt.date(2024, 1, 2)
    assert repr(value) == "Interval(months=14, days=-3, microseconds=5)"
    assert str(value) == "1 year 2 mons -3 days +00:00:00.000005"
    assert str(Interval(microseconds=-1)) == "-00:00:00.000001"
    assert copy.deepcopy(value).parts == value.parts
    assert copy.copy(value).parts == value.parts
    with pytest.raises(OverflowError):
        Interval(days=10**9)


def test_a_subclass_keeps_its_months() -> None:
    kind = type("Term", (Interval,), {})
    assert encode("interval", kind(1, 2, 3)) == (1, struct.pack("!qii", 3, 2, 1))


def test_parts_that_do_not_fit() -> None:
    assert_refused("interval", Interval(microseconds=2**63), "64-bit")
    assert_refused("interval", Interval(2**31, -65319294290), "32-bit")
    assert decode("interval", bytes(16)) == dt.timedelta(0)
