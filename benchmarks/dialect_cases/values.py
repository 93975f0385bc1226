"""Values of every type there and back: as parameters of a declared type, in arrays, and
as what text() selects without saying a type."""

# ruff: noqa: E501 - rows of a table

from __future__ import annotations

import datetime as dt
import decimal
import enum
import functools
import ipaddress
import os
import time
import uuid
from collections.abc import Callable
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy import literal, select, text
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.ext.asyncio import AsyncConnection

from . import look
from . import reasons as why
from .case import CASES, Run, add, case, group
from .side import Side

D = decimal.Decimal
UTC = dt.timezone.utc
TOKYO = dt.timezone(dt.timedelta(hours=9))
MINUTES = dt.timezone(dt.timedelta(hours=-3, minutes=-30))
DAY = dt.date(2024, 2, 29)
NAIVE = dt.datetime(2024, 2, 29, 12, 30, 15, 123456)
AWARE = NAIVE.replace(tzinfo=UTC)
ID = uuid.UUID("12345678-1234-5678-1234-567812345678")


class Mood(enum.Enum):
    sad = 1
    ok = 2


class Word(str):
    """A str of the program's own."""


class Level(enum.IntEnum):
    high = 3


class Colour(str, enum.Enum):
    red = "RED"


class Upper(sa.types.TypeDecorator[str]):
    """A type of the program's own."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value and value.upper()

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value and f"<{value}>"


MOOD = pg.ENUM("sad", "ok", 'it\'s, "fine"', name="mood", create_type=False)
MOODS = sa.Enum(Mood, name="mood", create_type=False)
TEXTS = [
    "",
    " ",
    "a",
    "é€\U0001f40d",
    "'\"\\",
    "line\nline\ttab",
    "%s %(x)s %%",
    "$1 :x",
]
DATES = [DAY, dt.date.min, dt.date.max, dt.date(1970, 1, 1), AWARE]
JSONS = [
    {"a": [1, 2.5, None, True, "é"]}, [], {}, "text", 5, 1.5, True, None, sa.JSON.NULL,
    sa.null(), {"k": "\U0001f40d"}, {"big": 12345678901234567890}, [[1], [2]],
]  # fmt: skip


class Differs:
    """A value that comes to something else in pgasync: why, and what its outcome
    holds."""

    def __init__(self, value: Any, why: str, ours: str = "", only: str = "") -> None:
        self.value = value
        self.why = why
        self.ours = ours
        self.only = only


def client(*values: Any) -> list[Differs]:
    return [Differs(value, why.CLIENT, "DataError, sqlstate None") for value in values]


def server(*values: Any) -> list[Differs]:
    return [Differs(value, why.CLASSES, "DataError, sqlstate 22") for value in values]


def taken(value: Any, ours: str) -> Differs:
    return Differs(value, why.LENIENT, ours)


def lost(value: Any) -> Differs:
    return Differs(value, why.LOSES, "DataError, sqlstate None")


def plain_uuid(value: Any) -> Differs:
    return Differs(value, why.UUIDS, " UUID UUID(" if value == ID else "UUID")


def of_the_database(*values: Any) -> list[Differs]:
    return [Differs(value, why.HSTORES, "('of the database', ") for value in values]


def on_2_0(*values: Any) -> list[Differs]:
    return [Differs(value, why.LENIENT, "(25, ", "2.0") for value in values]


# (name, type, values)
TYPES: list[tuple[str, Any, list[Any]]] = [
    ("String", sa.String(40), [*TEXTS, Word("w"), Colour.red, None, taken(5, "'5'"), *client(b"bytes", "a\0b")]),
    ("Text", sa.Text(), [*TEXTS, "x" * 100_000, *client(1.5)]),
    ("Unicode", sa.Unicode(), ["ü"]),
    ("UnicodeText", sa.UnicodeText(), ["ü"]),
    ("VARCHAR", sa.VARCHAR(3), ["abc", *server("abcdef")]),
    ("CHAR", sa.CHAR(5), ["ab", "abcde", *server("abcdefgh")]),
    ("CITEXT", pg.CITEXT(), ["Ab", Word("Ab")]),
    ("Upper", Upper(), ["ab", None]),
    ("Integer", sa.Integer(), [0, -1, 2**31 - 1, -(2**31), *client(2**31), True, Level.high, 5.0, lost(5.5), taken("5", "5"), D(5), None]),
    ("SmallInteger", sa.SmallInteger(), [0, 32767, *client(32768), -32768]),
    ("BigInteger", sa.BigInteger(), [2**63 - 1, -(2**63), *client(2**63, 10**30)]),
    ("Boolean", sa.Boolean(), [True, False, None, 1, 0, "t"]),
    ("Numeric", sa.Numeric(), [
        D("1.10"), D(0), D("-0.0001"), Differs(D("1e30"), why.EXPONENT, "1000000"), D("1e-20"),
        D("NaN"), D("Infinity"), D("-Infinity"), 5, 1.5, Differs(1.1, why.FLOATS, "'1.1'"),
        "2.5", D("9" * 60), float("nan"), float("inf"), True,
    ]),
    ("Numeric(10, 2)", sa.Numeric(10, 2), [D("1.005"), Differs(1.005, why.FLOATS, "1.01"), *server(D("123456789.123"))]),
    ("Numeric(asdecimal=False)", sa.Numeric(asdecimal=False), [D("1.10"), 1.5]),
    ("Float", sa.Float(), [0.1, 1, True, D("1.5"), float("nan"), float("inf"), -0.0, 5e-324, 1.7976931348623157e308, taken("1.5", "1.5")]),
    ("Float(asdecimal)", sa.Float(asdecimal=True), [0.1, 1 / 3]),
    ("REAL", sa.REAL(), [0.1, 3.4e38, *server(1e39), 16777217]),
    ("Double", sa.Double(), [0.1, 2**53 + 1]),
    ("Date", sa.Date(), [*DATES, taken("2024-02-29", "2024, 2, 29")]),
    ("DateTime", sa.DateTime(), [NAIVE, *client(AWARE, NAIVE.replace(tzinfo=TOKYO)), dt.datetime.min, dt.datetime.max, DAY, taken("2024-02-29 12:30", "12, 30")]),
    ("DateTime(timezone)", sa.DateTime(timezone=True), [
        NAIVE, AWARE, NAIVE.replace(tzinfo=TOKYO), NAIVE.replace(tzinfo=MINUTES), DAY,
        Differs(dt.datetime.min, why.INFINITY, "DataError"),
        Differs(dt.datetime.max, why.INFINITY, "999999, tzinfo="), taken("2024-02-29 12:30", "12, 30"),
    ]),
    ("TIMESTAMP(0)", pg.TIMESTAMP(precision=0), [NAIVE]),
    ("Time", sa.Time(), [dt.time(1, 2, 3, 4), dt.time.max, lost(dt.time(1, tzinfo=UTC)), taken("01:02", "1, 2")]),
    ("Time(timezone)", pg.TIME(timezone=True), [dt.time(1, 2, 3, 4, TOKYO), *client(dt.time(1))]),
    ("Interval", sa.Interval(), [dt.timedelta(1, 2, 3), dt.timedelta(-1), dt.timedelta(0), dt.timedelta(days=400), taken("1 day", "days=1"), *client(5)]),
    ("INTERVAL", pg.INTERVAL(), [dt.timedelta(hours=30), dt.timedelta.max]),
    ("Uuid", sa.Uuid(), [plain_uuid(ID), plain_uuid(str(ID)), None]),
    ("Uuid(as_uuid=False)", sa.Uuid(as_uuid=False), [str(ID), ID]),
    ("UUID", pg.UUID(), [plain_uuid(ID)]),
    ("LargeBinary", sa.LargeBinary(), [b"", b"\0\xff", bytearray(b"ab"), memoryview(b"ab"), b"x" * 100_000, taken("text", "b'text'"), None]),
    ("BYTEA", pg.BYTEA(), [b"\\x00"]),
    ("Enum", MOODS, [Mood.sad, "ok", None, *server("none")]),
    ("ENUM", MOOD, ["sad", 'it\'s, "fine"', *server("glad")]),
    ("Enum(native_enum=False)", sa.Enum(Mood, native_enum=False, length=10), [Mood.ok]),
    ("PickleType", sa.PickleType(), [{"a": (1, 2)}]),
    ("JSON", sa.JSON(), JSONS),
    ("JSON(none_as_null)", sa.JSON(none_as_null=True), [None, {"a": 1}]),
    ("pg.JSON", pg.JSON(), [{"a": 1}, None]),
    ("JSONB", pg.JSONB(), [*JSONS, *server({"nan": float("nan")}, {"n": "\0"})]),
    ("JSONB(none_as_null)", pg.JSONB(none_as_null=True), [None]),
    ("HSTORE", pg.HSTORE(), [*of_the_database({"a": "1", "b": None}, {}, {'q"': "\\"}, None), *client({"a": 1})]),
    ("INET", pg.INET(), [taken(ipaddress.ip_address("10.0.0.1"), "(25, '10.0.0.1')"), taken(ipaddress.ip_interface("10.0.0.1/8"), "(25, '10.0.0.1/8')"), "10.0.0.1", "10.0.0.1/8", "::1", *server("x")]),
    ("CIDR", pg.CIDR(), [taken(ipaddress.ip_network("10.0.0.0/8"), "(25, '10.0.0.0/8')"), "10.0.0.0/8", "::/0"]),
    ("MACADDR", pg.MACADDR(), ["08:00:2b:01:02:03"]),
    ("MACADDR8", pg.MACADDR8(), ["08:00:2b:01:02:03:04:05"]),
    ("MONEY", pg.MONEY(), ["$1.50", "12", taken(D("1.5"), "$1.50")]),
    ("BIT", pg.BIT(4), on_2_0("1010", "101")),
    ("BIT VARYING", pg.BIT(varying=True), on_2_0("1010", "")),
    ("OID", pg.OID(), [1, 2**32 - 1, *client(-1)]),
    ("REGCLASS", pg.REGCLASS(), ["pg_class", "nothing"]),
    ("REGCONFIG", pg.REGCONFIG(), ["english"]),
    ("TSVECTOR", pg.TSVECTOR(), ["a:1 b:2"]),
    ("TSQUERY", pg.TSQUERY(), ["a & b"]),
    ("INT4RANGE", pg.INT4RANGE(), [Range(1, 5), Range(1, 5, bounds="[]"), Range(empty=True), Range(None, 5), Range(), taken("[1,5)", "upper=5"), None, *server(Range(5, 1)), taken(range(1, 5), "upper=5")]),
    ("INT8RANGE", pg.INT8RANGE(), [Range(2**40, 2**41)]),
    ("NUMRANGE", pg.NUMRANGE(), [Range(D("1.5"), D("2.5"), bounds="(]"), Range(1, 2), Range(1.5, 2.5)]),
    ("DATERANGE", pg.DATERANGE(), [Range(DAY, dt.date(2025, 1, 1)), Range(DAY, None)]),
    ("TSRANGE", pg.TSRANGE(), [Range(NAIVE, NAIVE.replace(year=2028))]),
    ("TSTZRANGE", pg.TSTZRANGE(), [Range(AWARE, None, bounds="()")]),
    ("INT4MULTIRANGE", pg.INT4MULTIRANGE(), [[Range(1, 3), Range(5, 7)], [], pg.ranges.MultiRange([Range(1, 3)]), taken("{[1,3)}", "upper=3"), [Range(1, 3), Range(2, 7)]]),
    ("DATEMULTIRANGE", pg.DATEMULTIRANGE(), [[Range(DAY, dt.date(2025, 1, 1))]]),
    ("ARRAY(Integer)", pg.ARRAY(sa.Integer), [[1, 2], [], [None], [[1, 2], [3, 4]], (1, 2), None, {1}, taken("{1,2}", "[1, 2]"), *client([[1], [2, 3]]), taken(["1"], "[1]"), range(3)]),
    ("ARRAY(Text)", sa.ARRAY(sa.Text), [["a", "", "NULL", None, 'q"\\,{}'], ["é"], taken([1], "['1']"), "ab"]),
    ("ARRAY(Integer, as_tuple)", pg.ARRAY(sa.Integer, as_tuple=True), [[1, 2], [[1]]]),
    ("ARRAY(Numeric)", pg.ARRAY(sa.Numeric), [[D("1.5"), None], [1, 2.5]]),
    ("ARRAY(Enum)", pg.ARRAY(MOODS), [[Mood.sad, None, Mood.ok], []]),
    ("ARRAY(ENUM)", pg.ARRAY(MOOD), [['it\'s, "fine"', "ok"]]),
    ("ARRAY(JSONB)", pg.ARRAY(pg.JSONB), [Differs([{"a": 1}, [1], "s", None], why.ARRAYS, "Array([{'a': 1}, [1], 's', None]")]),
    ("ARRAY(JSON)", pg.ARRAY(pg.JSON), [[{"a": [1]}]]),
    ("ARRAY(Uuid)", pg.ARRAY(sa.Uuid), [Differs([ID, None], why.UUIDS, "[UUID UUID(")]),
    ("ARRAY(DateTime(timezone))", pg.ARRAY(sa.DateTime(timezone=True)), [[AWARE, None], [NAIVE]]),
    ("ARRAY(Date, dimensions=2)", pg.ARRAY(sa.Date, dimensions=2), [[[DAY], [DAY]]]),
    ("ARRAY(LargeBinary)", pg.ARRAY(sa.LargeBinary), [[b"\0", None]]),
    ("ARRAY(INT4RANGE)", pg.ARRAY(pg.INT4RANGE), [[Range(1, 2), None]]),
    ("ARRAY(INET)", pg.ARRAY(pg.INET), [["10.0.0.1"], [ipaddress.ip_address("::1")]]),
    ("ARRAY(HSTORE)", pg.ARRAY(pg.HSTORE), [[{"a": "b"}]]),
    ("ARRAY(CITEXT)", pg.ARRAY(pg.CITEXT), [["A"]]),
    ("ARRAY(Interval)", pg.ARRAY(sa.Interval), [[dt.timedelta(1)]]),
    ("ARRAY(Boolean)", pg.ARRAY(sa.Boolean), [[True, None]]),
]  # fmt: skip


def each(reason: str, ours: str, *expressions: str) -> list[Differs]:
    return [Differs(one, reason, ours) for one in expressions]


# What text() selects: without a type of SQLAlchemy the driver's values are the user's.
SELECTED: list[Any] = [
    "null", "true", "1::int2", "1", "1::int8", "1.5", "'NaN'::numeric", "1.5::float8",
    "0.1::float4", "'a'", "'a'::varchar", "'ab'::char(4)", "'a'::name",
    *each(why.CHARS, "Row('a')", "'a'::\"char\""), "'\\x00ff'::bytea", "date '2024-02-29'",
    *each(why.INFINITY, "DataError", "date 'infinity'", "date '0044-03-15 BC'", "timestamp '-infinity'",
          "timestamptz 'infinity'", "time '24:00'"),
    "timestamp '2024-02-29 12:00'", "timestamptz '2024-02-29 12:00+09'", "time '12:00'",
    "timetz '12:00+09'", "timetz '12:00-03:30'", "interval '1 day 02:03:04.5'",
    *each(why.INTERVALS, "Interval(", "interval '1 month'", "interval '-1 year 2 days'", "interval '30 hours'"),
    *each(why.UUIDS, "Row(UUID UUID", "'12345678-1234-5678-1234-567812345678'::uuid"),
    "'{\"a\": 1.5}'::json", "'{\"a\": [null]}'::jsonb", "'null'::jsonb",
    *each(why.HSTORES, "{'a': '1'}", "'a=>1'::hstore"), "'A'::citext", "'sad'::mood",
    "array['sad','ok']::mood[]",
    *each(why.RECORDS, "Row(n=1, t='a')", "row(1, 'a')::pair", "array[row(1, 'a')::pair]"),
    "row(1, 'a', null)", "row(1, array[1,2])", "5::small", "array[5::small]",
    "array[1, null]", "array[[1, 2], [3, 4]]", "'{}'::text[]", "array['a,b', '\"']", "array[1.5]",
    *each(why.ARRAYS, "Array([", "'[0:1]={7,8}'::int[]", "'1 2'::int2vector", "'1 2'::oidvector"),
    *each(why.RANGES, "sqlalchemy.Range Range(", "'[1,5)'::int4range", "'empty'::int4range",
          "'(,]'::int4range", "'[1.5,2)'::numrange", "array['[1,2)'::int4range]"),
    *each(why.RANGES, "sqlalchemy.MultiRange [", "'{[1,2),[4,5)}'::int4multirange"),
    "'10.0.0.1'::inet", "'10.0.0.1/8'::inet", "'10.0.0.0/8'::cidr",
    "'08:00:2b:01:02:03'::macaddr", "'1.50'::money",
    *each(why.BITS, "'101'", "b'101'", "b'101'::varbit"), "1::oid", "'pg_class'::regclass", "'int4'::regtype",
    *each(why.GEOMETRY, "pgasync.", "'(1,2)'::point", "'((1,2),(3,4))'::box", "'<(1,2),3>'::circle",
          "'[(1,2),(3,4)]'::lseg", "'{1,2,3}'::line", "'[(1,2)]'::path", "'((1,2),(3,4))'::polygon"),
    "'a:1'::tsvector", "'a & b'::tsquery", *each(why.CLASSES, "NotSupportedError", "'<a/>'::xml"), "'$.a'::jsonpath",
    *each(why.NUMBERS, "Lsn(97500059720)", "'16/B374D848'::pg_lsn"), "'5'::xid", "'5'::xid8",
    "'(0,1)'::tid", *each(why.SNAPSHOTS, "Snapshot(", "'10:20:10,14'::txid_snapshot"), "'a'::unknown",
    "null::int[]", "pg_typeof(1)", "void_of()", "generate_series(1, 2)",
]  # fmt: skip


def there_and_back(kind: Any, value: Any) -> Any:
    """As a parameter of the type that comes back, and through a column of the type."""
    number = len(CASES)

    async def bare(conn: AsyncConnection) -> Any:
        result = await conn.execute(select(literal(value, kind).label("x")))
        return look.codes(result.cursor.description)[0][1], result.scalar_one()

    async def stored(conn: AsyncConnection) -> Any:
        table = sa.Table(f"stored_{number}", sa.MetaData(), sa.Column("x", kind))
        column = sa.schema.CreateColumn(table.c.x).compile(dialect=conn.dialect)
        await conn.exec_driver_sql(f"create temp table {table.name} ({column})")
        await conn.execute(table.insert().values(x=value))
        result = await conn.execute(select(table, table.c.x.is_(sa.null())))
        return look.codes(result.cursor.description)[0][1], result.one()

    async def run(side: Side) -> Any:
        return await side.attempt(bare), await side.attempt(stored)

    return run


def selected(expression: str) -> Any:
    async def run(side: Side) -> Any:
        async with side.connect() as conn:
            result = await conn.execute(
                text(f"select {expression}".replace(":", "\\:"))
            )
            return look.codes(result.cursor.description), result.all()

    return run


def brief(value: Any) -> str:
    shown = look.show(value)
    return shown if len(shown) <= 60 else f"{shown[:50]}… ({len(shown)} characters)"


def declare(one: Any, name: Callable[[Any], str], run: Callable[[Any], Any]) -> None:
    made = one if isinstance(one, Differs) else Differs(one, "")
    add(name(made.value), run(made.value), made.why, made.ours, made.only)


for kind_name, kind, given in TYPES:
    with group(kind_name):
        for one in given:
            declare(one, brief, functools.partial(there_and_back, kind))

with group("select"):
    for one in SELECTED:
        declare(one, str, selected)


@case()
async def infinity_of_dates_clamped(side: Side) -> Any:
    """With the option that the reason about infinity names."""
    arguments = {"out_of_range": "clamp"} if side.is_ours else {}
    async with side.engine(connect_args=arguments).connect() as conn:
        sql = "select date 'infinity', date '-infinity', timestamp 'infinity'"
        return (await conn.execute(text(sql))).one()


@case()
async def naive_datetimes_of_another_zone(side: Side) -> Any:
    """They are local time in both."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Kolkata"
    time.tzset()
    try:
        async with side.connect() as conn:
            kind = sa.DateTime(timezone=True)
            winter, summer = NAIVE, NAIVE.replace(month=7)
            return (
                await conn.execute(
                    select(
                        literal(winter, kind), literal(summer, kind), literal(DAY, kind)
                    )
                )
            ).one()
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


# Objects of asyncpg's classes, that programs for it have made
OBJECTS: list[tuple[str, Any]] = [
    ("int4range", asyncpg.Range(1, 5)),
    ("int4range", asyncpg.Range(empty=True)),
    ("int4multirange", [asyncpg.Range(1, 2), asyncpg.Range(4, None)]),
    ("bit(6)", asyncpg.BitString("101011")),
    ("varbit", asyncpg.BitString.from_int(5, 9)),
    ("point", asyncpg.Point(1, 2)),
    ("box", asyncpg.Box((3, 4), (1, 2))),
    ("polygon", asyncpg.Polygon((1, 2), (3, 4))),
    ("path", asyncpg.Path((1, 2), (3, 4), is_closed=True)),
    ("path", asyncpg.Path((1, 2), (3, 4))),
    ("circle", asyncpg.Circle((1, 2), 3)),
    ("line", asyncpg.Line(1, 2, 3)),
    ("lseg", asyncpg.LineSegment((1, 2), (3, 4))),
]


def sent(kind: str, value: Any) -> Run:
    """As text, when the server has it."""

    async def run(side: Side) -> Any:
        async with side.connect() as conn:
            sql = text(f"select cast(cast(:value as {kind}) as text)")
            return await conn.scalar(sql, {"value": value})

    return run


for number, (kind_name, one) in enumerate(OBJECTS):
    add(f"asyncpg's {kind_name} ({number})", sent(kind_name, one))


@case()
async def asyncpgs_bits_in_a_column(side: Side) -> Any:
    async with side.connect() as conn:
        table = sa.Table("bits", sa.MetaData(), sa.Column("b", pg.BIT(6)))
        await conn.exec_driver_sql("create temp table bits (b bit(6))")
        await conn.execute(table.insert(), {"b": asyncpg.BitString("101011")})
        return await conn.scalar(text("select cast(b as text) from bits"))
