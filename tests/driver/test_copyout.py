"""copy_from_table() and copy_from_query(): outputs, options, parameters, failures."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import io
import os
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import pgasync
from driver.test_leaks import SANITIZED, run_script
from pgasync.errors import InterfaceError, ProgrammingError, QueryTimeout

Connect = Callable[..., Awaitable[pgasync.Connection]]

LONG = "select repeat('x', 1000) from generate_series(1, 20000)"
# In a list of columns a set is made while it is read, not beforehand.
ENDLESS = "select repeat('x', 1000), generate_series(1, 1000000000)"


async def copied(conn: pgasync.Connection, query: str, *args: Any, **more: Any) -> str:
    out = io.BytesIO()
    await conn.copy_from_query(query, *args, output=out, **more)
    return out.getvalue().decode()


@pytest.fixture
async def table(conn: pgasync.Connection) -> None:
    await conn.execute('create temp table t (a int, "B b" text, c date)')
    await conn.execute("insert into t values (1, 'x', '2026-02-01'), (2, null, null)")


# ------------------------------------------------------------------------ outputs


async def test_path(conn: pgasync.Connection, table: None, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("something longer than what comes in its place, by far")
    got = await conn.copy_from_table("t", output=path, format="csv", header=True)
    assert got == "COPY 2"
    assert path.read_text() == "a,B b,c\n1,x,2026-02-01\n2,,\n"
    await conn.copy_from_table("t", output=str(path), columns=["B b", "a"])
    assert path.read_text() == "x\t1\n\\N\t2\n"
    assert [*tmp_path.iterdir()] == [path]


async def test_file_objects(conn: pgasync.Connection, tmp_path: Path) -> None:
    class Slow:
        def __init__(self) -> None:
            self.data: list[bytes] = []

        async def write(self, data: bytes) -> int:
            await asyncio.sleep(0)
            self.data.append(data)
            return len(data)

    memory, slow = io.BytesIO(), Slow()
    for output in (memory, slow):
        assert await conn.copy_from_query(LONG, output=output) == "COPY 20000"
    wanted = (b"x" * 1000 + b"\n") * 20000
    assert memory.getvalue() == wanted
    assert b"".join(slow.data) == wanted
    for buffering in (0, -1):
        with open(tmp_path / "file", "wb", buffering=buffering) as file:
            await conn.copy_from_query(LONG, output=file)
        assert (tmp_path / "file").read_bytes() == wanted


async def test_file_that_takes_little_at_a_time(conn: pgasync.Connection) -> None:
    class Little(io.RawIOBase):
        data = b""

        def write(self, data: Any) -> int:
            self.data += bytes(data[:7])
            return min(7, len(data))

    little = Little()
    await conn.copy_from_query("select n from generate_series(1, 99) n", output=little)
    assert little.data == b"".join(b"%d\n" % n for n in range(1, 100))


async def test_functions(conn: pgasync.Connection) -> None:
    pieces: list[bytes] = []

    async def slow(data: bytes) -> None:
        await asyncio.sleep(0)
        pieces.append(data)

    assert await conn.copy_from_query(LONG, output=slow) == "COPY 20000"
    assert {type(piece) for piece in pieces} == {bytes}
    assert b"".join(pieces) == (b"x" * 1000 + b"\n") * 20000
    assert len(pieces) < 20000 / 5  # not one for each row
    one: list[bytes] = []
    assert await conn.copy_from_query("select 1", output=one.append) == "COPY 1"
    assert one == [b"1\n"]
    assert await conn.copy_from_query("select where false", output=one.append)
    assert one == [b"1\n"]


async def test_stream_writer(conn: pgasync.Connection) -> None:
    received = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.read(-1))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await conn.copy_from_query(LONG, output=writer)
        writer.close()
        assert len(await received) == 1001 * 20000
        await writer.wait_closed()


@pytest.mark.parametrize("output", [None, 1, [], io.StringIO()])
async def test_no_output(conn: pgasync.Connection, output: Any) -> None:
    with pytest.raises(InterfaceError):
        await conn.copy_from_query("select 1", output=output)
    assert await conn.fetchval("select 1") == 1


async def test_progress(conn: pgasync.Connection) -> None:
    seen: list[tuple[int, int | None]] = []
    out = io.BytesIO()
    await conn.copy_from_query(
        LONG, output=out, progress=lambda size, rows: seen.append((size, rows))
    )
    assert [size for size, _ in seen] == sorted(size for size, _ in seen)
    assert 10 < len(seen) < 25
    assert {rows for _, rows in seen[:-1]} == {None}
    assert seen[-1] == (len(out.getvalue()), 20000)


# ------------------------------------------------------------------------ options


async def test_options(conn: pgasync.Connection) -> None:
    query = "select 1 a, 'it''s' b, null::text c, 'a\\b' d"
    assert await copied(conn, query) == "1\tit's\t\\N\ta\\\\b\n"
    got = await copied(
        conn,
        query,
        format="csv",
        delimiter=";",
        null="\\-",
        header=True,
        quote="'",
        escape="\\",
        force_quote=["a"],
    )
    assert got == "a;b;c;d\n'1';'it\\'s';\\-;a\\b\n"
    got = await copied(conn, query, format="csv", force_quote=True)
    assert got == '"1","it\'s",,"a\\b"\n'
    out = io.BytesIO()
    await conn.copy_from_query("select 'é'", output=out, encoding="latin1")
    assert out.getvalue() == b"\xe9\n"
    await conn.copy_from_query(
        "select 1", output=(out := io.BytesIO()), format="binary"
    )
    assert out.getvalue().startswith(b"PGCOPY\n\xff\r\n\0")


async def test_names(conn: pgasync.Connection) -> None:
    await conn.execute("""
        create schema "S .1";
        create table "S .1"."to "" stdout; --" (")" int);
        insert into "S .1"."to "" stdout; --" values (7)
    """)
    out = io.BytesIO()
    try:
        await conn.copy_from_table(
            'to " stdout; --', schema_name="S .1", columns=[")"], output=out
        )
    finally:
        await conn.execute('drop schema "S .1" cascade')
    assert out.getvalue() == b"7\n"


# --------------------------------------------------------------------- parameters

VALUES: list[tuple[str, Any]] = [
    ("int4", -5),
    ("int8", 2**40),
    ("text", "it's"),
    ("text", "\\"),
    ("text", "\\' or 1=1; --"),
    ("text", "'); drop table t; --"),
    ("text", "$1 :a $$ $x$ /* -- \n\r\t"),
    ("text", "žluťoučký 🐎"),
    ("text", ""),
    ("text", None),
    ("varchar", "a\\"),
    ("bpchar", "trailing  "),
    ('"char"', "c"),
    ("bit(3)", "101"),
    ("bytea", b"\0\\'\xff"),
    ("numeric", decimal.Decimal("-12.3400")),
    ("float8", 0.1),
    ("float8", float("-inf")),
    ("bool", True),
    ("date", datetime.date(2026, 2, 1)),
    ("timestamptz", datetime.datetime(2026, 2, 1, 3, tzinfo=datetime.timezone.utc)),
    ("interval", datetime.timedelta(days=1, microseconds=5)),
    ("uuid", uuid.UUID(int=7)),
    ("jsonb", {"a": ["'", "\\", '"']}),
    ("text[]", ["a'b", "c\\d", None, '"', "NULL"]),
    ("int4range", pgasync.types.Range(1, 5)),
    ("inet", "10.0.0.1/8"),
]


@pytest.mark.parametrize("strings", ["on", "off"])
async def test_values(conn: pgasync.Connection, strings: str) -> None:
    """What comes out is what the server makes of the same parameter."""
    await conn.execute(f"set standard_conforming_strings = {strings}")
    await conn.execute("set escape_string_warning = off")
    for kind, value in VALUES:
        text = f"coalesce($1::{kind}::text, 'NULL')"
        wanted = await conn.fetchval(f"select {text}", [value])
        query = f"select encode(convert_to({text}, 'utf8'), 'hex')"
        got = bytes.fromhex(await copied(conn, query, [value])).decode()
        assert got == wanted, (kind, value)


async def test_parameters(conn: pgasync.Connection) -> None:
    query = "select $2::int - $1::int, ($1::int[])[1]"
    with pytest.raises(ProgrammingError):
        await copied(conn, query, 1, 2)
    query = "select n from generate_series(1, $1) n where n <> all($2) limit $3"
    assert await copied(conn, query, 9, [2, 3], 3) == "1\n4\n5\n"
    assert await copied(conn, query, params=[9, [2, 3], 3]) == "1\n4\n5\n"
    assert await copied(conn, query, params=(2, None, 3)) == ""
    named = "select :a::int, :b::text, ':a', :a::text"
    assert await copied(conn, named, params={"a": 1, "b": "x"}) == "1\tx\t:a\t1\n"
    assert await copied(conn, named, {"a": 1, "b": "x"}) == "1\tx\t:a\t1\n"
    assert await copied(conn, query, [9, [2, 3], 3]) == "1\n4\n5\n"
    assert await copied(conn, "select $1::int", [3]) == "3\n"
    second = "select ($1::int[])[2]"
    for given in ([1, 2], [[1, 2]], [(1, 2)]):
        assert await copied(conn, second, given) == "2\n"
    assert await copied(conn, "select -$1::int", 3) == "-3\n"
    await conn.execute("create type pg_temp.mood as enum ('s''ad', 'ok')")
    assert await copied(conn, "select $1::pg_temp.mood", "s'ad") == "s'ad\n"


async def test_parameters_that_do_not_fit(conn: pgasync.Connection) -> None:
    for args in ((), (1, 2)):
        with pytest.raises(ProgrammingError, match=r"1 parameter\(s\), but"):
            await copied(conn, "select $1::int", params=args)
    with pytest.raises(InterfaceError, match="as arguments or as params="):
        await copied(conn, "select $1::int", 1, params=[1])
    with pytest.raises(pgasync.DataError, match="NUL"):
        await copied(conn, "select $1::text", "a\0b")
    with pytest.raises(pgasync.DataError, match=r"\$1"):
        await copied(conn, "select $1::int", object())
    with pytest.raises(ProgrammingError, match="no value for the parameter :a"):
        await copied(conn, "select :a::int", params={})
    assert await conn.fetchval("select 1") == 1


async def test_literal_with_a_backslash(conn: pgasync.Connection) -> None:
    """With standard_conforming_strings off, `'\\' $1 '` is one literal."""
    await conn.execute("set standard_conforming_strings = off")
    await conn.execute("set escape_string_warning = off")
    with pytest.raises(ProgrammingError):
        await copied(conn, "select $1::text, '\\' || $1 || '", "') to program 'x' --")
    assert await copied(conn, r"select $1::text || E'\'$1'", "x") == "x'$1\n"


async def test_statements(conn: pgasync.Connection, table: None) -> None:
    insert = "insert into t (a) values ($1), ($2) returning a; -- done"
    assert await copied(conn, insert, 7, 8) == "7\n8\n"
    assert await copied(conn, "with x as (select 1) select * from x -- )") == "1\n"
    assert await copied(conn, "values (1), (2);") == "1\n2\n"
    assert (
        await copied(conn, "table t", format="csv") == "1,x,2026-02-01\n2,,\n7,,\n8,,\n"
    )
    with pytest.raises(ProgrammingError, match="one statement"):
        await copied(conn, "select 1; drop table t")
    with pytest.raises(pgasync.errors.SyntaxError):
        await copied(conn, "select 1 /*")
    assert await conn.fetchval("select count(*) from t") == 4


# ----------------------------------------------------------------------- failures


class Full(Exception):
    pass


@pytest.mark.parametrize("kind", ["function", "coroutine", "file"])
async def test_output_that_raises(conn: pgasync.Connection, kind: str) -> None:
    error = Full("no more")

    def fail(data: bytes) -> None:
        raise error

    async def fail_later(data: bytes) -> None:
        await asyncio.sleep(0)
        raise error

    class File:
        write = staticmethod(fail)

    output = {"function": fail, "coroutine": fail_later, "file": File()}[kind]
    with pytest.raises(Full) as raised:
        await conn.copy_from_query(ENDLESS, output=output)
    assert raised.value is error
    assert await asyncio.wait_for(conn.fetchval("select 1"), 10) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
async def test_full_disk(conn: pgasync.Connection) -> None:
    with pytest.raises(OSError, match=r"No space left.*'/dev/full'"):
        await conn.copy_from_query(ENDLESS, output="/dev/full")
    assert await asyncio.wait_for(conn.fetchval("select 1"), 10) == 1
    assert os.path.exists("/dev/full")


async def test_pipe(conn: pgasync.Connection, tmp_path: Path) -> None:
    """One with a name: with a reader it is written to, without one it is an error."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="pipe"):
        await conn.copy_from_query("select 1", output=path)
    reading = asyncio.get_running_loop().run_in_executor(None, path.read_bytes)
    for _ in range(500):
        try:
            assert await conn.copy_from_query(LONG, output=path) == "COPY 20000"
            break
        except OSError:  # it is not there yet
            await asyncio.sleep(0.01)
    assert len(await asyncio.wait_for(reading, 20)) == 20000 * 1001
    assert path.exists()


async def test_path_after_a_failure(conn: pgasync.Connection, tmp_path: Path) -> None:
    """A new file is removed, an old one empty: never half of the data. Where nothing
    was copied, nothing has changed."""
    new, old = tmp_path / "new", tmp_path / "old"
    fails = "select 1 / (9999 - generate_series(1, 20000)), repeat('x', 1000)"
    for path in (new, old):
        old.write_text("old")
        with pytest.raises(pgasync.errors.UndefinedTable):
            await conn.copy_from_table("there_is_none", output=path)
        assert old.read_text() == "old"
        with pytest.raises(pgasync.errors.DivisionByZero):
            await conn.copy_from_query(fails, output=path)
        assert not new.exists()
    assert old.read_bytes() == b""
    with pytest.raises(FileNotFoundError):
        await conn.copy_from_query("select 1", output=tmp_path / "no" / "folder")
    with pytest.raises(IsADirectoryError):
        await conn.copy_from_query("select 1", output=tmp_path)
    assert await conn.fetchval("select 1") == 1


async def until_gone(path: Path) -> None:
    """A thread may be writing to it."""
    deadline = time.monotonic() + 10
    while path.exists():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_timeout(conn: pgasync.Connection, tmp_path: Path) -> None:
    stuck = asyncio.Event()

    async def never(data: bytes) -> None:
        await stuck.wait()

    for output in (lambda data: None, never, tmp_path / "file"):
        with pytest.raises(QueryTimeout, match=r"within 0\.2 s"):
            await conn.copy_from_query(ENDLESS, output=output, timeout=0.2)
        assert await asyncio.wait_for(conn.fetchval("select 1"), 10) == 1
    await until_gone(tmp_path / "file")


async def test_cancelled(conn: pgasync.Connection, tmp_path: Path) -> None:
    path = tmp_path / "file"
    task = asyncio.ensure_future(conn.copy_from_query(ENDLESS, output=path))
    while not path.exists() or path.stat().st_size == 0:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.wait_for(conn.fetchval("select 1"), 10) == 1
    await until_gone(path)


async def test_transaction(conn: pgasync.Connection, table: None) -> None:
    """Inside a transaction a COPY that is given up fails the transaction, no more."""
    async with conn.transaction():
        assert await copied(conn, "select $1::int", 1) == "1\n"
        assert await copied(conn, "insert into t (a) values (9) returning a") == "9\n"
    with pytest.raises(Full):
        async with conn.transaction():
            await conn.execute("insert into t (a) values (10)")
            await conn.copy_from_query(ENDLESS, output=_raise)
    assert await conn.fetchval("select array_agg(a) from t where a > 2") == [9]


def _raise(data: bytes) -> None:
    raise Full


async def test_slow_output_slows_the_server(conn: pgasync.Connection) -> None:
    """Nothing piles up: while the output takes its time, little is read."""
    go_on, taken = asyncio.Event(), 0

    async def slow(data: bytes) -> None:
        nonlocal taken
        taken += len(data)
        await go_on.wait()

    task = asyncio.ensure_future(conn.copy_from_query(ENDLESS, output=slow))
    while taken == 0:
        await asyncio.sleep(0.01)
    core = conn._core
    await asyncio.sleep(0.2)
    assert taken < 1 << 20
    assert core.pending == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await conn.fetchval("select 1") == 1


# --------------------------------------------------- what needs a process of its own

SIZE_MB = int(os.environ.get("PGASYNC_COPY_MB", "32"))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_is_flat(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A slow output, and a slow reader of rows. PGASYNC_COPY_MB sets how much is copied
    (32); the growth is at most what is kept on the way: a few pieces of 256 KiB."""
    script = """
        async def main():
            async with pgasync.connect(dsn, autocommit=True) as conn:
                query = "select repeat('x', 1000), generate_series(1, {})"

                async def output(data):
                    nonlocal size, most, looked
                    size += len(data)
                    if size - looked > 1_000_000:
                        looked = size
                        await asyncio.sleep(0.02)
                        most = max(most, rss())

                async def copy(megabytes):
                    await conn.copy_from_query(
                        query.format(megabytes * 1000), output=output)
                    sql = f"copy ({query.format(megabytes * 300)}) to stdout binary"
                    async with conn.copy(sql) as reading:
                        async for row in reading.rows():
                            await output(row[0])

                size, most, looked = 0, 0, 0
                await copy(4)
                size, most, looked, before = 0, 0, 0, rss()
                await copy(count)
                assert size > count * 1_000_000, size
                show("copied", most - before)

        asyncio.run(main())
    """
    grown = run_script(script, dsn, SIZE_MB, capsys)
    assert SANITIZED or grown < 4 << 20


def test_limit_of_the_file(dsn: str, tmp_path: Path) -> None:
    """A file that may not grow: an error, nothing left of it, the connection usable."""
    script = """
        import asyncio, os, resource, sys
        import pgasync

        async def main(dsn, path):
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            async with pgasync.connect(dsn, autocommit=True) as conn:
                try:
                    await conn.copy_from_query(
                        "select repeat('x', 1000), generate_series(1, 100000)",
                        output=path)
                except OSError as error:
                    print(error.strerror, error.filename == path, os.path.exists(path))
                print(await conn.fetchval("select 1"))

        asyncio.run(main(*sys.argv[1:]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), dsn, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "File too large True False\n1\n", done.stderr
    assert [*tmp_path.iterdir()] == []
