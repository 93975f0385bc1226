"""Several statements in one text: results, errors, transactions, trips."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pgasync
from pgasync import errors
from pgasync.script import FLIGHT, kind_of

SETUP = "create temp table sc (n int primary key, t text)"


async def flights(conn: Any, path: Path, sql: str) -> int:
    with path.open("w+") as file:
        conn.trace(file, timestamps=False)
        try:
            await conn.execute(sql)
        finally:
            conn.untrace()
        file.seek(0)
        sides = [line[0] for line in file]
    return sum(
        a == "F" and b != "F" for a, b in zip(sides, ["B", *sides], strict=False)
    )


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("select 1", "rows"),
        (" /* x */ -- y\n (Values (1))", "rows"),
        ("insert into t values (1)", "data"),
        ("INSERT INTO t VALUES (1) RETURNING n", "rows"),
        ("Create table t ()", "schema"),
        ("commit", "alone"),
        ("call p()", "alone"),
        ("vacuum", "alone"),
        ("", "alone"),
    ],
)
def test_kinds(statement: str, kind: str) -> None:
    assert kind_of(statement) == kind


SCRIPT = (
    "insert into sc values (1, 'a'), (2, 'b'); select n, t from sc order by n;"
    " update sc set t = 'c' where n > 1; delete from sc where n = 5;"
    " create temp table sc2 as select n from sc;"
    " insert into sc values (3) returning n; set work_mem = '1MB'; select 5 as five"
)


async def sets(cursor: Any) -> list[Any]:
    found = []
    more = True
    while more:
        names = cursor.description and [column[0] for column in cursor.description]
        rows = [tuple(row) for row in await cursor.fetchall()] if names else None
        found.append((names, cursor.rowcount, cursor.statusmessage, rows))
        more = await cursor.nextset()
    return found


# What psycopg 3.3 gives for it: names, rowcount, statusmessage, rows.
AS_PSYCOPG = [
    (None, 2, "INSERT 0 2", None),
    (["n", "t"], 2, "SELECT 2", [(1, "a"), (2, "b")]),
    (None, 1, "UPDATE 1", None),
    (None, 0, "DELETE 0", None),
    (None, 2, "SELECT 2", None),
    (["n"], 1, "INSERT 0 1", [(3,)]),
    (None, -1, "SET", None),
    (["five"], 1, "SELECT 1", [(5,)]),
]


async def test_as_psycopg(conn: Any) -> None:
    await conn.execute(SETUP)
    assert await sets(await conn.execute(SCRIPT)) == AS_PSYCOPG
    assert conn.info.transaction_status == "I"


async def test_error_undoes_all(conn: Any) -> None:
    await conn.execute(SETUP)
    with pytest.raises(errors.UniqueViolation) as caught:
        await conn.execute(
            "insert into sc values (1); insert into sc values (1);"
            " insert into sc values (2)"
        )
    assert caught.value.query == "insert into sc values (1)"
    with pytest.raises(errors.DivisionByZero) as caught:
        await conn.execute("insert into sc values (1); select 1/0; select 2")
    assert caught.value.query == "select 1/0"
    assert await conn.fetchval("select count(*) from sc") == 0
    assert conn.info.transaction_status == "I"


@pytest.mark.parametrize("autocommit", [True, False])
async def test_position_of_an_error(
    connect: Callable[..., Any], autocommit: bool
) -> None:
    """In its statement, whatever was put in front of that."""
    conn = await connect(autocommit=autocommit)
    with pytest.raises(errors.UndefinedTable) as caught:
        await conn.execute("delete from nowhere; select 1")
    assert caught.value.position == 13
    assert caught.value.query == "delete from nowhere"


async def test_without_autocommit(connect: Callable[..., Any]) -> None:
    conn = await connect()
    await conn.execute(f"{SETUP}; insert into sc values (1)")
    assert conn.info.transaction_status == "T"
    await conn.commit()
    await conn.execute("insert into sc values (2); select 1")
    await conn.rollback()
    assert await conn.fetchval("select count(*) from sc") == 1
    with pytest.raises(pgasync.ProgrammingError, match="UTF-8"):
        await conn.execute("set work_mem = '\ud800'; select 1")


async def test_in_a_block(conn: Any) -> None:
    await conn.execute(SETUP)
    with pytest.raises(KeyError):
        async with conn.transaction(isolation="serializable"):
            await conn.execute("insert into sc values (1); insert into sc values (2)")
            level = await conn.fetchval("select 1; show transaction_isolation")
            assert level == "serializable"
            raise KeyError
    assert await conn.fetchval("select count(*) from sc") == 0


async def test_that_ends_its_transaction(conn: Any) -> None:
    """Nothing runs behind an error, also where a COMMIT lies between."""
    await conn.execute(SETUP)
    with pytest.raises(errors.DivisionByZero):
        await conn.execute(
            "insert into sc values (1); commit; begin; insert into sc values (2);"
            " select 1/0; commit; insert into sc values (3)"
        )
    assert await conn.fetchval("select array_agg(n) from sc") == [1]
    await conn.execute("rollback; select 1")
    assert conn.info.transaction_status == "I"


async def test_columns_that_change_on_the_way(conn: Any) -> None:
    """What was prepared for the first run does not fit the second."""
    for columns in ("n int", "n text, m int", "m int, n text, o int"):
        rows = await conn.fetch(
            "drop table if exists sc_new;"
            f"create temp table sc_new ({columns}); select * from sc_new;"
            "alter table sc_new add z int; insert into sc_new default values;"
            "select * from sc_new"
        )
        assert len(rows[0]) == columns.count(",") + 2


async def test_a_row_that_cannot_be_decoded_undoes_all(conn: Any) -> None:
    await conn.execute(SETUP)

    def fails(n: int) -> None:
        raise KeyError(n)

    with pytest.raises(KeyError):
        await conn.execute(
            "insert into sc values (1); select n from sc", row_factory=fails
        )
    assert await conn.fetchval("select count(*) from sc") == 0


async def test_trips(conn: Any, tmp_path: Path) -> None:
    """As many as awaits one after the other, or fewer when the server is slow: what is
    sent together may be answered in pieces."""
    path = tmp_path / "trace"
    await conn.execute(SETUP)
    insert = "insert into sc values ({})"
    script = ";".join(insert.format(n) for n in range(50))
    assert await flights(conn, path, script) <= 3
    both = "select 1 as x; insert into sc values (50); select 2 as y"
    assert await flights(conn, path, both) <= 6  # two descriptions, COMMIT
    both = both.replace("50", "51")
    assert await flights(conn, path, both) <= 4
    many = ";".join(insert.format(n) for n in range(100, 100 + 3 * FLIGHT))
    assert await flights(conn, path, many) <= 9
    with pytest.raises(errors.UniqueViolation):
        await flights(conn, path, script)
    assert conn.info.transaction_status == "I"


async def test_timeout_and_cancellation(conn: Any) -> None:
    await conn.execute(SETUP)
    slow = "insert into sc values (1); select pg_sleep(30); insert into sc values (2)"
    quiet = (
        "insert into sc values (1); create temp table x as select pg_sleep(30)::text"
    )
    for script in (slow, quiet):
        with pytest.raises(pgasync.QueryTimeout, match=r"0\.1 s"):
            await conn.execute(script, timeout=0.1)
        task = asyncio.create_task(conn.execute(script))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await conn.fetchval("select count(*) from sc") == 0
        assert conn.info.transaction_status == "I"


async def test_lost_on_the_way(conn: Any, connect: Callable[..., Any]) -> None:
    other = await connect(autocommit=True)
    pid = await conn.fetchval("select pg_backend_pid()")
    script = (
        "create temp table y as select pg_sleep(30)::text; select 1; set work_mem = 64"
    )
    task = asyncio.create_task(conn.execute(script))
    await asyncio.sleep(0.1)
    await other.execute("select pg_terminate_backend($1)", [pid])
    with pytest.raises(pgasync.ConnectionLost):
        await task
