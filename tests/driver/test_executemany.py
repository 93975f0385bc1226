"""executemany(): sets from anywhere, in bounded memory, all or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import pgasync
from pgasync import errors

BIG = 12_000  # sets: more than one slice, and more than a socket takes
LATE = 9_000  # a set that is sent when others have been run
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
    "generator": iter,
    "async": generated,
}


@pytest.fixture(params=SOURCES.values(), ids=SOURCES)
def source(request: pytest.FixtureRequest) -> Callable[[list[Any]], Any]:
    made: Callable[[list[Any]], Any] = request.param
    return made


@pytest.mark.parametrize("count", [0, 1, 1024, BIG])
async def test_all_sets_arrive(table: Any, source: Any, count: int) -> None:
    cursor = await table.executemany(INSERT, source(sets(count)))
    assert cursor.rowcount == count
    assert cursor.rowcounts == (1,) * count
    assert cursor.statusmessage == ("INSERT 0 1" if count else None)
    rows = await table.fetch("select n, s from many order by n")
    assert rows == sets(count)


async def test_tuple_of_sets(table: Any) -> None:
    assert (await table.executemany(INSERT, tuple(sets()))).rowcount == BIG


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
    given[LATE] = {"n": LATE, "s": "", "more": 1}
    with pytest.raises(pgasync.ProgrammingError, match=":more") as caught:
        await table.executemany(named, source(given))
    assert caught.value.set_index == LATE
    given[LATE] = MappingProxyType({"s": "proxy", "n": LATE})
    given[5] = (5, "a tuple among them")
    assert (await table.executemany(named, source(given))).rowcount == BIG
    found = await table.fetch(
        "select s from many where n in (5, $1) order by n", [LATE]
    )
    assert found == [("a tuple among them",), ("proxy",)]


# --- the statement itself -----------------------------------------------------


async def test_unnamed_statements(connect: Callable[..., Any], source: Any) -> None:
    conn = await connect(autocommit=True, statement_cache_size=0)
    await conn.execute("create temporary table many (n int primary key, s text)")
    for _ in range(2):
        assert (await conn.executemany(INSERT, source(sets()))).rowcount == BIG
        await conn.execute("truncate many")
    with pytest.raises(pgasync.DataError):
        await conn.executemany(INSERT, source(spoilt(LATE, object(), "")))
    await is_in_order(conn)


async def test_types_that_values_tell(table: Any, source: Any) -> None:
    """json_build_array takes anything, so the server cannot tell what $1 is."""
    sql = "select json_build_array($1)::text"
    given: list[list[Any]] = [[None], [n := 1], *([n] for n in range(3000))]
    cursor = await table.executemany(sql, source(given), returning=True)
    found = [await result.fetchone() async for result in cursor.results()]
    assert found[:3] == [("[null]",), (f"[{n}]",), ("[0]",)]
    assert len(found) == len(given)
    named = [{"x": str(n)} for n in range(3000)]
    sql = "select json_build_array(:x)::text"
    cursor = await table.executemany(sql, source(named), returning=True)
    assert await cursor.fetchone() == ('["0"]',)


async def test_types_that_are_looked_up(table: Any, source: Any) -> None:
    await table.execute(
        "create type pg_temp.mood as enum ('sad', 'glad');"
        "create temporary table moods (n int, m mood[])"
    )
    given = [[n, ["sad", "glad", None]] for n in range(3000)]
    sql = "insert into moods values ($1, $2) returning m"
    cursor = await table.executemany(sql, source(given), returning=True)
    assert await cursor.fetchone() == (["sad", "glad", None],)
    assert cursor.rowcount == 3000


async def test_rows_whose_types_are_looked_up(table: Any) -> None:
    """Each result has its own rows, also those that wait for a type inside them."""
    await table.execute("create type pg_temp.pair as (a int, b text)")
    cursor = await table.executemany(
        "select row(g, row(g, 'x')::pair) from generate_series(1, $1::int) g",
        [[1], [0], [2]],
        returning=True,
    )
    found = [await result.fetchall() async for result in cursor.results()]
    assert [len(rows) for rows in found] == [1, 0, 2]
    assert found[2][1][0][1] == (2, "x")


async def test_stale_statement(
    connect: Callable[..., Any], source: Any, dsn: str
) -> None:
    """The server refuses the first set, after others have been sent: all are sent
    again, once."""
    other = await connect(autocommit=True)
    await other.execute(
        "drop table if exists stale_many; create table stale_many(n int)"
    )
    sql = "insert into stale_many values ($1) returning *"
    for autocommit in (True, False):
        conn = await connect(autocommit=autocommit)
        await conn.fetch(sql, [-1])
        await conn.commit()
        await other.execute("alter table stale_many add column s text default 'x'")
        cursor = await conn.executemany(
            sql, source([[n] for n in range(BIG)]), returning=True
        )
        assert cursor.rowcounts == (1,) * BIG
        assert (await cursor.fetchone())[:2] == (0, "x")
        await conn.commit()
        await conn.close()
        counted = await other.fetchval("select count(*) from stale_many")
        assert counted == BIG + 1
        await other.execute("truncate stale_many; alter table stale_many drop column s")
    await other.execute("drop table stale_many")


async def test_statement_that_the_server_has_dropped(table: Any, source: Any) -> None:
    await table.executemany(INSERT, sets(1))
    await table.execute("truncate many")
    await table.execute("deallocate all; select 1")
    assert (await table.executemany(INSERT, source(sets()))).rowcount == BIG
    await is_in_order(table, BIG)


@pytest.mark.parametrize("sql", ["selec $1", "select $1::int from nowhere"])
async def test_text_that_is_refused(table: Any, source: Any, sql: str) -> None:
    with pytest.raises(pgasync.ProgrammingError) as caught:
        await table.executemany(sql, source([[n] for n in range(3000)]))
    assert caught.value.set_index is None
    await is_in_order(table)


async def test_empty_text(table: Any) -> None:
    cursor = await table.executemany("", [[], []])
    assert cursor.rowcount == 0
    assert cursor.rowcounts == (0, 0)


async def test_error_at_the_commit(table: Any, source: Any) -> None:
    """A deferred constraint fails no set, but all of them."""
    await table.execute(
        "create temporary table later (n int unique deferrable initially deferred)"
    )
    with pytest.raises(errors.UniqueViolation) as caught:
        await table.executemany(
            "insert into later values ($1)", source([[1], [2], [1]])
        )
    assert caught.value.set_index is None
    assert await table.fetchval("select count(*) from later") == 0


# --- given up -----------------------------------------------------------------

SLOW = "insert into many select $1, $2 from pg_sleep($3)"


async def never(waits: asyncio.Event | None = None) -> AsyncIterator[Any]:
    """Some sets, and then none for a long time."""
    for n in range(5000):
        yield (n, "x")
    if waits is not None:
        waits.set()
    await asyncio.sleep(1000)


@pytest.mark.parametrize("kind", ["list", "generator", "async", "waiting"])
@pytest.mark.parametrize("timeout", [False, True])
async def test_in_the_middle(table: Any, kind: str, timeout: bool) -> None:
    slow = [(n, "x", 0.0001) for n in range(100_000)]
    work = (
        table.executemany(INSERT, never(), timeout=0.3 if timeout else None)
        if kind == "waiting"
        else table.executemany(
            SLOW, SOURCES[kind](slow), timeout=0.3 if timeout else None
        )
    )
    if timeout:
        with pytest.raises(pgasync.QueryTimeout):
            await work
    else:
        task = asyncio.create_task(work)
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await is_in_order(table)
    assert (await table.executemany(INSERT, sets(10))).rowcount == 10


@pytest.mark.parametrize("kind", ["list", "waiting"])
async def test_session_ends(connect: Callable[..., Any], dsn: str, kind: str) -> None:
    """Without its Sync nothing has been committed, and the error knows that."""
    conn = await connect(autocommit=True)
    watcher = await connect(autocommit=True)
    await watcher.execute(
        "drop table if exists lost; create table lost (n int, s text)"
    )
    waits = asyncio.Event()
    given = sets(400_000) if kind == "list" else never(waits)
    sql = "insert into lost values ($1, $2)"
    work = asyncio.create_task(conn.executemany(sql, given))
    pid = conn.info.backend_pid
    runs = "select query = $2 from pg_stat_activity where pid = $1"
    while not await watcher.fetchval(runs, [pid, sql]):
        await asyncio.sleep(0.01)
    if kind == "waiting":
        await waits.wait()
    assert await watcher.fetchval("select pg_terminate_backend($1)", [pid])
    if kind == "waiting":
        while not conn.closed:
            await asyncio.sleep(0.01)
        work.cancel()  # nobody tells a source that it is not wanted
        with pytest.raises(asyncio.CancelledError):
            await work
    else:
        with pytest.raises(pgasync.Error) as caught:
            await work
        assert caught.value.outcome == "failed"
    assert conn.closed
    assert await watcher.fetchval("select count(*) from lost") == 0
    await watcher.execute("drop table lost")


async def test_close_while_it_is_fed(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    await conn.execute("create temporary table many (n int, s text)")
    waits = asyncio.Event()
    work = asyncio.create_task(conn.executemany(INSERT, never(waits)))
    await waits.wait()
    started = asyncio.get_running_loop().time()
    await conn.close()
    assert asyncio.get_running_loop().time() - started < 5
    work.cancel()
    with pytest.raises((asyncio.CancelledError, pgasync.Error)):
        await work


# --- others beside it ---------------------------------------------------------


async def test_much_comes_back(table: Any, source: Any) -> None:
    """The server answers more than it is asked: both sides would block each other."""
    sql = "select $1 || repeat('x', 1000) from generate_series(1, 20)"
    given = [["y" * 1000]] * 1000
    cursor = await table.executemany(sql, source(given), returning=True)
    assert cursor.rowcount == 20_000
    assert len(await cursor.fetchall()) == 20
    cursor = await table.executemany(sql, source(given))
    assert cursor.rowcounts == (20,) * 1000


async def test_lookup_beside_it(table: Any) -> None:
    """Rows of the statement in front need a type: the question waits for the end."""
    await table.execute("create type pg_temp.answer as (a int, b text)")
    await table.executemany(INSERT, [(-1, "so that it is known")])
    asked = asyncio.create_task(
        table.fetchval("select row(1, row(2, 'x')::answer) from pg_sleep(0.1)")
    )
    await asyncio.sleep(0)

    async def source() -> AsyncIterator[Any]:
        for parameters in sets():
            yield parameters
        await asyncio.sleep(0.3)

    many = asyncio.create_task(table.executemany(INSERT, source()))
    last = asyncio.create_task(table.fetchval("select count(*) from many"))
    assert await asked == (1, (2, "x"))
    assert (await many).rowcount == BIG
    assert await last in (1, BIG + 1)
    await is_in_order(table, BIG + 1)


async def test_lookup_beside_a_copy(table: Any) -> None:
    """The same in front of a COPY that takes data."""
    await table.execute("create type pg_temp.reply as (a int, b text)")
    asked = asyncio.create_task(
        table.fetchval("select row(1, row(2, 'x')::reply) from pg_sleep(0.1)")
    )
    await asyncio.sleep(0)
    copied = asyncio.create_task(table.copy_records_to_table("many", records=sets()))
    assert await asked == (1, (2, "x"))
    await copied
    await is_in_order(table, BIG)


async def test_lookup_that_is_given_up(table: Any) -> None:
    """While it waits for the end of the sets."""
    await table.execute("create type pg_temp.retort as (a int, b text)")
    await table.executemany(INSERT, [(-1, "so that it is known")])
    asked = asyncio.create_task(
        table.fetchval("select row(1, row(2, 'x')::retort) from pg_sleep(0.1)")
    )
    await asyncio.sleep(0)
    waits = asyncio.Event()

    async def source() -> AsyncIterator[Any]:
        for parameters in sets():
            yield parameters
        await waits.wait()

    many = asyncio.create_task(table.executemany(INSERT, source()))
    await asyncio.sleep(0.3)  # the question about types waits by now, or is answered
    asked.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asked
    waits.set()
    assert (await many).rowcount == BIG
    await is_in_order(table, BIG + 1)


async def test_several_at_once(connect: Callable[..., Any], source: Any) -> None:
    """From several tasks, one behind the other, some of which fail."""
    conn = await connect(autocommit=True)
    await conn.execute("create temporary table many (n int, s text)")

    async def insert(index: int) -> None:
        given = sets(5000)
        if index % 3 == 1:
            given[4000] = (object(), "")
            with pytest.raises(pgasync.DataError):
                await conn.executemany(INSERT, source(given))
        else:
            assert (await conn.executemany(INSERT, source(given))).rowcount == 5000

    await asyncio.gather(*map(insert, range(9)))
    await is_in_order(conn, 6 * 5000)


async def test_the_loop_goes_on(table: Any, source: Any) -> None:
    """Others have their turn while a million bytes are encoded and sent."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counter = asyncio.create_task(count())
    await table.executemany(INSERT, source(sets(50_000)))
    counter.cancel()
    assert turns > 10


async def test_a_list_that_shrinks(table: Any) -> None:
    """Against the rules, and nothing bad comes of it."""
    given = sets(100_000)
    work = asyncio.create_task(table.executemany(INSERT, given))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del given[20:]
    assert 20 <= (await work).rowcount < 100_000
    assert await table.fetchval("select 1") == 1


def resident() -> int:
    """Bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["generator", "async"])
async def test_a_million_sets(table: Any, kind: str) -> None:
    """They take no more memory than some thousands."""

    def plain() -> Iterator[Any]:
        for n in range(1_000_000):
            yield (n, TEXT)

    async def asynchronous() -> AsyncIterator[Any]:
        for parameters in plain():
            yield parameters

    await table.executemany(INSERT, sets())
    await table.execute("truncate many")
    before = resident()
    made: Any = plain() if kind == "generator" else asynchronous()
    cursor = await table.executemany(INSERT, made)
    assert cursor.rowcount == 1_000_000
    assert resident() - before < 20_000_000
