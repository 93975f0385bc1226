"""date, time, timestamp, timestamptz, interval."""

from __future__ import annotations

import datetime as dt
import random
import struct
import zoneinfo
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.checks import (
    OIDS,
    Case,
    assert_both_ways,
    assert_not_decoded,
    assert_refused,
    assert_same,
    assert_sent_as,
    encode,
    names,
    round_trip,
)
from pgasync import _core
from pgasync.errors import DataError
from pgasync.types import Beyond, Interval

UTC = dt.timezone.utc
MICROSECOND = dt.timedelta(microseconds=1)
EAST = dt.timezone(dt.timedelta(hours=5, minutes=30))
LONDON_LIKE = dt.timezone(dt.timedelta(seconds=-75))
FINE = dt.timezone(dt.timedelta(microseconds=1))
FAR = dt.timezone(dt.timedelta(hours=15, minutes=59, seconds=59))


def at(*args: int, tz: dt.tzinfo | None = None) -> dt.datetime:
    return dt.datetime(*args, tzinfo=tz)  # type: ignore[arg-type, misc]


CASES: list[Case] = [
    ("date", dt.date(2000, 1, 1), "'2000-01-01'"),
    ("date", dt.date(1999, 12, 31), "'1999-12-31'"),
    ("date", dt.date(1, 1, 1), "'0001-01-01'"),
    ("date", dt.date(9999, 12, 31), "'9999-12-31'"),
    ("date", dt.date(2024, 2, 29), "'2024-02-29'"),
    ("date", dt.date(1900, 2, 28), "'1900-02-28'"),
    ("time", dt.time(0, 0), "'00:00'"),
    ("time", dt.time(23, 59, 59, 999999), "'23:59:59.999999'"),
    ("time", dt.time(1, 2, 3, 4), "'01:02:03.000004'"),
    ("timestamp", at(2000, 1, 1), "'2000-01-01'"),
    ("timestamp", at(1999, 12, 31, 23, 59, 59, 999999), "'1999-12-31 23:59:59.999999'"),
    ("timestamp", dt.datetime.min, "'0001-01-01 00:00:00'"),
    ("timestamp", dt.datetime.max, "'9999-12-31 23:59:59.999999'"),
    ("timestamptz", at(2026, 7, 1, 12, 30, tz=UTC), "'2026-07-01 12:30+00'"),
    ("timestamptz", at(1, 1, 1, tz=UTC), "'0001-01-01 00:00:00+00'"),
    ("timestamptz", at(9999, 12, 31, 23, tz=UTC), "'9999-12-31 23:00:00+00'"),
    ("timetz", dt.time(1, 2, 3, 4, tzinfo=UTC), "'01:02:03.000004+00'"),
    ("timetz", dt.time(23, 59, 59, 999999, tzinfo=EAST), "'23:59:59.999999+05:30'"),
    ("timetz", dt.time(0, tzinfo=LONDON_LIKE), "'00:00:00-00:01:15'"),
    ("timetz", dt.time(12, tzinfo=FAR), "'12:00:00+15:59:59'"),
    ("interval", dt.timedelta(0), "'0'"),
    ("interval", dt.timedelta(days=3, seconds=7, microseconds=9), "'3d 7.000009s'"),
    ("interval", dt.timedelta(days=-1), "'-1 day'"),
    ("interval", dt.timedelta(days=999999999), "'999999999 days'"),
    ("interval", dt.timedelta(days=-999999999), "'-999999999 days'"),
]


class Stamp(dt.datetime):
    """A subclass, as libraries have."""


SENT: list[Case] = [
    ("date", at(2024, 2, 29), "'2024-02-29'"),
    ("date", "infinity", "'infinity'"),
    ("date", "0044-03-15 BC", "'0044-03-15 BC'"),
    ("time", "24:00", "'24:00'"),
    ("timestamp", dt.date(2024, 2, 29), "'2024-02-29'"),
    ("timestamp", Stamp(2024, 2, 29, 1), "'2024-02-29 01:00'"),
    ("timestamp", "-infinity", "'-infinity'"),
    ("timestamptz", at(2026, 7, 1, 12, tz=EAST), "'2026-07-01 12:00+05:30'"),
    ("timestamptz", at(2026, 7, 1, 12, tz=LONDON_LIKE), "'2026-07-01 12:01:15+00'"),
    ("timestamptz", dt.datetime.min.replace(tzinfo=EAST), "'0001-01-01 00:00+05:30'"),
    (
        "timestamptz",
        dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-23))),
        "'10000-01-01 22:59:59.999999+00'",
    ),
    ("interval", dt.timedelta(hours=-1), "'-1 hour'"),
    ("interval", dt.timedelta(days=-2, hours=-1), "'-2 days -1 hour'"),
    ("interval", dt.timedelta(days=1, seconds=-1), "'23:59:59'"),
    ("interval", "1 year 2 months", "'14 months'"),
]


class Nothing(dt.datetime):
    """As pandas has it for a missing time: a datetime in year 1, unequal to itself."""

    def __ne__(self, other: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "NaT"


NAT = Nothing(1, 1, 1)
NAIVE, AWARE = at(2026, 1, 2, 3), at(2026, 1, 2, 3, tz=UTC)

REFUSED: list[tuple[str, Any, str]] = [
    ("date", 5, "datetime.date"),
    ("date", NAIVE, ".date()"),
    ("date", NAT, "give None"),
    ("timestamp", NAT, "give None"),
    ("timestamptz", NAT, "give None"),
    ("interval", NAT, "timedelta"),
    ("timestamp", np.datetime64("NaT"), "datetime.datetime"),
    ("interval", np.timedelta64("NaT"), "timedelta"),
    ("date", at(2026, 1, 2, tz=UTC), ".date()"),
    ("time", NAIVE, "datetime.time"),
    ("time", dt.time(1, tzinfo=UTC), "timetz"),
    ("timetz", dt.time(1), ".replace(tzinfo=datetime.timezone.utc), a time column"),
    ("timetz", dt.time(1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")), "without a date"),
    ("timetz", dt.time(1, tzinfo=FINE), "offset in whole seconds"),
    ("timetz", NAIVE, "aware datetime.time"),
    ("timestamp", AWARE, ".replace(tzinfo=None), a timestamptz column"),
    ("timestamp", 1.5, "datetime.datetime"),
    ("timestamp", dt.time(1), "datetime.datetime"),
    ("timestamptz", NAIVE, ".replace(tzinfo=datetime.timezone.utc)"),
    ("timestamptz", dt.date(2026, 1, 2), "aware"),
    ("timestamptz", 5, "aware"),
    ("interval", 5, "timedelta"),
    ("interval", dt.time(1), "timedelta"),
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


async def test_utc_whatever_the_session_says(conn: Any) -> None:
    await conn.execute("set timezone = 'Asia/Kolkata'")
    value = await conn.fetchval("select '2026-07-01 12:00'::timestamptz")
    assert_same(value, at(2026, 7, 1, 6, 30, tz=UTC))


async def test_every_day_of_the_leap_cycle(conn: Any) -> None:
    rows = await conn.fetch(
        "select d, d::text from"
        " (select date '1999-12-25' + i * 7 as d from generate_series(0, 21000) i) q"
    )
    assert len(rows) == 21001
    for day, text in rows:
        assert day.isoformat() == text


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("'infinity'::date", "infinity"),
        ("'-infinity'::date", "-infinity"),
        ("'10000-01-01'::date", "10000-01-01"),
        ("'0044-03-15 BC'::date", "0044-03-15 BC"),
        ("'24:00'::time", "24:00:00"),
        ("'infinity'::timestamp", "infinity"),
        ("'10000-01-01 01:02:03.5'::timestamp", "10000-01-01 01:02:03.500000"),
        ("'-infinity'::timestamptz", "-infinity"),
        ("'4713-01-01 BC 00:00+00'::timestamptz", "4713-01-01 00:00:00.000000 BC"),
        ("'infinity'::interval", "infinity"),
        ("'-infinity'::interval", "-infinity"),
        ("'100000000 years'::interval", "1200000000 months"),
    ],
)
async def test_what_python_cannot_hold(conn: Any, sql: str, shown: str) -> None:
    with pytest.raises(DataError) as caught:
        await conn.fetchval(f"select {sql}")
    assert f": {shown}" in str(caught.value) or f"of {shown}" in str(caught.value)
    assert "cast it to text" in str(caught.value)
    assert await conn.fetchval("select 1") == 1


@pytest.mark.parametrize(
    ("literal", "days", "seconds"),
    [
        ("1 month", 30, 0),
        ("1 year", 365, 0),
        ("1 year 1 month 1 day 1 hour", 396, 3600),
        ("-1 year -1 month", -395, 0),
        ("-13 months 1 day -1 second", -394, -1),
        ("25:00:00", 1, 3600),
    ],
)
async def test_months_count_30_days_and_years_365(
    conn: Any, literal: str, days: int, seconds: int
) -> None:
    value = await conn.fetchval(f"select '{literal}'::interval")
    assert type(value) is Interval
    assert value == dt.timedelta(days=days, seconds=seconds)


def test_edges_of_the_binary_forms() -> None:
    for pg_type, form in (("date", "!i"), ("timestamp", "!q"), ("timestamptz", "!q")):
        bits = struct.calcsize(form) * 8 - 1
        assert_not_decoded(pg_type, struct.pack(form, 2**bits - 1), ": infinity")
        assert_not_decoded(pg_type, struct.pack(form, -(2**bits)), ": -infinity")
        assert_not_decoded(pg_type, struct.pack(form, 2**bits - 2), "cast it to text")
        assert_not_decoded(pg_type, struct.pack(form, 1 - 2**bits), "cast it to text")
    for usecs in (-1, 86_400_000_001, 2**63 - 1, -(2**63)):
        assert_not_decoded("time", struct.pack("!q", usecs), str(usecs))
    assert_not_decoded("time", struct.pack("!q", 86_400_000_000), "24:00:00")
    for usecs, days, months in (
        (2**63 - 1, 2**31 - 1, 2**31 - 2),
        (-(2**63), -(2**31), 1 - 2**31),
        (0, 1_000_000_000, 0),
        (-1, -999_999_999, 0),
    ):
        assert_not_decoded("interval", struct.pack("!qii", usecs, days, months))


def test_a_zone_that_fails() -> None:
    class Bad(dt.tzinfo):
        def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
            raise LookupError("no zone data")

    class Vague(dt.tzinfo):
        def utcoffset(self, when: dt.datetime | None) -> None:
            return None

    error = assert_refused("timestamptz", at(2026, 1, 1, tz=Vague()))
    assert "no time zone" in str(error)
    with pytest.raises(DataError, match="utcoffset") as caught:
        round_trip("timestamptz", at(2026, 1, 1, tz=Bad()))
    assert isinstance(caught.value.__cause__, LookupError)


def test_an_offset_of_days() -> None:
    class Odd(dt.datetime):
        def utcoffset(self) -> dt.timedelta:
            return dt.timedelta.max

    error = assert_refused("timestamptz", Odd(2026, 1, 1, tzinfo=EAST))
    assert "no time zone" in str(error)


ZONES = [None, UTC, EAST, LONDON_LIKE, FAR, zoneinfo.ZoneInfo("America/New_York")]
EDGES = (-211_813_488_000_000_000, 9_223_371_331_199_999_999)  # 4713 BC, 294276
ORDINARY = (-63_082_281_600_000_000, 252_455_615_999_999_999)  # 1 to 9999


@settings(max_examples=300, deadline=None)
@given(
    st.integers(*EDGES) | st.integers(*ORDINARY) | st.sampled_from([*EDGES, *ORDINARY]),
    st.sampled_from(ZONES),
)
def test_any_moment_in_any_zone(usecs: int, zone: dt.tzinfo | None) -> None:
    wire = struct.pack("!q", usecs)
    for pg_type in ("timestamp", "timestamptz"):
        options = {"beyond": "sentinel", "zone": zone}
        value = _core.codec_decode(OIDS[pg_type], wire, options)
        assert encode(pg_type, value) == (1, wire)
        if not isinstance(value, Beyond):
            offset = value.utcoffset()
            assert (offset is None) is (pg_type == "timestamp")
            if offset is not None and zone is not None:
                assert value.tzinfo is zone


@settings(max_examples=200, deadline=None)
@given(st.datetimes(timezones=st.timezones()))
def test_any_datetime_is_the_moment_that_it_says(value: dt.datetime) -> None:
    usecs = (value.replace(tzinfo=None) - dt.datetime(2000, 1, 1)) // MICROSECOND
    offset = value.utcoffset()
    assert offset is not None
    wire = struct.pack("!q", usecs - offset // MICROSECOND)
    assert encode("timestamptz", value) == (1, wire)


@settings(max_examples=200, deadline=None)
@given(st.times(), st.integers(-86399, 86399))
def test_any_time_and_offset(clock: dt.time, offset: int) -> None:
    value = clock.replace(tzinfo=dt.timezone(dt.timedelta(seconds=offset)))
    assert_same(round_trip("timetz", value), value)
    _, sent = _core.codec_encode(OIDS["time"], value, {"naive_utc": True})
    moment = dt.datetime.combine(dt.date(2024, 1, 1), value).astimezone(UTC)
    assert _core.codec_decode(OIDS["time"], sent) == moment.time()


@pytest.mark.parametrize(
    ("pg_type", "edges"),
    [
        ("date", (-2_451_545, 2_145_031_948)),
        ("timestamp", EDGES),
        ("timestamptz", EDGES),
    ],
)
async def test_texts_of_any_year(
    conn: Any, connect: Any, pg_type: str, edges: tuple[int, int]
) -> None:
    dice = random.Random(pg_type)
    form = "!i" if pg_type == "date" else "!q"
    numbers = [*edges, *(dice.randint(*edges) for _ in range(400))]
    numbers += [dice.randint(edges[0], 0) for _ in range(400)]
    kept = {"beyond": "sentinel"}
    values = [
        _core.codec_decode(OIDS[pg_type], struct.pack(form, number), kept)
        for number in numbers
    ]
    await conn.execute("set timezone = 'UTC'")
    texts = await conn.fetchval(f"select $1::{pg_type}[]::text[]", [values])
    beyond = 0
    for value, text in zip(values, texts, strict=True):
        if isinstance(value, Beyond):
            beyond += 1
            assert value.text == text
    assert beyond > 400
