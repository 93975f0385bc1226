"""copy_to_table() and copy_records_to_table()."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import io
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import pgasync
from pgasync import errors

LIMIT_S = 20
ROWS = [(1, "one"), (2, 'two\t"\\'), (None, None), (4, "")]
TEXT = b'1\tone\n2\ttwo\\t"\\\\\n\\N\t\\N\n4\t\n'


@pytest.fixture
async def table(conn: Any) -> Any:
    """A connection with a table t (a int4, b text)."""
    await conn.execute("create temporary table t (a int4, b text)")
    return conn


async def rows(conn: Any, what: str = "a, b") -> list[tuple[Any, ...]]:
    found = await asyncio.wait_for(conn.fetch(f"select {what} from t"), LIMIT_S)
    return [tuple(row) for row in found]


# --- where data come from ------------------------------------------------------


class AsyncFile:
    """Like a file of aiofiles."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)

    async def read(self, size: int) -> bytes:
        await asyncio.sleep(0)
        return self.file.read(size)


async def drip(data: bytes) -> AsyncIterator[bytes]:
    for i in range(len(data)):
        yield data[i : i + 1]


SOURCES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: TEXT,
    "bytearray": lambda: bytearray(TEXT),
    "memoryview": lambda: memoryview(TEXT),
    "strided": lambda: memoryview(bytes(x for byte in TEXT for x in (byte, 0)))[::2],
    "bytes_file": lambda: io.BytesIO(TEXT),
    "text_file": lambda: io.StringIO(TEXT.decode()),
    "async_file": lambda: AsyncFile(TEXT),
    "list": lambda: [TEXT[:5], b"", TEXT[5:].decode()],
    "iterator": lambda: iter([TEXT]),
    "async_generator": lambda: drip(TEXT),
}


@pytest.mark.parametrize("name", SOURCES)
async def test_sources(table: Any, name: str) -> None:
    assert await table.copy_to_table("t", source=SOURCES[name]()) == "COPY 4"
    assert await rows(table) == ROWS


async def test_paths_and_open_files(table: Any, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(TEXT)
    with gzip.open(tmp_path / "packed", "wb") as packed:
        packed.write(TEXT)
    with (
        path.open("rb") as file,
        path.open() as text,
        gzip.open(tmp_path / "packed") as unpacked,
    ):
        for source in (path, str(path), file, text, unpacked):
            assert await table.copy_to_table("t", source=source) == "COPY 4"
            assert await rows(table) == ROWS
            await table.execute("truncate t")


async def test_large_and_small_pieces(table: Any) -> None:
    """Every byte arrives, however the data are cut."""
    line = b"7\t" + b"x" * 70_000 + b"\n"
    data = line * 40

    def cut(size: int) -> Iterator[bytes]:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    for size in (1_000, 65_536, 300_000, len(data)):
        assert await table.copy_to_table("t", source=cut(size)) == "COPY 40"
    assert await table.fetchval("select count(*), min(length(b)) from t") == 160
    assert await table.fetchval("select min(length(b)) from t") == 70_000


@pytest.mark.parametrize("source", [5, None, [5], [None], b"1\t2\t3\n", "/no/such"])
async def test_bad_sources(table: Any, source: Any) -> None:
    with pytest.raises((pgasync.Error, OSError)) as caught:
        await table.copy_to_table("t", source=source)
    if not isinstance(caught.value, (OSError, errors.BadCopyFileFormat)):
        assert "source of a COPY" in str(caught.value)
    assert await rows(table) == []


class Broken(Exception):
    """What a source raises."""


def breaks(first: Any) -> Iterator[Any]:
    for _ in range(1_000):
        yield first
    raise Broken("enough")


async def breaks_later(first: Any, closed: list[str]) -> AsyncIterator[Any]:
    try:
        for value in breaks(first):
            yield value
    finally:
        closed.append("closed")


@pytest.mark.parametrize("size", [10, 10_000])
async def test_source_that_raises(table: Any, size: int) -> None:
    """Its exception comes out unchanged; nothing is kept; the connection goes on."""
    piece, closed = b"1\t" + b"x" * size + b"\n", []  # type: tuple[bytes, list[str]]
    for source in (breaks(piece), breaks_later(piece, closed)):
        with pytest.raises(Broken) as caught:
            await table.copy_to_table("t", source=source)
        assert caught.value.__cause__ is None
        assert await rows(table) == []
    assert closed == ["closed"]


@pytest.mark.parametrize("first", [(1, "x"), (1, "x" * 10_000)])
async def test_records_that_raise(table: Any, first: Any) -> None:
    closed: list[str] = []
    for records in (breaks(first), breaks_later(first, closed)):
        with pytest.raises(Broken):
            await table.copy_records_to_table("t", records=records)
        assert await rows(table) == []
    assert closed == ["closed"]


async def test_server_refuses_early(table: Any) -> None:
    """A source without an end is not read to its end."""
    closed: list[str] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"x\ty\n"
            while True:
                yield b"1\tone\n" * 1_000
                await asyncio.sleep(0)
        finally:
            closed.append("closed")

    with pytest.raises(errors.InvalidTextRepresentation):
        await asyncio.wait_for(table.copy_to_table("t", source=endless()), LIMIT_S)
    assert closed == ["closed"]
    assert await rows(table) == []


# --- options -----------------------------------------------------------------------


async def test_options(table: Any) -> None:
    data = "A;B\n1;'a''b'\nno;x\n3;-\n"
    status = await table.copy_to_table(
        "t",
        source=[*data.splitlines(keepends=True)[:2], "3;-\n"],
        columns=["a", "b"],
        format="csv",
        delimiter=";",
        quote="'",
        escape="'",
        header=True,
        null="-",
        encoding="utf8",
        force_not_null=["b"],
        where="a > 1",
        freeze=False,
    )
    assert status == "COPY 1"
    assert await rows(table) == [(3, "-")]


async def test_errors_ignored(table: Any) -> None:
    if table.info.server_version < 180000:
        pytest.skip("on_error is new in PostgreSQL 17, reject_limit in 18")
    status = await table.copy_to_table(
        "t",
        source=b"x\ty\n1\tone\n",
        on_error="ignore",
        reject_limit=1,
        log_verbosity="silent",
    )
    assert status == "COPY 1"


async def test_names_and_options_are_quoted(conn: Any) -> None:
    name = 'we"ird; drop table t; --'
    await conn.execute('create schema if not exists "Odd ""one"')
    quoted = '"' + name.replace('"', '""') + '"'
    where = f'"Odd ""one".{quoted}'
    await conn.execute(f'create table {where} ("A b" int, "select" text)')
    address = {"schema_name": 'Odd "one', "columns": ["select", "A b"]}
    assert (
        await conn.copy_to_table(
            name, source=b"x'\\'y|7\n", delimiter="|", null="'; --\\", **address
        )
        == "COPY 1"
    )
    assert (
        await conn.copy_records_to_table(name, records=[("z", 8)], **address)
        == "COPY 1"
    )
    found = await conn.fetch(f"select * from {where}")
    assert [tuple(row) for row in found] == [(7, "x''y"), (8, "z")]
    await conn.execute('drop schema "Odd ""one" cascade')


@pytest.mark.parametrize(
    "keywords",
    [
        {"format": "csv'; select 1"},
        {"delimiter": 5.5},
        {"force_null": 7},
        {"columns": "ab"},
        {"columns": [1]},
        {"schema_name": ""},
        {"schema_name": "no"},
        {"columns": ["no"]},
        {"where": "no"},
    ],
)
async def test_wrong_keywords(table: Any, keywords: dict[str, Any]) -> None:
    with pytest.raises(pgasync.Error):
        await table.copy_to_table("t", source=TEXT, **keywords)
    if keywords.keys() <= {"columns", "schema_name", "where"}:
        with pytest.raises(pgasync.Error):
            await table.copy_records_to_table("t", records=[(1, "x")], **keywords)
    assert await rows(table) == []


async def test_encoding(table: Any) -> None:
    source = "1\tä\n".encode("latin-1")
    assert await table.copy_to_table("t", source=source, encoding="latin1") == "COPY 1"
    assert await rows(table) == [(1, "ä")]
    with pytest.raises(pgasync.InterfaceError, match="give bytes"):
        await table.copy_to_table("t", source=["1\tx\n"], encoding="latin1")


# --- records -----------------------------------------------------------------------


async def some(records: list[Any]) -> AsyncIterator[Any]:
    for record in records:
        await asyncio.sleep(0)
        yield record


@pytest.mark.parametrize("form", ["auto", "binary", "text"])
async def test_records(table: Any, form: str) -> None:
    for records in (ROWS, iter(ROWS), some(ROWS), [[*row] for row in ROWS]):
        status = await table.copy_records_to_table("t", records=records, format=form)
        assert status == "COPY 4"
        assert await rows(table) == ROWS
        await table.execute("truncate t")


async def test_mappings_and_rows(table: Any) -> None:
    records = [{"b": "x", "a": 1}, await table.fetchrow("select 2 a, 'y' b"), [3, "z"]]
    await table.copy_records_to_table("t", records=records)
    assert await rows(table) == [(1, "x"), (2, "y"), (3, "z")]


async def test_no_records(table: Any) -> None:
    assert await table.copy_records_to_table("t", records=[]) == "COPY 0"
    assert await table.copy_records_to_table("t", records=some([])) == "COPY 0"


async def test_many_records(table: Any) -> None:
    """More than what goes out at once; two formats of the same."""
    for form in ("binary", "text"):
        records = ((i, f"row {i} {'x' * (i % 400)}") for i in range(20_000))
        assert await table.copy_records_to_table("t", records=records, format=form) == (
            "COPY 20000"
        )
    check = "select sum(a), sum(length(b)), count(distinct a) from t"
    expected = sum(len(f"row {i} ") + i % 400 for i in range(20_000)) * 2
    assert tuple(await table.fetchrow(check)) == (399_980_000, expected, 20_000)


WRONG: list[tuple[Any, str]] = [
    ((1,), "row 1: it has 1 value for 2 columns"),
    ((1, "x", 2), "row 1: it has 3 values for 2 columns"),
    ((2**40, "x"), 'row 1, column "a": cannot send 1099511627776'),
    ((1, object()), 'row 1, column "b": cannot send <object'),
    ((1, "a\0b"), 'row 1, column "b": .*NUL'),
    ({"a": 1}, 'row 1: it has nothing for column "b"'),
    ({"a": 1, "b": "x", "c": 2}, "row 1: it has 3 keys for 2 columns"),
    ("ab", "row 1: a row is a tuple, a list or a mapping, not 'ab'"),
    (7, "row 1: a row is"),
]


@pytest.mark.parametrize("form", ["auto", "text"])
@pytest.mark.parametrize(("record", "text"), WRONG, ids=range(len(WRONG)))
async def test_wrong_records(table: Any, record: Any, text: str, form: str) -> None:
    for records in ([(0, "x"), record], some([(0, "x"), record])):
        with pytest.raises(pgasync.DataError, match=text) as caught:
            await table.copy_records_to_table("t", records=records, format=form)
        if "column" in text.partition(":")[0]:
            assert caught.value.column_name in ("a", "b")
    assert await rows(table) == []


async def test_wrong_record_late(table: Any) -> None:
    """After much has been sent: its number counts all rows."""
    records = [(i, "x" * 1_000) for i in range(2_000)]
    records.append((2_000, 5.5))  # type: ignore[arg-type]
    with pytest.raises(pgasync.DataError, match='row 2000, column "b"'):
        await table.copy_records_to_table("t", records=records)
    assert await rows(table) == []


async def test_text_for_any_column(conn: Any) -> None:
    """A value that is given as text makes all of them text."""
    await conn.execute(
        "create temporary table t (a int, b text, c timestamptz, d numeric[], e jsonb,"
        " f bytea, g date, h aclitem)"
    )
    moment = dt.datetime(2024, 5, 6, 7, 8, 9, 10, dt.timezone.utc)
    record = (1, "\\N", moment, [Decimal("1.50"), None], {"x": ["\t"]}, b"\0\n", None)
    day = dt.date(2024, 5, 6)
    acl = "postgres=r/postgres"
    await conn.copy_records_to_table("t", records=[(*record, acl)])
    as_text = ("2", "", "2024-05-06 07:08:09.00001Z", "{1.50,NULL}", "[]", "\\x00", day)
    await conn.copy_records_to_table(
        "t", records=[(*record, None), (*as_text, None), (*record, None)]
    )
    found = await rows(conn, "*")
    values = [row[:7] for row in found]
    assert values[0] == values[1] == values[3] == record
    assert values[2] == (2, "", moment, [Decimal("1.50"), None], [], b"\0", day)
    assert found[0][7] == acl


async def test_text_too_late(table: Any) -> None:
    """The format is settled by the first rows."""
    records: list[Any] = [(1, "x")] * 1_000 + [("2", "y")]
    with pytest.raises(pgasync.DataError, match=r"row 1000, .*format='text'"):
        await table.copy_records_to_table("t", records=records)
    assert await rows(table) == []
    status = await table.copy_records_to_table("t", records=records, format="text")
    assert status == "COPY 1001"


async def test_generated_columns_and_defaults(conn: Any) -> None:
    await conn.execute(
        "create temporary table t (a int, gone int, b int default 7,"
        " c int generated always as (a * 2) stored,"
        " d int generated always as identity, e serial)"
    )
    await conn.execute("alter table t drop column gone")
    await conn.copy_records_to_table("t", records=[(1, 2, 3, 4)])
    await conn.copy_records_to_table("t", records=[(5,)], columns=["a"])
    assert await rows(conn, "*") == [(1, 2, 2, 3, 4), (5, 7, 10, 1, 1)]
    with pytest.raises(pgasync.ProgrammingError, match="generated column"):
        await conn.copy_records_to_table("t", records=[(5,)], columns=["c"])


async def test_no_columns(conn: Any) -> None:
    await conn.execute("create temporary table t ()")
    assert await conn.copy_records_to_table("t", records=[(), ()]) == "COPY 2"
    with pytest.raises(pgasync.DataError, match="1 value for 0 columns"):
        await conn.copy_records_to_table("t", records=[(1,)])


async def test_types_of_its_own(conn: Any) -> None:
    """Looked up before the COPY begins; also after they have changed."""
    await conn.execute("drop type if exists copy_pair, copy_mood cascade")
    await conn.execute("create type copy_mood as enum ('sad', 'ok')")
    await conn.execute("create type copy_pair as (n int, m copy_mood)")
    await conn.execute("create temporary table t (a copy_mood[], b copy_pair)")
    record = (["ok", "sad"], (1, "ok"))
    await conn.copy_records_to_table("t", records=[record])
    assert [(row[0], tuple(row[1])) for row in await rows(conn)] == [record]
    await conn.execute("alter table t alter a type text using a::text")
    await conn.execute("truncate t")
    await conn.copy_records_to_table("t", records=[("x", (2, "sad"))])
    assert [(row[0], tuple(row[1])) for row in await rows(conn)] == [("x", (2, "sad"))]
    await conn.execute("drop table t; drop type copy_pair, copy_mood")


async def test_changed_by_another_session(conn: Any, dsn: str) -> None:
    """Types are asked for anew: nothing is written as what it no longer is."""
    await conn.execute("drop table if exists copy_changed")
    await conn.execute("create table copy_changed (a float8)")
    await conn.copy_records_to_table("copy_changed", records=[(1.5,)])
    async with pgasync.connect(dsn) as other:
        await other.execute("alter table copy_changed alter a type int8")
    await conn.copy_records_to_table("copy_changed", records=[(7,)])
    assert await conn.fetchval("select array_agg(a) from copy_changed") == [2, 7]
    await conn.execute("drop table copy_changed")


async def test_only_insert_is_needed(
    connect: Callable[..., Any], conn: Any, dsn: str
) -> None:
    await conn.execute("drop table if exists copy_writeonly")
    await conn.execute("create table copy_writeonly (a int)")
    await conn.execute(
        "do $$ begin create role copy_writer; exception when duplicate_object"
        " then null; end $$"
    )
    await conn.execute("grant insert on copy_writeonly to copy_writer")
    await conn.execute("set role copy_writer")
    await conn.copy_records_to_table("copy_writeonly", records=[(1,)])
    with pytest.raises(errors.InsufficientPrivilege):
        await conn.fetch("select * from copy_writeonly")
    await conn.execute("reset role")
    await conn.execute("drop table copy_writeonly; drop role copy_writer")


async def test_where_and_constraint(conn: Any) -> None:
    await conn.execute("create temporary table t (a int primary key, b text)")
    records = [(i, "x") for i in range(10)]
    await conn.copy_records_to_table("t", records=records, where="a % 2 = 0")
    with pytest.raises(errors.UniqueViolation):
        await conn.copy_records_to_table("t", records=records)
    assert await rows(conn, "count(*)") == [(5,)]


async def test_missing_table(table: Any) -> None:
    for columns in (None, ["a"]):
        with pytest.raises(errors.UndefinedTable):
            await table.copy_records_to_table("nowhere", records=[], columns=columns)
    with pytest.raises(errors.UndefinedColumn):
        await table.copy_records_to_table("t", records=[], columns=["nope"])


# --- transactions, time, others ----------------------------------------------------


async def test_in_a_transaction(connect: Callable[..., Any]) -> None:
    async with await connect(autocommit=False) as conn:
        await conn.execute("create temporary table t (a int, b text)")
        await conn.commit()
        await conn.copy_records_to_table("t", records=[(1, "x")])
        await conn.copy_to_table("t", source=b"2\ty\n")
        await conn.rollback()
        assert await rows(conn) == []
        await conn.commit()
        async with conn.transaction():
            await conn.copy_records_to_table("t", records=[(1, "x")])
            with pytest.raises(Broken):
                async with conn.transaction():
                    await conn.copy_to_table("t", source=breaks(b"2\ty\n"))
        assert await rows(conn) == [(1, "x")]


async def test_progress(table: Any) -> None:
    told: list[tuple[int, int | None]] = []

    def progress(size: int, count: int | None) -> None:
        told.append((size, count))

    data = b"1\t" + b"x" * 997 + b"\n"
    await table.copy_to_table("t", source=data * 3_000, progress=progress)
    assert told[-1] == (3_000_000, 3_000)
    assert len(told) >= 3 and told[0][1] is None and told[0][0] >= 1 << 20
    told.clear()
    records = [(1, "x" * 1_000)] * 3_000
    await table.copy_records_to_table("t", records=records, progress=progress)
    assert told[-1][1] == 3_000
    assert [size for size, _ in told] == sorted(size for size, _ in told)
    assert all(count is not None for _, count in told)

    def stop(size: int, count: int | None) -> None:
        raise Broken

    with pytest.raises(Broken):
        await table.copy_to_table("t", source=data * 3_000, progress=stop)
    assert await rows(table, "count(*)") == [(6_000,)]


async def test_statement_inside_the_source(table: Any) -> None:
    """It would wait for the COPY, and the COPY for it."""

    async def source() -> AsyncIterator[bytes]:
        yield b"1\tx\n"
        await table.fetchval("select 1")

    with pytest.raises(pgasync.InterfaceError, match="end the COPY first"):
        await asyncio.wait_for(table.copy_to_table("t", source=source()), LIMIT_S)
    assert await rows(table) == []


async def test_rows_of_another_connection(table: Any, dsn: str) -> None:
    async with pgasync.connect(dsn, autocommit=True) as other:

        async def copied() -> AsyncIterator[Any]:
            for row in await other.fetch(
                "select n, n::text from generate_series(1,9) n"
            ):
                yield row

        await table.copy_records_to_table("t", records=copied())
    assert await rows(table) == [(n, str(n)) for n in range(1, 10)]


@pytest.mark.parametrize("records", [False, True])
async def test_timeout(table: Any, records: bool) -> None:
    async def slow() -> AsyncIterator[Any]:
        yield (1, "x") if records else b"1\tx\n"
        await asyncio.sleep(60)

    with pytest.raises(pgasync.QueryTimeout):
        if records:
            await table.copy_records_to_table("t", records=slow(), timeout=0.05)
        else:
            await table.copy_to_table("t", source=slow(), timeout=0.05)
    assert await rows(table) == []


@pytest.mark.parametrize("records", [False, True])
async def test_cancel(table: Any, records: bool) -> None:
    arrived = asyncio.Event()

    async def slow() -> AsyncIterator[Any]:
        for _ in range(1_000):
            yield (1, "x" * 1_000) if records else b"1\tx\n" * 1_000
        arrived.set()
        await asyncio.sleep(60)

    if records:
        work = table.copy_records_to_table("t", records=slow())
    else:
        work = table.copy_to_table("t", source=slow())
    task = asyncio.create_task(work)
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await rows(table) == []


async def test_cancel_without_room(table: Any, dsn: str) -> None:
    """While the server, which waits for a lock, takes no more data."""
    await table.execute("drop table if exists copy_full")
    await table.execute("create table copy_full (a int)")
    await table.execute(
        "create function pg_temp.wait() returns trigger language plpgsql as $$ begin"
        " perform pg_advisory_xact_lock(77); return new; end $$"
    )
    await table.execute(
        "create trigger w before insert on copy_full for each row"
        " execute function pg_temp.wait()"
    )
    async with pgasync.connect(dsn) as other:
        await other.execute("select pg_advisory_xact_lock(77)")
        data = (b"1\n" * 100_000 for _ in range(1_000))
        task = asyncio.create_task(table.copy_to_table("copy_full", source=data))
        while not await blocked(other):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        found = await asyncio.wait_for(
            table.fetchval("select count(*) from copy_full"), LIMIT_S
        )
        assert found == 0
    await table.execute("drop table copy_full")


async def blocked(conn: Any) -> bool:
    found = await conn.fetchval(
        "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    )
    return bool(found)


async def test_server_ends_the_session(connect: Callable[..., Any], dsn: str) -> None:
    conn = await connect(autocommit=True)
    await conn.execute("create temporary table t (a int, b text)")
    pid = conn.info.backend_pid

    async def source() -> AsyncIterator[bytes]:
        yield b"1\tx\n"
        async with pgasync.connect(dsn) as other:
            await other.execute("select pg_terminate_backend($1)", [pid])
        while True:
            yield b"1\tx\n" * 10_000
            await asyncio.sleep(0)

    with pytest.raises(pgasync.OperationalError) as caught:
        await asyncio.wait_for(conn.copy_to_table("t", source=source()), LIMIT_S)
    assert caught.value.outcome == "failed"
    assert conn.closed


async def test_others_have_their_turn(table: Any) -> None:
    """The loop is not kept busy by a source that never waits."""
    turns = 0

    async def ticker() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(ticker())
    records = ((i, "x" * 50) for i in range(50_000))
    await table.copy_records_to_table("t", records=records)
    seen = turns
    await table.copy_to_table("t", source=b"1\tx\n" * 1_000_000)
    task.cancel()
    assert seen > 5 and turns > seen + 5


async def test_with_codecs_for_everything(connect: Callable[..., Any]) -> None:
    """What is asked of the catalog does not go through the program's codecs."""
    conn = await connect(autocommit=True)
    await conn.execute("create temporary table t (a int4, b text)")
    for name in ("text", "name", "int8", "oid", "bool"):
        await conn.set_type_codec(name, encoder=lambda v: f"<{v}>", decoder=len)
    await conn.copy_records_to_table("t", records=[(1, "x")])
    assert await rows(conn, "a, b") == [(1, 3)]


async def test_over_tls(tls_server: Any) -> None:
    """Where the socket is full again and again, a record is half written."""
    keywords = {"sslmode": "require", "autocommit": True}
    async with pgasync.connect(tls_server.tcp_dsn, **keywords) as conn:
        await conn.execute("create temporary table t (a int4, b text)")
        for size in (1, 3_000, 200_000):
            count = 12_000_000 // (size + 1_000)
            records = ((i, "x" * (size + i % 7)) for i in range(count))
            await conn.copy_records_to_table("t", records=records)
            expected = sum(size + i % 7 for i in range(count))
            check = "select count(*), sum(length(b)) from t"
            assert tuple(await conn.fetchrow(check)) == (count, expected)
            await conn.execute("truncate t")
        with pytest.raises(Broken):
            await conn.copy_to_table("t", source=breaks(b"1\t" + b"x" * 9_000 + b"\n"))
        assert await rows(conn) == []


async def test_memory_is_bounded(table: Any) -> None:
    """However much goes through: the buffer of what is not sent yet stays small."""
    tracemalloc.start()
    try:
        records = ((i, "x" * 10_000) for i in range(5_000))
        await table.copy_records_to_table("t", records=records, format="text")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000  # of 50 MB


async def test_rows_of_numpy(table: Any) -> None:
    numpy = pytest.importorskip("numpy")
    records = zip(numpy.arange(3, dtype="int64"), ["a", "b", "c"], strict=True)
    await table.copy_records_to_table("t", records=records)
    assert await rows(table) == [(0, "a"), (1, "b"), (2, "c")]


async def test_from_within_a_codec(connect: Callable[..., Any]) -> None:
    """A codec that runs Python while rows are written, and asks for too much."""
    conn = await connect(autocommit=True)
    await conn.execute("create temporary table t (a int4, b inet)")

    def encode(value: str) -> str:
        if value == "late":
            with pytest.raises(pgasync.InterfaceError, match="end the COPY first"):
                conn._core.execute("select 1")
            return "10.0.0.2"
        return value

    await conn.set_type_codec("inet", encoder=encode, decoder=str)
    records = [(n, "10.0.0.1") for n in range(300)] + [(300, "late")]
    await conn.copy_records_to_table("t", records=records)
    assert await rows(conn, "count(*), max(b)") == [(301, "10.0.0.2")]
