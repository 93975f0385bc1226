"""executemany(): sets from anywhere, in bounded memory, all or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import pgasync
from pgasync import errors

BIG = 30_000  # sets: more than one slice, and more than a socket takes
LATE = 20_000  # a set that is sent when others have been run
INSERT = "insert into many (n, s) values ($1, $2)"
TEXT = "some text that makes a set a little longer"


@pytest.fixture
async def table(conn: Any) -> Any:
    """The connection, with an empty table."""
    await conn.execute("create temporary table many (n int primary key, s text)")
    return conn


def sets(count: int = BIG) -> list[tuple[Any, ...]]:
    return [(n, TEXT) for n in range(count)]


def spoilt(index: int, *values: Any, count: int = BIG) -> list[tuple[Any, ...]]:
    """Sets, one of which is something else."""
    made = sets(count)
    made[index] = values
    return made


async def generated(source: list[Any]) -> AsyncIterator[Any]:
    for parameters in source:
        yield parameters


async def is_in_order(conn: Any, rows: int = 0) -> None:
    assert await conn.fetchval("select count(*) from many") == rows
    assert conn.info.transaction_status == "I"


SOURCES: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "generator": iter,
    "async": generated,
}


@pytest.fixture(params=SOURCES.values(), ids=SOURCES)
def source(request: pytest.FixtureRequest) -> Callable[[list[Any]], Any]:
    made: Callable[[list[Any]], Any] = request.param
    return made


@pytest.mark.parametrize("count", [0, 1, 2, 1023, 1024, 1025, BIG])
async def test_all_sets_arrive(table: Any, source: Any, count: int) -> None:
    cursor = await table.executemany(INSERT, source(sets(count)))
    assert cursor.rowcount == count
    assert cursor.rowcounts == (1,) * count
    assert cursor.statusmessage == ("INSERT 0 1" if count else None)
    rows = await table.fetch("select n, s from many order by n")
    assert rows == sets(count)


@pytest.mark.parametrize("index", [0, 5, LATE])
async def test_value_that_cannot_be_sent(table: Any, source: Any, index: int) -> None:
    with pytest.raises(pgasync.DataError, match=r"\$2: cannot send") as caught:
        await table.executemany(INSERT, source(spoilt(index, index, object())))
    assert caught.value.set_index == index
    assert caught.value.outcome == ("failed" if index == LATE else "not_sent")
    assert f"SET: {index}" in str(caught.value)
    await is_in_order(table)


@pytest.mark.parametrize("index", [0, 5, LATE])
async def test_refused_by_the_server(table: Any, source: Any, index: int) -> None:
    await table.execute("insert into many values (-1, 'there')")
    with pytest.raises(errors.UniqueViolation) as caught:
        await table.executemany(INSERT, source(spoilt(index, -1, "again")))
    assert caught.value.set_index == index
    assert caught.value.outcome == "failed"
    await is_in_order(table, 1)


@pytest.mark.parametrize("index", [5, LATE])
async def test_wrong_number_of_parameters(table: Any, source: Any, index: int) -> None:
    with pytest.raises(pgasync.ProgrammingError, match="2 parameters") as caught:
        await table.executemany(INSERT, source(spoilt(index, 1, "a", "b")))
    assert caught.value.set_index == index
    await is_in_order(table)


@pytest.mark.parametrize("index", [3, LATE])
async def test_in_a_transaction(
    connect: Callable[..., Any], source: Any, index: int
) -> None:
    """What failed late has broken the transaction; early nothing has been sent."""
    conn = await connect()
    await conn.execute("create temporary table many (n int primary key, s text)")
    await conn.commit()
    await conn.execute("insert into many values (-1, 'first')")
    with pytest.raises(pgasync.DataError):
        await conn.executemany(INSERT, source(spoilt(index, index, object())))
    if index == LATE:
        assert conn.info.transaction_status == "E"
        with pytest.raises(errors.InFailedSqlTransaction):
            await conn.fetchval("select 1")
        await conn.rollback()
        assert await conn.fetchval("select count(*) from many") == 0
    else:
        assert await conn.fetchval("select count(*) from many") == 1
    await conn.rollback()


class Source(Exception):
    """Raised by where the sets come from."""


@pytest.mark.parametrize("index", [0, 5, LATE])
@pytest.mark.parametrize("kind", ["generator", "async"])
async def test_source_that_raises(table: Any, kind: str, index: int) -> None:
    def plain() -> Iterator[Any]:
        yield from sets(index)
        raise Source(index)

    async def asynchronous() -> AsyncIterator[Any]:
        for parameters in plain():
            yield parameters

    with pytest.raises(Source) as caught:
        await table.executemany(
            INSERT, plain() if kind == "generator" else asynchronous()
        )
    assert caught.value.args == (index,)
    assert caught.traceback[-1].name == "plain"
    assert not hasattr(caught.value, "set_index")
    await is_in_order(table)


async def test_rows_of_each_set(table: Any, source: Any) -> None:
    sql = "select g from generate_series(1, $1::int) g"
    cursor = await table.executemany(sql, source([[2], [0], [3]]), returning=True)
    assert cursor.rowcount == 5
    assert cursor.rowcounts == (2, 0, 3)
    assert cursor.description[0][0] == "g"
    assert await cursor.fetchone() == (1,)
    assert cursor.rownumber == 1
    assert await cursor.fetchmany(5) == [(2,)]
    assert await cursor.fetchone() is None
    assert await cursor.nextset()
    assert await cursor.fetchall() == []
    assert await cursor.nextset()
    assert cursor.rownumber == 0
    assert [row async for row in cursor] == [(1,), (2,), (3,)]
    assert await cursor.nextset() is None


async def test_results(table: Any) -> None:
    cursor = await table.executemany(
        f"{INSERT} returning n, n * 2 as twice", sets(5000), returning=True
    )
    found = [await result.fetchall() async for result in cursor.results()]
    assert found == [[(n, 2 * n)] for n in range(5000)]
    cursor = await table.executemany("delete from many where n < $1", [[1], [3]])
    assert cursor.rowcounts == (1, 2)
    assert [result async for result in cursor.results()] == []


async def test_rows_by_a_factory(table: Any) -> None:
    cursor = await table.executemany(
        "select $1::int as a", [[1], [2]], returning=True, row_factory=dict
    )
    found = [await result.fetchone() async for result in cursor.results()]
    assert found == [{"a": 1}, {"a": 2}]


async def test_others_wait_their_turn(table: Any) -> None:
    """Statements of other tasks come behind it, not in between."""
    work = asyncio.create_task(table.executemany(INSERT, sets()))
    await asyncio.sleep(0)
    assert await table.fetchval("select count(*) from many") == BIG
    assert (await work).rowcount == BIG


async def test_own_statement_in_the_source(table: Any) -> None:
    """It would wait for its own end."""

    async def source() -> AsyncIterator[Any]:
        for n in range(2000):
            yield (n, "x")
        await table.fetchval("select 1")

    with pytest.raises(pgasync.InterfaceError, match="from this task"):
        await table.executemany(INSERT, source())
    await is_in_order(table)


async def test_copy_is_refused(table: Any) -> None:
    for count in (1, 3):
        with pytest.raises(pgasync.NotSupportedError, match="copy_records_to_table"):
            await table.executemany("/* no */ copy many from stdin", [()] * count)
    await is_in_order(table)


@pytest.mark.parametrize("wrong", ["text", b"x", {"a": 1}, 5, None])
async def test_no_sets(table: Any, wrong: Any) -> None:
    with pytest.raises(pgasync.ProgrammingError, match="executemany"):
        await table.executemany(INSERT, wrong)
    await is_in_order(table)


async def test_names(table: Any, source: Any) -> None:
    named = "insert into many (n, s) values (:n, :s)"
    given = [{"n": n, "s": TEXT} for n in range(BIG)]
    assert (await table.executemany(named, source(given))).rowcount == BIG
    assert await table.fetchval("select sum(n) from many") == sum(range(BIG))
    await table.execute("truncate many")
    given[LATE] = {"n": LATE}
    with pytest.raises(pgasync.ProgrammingError, match=":s") as caught:
        await table.executemany(named, source(given))
    assert caught.value.set_index == LATE
    await is_in_order(table)
