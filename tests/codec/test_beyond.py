"""What Python's datetime cannot hold: out_of_range, and the session's time zone."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import struct
import time
import zoneinfo
from collections.abc import Callable
from typing import Any

import pytest

import pgasync
from codec.checks import OIDS
from pgasync import _core
from pgasync.errors import DataError
from pgasync.types import INFINITY, NEGATIVE_INFINITY, Beyond

UTC = dt.timezone.utc

VALUES = [
    ("date", "infinity", dt.date.max),
    ("date", "-infinity", dt.date.min),
    ("date", "10000-01-01", dt.date.max),
    ("date", "5874897-12-31", dt.date.max),
    ("date", "0001-12-31 BC", dt.date.min),
    ("date", "4713-01-01 BC", dt.date.min),
    ("timestamp", "infinity", dt.datetime.max),
    ("timestamp", "-infinity", dt.datetime.min),
    ("timestamp", "10000-01-01 00:00:00", dt.datetime.max),
    ("timestamp", "294276-12-31 23:59:59.999999", dt.datetime.max),
    ("timestamp", "4713-01-01 00:00:00 BC", dt.datetime.min),
    ("timestamp", "0044-03-15 12:30:00.5 BC", dt.datetime.min),
    ("timestamptz", "infinity", dt.datetime.max.replace(tzinfo=UTC)),
    ("timestamptz", "-infinity", dt.datetime.min.replace(tzinfo=UTC)),
    ("timestamptz", "0044-03-15 12:30:00+00 BC", dt.datetime.min.replace(tzinfo=UTC)),
    ("timestamptz", "294276-12-31 23:59:59+00", dt.datetime.max.replace(tzinfo=UTC)),
    ("time", "24:00:00", dt.time.max),
    ("timetz", "24:00:00+05:30:15", dt.time.max),
    ("timetz", "24:00:00-15:59:59", dt.time.max),
    ("interval", "infinity", dt.timedelta.max),
    ("interval", "-infinity", dt.timedelta.min),
    ("interval", "178000000 years", dt.timedelta.max),
    ("interval", "-178000000 years -5 days", dt.timedelta.min),
]


@pytest.mark.parametrize(("pg_type", "text", "clamped"), VALUES)
async def test_policies(
    connect: Callable[..., Any], pg_type: str, text: str, clamped: Any
) -> None:
    sql = f"select '{text}'::{pg_type}"
    conn = await connect(autocommit=True)
    with pytest.raises(DataError, match="out_of_range='sentinel' or 'clamp'"):
        await conn.fetchval(sql)
    conn = await connect(autocommit=True, out_of_range="clamp")
    value = await conn.fetchval(sql)
    if pg_type == "timetz":
        assert value.replace(tzinfo=None) == clamped
        assert value.utcoffset() is not None
    else:
        assert value == clamped and type(value) is type(clamped)
    conn = await connect(
        autocommit=True, out_of_range="sentinel", server_settings={"timezone": "UTC"}
    )
    value = await conn.fetchval(sql)
    assert type(value) is Beyond
    assert value.kind == pg_type
    server_text = await conn.fetchval(f"select ('{text}'::{pg_type})::text")
    assert str(value) == value.text == server_text
    assert await conn.fetchval(f"select ($1::{pg_type})::text", [value]) == server_text
    again = await conn.fetchval(f"select $1::{pg_type}[]", [[value, None]])
    assert again == [value, None]
    assert value.infinite is ("infinity" in text)
    assert pickle.loads(pickle.dumps(value)) == value == copy.deepcopy(value)
    assert hash(copy.copy(value)) == hash(value)
    assert value.text in repr(value)


@pytest.mark.parametrize("subtype", ["date", "timestamp", "timestamptz"])
async def test_in_ranges(connect: Callable[..., Any], subtype: str) -> None:
    name = {"date": "daterange", "timestamp": "tsrange", "timestamptz": "tstzrange"}
    conn = await connect(autocommit=True, out_of_range="sentinel")
    for bounds in ("[-infinity,infinity)", "[0044-03-15 BC,20000-01-01)"):
        sql = f"select v, v::text from (select '{bounds}'::{name[subtype]} as v) q"
        value, text = await conn.fetchrow(sql)
        assert type(value.lower) is Beyond and type(value.upper) is Beyond
        assert value.lower < value.upper
        sent = await conn.fetchval(f"select ($1::{name[subtype]})::text", [value])
        assert sent == text


@pytest.mark.parametrize("pg_type", ["date", "timestamp", "timestamptz", "interval"])
async def test_infinity_is_sent(conn: Any, pg_type: str) -> None:
    sql = f"select ($1::{pg_type})::text"
    assert await conn.fetchval(sql, [INFINITY]) == "infinity"
    assert await conn.fetchval(sql, [NEGATIVE_INFINITY]) == "-infinity"


async def test_of_another_kind(conn: Any) -> None:
    other = Beyond("date", b"\x7f\xff\xff\xff")
    for pg_type, value in (("timestamp", other), ("time", INFINITY), ("timetz", other)):
        with pytest.raises(DataError, match=f"as {pg_type}: it is no {pg_type}"):
            await conn.fetchval(f"select $1::{pg_type}", [value])
    assert await conn.fetchval("select 1") == 1


async def test_order(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True, out_of_range="sentinel")
    far = ["-infinity", "0001-01-01 BC", "2024-02-29", "20000-01-01", "infinity"]
    long = ["-infinity", "-178000000 years", "1 day", "178000000 years", "infinity"]
    for pg_type, texts in {
        "date": far,
        "timestamp": far,
        "timestamptz": far,
        "time": ["00:00", "23:59:59.999999", "24:00:00"],
        "interval": long,
    }.items():
        values = [await conn.fetchval(f"select '{t}'::{pg_type}") for t in texts]
        for i, one in enumerate(values):
            for j, other in enumerate(values):
                if Beyond in (type(one), type(other)):
                    assert (one < other) is (i < j)
                    assert (one <= other) is (i <= j)
                    assert (one > other) is (i > j)
                    assert (one == other) is (i == j)
        if "infinity" in texts:
            assert values[-1] == INFINITY and values[0] == NEGATIVE_INFINITY
            assert hash(values[-1]) == hash(INFINITY)


def test_not_comparable() -> None:
    day = Beyond("date", b"\x7f\xff\xff\xff")
    for other in (5, dt.datetime(2024, 1, 1), dt.time(1), dt.timedelta(1), "infinity"):
        assert day != other
        with pytest.raises(TypeError):
            assert day < other
    moment = Beyond("timestamp", b"\x7f" + b"\xff" * 7)
    assert day != moment
    with pytest.raises(TypeError):
        assert day < moment
    with pytest.raises(AttributeError):
        day.kind = "time"  # type: ignore[misc]


def timetz(usecs: int, east: int) -> Beyond:
    return Beyond("timetz", struct.pack("!qi", usecs, -east))


def interval(months: int) -> Beyond:
    return Beyond("interval", struct.pack("!qii", 0, 0, months))


def test_a_day_of_24_hours_is_no_time() -> None:
    late = timetz(86_400_000_000, 0)
    west = dt.time(23, tzinfo=dt.timezone(dt.timedelta(hours=-1)))
    assert late != west and late < west and west > late  # as the server orders zones
    assert late > dt.time(23, 59, tzinfo=UTC)
    assert late > timetz(86_400_000_000, 3600)
    assert len({late, west, timetz(86_400_000_000, 0)}) == 2


@pytest.mark.parametrize("sign", [1, -1])
def test_an_interval_as_long_as_a_timedelta(sign: int) -> None:
    """32,876,713 months are too long for a timedelta at 365 days a year, but not at
    the 30 days a month that the server counts when it compares."""
    value = interval(32_876_713 * sign)
    same = dt.timedelta(days=32_876_713 * 30 * sign)
    assert value != same
    assert (value > same) is (sign > 0)
    assert (value < same) is (sign < 0)
    assert value < same + dt.timedelta(1)
    assert value > same - dt.timedelta(1)


async def test_an_instant_over_the_edge_of_a_zone() -> None:
    moment = dt.datetime(9999, 12, 31, 23, tzinfo=UTC)
    _, wire = _core.codec_encode(OIDS["timestamptz"], moment)
    options = {"zone": zoneinfo.ZoneInfo("Asia/Kolkata"), "beyond": "sentinel"}
    value = _core.codec_decode(OIDS["timestamptz"], wire, options)
    assert value == moment and hash(value) == hash(moment)
    assert value in {moment}
    assert value > dt.datetime(9999, 12, 31, 22, tzinfo=UTC)
    assert not value > moment and value >= moment
    options["beyond"] = "clamp"
    clamped = _core.codec_decode(OIDS["timestamptz"], wire, options)
    assert clamped == dt.datetime.max.replace(tzinfo=options["zone"])


class TestZone:
    async def test_session(self, connect: Callable[..., Any]) -> None:
        conn = await connect(
            autocommit=True,
            timestamptz="session",
            server_settings={"timezone": "Europe/Berlin"},
        )
        value = await conn.fetchval("select '2024-07-01 12:00+00'::timestamptz")
        assert value == dt.datetime(2024, 7, 1, 12, tzinfo=UTC)
        assert value.tzinfo == zoneinfo.ZoneInfo("Europe/Berlin")
        assert value.hour == 14
        await conn.execute("set timezone = 'Asia/Kolkata'")
        value = await conn.fetchval("select '2024-07-01 12:00+00'::timestamptz")
        assert (value.hour, value.minute) == (17, 30)
        assert await conn.fetchval("select $1::timestamptz", [value]) == value

    async def test_both_hours_of_a_fold(self, connect: Callable[..., Any]) -> None:
        conn = await connect(
            autocommit=True,
            timestamptz="session",
            server_settings={"timezone": "Europe/Berlin"},
        )
        for hour, fold in ((0, 0), (1, 1)):
            sent = dt.datetime(2024, 10, 27, hour, 30, tzinfo=UTC)
            value = await conn.fetchval("select $1::timestamptz", [sent])
            assert (value.hour, value.minute, value.fold) == (2, 30, fold)
            sql = "select extract(epoch from $1::timestamptz)::int8"
            assert await conn.fetchval(sql, [value]) == sent.timestamp()

    async def test_over_the_edge(self, connect: Callable[..., Any]) -> None:
        conn = await connect(
            autocommit=True,
            timestamptz="session",
            server_settings={"timezone": "Asia/Kolkata"},
        )
        with pytest.raises(DataError, match="9999-12-31 23:00"):
            await conn.fetchval("select '9999-12-31 23:00+00'::timestamptz")

    async def test_a_zone_python_does_not_know(
        self, connect: Callable[..., Any]
    ) -> None:
        with pytest.raises(pgasync.InterfaceError, match=r"no time zone '<\+03>-03'"):
            await connect(
                timestamptz="session", server_settings={"timezone": "<+03>-03"}
            )


class TestNaive:
    async def test_utc(self, connect: Callable[..., Any]) -> None:
        conn = await connect(autocommit=True, naive_datetimes="utc")
        naive = dt.datetime(2024, 2, 29, 12)
        aware = naive.replace(tzinfo=dt.timezone(dt.timedelta(hours=5)))
        value = await conn.fetchval("select $1::timestamptz", [naive])
        assert value == naive.replace(tzinfo=UTC)
        value = await conn.fetchval("select $1::timestamp", [aware])
        assert value == dt.datetime(2024, 2, 29, 7)
        value = await conn.fetchval("select $1::timetz", [dt.time(5)])
        assert value == dt.time(5, tzinfo=UTC)
        for hour, sent in ((12, 7), (3, 22)):
            clock = dt.time(hour, 30, tzinfo=aware.tzinfo)
            value = await conn.fetchval("select $1::time", [clock])
            assert value == dt.time(sent, 30)
        paris = dt.time(5, tzinfo=zoneinfo.ZoneInfo("Europe/Paris"))
        with pytest.raises(DataError, match="without a date its zone has no offset"):
            await conn.fetchval("select $1::time", [paris])

    async def test_local(
        self, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", "<+0530>-05:30")
        time.tzset()
        try:
            conn = await connect(autocommit=True, naive_datetimes="local")
            moment = "select $1::timestamptz"
            naive = dt.datetime(2024, 2, 29, 12)
            sent = dt.datetime(2024, 2, 29, 6, 30, tzinfo=UTC)
            assert await conn.fetchval(moment, [naive]) == sent
            assert await conn.fetchval(moment + "[]", [[naive]]) == [sent]
            midnight = await conn.fetchval(moment, [naive.date()])
            assert midnight == sent - dt.timedelta(hours=12)
            assert await conn.fetchval(moment, [sent]) == sent
            with pytest.raises(DataError, match="its astimezone\\(\\) failed"):
                await conn.fetchval(moment, [dt.datetime.min])
            for pg_type, value in (("timestamp", sent), ("timetz", dt.time(5))):
                with pytest.raises(DataError, match="zone"):
                    await conn.fetchval(f"select $1::{pg_type}", [value])
        finally:
            monkeypatch.undo()
            time.tzset()

    async def test_error_says_how(self, conn: Any) -> None:
        with pytest.raises(
            DataError, match=r"^\$1: cannot send .* as timestamptz: .*naive_datetimes"
        ):
            await conn.fetchval("select $1::timestamptz", [dt.datetime(2024, 2, 29)])
        aware = dt.datetime(2024, 2, 29, tzinfo=UTC)
        with pytest.raises(
            DataError, match=r"^\$2: cannot send .* as timestamp: .*naive_datetimes"
        ):
            await conn.fetchval("select $1::int, $2::timestamp", [1, aware])


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("out_of_range", "ignore"),
        ("timestamptz", "local"),
        ("naive_datetimes", True),
        ("json_numbers", "decimal"),
        ("json_null", "null"),
        ("money_digits", -1),
        ("money_digits", 19),
        ("json_loads", "orjson"),
        ("types", 5),
    ],
)
async def test_wrong_choices(
    connect: Callable[..., Any], keyword: str, value: object
) -> None:
    with pytest.raises(pgasync.InterfaceError, match=f"{keyword} is .*{value!r}"):
        await connect(**{keyword: value})
