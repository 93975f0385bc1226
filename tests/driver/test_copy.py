"""connection.copy() of a COPY … FROM STDIN."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

import pgasync
from pgasync import copysql, errors

LIMIT_S = 20


@pytest.fixture
async def table(conn: Any) -> Any:
    """A connection with a table t (a int4, b text)."""
    await conn.execute("create temporary table t (a int4, b text)")
    return conn


async def rows(conn: Any, what: str = "a, b") -> list[tuple[Any, ...]]:
    found = await asyncio.wait_for(conn.fetch(f"select {what} from t"), LIMIT_S)
    return [tuple(row) for row in found]


async def test_write(table: Any) -> None:
    async with table.copy("copy t from stdin") as copy:
        assert copy.rowcount == -1 and copy.statusmessage is None
        await copy.write(b"1\to")
        await copy.write("ne\n2\tä\n")
        await copy.write(memoryview(b"3\t\\N"))
        await copy.write(b"")
    assert (copy.rowcount, copy.statusmessage) == (3, "COPY 3")
    assert await rows(table) == [(1, "one"), (2, "ä"), (3, None)]


async def test_nothing_written(table: Any) -> None:
    for options in ("", "(format csv)", "(format binary)"):
        async with table.copy(f"copy t from stdin {options}") as copy:
            pass
        assert copy.rowcount == 0


STYLES = {
    "text": "",
    "text_comma": "(delimiter ',', null 'none')",
    "text_null_of_escapes": r"(null '\\N')",
    "csv": "(format csv)",
    "csv_odd": "(format csv, delimiter ';', quote '''', escape '\\', null '-')",
    "csv_header": "(format csv, header)",
    "csv_header_match": "(format csv, header match)",
    "csv_old": "with csv header delimiter as E'\\t' null as 'x'",
    "binary": "(format binary)",
    "binary_old": "with binary",
}
VALUES = [
    (1, "plain"),
    (2, None),
    (None, "a,b;c'd\"e\\f|g"),
    (3, "tab\tline\nreturn\r\n"),
    (4, "\\N"),
    (5, "\\\\N"),
    (6, "none"),
    (7, "-"),
    (8, "x"),
    (9, "\\."),
    (10, "äöü\U0001f600"),
    (11, " spaces "),
    (12, '"'),
    (13, "'"),
    (14, "\\"),
]


@pytest.mark.parametrize("style", STYLES)
async def test_rows(table: Any, style: str) -> None:
    """What is written is what is there, whatever it looks like."""
    values = [*VALUES, (15, "")] if "null_of" not in style else VALUES
    async with table.copy(f"copy t from stdin {STYLES[style]}") as copy:
        for row in values:
            await copy.write_row(row)
    assert copy.rowcount == len(values)
    assert await rows(table) == values


@pytest.mark.parametrize("options", ["", "(format csv)", "(format binary)"])
async def test_values(conn: Any, options: str) -> None:
    await conn.execute(
        "create temporary table t (a int[], b jsonb, c timestamptz, d numeric,"
        " e bytea, f bool, g interval, h uuid, i float8, j text[], k daterange)"
    )
    day = dt.date(2024, 2, 29)
    moment = dt.datetime(2024, 2, 29, 12, 30, 1, 5, dt.timezone.utc)
    row = (
        [1, None],
        {"x": ['"', "\\", "\n"]},
        moment,
        Decimal("1.20"),
        b"\0\xff\\",
        True,
        dt.timedelta(days=1, microseconds=5),
        __import__("uuid").UUID(int=7),
        1e100,
        ["a b", 'c"d', "e\\f", "g\nh", ""],
        pgasync.types.Range(day, None),
    )
    async with conn.copy(f"copy t from stdin {options}") as copy:
        await copy.write_row(row)
        await copy.write_row([None] * 11)
    assert await rows(conn, "*") == [row, (None,) * 11]


async def test_columns_and_mappings(table: Any) -> None:
    async with table.copy('COPY T ("b", A) FROM STDIN') as copy:
        await copy.write_row({"a": 1, "b": "x"})
        await copy.write_row(("y", 2))
        await copy.write(b"z\t3\n")
        await copy.write_row(["v", 4])
    assert await rows(table) == [(1, "x"), (2, "y"), (3, "z"), (4, "v")]


async def test_set_types(table: Any) -> None:
    """What is sent is not always what the column holds."""
    conn = table
    await conn.execute("alter table t alter a type text")
    async with conn.copy("copy t from stdin") as copy:
        copy.set_types(["int[]", 25])
        await copy.write_row(([7, None], "x"))
        with pytest.raises(pgasync.InterfaceError, match="before the first"):
            copy.set_types(["text", "text"])
        await copy.write(b"1\ty\n")
    assert await rows(conn) == [('{"7",NULL}', "x"), ("1", "y")]
    for kind in ("no_such_type", 4_000_000_000):
        with pytest.raises(pgasync.InterfaceError, match=r"is known here|not known to"):
            async with conn.copy("copy t from stdin") as copy:
                copy.set_types([kind, "text"])


async def test_wrong_rows(table: Any) -> None:
    for options in ("", "(format binary)"):
        for row in ((1,), (1, 2, 3), ("x", object()), 5):
            with pytest.raises(pgasync.DataError, match="row 1"):
                async with table.copy(f"copy t from stdin {options}") as copy:
                    await copy.write_row((1, "x"))
                    await copy.write_row(row)
    assert await rows(table) == []


async def test_wrong_row_goes_on(table: Any) -> None:
    """A row that was refused has left nothing behind."""
    async with table.copy("copy t from stdin (format binary)") as copy:
        await copy.write_row((1, "x"))
        with pytest.raises(pgasync.DataError):
            await copy.write_row((2, 5.5))
        await copy.write_row((3, "z"))
    assert await rows(table) == [(1, "x"), (3, "z")]


async def test_rows_and_bytes_in_binary(table: Any) -> None:
    for first, second in (("write", "write_row"), ("write_row", "write")):
        with pytest.raises(pgasync.InterfaceError, match="do not go together"):
            async with table.copy("copy t from stdin (format binary)") as copy:
                arguments = {"write": b"PGCOPY\n\xff\r\n\0", "write_row": (1, "x")}
                await getattr(copy, first)(arguments[first])
                await getattr(copy, second)(arguments[second])
    assert await rows(table) == []


async def test_empty_text_and_null(table: Any) -> None:
    with pytest.raises(pgasync.DataError, match="cannot be told from NULL"):
        async with table.copy("copy t from stdin (null '')") as copy:
            await copy.write_row((1, ""))
    async with table.copy("copy t from stdin (format csv, null '')") as copy:
        await copy.write_row((1, ""))
        await copy.write_row((2, None))
    assert await rows(table) == [(1, ""), (2, None)]


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("select 1", "takes a COPY"),
        ("", "takes a COPY"),
        ("copy t from stdin; select 1", "nothing behind"),
        ("copy t from '/etc/passwd'", "at the server"),
        ("copy t from program 'ls'", "at the server"),
        ("copy t", "expected"),
        ("copy (select $1::int) to stdout", "no parameters"),
        (5, "must be a str"),
    ],
)
async def test_refused_texts(table: Any, sql: Any, text: str) -> None:
    with pytest.raises(pgasync.ProgrammingError, match=text):
        table.copy(sql)
    assert await rows(table) == []


@pytest.mark.parametrize(
    "sql",
    [
        "copy nowhere from stdin",
        "copy no.where (a) from stdin",
        "copy t (nothing) from stdin",
        "copy t from stdin (format parquet)",
        "copy t from stdin (delimiter 'xy')",
        "copy (select 1) from stdin",
        "copy t from stdin where",
    ],
)
async def test_refused_by_the_server(table: Any, sql: str) -> None:
    with pytest.raises(errors.DatabaseError) as caught:
        async with table.copy(sql):
            pytest.fail("it has begun")
    assert caught.value.query == sql
    assert await rows(table) == []


class Broken(Exception):
    """What a block raises."""


async def test_block_raises(table: Any) -> None:
    with pytest.raises(Broken):
        async with table.copy("copy t from stdin") as copy:
            await copy.write(b"1\tx\n")
            raise Broken
    assert await rows(table) == []
    for use in (copy.write(b"2\ty\n"), copy.write_row((1, "x"))):
        with pytest.raises(pgasync.InterfaceError, match="inside of its block"):
            await use
    with pytest.raises(pgasync.InterfaceError, match="runs once"):
        await copy.__aenter__()


async def test_error_of_the_data(table: Any) -> None:
    """At the end, or at a later write; also where the block hides it."""
    with pytest.raises(errors.InvalidTextRepresentation):
        async with table.copy("copy t from stdin") as copy:
            await copy.write(b"x\ty\n")
    with pytest.raises(errors.InvalidTextRepresentation):
        async with table.copy("copy t from stdin") as copy:
            await copy.write(b"x\ty\n" * 100_000)
            try:
                while True:
                    await copy.write(b"1\ty\n" * 10_000)
                    await asyncio.sleep(0)
            except pgasync.Error:
                pass
    assert await rows(table) == []


async def test_cancelled(table: Any) -> None:
    inside = asyncio.Event()

    async def block() -> None:
        async with table.copy("copy t from stdin") as copy:
            await copy.write(b"1\tx\n")
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(block())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await rows(table) == []


async def test_timeout(table: Any) -> None:
    with pytest.raises(pgasync.QueryTimeout):
        async with table.copy("copy t from stdin", timeout=0.05) as copy:
            while True:
                await copy.write(b"1\tx\n")
                await asyncio.sleep(0.01)
    assert await rows(table) == []


async def test_timeout_before_it_begins(table: Any, dsn: str) -> None:
    await table.execute("drop table if exists copy_locked_too")
    await table.execute("create table copy_locked_too (a int)")
    async with pgasync.connect(dsn) as other:
        await other.execute("lock table copy_locked_too")
        with pytest.raises(pgasync.QueryTimeout):
            async with table.copy("copy copy_locked_too from stdin", timeout=0.05):
                pytest.fail("it has begun")
        assert await rows(table) == []
    await table.execute("drop table copy_locked_too")


async def test_other_statements(table: Any) -> None:
    async def other() -> list[tuple[Any, ...]]:
        return await rows(table)

    async with table.copy("copy t from stdin") as copy:
        with pytest.raises(pgasync.InterfaceError, match="end the COPY first"):
            await table.fetchval("select 1")
        task = asyncio.create_task(other())
        await copy.write_row((1, "x"))
    assert await asyncio.wait_for(task, LIMIT_S) == [(1, "x")]


async def test_out_is_not_written(table: Any) -> None:
    async with table.copy("copy t to stdout") as copy:
        with pytest.raises(pgasync.InterfaceError, match="is read, not written"):
            await copy.write(b"1\tx\n")


async def test_transaction(connect: Callable[..., Any]) -> None:
    async with await connect(autocommit=False) as conn:
        await conn.execute("create temporary table t (a int, b text)")
        await conn.commit()
        async with conn.copy("copy t from stdin") as copy:
            await copy.write_row((1, "x"))
        await conn.rollback()
        assert await rows(conn) == []


async def test_progress(table: Any) -> None:
    told: list[tuple[int, int | None]] = []
    copying = table.copy("copy t from stdin", progress=lambda *args: told.append(args))
    async with copying as copy:
        for _ in range(3_000):
            await copy.write_row((1, "x" * 1_000))
    assert told[-1][1] == 3_000 and len(told) >= 3


def test_texts_are_read() -> None:
    text = copysql.parse(
        'copy /* ; */ "Odd ""one".t (a, "B c") from stdin with (format csv, header, '
        "null E'\\x41\\n', force_null (a, b), quote $q$'$q$) where a > 1 -- csv"
    )
    assert (text.table, text.columns) == ('"Odd ""one".t', ("a", "B c"))
    assert text.options == {
        "format": "csv",
        "header": "true",
        "null": "A\n",
        "quote": "'",
    }
    assert text.is_on("header") and not text.is_on("freeze")
    out = copysql.parse("copy (select ')' from x) to stdout (format 'binary')")
    assert (out.inward, out.table, out.format) == (False, None, "binary")


async def use(copy: Any, sql: str) -> None:
    if "from" in sql:
        await copy.write(b"1\tx\n")
    else:
        while await copy.read():
            pass


@pytest.mark.parametrize("sql", ["copy t from stdin", "copy t to stdout"])
async def test_close_inside(table: Any, sql: str) -> None:
    """By the task itself: it does not wait for what that would have to do."""
    await table.execute("insert into t select n, 'x' from generate_series(1, 300000) n")
    with pytest.raises(pgasync.Error, match="closed"):
        async with table.copy(sql) as copy:
            await asyncio.wait_for(table.close(), 5)
            assert table.closed
            await use(copy, sql)


@pytest.mark.parametrize("sql", ["copy t from stdin", "copy t to stdout"])
async def test_close_by_another_task(table: Any, sql: str) -> None:
    """And what waits behind it does not begin."""
    await table.execute("insert into t select n, 'x' from generate_series(1, 300000) n")

    async def waits() -> None:
        async with table.copy("copy t from stdin") as copy:
            await copy.write(b"1\tx\n")

    async def closes() -> None:
        await table.close()

    with pytest.raises(pgasync.Error, match="closed"):
        async with table.copy(sql) as copy:
            later = asyncio.create_task(waits())
            await asyncio.sleep(0)
            await asyncio.wait_for(asyncio.create_task(closes()), 5)
            with pytest.raises(pgasync.Error, match="closed"):
                await later
            await use(copy, sql)
    assert table.closed
