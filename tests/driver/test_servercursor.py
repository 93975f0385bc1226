"""Cursors of the server: named, scrollable, WITH HOLD, and those of somebody else."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

import pgasync
from pgasync import errors

NUMBERS = "select generate_series(0, 999) as n"


@pytest.fixture
async def plain(connect: Callable[..., Any]) -> Any:
    return await connect()


async def open_names(conn: Any) -> list[str]:
    rows = await conn.fetch(
        "select name from pg_cursors where is_holdable or statement like 'DECLARE%'"
        " order by name"
    )
    return [row.name for row in rows]


async def test_fetching(plain: Any) -> None:
    async with plain.cursor("c") as cur:
        assert await cur.execute("select generate_series(1, $1) as n", [10]) is cur
        assert cur.description[0][:2] == ("n", 23)
        assert (cur.rownumber, cur.rowcount, cur.statusmessage) == (
            0,
            -1,
            "DECLARE CURSOR",
        )
        assert await open_names(plain) == ["c"]
        row = await cur.fetchone()
        assert (row.n, cur.rownumber) == (1, 1)
        assert [row.n for row in await cur.fetchmany(3)] == [2, 3, 4]
        assert [row.n for row in await cur.fetchmany()] == [5]
        assert cur.statusmessage == "FETCH 1"
        assert [row.n for row in await cur.fetchall()] == [6, 7, 8, 9, 10]
        assert cur.rownumber == 10
        assert await cur.fetchone() is None
        assert await cur.fetchmany(2) == []
        assert await cur.fetchall() == []
        assert await cur.nextset() is None
    assert await open_names(plain) == []
    with pytest.raises(pgasync.InterfaceError, match="closed"):
        await cur.fetchone()


async def test_iteration(plain: Any) -> None:
    cur = plain.cursor("c", row_factory=pgasync.rows.scalar)
    await cur.execute(NUMBERS)
    cur.itersize = 7
    seen = []
    async for number in cur:
        seen.append(number)
        assert cur.rownumber == number + 1
        if number == 10:
            seen += await cur.fetchmany(5)
            seen.append(await cur.fetchone())
    assert seen == [*range(1000)]
    assert await cur.fetchall() == []
    cur.itersize = 0
    await cur.execute(NUMBERS)
    with pytest.raises(pgasync.InterfaceError, match="itersize"):
        await cur.__anext__()


async def test_params_and_row_factories(plain: Any) -> None:
    cur = plain.cursor("c", row_factory=dict)
    await cur.execute("select :a::int as x, :b as y", {"a": 1, "b": "two"})
    assert await cur.fetchone() == {"x": 1, "y": "two"}
    await cur.execute("select 1 as x", row_factory=tuple)
    assert await cur.fetchall() == [(1,)]
    await cur.execute("select 2 as x")
    assert await cur.fetchall() == [{"x": 2}]
    with pytest.raises(pgasync.ProgrammingError):
        await cur.execute("select $1::int", [])
    await plain.rollback()


async def test_types_come_as_from_other_statements(plain: Any) -> None:
    sql = (
        "select 1.5::numeric, 'a'::text, array[1,2], now(), '{\"a\": 1}'::jsonb,"
        " point(1,2), (1, 'x'::text), null, 'm'::mood_of_cursor, 'x'::regtype"
    ).replace("'x'::regtype", "'int'::regtype")
    await plain.execute("create type mood_of_cursor as enum ('m')")
    expected = await plain.fetch(sql)
    cur = plain.cursor("c")
    await cur.execute(sql)
    assert await cur.fetchall() == expected
    await plain.rollback()


@pytest.mark.parametrize(
    "name", ['Odd "name"', "$1:x?", "select", "é" * 31, " ", "a" * 63]
)
async def test_odd_names(plain: Any, name: str) -> None:
    async with plain.cursor(name, scrollable=True) as cur:
        await cur.execute(NUMBERS)
        await cur.scroll(5)
        assert (await cur.fetchone()).n == 5
        assert await open_names(plain) == [name]
    assert await open_names(plain) == []


@pytest.mark.parametrize("name", ["", "a" * 64, "é" * 32, "a\0b", 5])
async def test_impossible_names(plain: Any, name: Any) -> None:
    with pytest.raises(pgasync.ProgrammingError, match="name"):
        plain.cursor(name)


async def test_wrong_use(plain: Any, conn: Any) -> None:
    with pytest.raises(pgasync.InterfaceError, match="server-side"):
        plain.cursor(withhold=True)
    cur = plain.cursor("c")
    with pytest.raises(pgasync.ProgrammingError, match="several statements"):
        await cur.execute("select 1; select 2")
    with pytest.raises(pgasync.ProgrammingError, match="must be a str"):
        await cur.execute(5)
    with pytest.raises(pgasync.NotSupportedError):
        await cur.executemany("select $1", [[1]])
    await cur.execute("select 1")
    with pytest.raises(pgasync.InterfaceError, match="-1"):
        await cur.fetchmany(-1)
    with pytest.raises(pgasync.ProgrammingError, match="sideways"):
        await cur.scroll(1, mode="sideways")
    with pytest.raises(errors.SyntaxError):
        await plain.cursor("d").execute("insert into t values (1)")
    await plain.rollback()
    with pytest.raises(pgasync.InterfaceError, match="withhold=True"):
        await conn.cursor("c").execute("select 1")


async def test_in_a_block_with_autocommit(conn: Any) -> None:
    async with conn.transaction():
        cur = conn.cursor("c")
        await cur.execute(NUMBERS)
        assert len(await cur.fetchmany(20)) == 20
    with pytest.raises(errors.InvalidCursorName):
        await cur.fetchone()
    await cur.close()
    assert conn.info.transaction_status == "I"


async def test_where_current_of(plain: Any) -> None:
    await plain.execute("create temp table positioned as select 1 as n union select 2")
    cur = plain.cursor("c")
    await cur.execute("select n from positioned order by n for update")
    await cur.fetchone()
    await cur.fetchone()
    await plain.execute("update positioned set n = 20 where current of c")
    rows = await plain.fetch("select n from positioned order by n")
    assert [row.n for row in rows] == [1, 20]


async def test_scroll(plain: Any) -> None:
    cur = plain.cursor("c", scrollable=True, row_factory=pgasync.rows.scalar)
    await cur.execute(NUMBERS)
    cur.itersize = 10
    assert await cur.fetchone() == 0
    await cur.scroll(9)
    assert (await cur.fetchone(), cur.rownumber) == (10, 11)
    await cur.scroll(-11)
    assert await cur.fetchone() == 0
    await cur.scroll(500, mode="absolute")
    assert await cur.__anext__() == 500
    await cur.scroll(3)  # inside of what came ahead
    assert await cur.fetchone() == 504
    await cur.scroll(-3)
    assert await cur.fetchone() == 502
    await cur.scroll(-500)
    assert await cur.fetchone() == 3
    await cur.scroll(1000, mode="absolute")  # behind the last
    assert await cur.fetchone() is None
    await cur.scroll(-1)
    assert await cur.fetchone() == 999
    await cur.scroll(0, mode="absolute")
    assert await cur.fetchone() == 0
    with pytest.raises(IndexError):
        await cur.scroll(-2)
    with pytest.raises(IndexError):
        await cur.scroll(5000)
    assert cur.rownumber is None
    await cur.scroll(-1)  # from behind the last row
    assert await cur.fetchone() is None
    with pytest.raises(IndexError):
        await cur.scroll(2000, mode="absolute")
    await cur.scroll(7, mode="absolute")
    assert (await cur.fetchone(), cur.rownumber) == (7, 8)


async def test_forward_only(plain: Any) -> None:
    cur = plain.cursor("c", scrollable=False, row_factory=pgasync.rows.scalar)
    await cur.execute(NUMBERS)
    await cur.scroll(5)
    assert await cur.fetchone() == 5
    with pytest.raises(pgasync.NotSupportedError, match="scrollable=True"):
        await cur.scroll(-1)
    assert await cur.fetchone() == 6
    assert len(await cur.fetchall()) == 993


async def test_withhold(conn: Any, plain: Any) -> None:
    held = conn.cursor("held", withhold=True)
    await held.execute(NUMBERS)
    assert conn.info.transaction_status == "I"
    assert (await held.fetchone()).n == 0
    assert conn.info.transaction_status == "I"
    await held.close()
    assert await open_names(conn) == []

    async with plain.cursor("held", withhold=True, scrollable=True) as cur:
        await cur.execute(NUMBERS)
        assert (await cur.fetchone()).n == 0
        await plain.commit()
        assert (await cur.fetchone()).n == 1
        await cur.scroll(-2)
        assert [row.n async for row in cur] == [*range(1000)]
        assert plain.info.transaction_status == "I"
    assert await open_names(plain) == []


async def test_withhold_that_leaks(conn: Any) -> None:
    cur = conn.cursor("leaked", withhold=True)
    await cur.execute(NUMBERS)
    with pytest.warns(ResourceWarning, match="'leaked' WITH HOLD"):
        del cur
        gc.collect()
    assert await open_names(conn) == []


async def test_withhold_of_a_closed_connection(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    cur = conn.cursor("c", withhold=True)
    await cur.execute(NUMBERS)
    await conn.close()
    await cur.close()
    other = conn.cursor
    with pytest.raises(pgasync.InterfaceError, match="closed"):
        other("c")


async def test_same_name(plain: Any) -> None:
    """The second one is refused; executed again, one takes its own place."""
    first = plain.cursor("c")
    await first.execute("select 1 as n")
    await first.execute("select 2 as n")
    assert (await first.fetchone()).n == 2
    async with plain.transaction() as savepoint:
        with pytest.raises(errors.DuplicateCursor):
            await plain.cursor("c").execute("select 3")
        await savepoint.rollback()
    assert await first.fetchone() is None
    await plain.commit()
    second = plain.cursor("c")
    await second.execute("select 4 as n")
    await first.close()  # is not the second
    assert (await second.fetchone()).n == 4


async def test_another_one_of_the_name_with_other_columns(plain: Any) -> None:
    cur = plain.cursor("c")
    await cur.execute(NUMBERS)
    await cur.fetchone()
    await plain.execute("close c")
    await plain.execute("declare c cursor for select 'a'::text, 'b'::text")
    with pytest.raises(pgasync.ProgrammingError, match="other columns"):
        await cur.fetchone()
    assert await plain.fetchval("select 1") == 1
    await plain.rollback()


async def test_stealing(plain: Any) -> None:
    """A function has opened it."""
    await plain.execute(
        "create function pg_temp.opens() returns refcursor language plpgsql as $$"
        "declare c refcursor := 'from a function';"
        "begin open c for select generate_series(1, 5) as n, 'x'::text as t;"
        "return c; end $$"
    )
    name = await plain.fetchval("select pg_temp.opens()")
    async with plain.cursor(name) as cur:
        assert [tuple(row) for row in await cur.fetchmany(2)] == [(1, "x"), (2, "x")]
        assert [column[0] for column in cur.description] == ["n", "t"]
        assert cur.rownumber is None
        await cur.scroll(1)
        assert [row.n for row in await cur.fetchall()] == [4, 5]
    assert await plain.fetch("select * from pg_cursors where name = $1", [name]) == []
    with pytest.raises(errors.InvalidCursorName):
        await plain.cursor("nobody's").fetchone()
    await plain.rollback()


async def test_error_in_the_middle(plain: Any) -> None:
    cur = plain.cursor("c")
    await cur.execute("select 10 / (5 - n) as q from generate_series(1, 10) n")
    assert [row.q for row in await cur.fetchmany(4)] == [2, 3, 5, 10]
    with pytest.raises(errors.DivisionByZero):
        await cur.fetchone()
    assert cur.rownumber is None
    with pytest.raises(errors.InFailedSqlTransaction):
        await cur.fetchone()
    await cur.close()
    await plain.rollback()


async def test_savepoint_that_kills_it(plain: Any) -> None:
    await plain.execute("select 1")
    async with plain.transaction() as savepoint:
        cur = plain.cursor("c")
        await cur.execute(NUMBERS)
        await cur.fetchone()
        await savepoint.rollback()
    with pytest.raises(errors.InvalidCursorName):
        await cur.fetchone()
    await plain.rollback()
    await cur.close()
    assert plain.info.transaction_status == "I"


async def test_cancelled(plain: Any) -> None:
    cur = plain.cursor("c")
    await cur.execute("select n, pg_sleep(n) from generate_series(0, 60, 30) n")
    assert (await cur.fetchone()).n == 0
    task = asyncio.create_task(cur.fetchone())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(errors.InFailedSqlTransaction):
        await cur.fetchone()
    await cur.close()
    await plain.rollback()
    opening = asyncio.create_task(plain.cursor("c").execute("select pg_sleep(30)"))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await plain.rollback()
    assert await open_names(plain) == []


async def test_timeout(plain: Any) -> None:
    slow = "select pg_sleep(30) offset 0"
    cur = plain.cursor("c", withhold=True)
    await plain.commit()
    plain.autocommit = True
    with pytest.raises(pgasync.QueryTimeout):  # the rows are kept at the commit
        await cur.execute(slow, timeout=0.05)
    assert await plain.fetchval("select 1") == 1
    await cur.close()


async def test_trips(plain: Any, tmp_path: Any) -> None:
    """One to open what was open before, one for each batch."""
    cur = plain.cursor("c")
    await cur.execute(NUMBERS)
    await cur.close()
    with (tmp_path / "trace").open("w+") as file:
        plain.trace(file, timestamps=False)
        await cur_of(plain)
        plain.untrace()
        file.seek(0)
        lines = [line.split("\t") for line in file]
    flights, side = 0, None
    for direction, *_rest in lines:
        if direction == "F" and side != "F":
            flights += 1
        side = direction
    assert flights == 1 + 4 + 1  # DECLARE with Describe, FETCHes, Close


async def cur_of(plain: Any) -> None:
    async with plain.cursor("c") as cur:
        await cur.execute(NUMBERS)
        cur.itersize = 300
        assert len([row async for row in cur]) == 1000
