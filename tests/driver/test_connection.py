"""Connection: statements, scripts, wrong use, listeners, the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import mmap
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

import pgasync
from pgasync import errors


async def test_fetch(conn: Any) -> None:
    rows = await conn.fetch("select n, n * 2 as twice from generate_series(1, 3) n")
    assert [tuple(row) for row in rows] == [(1, 2), (2, 4), (3, 6)]
    assert rows[1].twice == rows[1]["twice"] == 4
    assert await conn.fetch("select 1 where false") == []
    assert await conn.fetch("create temporary table f (n int)") == []


async def test_fetchrow_and_fetchval(conn: Any) -> None:
    row = await conn.fetchrow("select 1 as a, 'x' as b union all select 2, 'y'")
    assert (row.a, row.b) == (1, "x")
    assert await conn.fetchrow("select 1 where false") is None
    assert await conn.fetchval("select 5, 6") == 5
    assert await conn.fetchval("select 1 where false") is None
    assert await conn.fetchval("select null") is None


async def test_parameters(conn: Any) -> None:
    sql = "select $1::int - $2::int"
    for params in ([5, 3], (5, 3), deque([5, 3])):
        assert await conn.fetchval(sql, params) == 2
    assert await conn.fetchval(sql, range(1, 3)) == -1
    named = "select :a::int - :b::int + :a"
    assert await conn.fetchval(named, {"a": 5, "b": 3}) == 7
    assert await conn.fetchval("select ':a' || :a", {"a": "x"}) == ":ax"
    assert await conn.fetchval("select 1", {}) == 1
    assert await conn.fetchval("select 1", []) == 1


async def test_execute_gives_a_cursor(conn: Any) -> None:
    cursor = await conn.execute("select 1 as a union all select 2")
    assert isinstance(cursor, pgasync.Cursor)
    assert (cursor.rowcount, cursor.statusmessage) == (2, "SELECT 2")
    assert [tuple(row) async for row in cursor] == [(1,), (2,)]


async def test_executemany(conn: Any) -> None:
    await conn.execute("create temporary table many (a int, b text)")
    insert = "insert into many values ($1, $2)"
    cursor = await conn.executemany(insert, [(1, "x"), [2, "y"], (3, None)])
    assert cursor.rowcount == 3
    await conn.executemany(insert, ((n, "z") for n in range(4, 6)))
    await conn.executemany(
        "insert into many values (:a, :b)", [{"a": 6, "b": "m"}, {"a": 7, "b": "n"}]
    )
    assert (await conn.executemany(insert, [])).rowcount == 0
    found = await conn.fetch("select a, b from many order by a")
    assert [tuple(row) for row in found] == [
        (1, "x"),
        (2, "y"),
        (3, None),
        (4, "z"),
        (5, "z"),
        (6, "m"),
        (7, "n"),
    ]


async def test_executemany_is_atomic(conn: Any) -> None:
    await conn.execute("create temporary table atomic (n int primary key)")
    with pytest.raises(errors.UniqueViolation):
        await conn.executemany("insert into atomic values ($1)", [[1], [2], [1]])
    assert await conn.fetchval("select count(*) from atomic") == 0


@pytest.mark.parametrize("params", ["text", b"x", {"a": 1}, 5])
async def test_executemany_wants_a_sequence(conn: Any, params: Any) -> None:
    with pytest.raises((pgasync.ProgrammingError, TypeError)):
        await conn.executemany("select $1", params)
    with pytest.raises(pgasync.ProgrammingError):
        await conn.executemany("select $1::int", [[1], "x"])
    with pytest.raises(pgasync.ProgrammingError):
        await conn.executemany("select $1::int", [[1], {"a": 1}])


# --- scripts -----------------------------------------------------------------


async def test_script_is_one_transaction(conn: Any) -> None:
    await conn.execute("create temporary table script (n int primary key); select 1")
    with pytest.raises(errors.UniqueViolation):
        await conn.execute(
            "insert into script values (1); insert into script values (1)"
        )
    assert await conn.fetchval("select count(*) from script") == 0
    assert conn.info.transaction_status == "I"
    assert await conn.fetchval("insert into script values (2); select 8") == 8
    assert await conn.fetch("select 1; select n from script") == [(2,)]
    assert await conn.fetchrow("select 1; select n from script") == (2,)
    assert await conn.fetchrow("select 1; select 2 where false") is None
    assert conn.autocommit


async def test_script_in_a_transaction(connect: Callable[..., Any]) -> None:
    conn = await connect()
    await conn.execute("create temporary table s (n int); insert into s values (1)")
    await conn.rollback()
    with pytest.raises(errors.UndefinedTable):
        await conn.fetch("select * from s")
    await conn.rollback()


async def test_script_with_parameters_is_refused(conn: Any) -> None:
    with pytest.raises(pgasync.ProgrammingError):
        await conn.execute("select $1::int; select 2", [1])
    assert await conn.fetchval("select 1") == 1


async def test_script_timeout(conn: Any) -> None:
    with pytest.raises(pgasync.QueryTimeout):
        await conn.execute("select 1; select pg_sleep(30)", timeout=0.1)
    assert await conn.fetchval("select 1") == 1
    assert conn.info.transaction_status == "I"


# --- wrong use ---------------------------------------------------------------


async def test_after_close(connect: Callable[..., Any]) -> None:
    conn = await connect()
    cursor = conn.cursor()
    await conn.close()
    for use in (
        lambda: conn.fetch("select 1"),
        lambda: conn.fetchval("select 1"),
        lambda: conn.execute("select 1"),
        lambda: conn.executemany("select $1", []),
        lambda: conn.commit(),
        lambda: conn.rollback(),
        lambda: conn.prepare("select 1"),
        lambda: cursor.execute("select 1"),
        lambda: conn.transaction().start(),
        lambda: conn.__aenter__(),
    ):
        with pytest.raises(pgasync.InterfaceError, match="closed"):
            await use()
    with pytest.raises(pgasync.InterfaceError):
        conn.cursor()
    await conn.close()
    conn.terminate()
    conn.cancel()
    assert "closed" in repr(conn)


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("select $1::int", None),
        ("select $1::int", []),
        ("select $1::int", [1, 2]),
        ("select 1", [1]),
        ("select $1::int, $2::int", [1]),
    ],
)
async def test_wrong_number_of_parameters(conn: Any, sql: str, params: Any) -> None:
    for _ in range(2):  # prepared anew, then from the cache
        with pytest.raises(pgasync.ProgrammingError, match="parameter"):
            await conn.fetch(sql, params)
    assert await conn.fetchval("select 1") == 1


async def test_more_parameters_than_the_protocol_counts(conn: Any) -> None:
    """The server would prepare the statement and count them wrongly."""
    marks = ", ".join(f"${n}::int" for n in range(1, 65537))
    sql, values = f"select 7 in ({marks})", [*range(65536)]
    with pytest.raises(pgasync.ProgrammingError, match="65536 parameters were given"):
        await conn.fetchval(sql, values)
    with pytest.raises(pgasync.ProgrammingError, match="65535 at most"):
        await conn.executemany(sql, [values])
    named = sql.replace("$", ":p").replace("::int", "")
    with pytest.raises(pgasync.ProgrammingError, match="65535 at most"):
        await conn.fetchval(named, {f"p{n}": n for n in range(1, 65537)})
    assert await conn.fetchval(sql.replace(", $65536::int", ""), values[:-1]) is True


@pytest.mark.parametrize("params", ["x", b"x", 5, 1.5, {1}, iter([1])])
async def test_bare_values_as_parameters(conn: Any, params: Any) -> None:
    with pytest.raises(pgasync.ProgrammingError, match="parameters"):
        await conn.fetch("select $1::int", params)
    assert await conn.fetchval("select 1") == 1


async def test_named_parameters_missing_and_extra(conn: Any) -> None:
    with pytest.raises(pgasync.ProgrammingError, match=":b"):
        await conn.fetch("select :a::int, :b::int", {"a": 1})
    with pytest.raises(pgasync.ProgrammingError, match=":c"):
        await conn.fetch("select :a::int", {"a": 1, "c": 1})


async def test_value_that_does_not_fit(conn: Any) -> None:
    with pytest.raises(pgasync.DataError) as caught:
        await conn.fetch("select $1::text, $2::int", ["x", 2**40])
    assert "$2" in str(caught.value)
    assert str(2**40) in str(caught.value)
    assert "int" in str(caught.value)
    assert await conn.fetchval("select 1") == 1


async def test_syntax_error_shows_where(conn: Any) -> None:
    with pytest.raises(pgasync.ProgrammingError) as caught:
        await conn.fetch("select 1 frm x")
    assert caught.value.sqlstate == "42601"
    assert caught.value.query == "select 1 frm x"
    assert "^" in str(caught.value)
    assert conn.ProgrammingError is pgasync.ProgrammingError


# --- prepare, info, cancel ---------------------------------------------------


async def test_prepare(conn: Any) -> None:
    statement = await conn.prepare("select $1::int as a, $2::text as b")
    assert statement.parameters == (23, 25)
    assert [column[:2] for column in statement.columns] == [("a", 23), ("b", 25)]
    assert await statement.fetch([1, "x"]) == [(1, "x")]
    assert (await statement.fetchrow([2, "y"])).b == "y"
    assert await statement.fetchval([3, "z"]) == 3
    cursor = await statement.execute([4, None])
    assert await cursor.fetchone() == (4, None)
    assert "Result" in await statement.explain([1, "x"])
    assert "actual" in await statement.explain([1, "x"], analyze=True)
    nothing = await conn.prepare("set work_mem = '1MB'")
    assert nothing.columns == ()
    with pytest.raises(pgasync.ProgrammingError):
        await conn.prepare("select frm")


async def test_info(conn: Any) -> None:
    info = conn.info
    assert info.backend_pid == await conn.fetchval("select pg_backend_pid()")
    number = await conn.fetchval("show server_version_num")
    assert info.server_version == int(number)
    assert info.parameters["client_encoding"] == "UTF8"
    assert info.transaction_status == "I"
    assert info.ssl is False
    assert info.dbname == await conn.fetchval("select current_database()")
    assert info.user in repr(info)
    await conn.execute("set timezone = 'Asia/Tokyo'")
    assert info.parameters["TimeZone"] == "Asia/Tokyo"


async def test_cancel(conn: Any) -> None:
    task = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
    await asyncio.sleep(0.05)
    conn.cancel()
    with pytest.raises(errors.QueryCanceled):
        await asyncio.wait_for(task, 5)
    assert await conn.fetchval("select 1") == 1
    conn.cancel()  # nothing runs: nothing is sent
    assert await conn.fetchval("select 2") == 2


async def test_row_factory_tuple(connect: Callable[..., Any]) -> None:
    conn = await connect(row_factory=tuple, autocommit=True)
    (row,) = await conn.fetch("select 1 as a, 2 as b")
    assert type(row) is tuple
    assert type(await conn.fetchrow("select 1")) is tuple
    cursor = await conn.execute("select 1, 2")
    assert type(await cursor.fetchone()) is tuple


async def test_statement_cache_off(connect: Callable[..., Any]) -> None:
    conn = await connect(prepared_statements="unnamed", autocommit=True)
    for n in range(3):
        assert await conn.fetchval("select $1::int", [n]) == n
    assert await conn.fetch("select name from pg_prepared_statements") == []


# --- listeners ---------------------------------------------------------------


async def test_notices(conn: Any) -> None:
    seen: list[Any] = []

    def listener(*args: Any) -> None:
        seen.append(args)

    conn.add_notice_listener(listener)
    conn.add_notice_listener(listener)  # once only
    raising = "do $$ begin raise warning 'careful' using hint = 'look'; end $$"
    await conn.execute(raising)
    await asyncio.sleep(0)
    ((who, notice),) = seen
    assert who is conn
    assert isinstance(notice, pgasync.Notice)
    assert (notice.severity, notice.message) == ("WARNING", "careful")
    assert (notice.sqlstate, notice.hint) == ("01000", "look")
    conn.remove_notice_listener(listener)
    conn.remove_notice_listener(listener)
    await conn.execute(raising)
    await asyncio.sleep(0)
    assert len(seen) == 1
    with pytest.raises(pgasync.InterfaceError):
        conn.add_notice_listener("no function")


@pytest.mark.parametrize("how", ["close", "terminate", "server"])
async def test_termination_listener(
    connect: Callable[..., Any], conn: Any, how: str
) -> None:
    other = await connect(autocommit=True)
    seen: list[Any] = []
    removed: list[Any] = []
    other.add_termination_listener(seen.append)
    other.add_termination_listener(removed.append)
    other.remove_termination_listener(removed.append)
    if how == "close":
        await other.close()
    elif how == "terminate":
        other.terminate()
    else:
        pid = other.info.backend_pid
        await conn.execute("select pg_terminate_backend($1)", [pid])
    deadline = asyncio.get_running_loop().time() + 2
    while not seen and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.01)
    await other.close()
    await asyncio.sleep(0.01)
    assert seen == [other]
    assert removed == []


# --- the end -----------------------------------------------------------------


async def test_close_while_a_statement_runs(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    task = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
    await asyncio.sleep(0.05)
    await asyncio.wait_for(conn.close(), 5)
    assert conn.closed
    with pytest.raises(pgasync.Error):
        await task


async def test_close_after_a_cancelled_statement(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    task = asyncio.ensure_future(conn.execute("select pg_sleep(30)"))
    await asyncio.sleep(0.05)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await asyncio.wait_for(conn.close(), 5)
    assert conn.closed


async def test_session_is_gone_after_close(
    connect: Callable[..., Any], conn: Any
) -> None:
    other = await connect()
    pid = other.info.backend_pid
    await other.close()
    for _ in range(200):
        if not await conn.fetchval(
            "select count(*) from pg_stat_activity where pid = $1", [pid]
        ):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the session is still there")


@pytest.mark.no_leak_check
async def test_resource_warning(dsn: str) -> None:
    conn = await pgasync.connect(dsn)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del conn
        gc.collect()
    messages = [str(warning.message) for warning in caught]
    assert any("never closed" in message for message in messages), messages


async def test_async_with_on_an_open_connection(connect: Callable[..., Any]) -> None:
    conn = await connect()
    async with conn as same:
        assert same is conn
    assert conn.closed
    other = await connect()
    async with other:
        await other.close()  # by hand is fine too


async def test_autocommit(connect: Callable[..., Any]) -> None:
    conn = await connect()
    assert conn.autocommit is False
    await conn.execute("select 1")
    assert conn.info.transaction_status == "T"
    with pytest.raises(pgasync.Error):
        conn.autocommit = True
    await conn.commit()
    assert conn.info.transaction_status == "I"
    conn.autocommit = True
    await conn.execute("select 1")
    assert conn.info.transaction_status == "I"
    await conn.commit()  # nothing to do
    await conn.rollback()


@pytest.mark.slow
async def test_request_over_a_gigabyte(conn: Any) -> None:
    """Refused before a byte of it is sent; the values themselves are fine."""
    half = mmap.mmap(-1, 600 * 1024 * 1024)  # pages that nobody has touched
    try:
        with pytest.raises(pgasync.DataError, match="several statements"):
            await conn.fetchval("select length($1::bytea || $2::bytea)", [half, half])
        assert conn.info.transaction_status == "I"
        assert await conn.fetchval("select 1") == 1
    finally:
        half.close()
