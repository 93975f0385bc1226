"""conn.copy() of COPY … TO STDOUT: its data as bytes, and as rows."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import struct
import time
import uuid
from typing import Any

import pytest

import pgasync
from codec.checks import with_extension
from pgasync.errors import (
    DataError,
    InterfaceError,
    NotSupportedError,
    ProtocolViolation,
    QueryTimeout,
)

ENDLESS = "select repeat('x', 1000), generate_series(1, 1000000000)"
# A row that the server sends, as it is long, and one that takes its time.
SLOW = """select case n when 1 then repeat('x', 20000) else pg_sleep(0.3)::text end
from generate_series(1, 2) n"""
STUCK = SLOW.replace("0.3", "60")
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)


async def rows_of(conn: pgasync.Connection, source: str, **more: Any) -> list[Any]:
    async with conn.copy(f"copy {source} to stdout (format binary)") as copy:
        return [row async for row in copy.rows(**more)]


async def same(conn: pgasync.Connection, query: str) -> list[Any]:
    """The rows of a query, which are those of its COPY, down to their types."""
    wanted = await conn.fetch(query)
    got = await rows_of(conn, f"({query})")
    assert got == wanted
    assert [type(row) for row in got] == [type(row) for row in wanted]
    for one, other in zip(got, wanted, strict=True):
        assert [*map(type, one)] == [*map(type, other)]
    return got


# -------------------------------------------------------------------------- bytes


async def test_bytes(conn: pgasync.Connection) -> None:
    wanted = b"".join(b"%d\n" % n for n in range(1, 50001))
    sql = "copy (select generate_series(1, 50000)) to stdout"
    async with conn.copy(sql) as copy:
        pieces = [data async for data in copy]
        assert await copy.read() == b""
    assert b"".join(pieces) == wanted
    assert {type(piece) for piece in pieces} == {bytes}
    assert copy.statusmessage == "COPY 50000"
    assert copy.rowcount == 50000
    async with conn.copy(sql) as copy:
        parts = []
        while data := await copy.read():
            parts.append(data)
    assert b"".join(parts) == wanted


async def test_big_values(conn: pgasync.Connection) -> None:
    """Longer than a piece, and than what is kept at most."""
    query = "select repeat('x', n * 300000) from generate_series(0, 5) n"
    got = await rows_of(conn, f"({query})")
    assert [len(row[0]) for row in got] == [n * 300000 for n in range(6)]


async def test_progress_and_timeout(conn: pgasync.Connection) -> None:
    seen: list[Any] = []
    sql = "copy (select repeat('x', 999) from generate_series(1, 3000)) to stdout"
    async with conn.copy(sql, progress=lambda *both: seen.append(both)) as copy:
        async for _ in copy:
            pass
    assert seen[-1] == (3000 * 1000, 3000)
    with pytest.raises(QueryTimeout):
        async with conn.copy(f"copy ({ENDLESS}) to stdout", timeout=0.2) as copy:
            async for _ in copy:
                await asyncio.sleep(0.01)
    assert await conn.fetchval("select 1") == 1


async def test_misuse(conn: pgasync.Connection) -> None:
    copy = conn.copy("copy (select 1) to stdout")
    for use in (copy.read, copy.rows):
        with pytest.raises(InterfaceError, match="inside of its block"):
            await use()  # type: ignore[misc]
    async with copy:
        with pytest.raises(InterfaceError, match="read, not written"):
            await copy.write(b"1")
        with pytest.raises(NotSupportedError, match="FORMAT binary"):
            copy.rows()
        assert await copy.read() == b"1\n"
    async with conn.copy(f"copy ({ENDLESS}) to stdout"):
        with pytest.raises(InterfaceError, match="a COPY is open"):
            await conn.fetchval("select 1")
    with pytest.raises(InterfaceError, match="inside of its block"):
        await copy.read()
    async with conn.copy("copy (select 1) to stdout (format binary)") as copy:
        await copy.read()
        with pytest.raises(InterfaceError, match="read already"):
            copy.rows()
    with pytest.raises(pgasync.errors.UndefinedTable):
        async with conn.copy("copy there_is_none to stdout (format binary)"):
            pass
    await conn.execute("create temp table into_it (a int)")
    async with conn.copy("copy into_it from stdin") as copy:
        with pytest.raises(InterfaceError, match="written, not read"):
            await copy.read()
    assert await conn.fetchval("select 1") == 1


async def test_one_reader(conn: pgasync.Connection) -> None:
    async with conn.copy(f"copy ({SLOW}) to stdout") as copy:
        size = len(await copy.read())
        first = asyncio.ensure_future(copy.read())
        await asyncio.sleep(0)
        with pytest.raises(InterfaceError, match="one reader at a time"):
            await copy.read()
        size += len(await first)
        size += sum([len(data) async for data in copy])
    assert size == 20002


# --------------------------------------------------------------------------- rows


async def test_rows(conn: pgasync.Connection) -> None:
    query = "select n, nullif(n, 2) b, 'r' || n as name from generate_series(1, 3) n"
    got = await same(conn, query)
    assert [tuple(row) for row in got] == [(1, 1, "r1"), (2, None, "r2"), (3, 3, "r3")]
    assert got[0].name == "r1"
    assert got[1]["b"] is None
    assert await same(conn, "select where false") == []
    assert await same(conn, "select") == [()]
    assert len(await same(conn, "select generate_series(1, 30000), 'x'")) == 30000


async def test_types(conn: pgasync.Connection) -> None:
    await same(
        conn,
        """select true, 'x'::"char", 'n'::name, 1::int2, 2::int8, 1.5::float4,
        '-0'::float8, '1.10'::numeric, 'a'::varchar, 'b '::char(3), '\\x00ff'::bytea,
        '2026-02-01'::date, '03:04'::time, '2026-02-01 03:04'::timestamp,
        '2026-02-01 03:04Z'::timestamptz,
        '1 mon 2 days'::interval, gen_random_uuid() is null, '{"a": [1]}'::json,
        '{"a": null}'::jsonb, '{1,NULL,3}'::int4[], '{{a,b},{c,d}}'::text[],
        '[1,5)'::int4range, '10.0.0.1'::inet, '101'::bit(3), '(1,2)'::point,
        '{[1,2)}'::int4multirange, 'a & b'::tsquery, '1.50'::money, row(1, 'x')""",
    )


async def test_types_of_the_database(conn: pgasync.Connection, connect: Any) -> None:
    await conn.execute("""
        create schema copied;
        set search_path = copied, public;
        create type mood as enum ('sad', 'happy');
        create domain positive as int check (value > 0);
        create type pair as (a int, b mood);
        create type span as range (subtype = numeric);
    """)
    try:
        got = await same(
            conn,
            """select 'sad'::mood, 5::positive, array[1, 2]::positive[],
            (1, 'happy')::pair, array[(2, 'sad')::pair, null],
            '[1.5,2.5]'::span, array['happy']::mood[]""",
        )
        assert got[0][3].b == "happy"
        other = await connect(autocommit=True)  # that has met none of them
        source = "(select (1, 'sad')::copied.pair, '{happy}'::copied.mood[])"
        assert await rows_of(other, source) == [((1, "sad"), ["happy"])]
    finally:
        await conn.execute("drop schema copied cascade; reset search_path")


@pytest.mark.parametrize(
    ("extension", "query"),
    [
        ("hstore", "select 'a=>1, b=>NULL'::hstore"),
        ("citext", "select 'Text'::citext, array['a']::citext[]"),
        ("vector", "select '[1,2.5]'::vector, '{1:1,3:2}/5'::sparsevec"),
        ("ltree", "select 'a.b'::ltree"),
    ],
)
async def test_extensions(conn: Any, extension: str, query: str) -> None:
    await with_extension(conn, extension)
    assert await same(conn, query)


async def test_row_factory(connect: Any) -> None:
    @dataclasses.dataclass
    class Point:
        x: int
        y: str

    conn = await connect(autocommit=True)
    source = "(select 1 as x, 'a' as y)"
    assert await rows_of(conn, source, row_factory=Point) == [Point(1, "a")]
    assert await rows_of(conn, source, row_factory=dict) == [{"x": 1, "y": "a"}]
    assert await rows_of(conn, source, row_factory=pgasync.rows.scalar) == [1]
    (plain,) = await rows_of(conn, source, row_factory=tuple)
    assert type(plain) is tuple
    conn = await connect(autocommit=True, row_factory=dict)
    assert await rows_of(conn, source) == [{"x": 1, "y": "a"}]

    def fails(x: int, y: str) -> Any:
        raise LookupError("my own")

    with pytest.raises(LookupError, match="my own"):
        await rows_of(conn, source, row_factory=fails)
    assert await conn.fetchval("select 1") == 1


async def test_codecs(conn: pgasync.Connection) -> None:
    await conn.set_type_codec("text", decoder=str.upper)
    await conn.set_type_codec("numeric", decoder=float)
    assert await rows_of(conn, "(select 'a'::text, array['b'])") == [("A", ["B"])]
    # As text alone, which COPY does not send.
    with pytest.raises(NotSupportedError, match=r"column 1 \('n'\).*n::text"):
        await rows_of(conn, "(select 1.5 as n)")
    with pytest.raises(NotSupportedError, match=r"column 1 \('c'\)"):
        await rows_of(conn, "(select 'pg_class'::regclass as c)")
    assert await rows_of(conn, "(select 1.5::text as n)") == [("1.5",)]
    await conn.reset_type_codec("numeric")
    assert await rows_of(conn, "(select 1.5 as n)") == [(decimal.Decimal("1.5"),)]

    def fails(value: str) -> Any:
        raise LookupError("my own")

    await conn.set_type_codec("text", decoder=fails)
    with pytest.raises(DataError, match="column 1"):
        await rows_of(conn, f"({ENDLESS})")
    assert await asyncio.wait_for(conn.fetchval("select 1"), 10) == 1


async def test_tables(conn: pgasync.Connection) -> None:
    """Their columns but the generated ones and those that were dropped."""
    await conn.execute("""
        create schema "S t";
        create table "S t"."a (b" (
            a int, gone int, "B, c" text, g int generated always as (a * 2) stored);
        alter table "S t"."a (b" drop column gone;
        insert into "S t"."a (b" values (1, 'x'), (2, null);
        create table "S t".nothing ();
        insert into "S t".nothing default values;
    """)
    try:
        name = '"S t" . /* to */ "a (b"'
        assert await rows_of(conn, name) == [(1, "x"), (2, None)]
        (one, _) = await rows_of(conn, f'{name} ("B, c", a)')
        assert one == ("x", 1)
        assert one._fields == ("B, c", "a")
        assert await rows_of(conn, '"S t".nothing') == [()]
        assert await rows_of(conn, '"S t".nothing') == [()]
        source = f"""(with new as (insert into {name} (a) values (9) returning *)
            select a, g from new)"""
        assert await rows_of(conn, source) == [(9, 18)]
        source = f"(insert into {name} (a) values (10) returning g as twice -- )\n)"
        assert [row.twice for row in await rows_of(conn, source)] == [20]
        assert await conn.fetchval(f"select count(*) from {name}") == 4
    finally:
        await conn.execute('drop schema "S t" cascade')


async def test_tables_that_change(conn: Any, connect: Any) -> None:
    """By another session: nothing in the data tells a float4 from an int4."""
    other = await connect(autocommit=True)
    await conn.execute("create table changes (a int4); insert into changes values (1)")
    try:
        for kind, value in (("int4", 1), ("float4", 1.0), ("int4", 1)):
            await other.execute(f"alter table changes alter a type {kind}")
            for source in ("changes", "(select * from changes)"):
                ((got,),) = await rows_of(conn, source)
                assert got == value
                assert type(got) is type(value)
        cached = conn._core.cached_statements
        for _ in range(5):
            await rows_of(conn, "changes")
        assert conn._core.cached_statements == cached
        await conn.fetchval("select 1")
        left = "select count(*) from pg_prepared_statements where statement ~ '-- copy'"
        assert await conn.fetchval(left) <= 1  # this one
    finally:
        await conn.execute("drop table changes")


async def test_set_types(conn: pgasync.Connection) -> None:
    sql = "copy (select 1, 'a', '{1,2}'::int4[], 2::oid) to stdout binary"
    async with conn.copy(sql) as copy:
        copy.set_types(["integer", 25, "int[]", "int4"])
        (row,) = [row async for row in copy.rows()]
    assert row == (1, "a", [1, 2], 2)
    assert row._fields == ("column1", "column2", "column3", "column4")
    async with conn.copy(sql) as copy:
        with pytest.raises(InterfaceError, match="'no_such_type'"):
            copy.set_types(["no_such_type"])
        copy.set_types(["int4"])
        with pytest.raises(pgasync.ProgrammingError, match="4 columns"):
            copy.rows()
        copy.set_types(["int8"] * 4)
        with pytest.raises(DataError, match="column 1"):
            _ = [row async for row in copy.rows()]
    assert await conn.fetchval("select 1") == 1


async def test_records_of_types_not_met_before(connect: Any, dsn: str) -> None:
    """Of what is inside an anonymous record only its bytes tell."""
    conn = await connect(autocommit=True)
    await conn.execute("create type mood_in_a_record as enum ('sad')")
    try:
        query = "(select row(1, 'sad'::mood_in_a_record))"
        with pytest.raises(NotSupportedError, match="has not met"):
            await rows_of(conn, query)
        await conn.fetch("select 'sad'::mood_in_a_record")
        assert await rows_of(conn, query) == [((1, "sad"),)]
    finally:
        await conn.execute("drop type mood_in_a_record")


# ------------------------------------------------------------------ leaving early


@pytest.mark.parametrize("how", ["bytes", "rows", "nothing"])
async def test_left_early(conn: pgasync.Connection, how: str) -> None:
    """The connection is free at once: 100 ms, more on a busy machine."""
    waits = []
    for _ in range(5):
        began = time.monotonic()
        async with conn.copy(f"copy ({ENDLESS}) to stdout binary") as copy:
            if how == "bytes":
                async for _ in copy:
                    break
            elif how == "rows":
                async for _ in copy.rows():
                    break
            began = time.monotonic()
        assert await conn.fetchval("select 1") == 1
        waits.append(time.monotonic() - began)
    assert min(waits) < 0.1, waits


async def test_left_early_by_an_exception(conn: pgasync.Connection) -> None:
    error = LookupError("mine")
    with pytest.raises(LookupError) as raised:
        async with conn.copy(f"copy ({ENDLESS}) to stdout binary") as copy:
            async for _ in copy.rows():
                raise error
    assert raised.value is error
    assert await conn.fetchval("select 1") == 1


async def test_left_early_in_a_transaction(conn: pgasync.Connection) -> None:
    """A short rest is read, and the transaction goes on; a long one is cancelled."""
    short = "select generate_series(1, 50000)"
    async with conn.transaction():
        async with conn.copy(f"copy ({short}) to stdout binary") as copy:
            async for row in copy.rows():
                assert row == (1,)
                break
        assert await conn.fetchval("select 1") == 1
    with pytest.raises(pgasync.errors.InFailedSqlTransaction):
        async with conn.transaction():
            async with conn.copy(f"copy ({ENDLESS}) to stdout") as copy:
                await copy.read()
            await conn.fetchval("select 1")
    with pytest.raises(pgasync.errors.InFailedSqlTransaction):
        async with conn.transaction():
            began = time.monotonic()
            async with conn.copy(f"copy ({STUCK}) to stdout"):
                pass
            assert time.monotonic() - began < 5
            await conn.fetchval("select 1")
    assert await conn.fetchval("select 1") == 1


async def test_cancelled(conn: pgasync.Connection) -> None:
    async def read(source: str) -> None:
        async with conn.copy(f"copy ({source}) to stdout binary") as copy:
            async for _ in copy.rows():
                await asyncio.sleep(0)

    for source in (ENDLESS, "select pg_sleep(60)", STUCK):
        task = asyncio.ensure_future(read(source))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(conn.fetchval("select 1"), 10) == 1


async def test_after_it_was_given_up(conn: pgasync.Connection) -> None:
    async with conn.copy(f"copy ({STUCK}) to stdout") as copy:
        assert await copy.read()
        with pytest.raises(asyncio.TimeoutError):
            while True:
                await asyncio.wait_for(copy.read(), 0.05)
        with pytest.raises(InterfaceError, match="was given up"):
            await copy.read()
    async with conn.copy(f"copy ({ENDLESS}) to stdout binary") as copy:
        rows = copy.rows()
        async for _ in rows:
            break
    with pytest.raises(InterfaceError, match="was given up"):
        async for _ in rows:
            pass
    assert await conn.fetchval("select 1") == 1


async def test_other_tasks_wait(conn: pgasync.Connection) -> None:
    async with conn.copy(f"copy ({SLOW}) to stdout") as copy:
        other = asyncio.ensure_future(conn.fetchval("select 5"))
        await asyncio.sleep(0.05)
        assert not other.done()
        assert len(b"".join([data async for data in copy])) == 20002
    assert await other == 5


async def test_server_error_in_the_middle(conn: pgasync.Connection) -> None:
    query = "select 1 / (9999 - generate_series(1, 20000)), repeat('x', 1000)"
    seen = 0
    with pytest.raises(pgasync.errors.DivisionByZero):
        async with conn.copy(f"copy ({query}) to stdout binary") as copy:
            async for _ in copy.rows():
                seen += 1
    assert seen == 9998  # what came before the error comes before it
    assert await conn.fetchval("select 1") == 1


# ------------------------------------------------- the reader, fed by hand


def row(*fields: bytes | None) -> bytes:
    cells = [
        struct.pack("!i", -1)
        if field is None
        else struct.pack("!i", len(field)) + field
        for field in fields
    ]
    return struct.pack("!h", len(fields)) + b"".join(cells)


def int4(value: int) -> bytes:
    return struct.pack("!i", value)


async def test_reader_takes_pieces_of_any_size(conn: pgasync.Connection) -> None:
    columns = [("a", 23), ("b", 25)]
    wanted = [(n, None if n % 3 else "x" * n) for n in range(20)]
    data = HEADER + b"".join(
        row(int4(n), None if text is None else text.encode()) for n, text in wanted
    )
    data += b"\xff\xff"
    for size in (1, 2, 3, 5, 19, 64, 1000):
        reader = conn._core.copy_reader(columns, False)
        assert not isinstance(reader, str)
        got = []
        for start in range(0, len(data), size):
            got += reader.feed(data[start : start + size])
        reader.end()
        assert got == wanted


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"1\n2\n3\n4\n5\n6\n7\n", ProtocolViolation),
        (HEADER + row(int4(1), int4(2)), DataError),
        (HEADER + row(b"12345"), DataError),
        (HEADER + b"\x80\0", ProtocolViolation),
        (HEADER + b"\0\1\x80\0\0\0", ProtocolViolation),
        (HEADER + b"\xff\xffmore", ProtocolViolation),
        (HEADER[:11] + b"\0\1\0\0\0\0\0\0", ProtocolViolation),
    ],
)
async def test_reader_refuses(
    conn: pgasync.Connection, data: bytes, error: type[Exception]
) -> None:
    reader = conn._core.copy_reader([("a", 23)], False)
    assert not isinstance(reader, str)
    with pytest.raises(error):
        reader.feed(data)
    with pytest.raises(ProtocolViolation):
        reader.end()


async def test_reader_inside_of_itself(conn: pgasync.Connection) -> None:
    def factory(a: int) -> Any:
        reader.feed(b"")
        return a

    reader: Any = conn._core.copy_reader([("a", 23)], factory)
    with pytest.raises(InterfaceError, match="one task at a time"):
        reader.feed(HEADER + row(int4(1)))
    with pytest.raises(TypeError):
        conn._core.copy_reader([("a",)], False)  # type: ignore[list-item]
    with pytest.raises(TypeError):
        conn._core.copy_reader("a", False)  # type: ignore[arg-type]


async def test_dates_and_uuids(conn: pgasync.Connection) -> None:
    value = uuid.uuid4()
    day = datetime.date(2026, 2, 1)
    got = await rows_of(conn, f"(select '{value}'::uuid, date '{day}')")
    assert got == [(value, day)]
