"""Composite types and anonymous records, by Codec objects and as a server has them."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import gc
import json
import random
import struct
import sys
import types
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from codec.checks import OIDS, assert_refused, encode
from pgasync import _core
from pgasync.errors import DataError
from pgasync.rows import Row
from pgasync.types import Array, Range

INT4, TEXT, BOOL = OIDS["int4"], OIDS["text"], OIDS["bool"]
PAIR = 90_001
MEMBERS = (("n", INT4), ("t", TEXT))


def composite(members: Any = MEMBERS, arg: Any = None, oid: int = PAIR) -> Any:
    return _core.Codec("composite", oid, "pair", None, members, arg)


def record(*fields: tuple[int, bytes | None]) -> bytes:
    """The bytes of record_send."""
    data = struct.pack("!i", len(fields))
    for oid, value in fields:
        data += struct.pack("!Ii", oid, -1 if value is None else len(value))
        data += value or b""
    return data


ONE = record((INT4, b"\0\0\0\1"), (TEXT, b"a"))


# Reading


def test_tuple() -> None:
    value = _core.codec_decode(composite(), ONE)
    assert value == (1, "a")
    assert type(value) is tuple
    assert gc.is_tracked(value) or not gc.is_tracked((1, "a"))


def test_null() -> None:
    data = record((INT4, None), (TEXT, b""))
    assert _core.codec_decode(composite(), data) == (None, "")


def test_no_members() -> None:
    codec = composite(())
    assert _core.codec_decode(codec, record()) == ()
    assert _core.codec_encode(codec, ()) == (1, record())
    assert _core.codec_encode(codec, []) == (1, record())
    assert _core.codec_encode(codec, {}) == (1, record())
    with pytest.raises(DataError, match="give a tuple"):
        _core.codec_encode(codec, 5)


class Pair(NamedTuple):
    n: int
    t: str


class Wide(tuple[Any, ...]):
    """Its instances have a dict: more than a tuple's layout."""

    def __new__(cls, *values: Any) -> Wide:
        return super().__new__(cls, values)


@dataclasses.dataclass
class Data:
    n: int | None
    t: str


def test_classes() -> None:
    row = _core.codec_decode(composite(arg=_core.row_type(("n", "t"))), ONE)
    assert isinstance(row, Row)
    assert (row.n, row["t"], row) == (1, "a", (1, "a"))
    named = _core.codec_decode(composite(arg=Pair), ONE)
    assert named == Pair(1, "a") and type(named) is Pair
    wide = _core.codec_decode(composite(arg=Wide), ONE)
    assert wide == (1, "a") and type(wide) is Wide
    assert _core.codec_decode(composite(arg=Data), ONE) == Data(1, "a")
    assert _core.codec_decode(composite(arg=(Data, None)), ONE) == Data(1, "a")
    swapped = composite(arg=(Data, ("t", "n")))
    assert _core.codec_decode(swapped, ONE) == Data("a", 1)  # type: ignore[arg-type]
    assert _core.codec_decode(composite(arg=(dict, ("n", "t"))), ONE) == {
        "n": 1,
        "t": "a",
    }
    assert _core.codec_decode(composite((), arg=dict), record()) == {}
    assert _core.codec_decode(composite((), arg=Wide), record()) == ()


@pytest.mark.parametrize("arg", [len, (Data, ("n",)), (Data, ("n", "u")), (Data, 5)])
def test_classes_that_refuse(arg: Any) -> None:
    with pytest.raises(DataError, match="cannot decode pair: the registered class"):
        _core.codec_decode(composite(arg=arg), ONE)


def test_interrupts_pass() -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _core.codec_decode(composite(arg=interrupted), ONE)


def test_a_class_that_looks_at_every_object() -> None:
    """A tuple that is being filled must not be found by the collector."""

    def look(value: object) -> object:
        for found in gc.get_objects():
            if type(found) is tuple:
                repr(found[-1:]) if len(found) < 3 else None
        return value

    inner = _core.Codec("text", 90_002, "inner", None, None, (None, look))
    outer = _core.Codec("composite", PAIR, "o", None, [("a", INT4), ("b", inner)])
    assert _core.codec_decode(outer, b"(1,x)") == (1, "x")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff" + ONE[4:],
        ONE[:-1],
        ONE + b"\0",
        ONE[:8] + b"\xff\xff\xff\xfe" + ONE[12:],
        ONE[:8] + b"\x7f\xff\xff\xff" + ONE[12:],
        record((INT4, b"\0\1"), (TEXT, b"a")),
        record((INT4, b"\0\0\0\1"), (TEXT, b"\xff")),
    ],
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(DataError, match=r"cannot decode (pair|int4|text): "):
        _core.codec_decode(composite(), data)


@pytest.mark.parametrize(
    "data",
    [
        record((INT4, b"\0\0\0\1")),
        record((INT4, b"\0\0\0\1"), (TEXT, b"a"), (TEXT, None)),
        record((TEXT, b"\0\0\0\1"), (TEXT, b"a")),
        record(),
    ],
)
def test_another_type_by_now(data: bytes) -> None:
    with pytest.raises(DataError, match=rf"cannot decode pair: .*OID {PAIR}"):
        _core.codec_decode(composite(), data)


def test_depth() -> None:
    data = b"\0\0\0\1"
    for level in range(40):
        data = record((OIDS["record"] if level else INT4, data))
    with pytest.raises(DataError, match="nested too deeply"):
        _core.codec_decode(OIDS["record"], data)


def bad_bytes() -> Iterator[bytes]:
    dice = random.Random(7)
    range_bytes = encode("int4range", Range(1, 2))[1]
    inner = record((OIDS["int4[]"], encode("int4[]", [1, None])[1]))
    good = record((INT4, b"\0\0\0\1"), (OIDS["record"], inner), (3904, range_bytes))
    for i in range(len(good)):
        yield good[:i]
        for byte in (0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)):
            yield good[:i] + bytes([byte]) + good[i + 1 :]


def test_any_bytes_give_a_record_or_data_error() -> None:
    refused = 0
    for data in bad_bytes():
        try:
            _core.codec_decode(OIDS["record"], data)
        except DataError:
            refused += 1
    assert refused > 100


# Sending


class Slots:
    __slots__ = ("n", "t")


def objects() -> list[Any]:
    slots = Slots()
    slots.n, slots.t = 1, "a"
    return [
        (1, "a"),
        [1, "a"],
        Pair(1, "a"),
        Data(1, "a"),
        slots,
        _core.row_type(("x", "y"))((1, "a")),
        {"t": "a", "n": 1},
        collections.OrderedDict(t="a", n=1),
        collections.UserDict(t="a", n=1),
        types.MappingProxyType({"n": 1, "t": "a"}),
        types.SimpleNamespace(n=1, t="a", more=2),
    ]


@pytest.mark.parametrize("value", objects(), ids=lambda value: type(value).__name__)
def test_what_is_taken(value: Any) -> None:
    assert _core.codec_encode(composite(), value) == (1, ONE)


def test_text() -> None:
    assert _core.codec_encode(composite(), "(1,a)") == (0, b"(1,a)")
    assert _core.codec_encode(composite(), ("1", "a")) == (0, b'("1","a")')
    assert _core.codec_encode(composite(), (None, 'a"\\')) == (
        1,
        record((INT4, None), (TEXT, b'a"\\')),
    )
    assert _core.codec_encode(composite(), ("5", 'a"\\')) == (0, b'("5","a\\"\\\\")')
    assert _core.codec_encode(composite(), ("5", None)) == (0, b'("5",)')


class Half:
    n = 1

    @property
    def t(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5, "give a tuple, a mapping or an object of its members: n, t"),
        (object(), "give a tuple"),
        (b"(1,a)", "give a tuple"),
        ({1, "a"}, "give a tuple"),
        (Pair, "give a tuple"),
        ((1,), "it has 1 members, the type has 2"),
        ((1, "a", 2), "it has 3 members, the type has 2"),
        ([], "it has 0 members, the type has 2"),
        ({"n": 1}, "it has no key 't'"),
        ({"n": 1, "t": "a", "u": 2}, "the type has no member 'u'"),
        ({"n": 1, "t": "a", 5: 2}, "the type has no member 5"),
        (types.SimpleNamespace(n=1), "it has no attribute 't'"),
        (Half(), "give a tuple of its members"),
    ],
)
def test_refused(value: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        _core.codec_encode(composite(), value)
    message = str(caught.value)
    assert message.startswith("$1: cannot send "), message
    assert " as pair: " in message
    assert words in message


def test_an_attribute_that_interrupts() -> None:
    class Odd:
        @property
        def n(self) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _core.codec_encode(composite(), Odd())


def test_a_members_own_error() -> None:
    with pytest.raises(DataError, match=r"^\$1: cannot send b'x' \(bytes\) as int4"):
        _core.codec_encode(composite(), (b"x", "a"))
    with pytest.raises(DataError, match=r"^\$1: cannot send b'x' \(bytes\) as int4"):
        _core.codec_encode(composite((("t", INT4), ("n", INT4))), ("5", b"x"))


def test_a_value_that_changes_while_it_is_sent() -> None:
    class Clear:
        def __init__(self, target: list[Any]) -> None:
            self.target = target

        def __index__(self) -> int:
            self.target.clear()
            return 1

    value: list[Any] = []
    value += [Clear(value), "a"]
    assert _core.codec_encode(composite(), value) == (1, ONE)


def test_records_are_not_sent() -> None:
    for value in ((1,), "(1)", None, 5):
        assert_refused("record", value, "give the parameter a composite type")


def test_arrays_of_composites() -> None:
    array = _core.Codec("array", PAIR + 1, "pair[]", composite())
    value = [(1, "a"), None, (2, None)]
    form, data = _core.codec_encode(array, value)
    assert form == 1
    assert _core.codec_decode(array, data) == value
    nested = [[(1, "a")], [(2, "b")]]
    assert _core.codec_decode(array, _core.codec_encode(array, nested)[1]) == nested
    assert _core.codec_encode(array, [("1", "a"), {"n": 2, "t": None}]) == (
        0,
        b'{"(\\"1\\",\\"a\\")","(\\"2\\",)"}',
    )
    with pytest.raises(DataError, match="give a tuple"):
        _core.codec_encode(array, [[1, "a"]])


def test_a_domain_of_a_composite() -> None:
    domain = _core.Codec("domain", PAIR + 1, "special", composite(arg=Pair))
    form, data = _core.codec_encode(domain, (1, "a"))
    assert _core.codec_decode(domain, data) == Pair(1, "a")
    assert form == 1
    del domain
    gc.collect()
    assert Pair(1, "a") == (1, "a")


def test_nothing_is_leaked() -> None:
    codecs = [composite(), composite(arg=Pair), composite(arg=(Data, ("n", "t")))]

    def exercise() -> None:
        for codec in codecs:
            for value in [*objects(), ("1", "a"), (1,), 5, {"n": 1}, Half()]:
                with contextlib.suppress(DataError):
                    _core.codec_encode(codec, value)
            for data in (ONE, ONE[:-1], record(), record((TEXT, b""), (TEXT, b""))):
                with contextlib.suppress(DataError):
                    _core.codec_decode(codec, data)

    def growth() -> int:
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(40):
            exercise()
        gc.collect()
        return sys.getallocatedblocks() - before

    assert any(growth() < 20 for _ in range(20))


# With a server

SCHEMA = """
create schema records;
create type records.pair as (n int4, t text);
create type records.nothing as ();
create domain records.special as records.pair check ((value).n is distinct from 5);
create type records.deep as (p records.pair, ps records.pair[], s records.special,
  r int4range, m int4multirange, xs int4[], j jsonb, "odd name" numeric);
create type records.textual as (a aclitem, n int4, t text, at aclitem[],
  p records.pair, b bool, d date, f float8, by bytea, xs int4[], r daterange,
  m int4multirange, v numeric, j jsonb, u uuid, tz timestamptz, ts timestamp, ti time,
  i interval);
create type records.changing as (a int4);
create table records.items (id int4 primary key, p records.pair, extra text);
"""


@pytest.fixture
async def records(conn: Any) -> Any:
    """A connection in a transaction that has types of its own."""
    tx = conn.transaction()
    await tx.__aenter__()
    for statement in SCHEMA.strip().split(";"):
        if statement.strip():
            await conn.execute(statement)
    await conn.execute("set local search_path to records, public")
    yield conn
    await tx.__aexit__(RuntimeError, RuntimeError(), None)


PAIRS = "array[(1,'a'),null,(null,'')]::pair[]"


async def test_as_a_server_has_them(records: Any) -> None:
    value = await records.fetchval("select (1, 'a b')::pair")
    assert value == (1, "a b")
    assert (value.n, value.t) == (1, "a b")
    assert await records.fetchval("select $1::pair::text", [value]) == '(1,"a b")'
    assert (
        await records.fetchval("select $1::pair::text", [("1", "x,y")]) == '(1,"x,y")'
    )
    assert await records.fetchval("select row()::nothing") == ()
    assert await records.fetchval("select $1::nothing::text", [()]) == "()"
    pairs = await records.fetchval(f"select {PAIRS}")
    assert pairs == [(1, "a"), None, (None, "")]
    sql = f"select $1::pair[]::text, {PAIRS}::text"
    assert len(set(await records.fetchrow(sql, [pairs]))) == 1
    assert await records.fetchval("select (1,'x')::special") == (1, "x")
    special = await records.fetchval("select $1::special::text", [{"n": 7, "t": None}])
    assert special == "(7,)"


async def test_whole_rows(records: Any) -> None:
    await records.execute("insert into items values (1, (2,'b'), 'c'), (3, null, null)")
    rows = await records.fetch("select items from items order by id")
    assert [row[0] for row in rows] == [(1, (2, "b"), "c"), (3, None, None)]
    assert rows[0][0].p.t == "b"
    sql = "select id from items where items = $1::items"
    assert await records.fetchval(sql, [rows[0][0]]) == 1


async def test_deep(records: Any) -> None:
    sql = (
        "select row((1,'a'), array[(2,'b')::pair, null], (3,'c'), '[1,5)',"
        " '{[1,2),[3,4)}', '[0:1]={1,2}', '{\"a\": [1]}', 1.50)::deep"
    )
    value = await records.fetchval(sql)
    assert value.p.n == 1
    assert value.ps == [(2, "b"), None]
    assert value.xs == [1, 2] and value.xs.lower_bounds == (0,)
    assert value[-1] == Decimal("1.50")
    assert value["odd name"] == Decimal("1.50")
    back = await records.fetchrow(f"select $1::deep::text, ({sql})::text", [value])
    assert back[0] == back[1]
    mapping = {**dict(zip(value._fields, value, strict=True)), "r": "[1,5)"}
    back = await records.fetchrow(f"select $1::deep::text, ({sql})::text", [mapping])
    assert back[0] == back[1]


TEXTUAL = r"""
select row('postgres=r/postgres', -5, 'a "b" \c',
  array['postgres=w/postgres']::aclitem[], row(null, '(x,"y")'), true, '2024-02-29',
  'NaN', '\x00ff', '{1,NULL}', '[2024-01-01,)', '{[1,3)}', 1.10, '{"a": "b"}',
  'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2024-02-29 12:00:00.5+00',
  '2024-02-29 12:00:00.000001', '01:02:03', '1 day 02:03:04')::textual
"""


NULLS = ",".join(["null"] * 19)


async def test_a_member_without_a_binary_form(records: Any) -> None:
    value = await records.fetchval(TEXTUAL)
    assert value[:2] == ("postgres=r/postgres", -5)
    assert value.t == 'a "b" \\c'
    assert value.at == ["postgres=w/postgres"]
    assert value.p == (None, '(x,"y")')
    assert (value.b, value.d, value.by) == (True, dt.date(2024, 2, 29), b"\0\xff")
    assert value.f != value.f
    assert (value.xs, value.r) == ([1, None], Range(dt.date(2024, 1, 1)))
    assert (value.m, value.v) == ((Range(1, 3),), Decimal("1.10"))
    assert value.j == {"a": "b"}
    assert value.u == uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
    noon = dt.datetime(2024, 2, 29, 12)
    assert value.tz == noon.replace(microsecond=500_000, tzinfo=dt.timezone.utc)
    assert (value.ts, value.ti) == (noon.replace(microsecond=1), dt.time(1, 2, 3))
    assert value.i == dt.timedelta(1, 7384)
    back = await records.fetchrow(
        f"select $1::textual::text, ({TEXTUAL})::text", [value]
    )
    assert back[0] == back[1]
    several = await records.fetchval(f"select array[({TEXTUAL}), null]")
    assert several[1] is None
    assert several[0][2:7] == value[2:7]
    back = await records.fetchrow(
        f"select $1::textual[]::text, array[({TEXTUAL}), null]::text", [several]
    )
    assert back[0] == back[1]
    nothing = await records.fetchval(f"select row({NULLS})::textual")
    assert nothing == (None,) * 19
    assert await records.fetchval("select $1::textual is null", [nothing]) is True


async def test_a_type_that_changes(records: Any) -> None:
    assert await records.fetchval("select row(1)::changing") == (1,)
    await records.execute("alter type changing add attribute b text")
    assert await records.fetchval("select row(1, 'x')::changing") == (1, "x")


ANONYMOUS: list[tuple[str, Any]] = [
    ("row()", ()),
    ("row(null)", (None,)),
    ("row(1, 'a')", (1, "a")),
    ("(1, 'a'::text, null, 2.50)", (1, "a", None, Decimal("2.50"))),
    ("row(row(1), row('x'::text))", ((1,), ("x",))),
    ("row(array[1,null], '[0:0]={1}'::int4[])", ([1, None], [1])),
    ("row('{\"a\": 1}'::jsonb, '[1,2)'::int4range)", ({"a": 1}, Range(1, 2))),
    ("array[row(1,'a'::text), row(2,null)]", [(1, "a"), (2, None)]),
    ("array[row(array[row(1)])]", [([(1,)],)]),
]


@pytest.mark.parametrize(("sql", "value"), ANONYMOUS, ids=lambda value: str(value)[:40])
async def test_anonymous(conn: Any, sql: str, value: Any) -> None:
    got = await conn.fetchval(f"select {sql}")
    assert got == value
    assert type(got) is type(value)


async def test_anonymous_records_of_types_that_are_looked_up(records: Any) -> None:
    sql = "select row((1,'a')::pair, array[(2,'b')]::pair[], (3,'c')::special)"
    assert await records.fetchval(sql) == ((1, "a"), [(2, "b")], (3, "c"))


async def test_anonymous_record_with_a_type_that_has_no_binary_form(conn: Any) -> None:
    with pytest.raises(Exception, match="no binary output function"):
        await conn.fetchval("select row('postgres=r/postgres'::aclitem)")
    assert await conn.fetchval("select 1") == 1


async def test_anonymous_record_with_a_type_of_text_codecs(records: Any) -> None:
    await records.set_type_codec(
        "pair", schema="records", encoder=str, decoder=str, format="text"
    )
    with pytest.raises(DataError, match="select it by itself, or cast it to text"):
        await records.fetchval("select row((1,'a')::pair)")
    assert await records.fetchval("select 1") == 1


async def test_what_row_to_json_says(records: Any) -> None:
    value = await records.fetchval("select row_to_json((1,'a')::pair)")
    assert value == json.loads('{"n": 1, "t": "a"}')


async def test_bounds_in_a_record(conn: Any) -> None:
    (array,) = await conn.fetchval("select row('[0:0]={1}'::int4[])")
    assert array.lower_bounds == (0,) and type(array) is Array
    assert BOOL == 16


# What is not taken back: types without an input function, and a regproc whose name
# several functions have.
ONE_WAY = {"pg_statistic", "pg_stats", "pg_rewrite", "pg_aggregate"}


async def test_rows_of_every_catalog(conn: Any) -> None:
    """Composites of all kinds of members, most of them in text form."""
    tables = await conn.fetch(
        "select relname::text from pg_class where relkind in ('r', 'v')"
        " and relnamespace = 'pg_catalog'::regnamespace"
        " and relname not like 'pg_shmem%' order by 1"
    )
    assert len(tables) > 100
    rows = 0
    for (table,) in tables:
        some = f"(select t from {table} t limit 4) s"
        sql = f"select array_agg(s.t), array_agg(s.t)::text from {some}"
        values, text = await conn.fetchrow(sql)
        if values is None or table in ONE_WAY:
            continue
        rows += len(values)
        assert all(isinstance(value, Row) for value in values)
        assert await conn.fetchval(f"select $1::{table}[]::text", [values]) == text
    assert rows > 200
