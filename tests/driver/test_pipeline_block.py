"""conn.pipeline(): several statements under one Sync."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

import pgasync
from pgasync import PipelineAborted
from pgmock import Proxy

INSERT = "insert into piped values ($1)"
ROWS = "select n from piped order by n"


@pytest_asyncio.fixture
async def table(conn: Any) -> AsyncIterator[Any]:
    """The connection, with an empty temporary table `piped`."""
    await conn.execute("create temp table piped (n int primary key check (n < 1000))")
    yield conn


async def rows(conn: Any) -> list[int]:
    return [row[0] for row in await conn.fetch(ROWS)]


class Writes:
    """What is sent, write by write, as letters of the messages."""

    encoding = "utf-8"

    def __init__(self, conn: Any) -> None:
        self.writes: list[str] = []
        conn.trace(self, timestamps=False)

    def write(self, lines: str) -> None:
        if lines.startswith("F"):
            names = [line.split("\t")[2] for line in lines.splitlines()]
            self.writes.append(" ".join(names))

    def flush(self) -> None:
        pass


# What comes back


async def test_each_its_own_result(table: Any) -> None:
    async with table.pipeline() as p:
        inserted = p.execute(INSERT, [1])
        all_rows = p.fetch("select $1::int as a, 2 as b", [1])
        one_row = p.fetchrow("select 3 as c", row_factory=dict)
        nothing = p.fetchrow("select 1 where false")
        value = p.fetchval("select $1::text", ["x"])
        named = p.fetchval("select :a::int - :b::int", {"a": 5, "b": 3})
        assert not value.done()
    assert value.done()
    assert (await inserted).rowcount == 1
    assert (await inserted).statusmessage == "INSERT 0 1"
    assert await all_rows == [(1, 2)]
    assert await one_row == {"c": 3}
    assert await nothing is None
    assert await value == "x"
    assert await value == "x"
    assert await named == 2


async def test_one_write_and_one_sync(table: Any) -> None:
    await table.execute(INSERT, [0])
    writes = Writes(table)
    async with table.pipeline() as p:
        for n in range(1, 4):
            p.execute(INSERT, [n])
    assert writes.writes == ["Bind Execute Bind Execute Bind Execute Sync"]
    assert await rows(table) == [0, 1, 2, 3]


async def test_new_statements_are_described_in_one_flight(table: Any) -> None:
    writes = Writes(table)
    async with table.pipeline() as p:
        results = [p.fetchval(f"select {n}") for n in range(3)]
    assert [await result for result in results] == [0, 1, 2]
    assert writes.writes == [
        "Parse Describe Sync Parse Describe Sync Parse Describe Sync",
        "Bind Execute Bind Execute Bind Execute Sync",
    ]


async def test_nothing(table: Any) -> None:
    writes = Writes(table)
    async with table.pipeline():
        pass
    async with table.pipeline() as p:
        await p.sync()
    assert writes.writes == []


async def test_parameters_are_taken_as_they_are(conn: Any) -> None:
    values = [1]
    async with conn.pipeline() as p:
        result = p.fetchval("select $1::int", values)
        values[0] = 2
    assert await result == 1


async def test_types_from_values(conn: Any) -> None:
    """The server cannot tell them; found out in front of the segment."""
    async with conn.pipeline() as p:
        result = p.fetchval("select jsonb_build_array($1, $2)", [1, "x"])
    assert await result == [1, "x"]


async def test_ddl_and_what_needs_it(conn: Any) -> None:
    async with conn.pipeline() as p:
        p.execute("create temp table fresh (n int, t text)")
        p.execute("insert into fresh values ($1, $2)", [1, "one"])
        found = p.fetch("select * from fresh")
        p.execute("alter table fresh add column b bool default true")
        again = p.fetch("select * from fresh")
        p.execute("drop table fresh")
    assert await found == [(1, "one")]
    assert await again == [(1, "one", True)]


async def test_types_that_are_looked_up(conn: Any) -> None:
    """Inside of the segment, whose transaction the question does not end."""
    await conn.execute("drop type if exists piped_mood")
    try:
        async with conn.pipeline() as p:
            p.execute("create type piped_mood as enum ('sad', 'glad')")
            given = p.fetchval("select $1::piped_mood", ["sad"])
            anonymous = p.fetchval("select row(1, 'glad'::piped_mood)")
            xact = [p.fetchval("select pg_current_xact_id()::text") for _ in "ab"]
            last = p.fetchval("select 'sad'::piped_mood")
        assert await given == "sad"
        assert await anonymous == (1, "glad")
        assert len({await result for result in xact}) == 1
        assert await last == "sad"
    finally:
        await conn.execute("drop type if exists piped_mood")


# Transactions


async def test_one_implicit_transaction(conn: Any) -> None:
    async with conn.pipeline() as p:
        ids = [p.fetchval("select pg_current_xact_id()::text") for _ in range(3)]
        first = await ids[0]
        ids.append(p.fetchval("select pg_current_xact_id()::text"))
        await p.sync()
        later = p.fetchval("select pg_current_xact_id()::text")
    assert {await result for result in ids} == {first}
    assert await later != first
    assert conn.info.transaction_status == "I"


async def test_begin_rides_in_front(connect: Callable[..., Any]) -> None:
    conn = await connect()
    await conn.execute("create temp table piped (n int)")
    await conn.commit()
    writes = Writes(conn)
    async with conn.pipeline() as p:
        p.execute(INSERT, [1])
        p.execute(INSERT, [2])
    assert conn.info.transaction_status == "T"
    assert " ".join(writes.writes).count("Sync") == 1
    await conn.rollback()
    assert await conn.fetchval("select count(*) from piped") == 0


async def test_in_a_transaction(table: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        async with table.transaction():
            async with table.pipeline() as p:
                p.execute(INSERT, [1])
                await p.sync()
                p.execute(INSERT, [2])
            assert await rows(table) == [1, 2]
            raise ZeroDivisionError
    assert await rows(table) == []


async def test_error_in_a_transaction(table: Any) -> None:
    async with table.transaction():
        await table.execute(INSERT, [1])
        with pytest.raises(pgasync.IntegrityError):
            async with table.transaction(), table.pipeline() as p:
                p.execute(INSERT, [2])
                p.execute(INSERT, [1])
                p.execute(INSERT, [3])
        assert await rows(table) == [1]
    assert await rows(table) == [1]


# Errors


async def test_error(table: Any) -> None:
    """Its own for the one that failed, PipelineAborted for those behind it, results for
    those before, which are undone."""
    async with table.pipeline() as p:
        before = p.execute(INSERT, [1])
        failing = p.execute(INSERT, [1])
        behind = [p.execute(INSERT, [2]), p.fetchval("select 3")]
        assert (await before).rowcount == 1
        with pytest.raises(pgasync.errors.UniqueViolation) as caught:
            await failing
        assert caught.value.outcome == "failed"
        for result in behind:
            with pytest.raises(PipelineAborted) as aborted:
                await result
            assert aborted.value.__cause__ is caught.value
            assert aborted.value.safe_to_retry
            assert INSERT in str(aborted.value)
        late = p.fetchval("select 4")
        with pytest.raises(PipelineAborted):
            await late
    assert await rows(table) == []


async def test_error_is_raised_at_the_end(table: Any) -> None:
    with pytest.raises(pgasync.errors.UniqueViolation):
        async with table.pipeline() as p:
            results = [p.execute(INSERT, [n]) for n in (1, 2, 2, 3)]
    assert (await results[0]).rowcount == 1
    with pytest.raises(pgasync.errors.UniqueViolation):
        await results[2]
    with pytest.raises(PipelineAborted):
        await results[3]
    assert await rows(table) == []


async def test_what_nobody_was_told_is_raised(table: Any) -> None:
    """The failure was seen, what it kept from running was not."""
    with pytest.raises(PipelineAborted):
        async with table.pipeline() as p:
            failing = p.fetchval("select 1 / 0")
            p.execute(INSERT, [1])
            with pytest.raises(pgasync.DataError):
                await failing


async def test_error_of_a_sync(table: Any) -> None:
    """Ends its segment; the next one is as if nothing had been."""
    async with table.pipeline() as p:
        p.execute(INSERT, [1])
        await p.sync()
        p.execute(INSERT, [2])
        p.execute(INSERT, [1])
        with pytest.raises(pgasync.errors.UniqueViolation):
            await p.sync()
        p.execute(INSERT, [3])
    assert await rows(table) == [1, 3]


async def test_error_of_the_commit(table: Any) -> None:
    await table.execute(
        "create temp table deferred (n int unique deferrable initially deferred)"
    )
    with pytest.raises(pgasync.errors.UniqueViolation):
        async with table.pipeline() as p:
            results = [p.execute("insert into deferred values ($1)", [1]) for _ in "ab"]
    assert [(await result).rowcount for result in results] == [1, 1]
    assert await table.fetchval("select count(*) from deferred") == 0


async def test_error_of_a_new_statement(table: Any) -> None:
    """It cannot even be described."""
    async with table.pipeline() as p:
        p.execute(INSERT, [1])
        missing = p.fetch("select * from nowhere")
        behind = p.execute(INSERT, [2])
        with pytest.raises(pgasync.ProgrammingError, match="nowhere"):
            await missing
        with pytest.raises(PipelineAborted):
            await behind
    assert await rows(table) == []
    assert await table.fetchval("select 1") == 1


async def test_error_of_a_value(table: Any) -> None:
    """Nothing is sent of it; what was sent before is undone without a warning."""
    await table.execute(INSERT, [0])
    notices: list[Any] = []
    table.add_notice_listener(lambda _, notice: notices.append(notice))
    async with table.pipeline() as p:
        first = p.execute(INSERT, [1])
        await first
        bad = p.execute(INSERT, [object()])
        behind = p.execute(INSERT, [2])
        with pytest.raises(pgasync.DataError) as caught:
            await bad
        assert caught.value.outcome == "not_sent"
        with pytest.raises(PipelineAborted):
            await behind
    assert await rows(table) == [0]
    await asyncio.sleep(0)
    assert notices == []


async def test_error_of_a_value_in_a_transaction(table: Any) -> None:
    """As without a pipeline: the transaction goes on."""
    async with table.transaction():
        await table.execute(INSERT, [0])
        with pytest.raises(pgasync.DataError):
            async with table.pipeline() as p:
                p.execute(INSERT, [1])
                p.execute(INSERT, [object()])
                p.execute(INSERT, [2])
        assert await rows(table) == [0, 1]
    assert await rows(table) == [0, 1]


async def test_wrong_use(conn: Any) -> None:
    p = conn.pipeline()
    with pytest.raises(pgasync.InterfaceError, match="async with"):
        p.fetchval("select 1")
    async with p:
        with pytest.raises(pgasync.ProgrammingError, match="one statement"):
            p.execute("select 1; select 2")
        with pytest.raises(pgasync.ProgrammingError):
            p.fetchval("select $1", "x")
        with pytest.raises(pgasync.ProgrammingError):
            p.fetchval(b"select 1")
        with pytest.raises(pgasync.InterfaceError, match="is open here"):
            async with conn.pipeline():
                pass
    with pytest.raises(pgasync.InterfaceError, match="ended"):
        p.fetchval("select 1")
    with pytest.raises(pgasync.InterfaceError, match="ended"):
        await p.sync()
    with pytest.raises(pgasync.InterfaceError, match="once"):
        async with p:
            pass
    assert await conn.fetchval("select 1") == 1


async def test_copy_is_refused(table: Any) -> None:
    for text in ("copy piped from stdin", "/* x */ COPY piped to stdout"):
        with pytest.raises(pgasync.NotSupportedError, match="pipeline"):
            async with table.pipeline() as p:
                p.execute(INSERT, [1])
                p.execute(text)
                p.execute(INSERT, [2])
        assert await rows(table) == []


async def test_copy_through_execute_with_others_behind(table: Any) -> None:
    """Nothing is sent behind it, since the server would take that for data."""
    for _ in range(2):
        got = await asyncio.gather(
            table.execute("copy piped from stdin"),
            table.fetchval("select $1::int", [5]),
            table.fetchval("select 6"),
            return_exceptions=True,
        )
        assert isinstance(got[0], pgasync.NotSupportedError)
        assert got[1:] == [5, 6]


async def test_stale_statement(table: Any, connect: Callable[..., Any]) -> None:
    """Changed by somebody else: an error that says so, and the next time it works."""
    other = await connect(autocommit=True)
    await other.execute("create table piped_stale (a int)")
    try:
        assert await table.fetch("select * from piped_stale") == []
        await other._core.query("alter table piped_stale add column b int")
        await table.execute(INSERT, [1])
        with pytest.raises(pgasync.InvalidCachedStatement):
            async with table.pipeline() as p:
                p.execute(INSERT, [2])
                p.fetch("select * from piped_stale")
        assert await rows(table) == [1]
        async with table.pipeline() as p:
            p.execute(INSERT, [2])
            found = p.fetch("select * from piped_stale")
        assert await found == []
        assert await rows(table) == [1, 2]
    finally:
        await other.execute("drop table piped_stale")


@pytest.mark.parametrize("sql", ["select 1", "select 1 / 0"])
async def test_behind_a_stale_statement(
    table: Any, connect: Callable[..., Any], sql: str
) -> None:
    """Of another task, which cannot be sent again once something behind it has been
    answered."""
    other = await connect(autocommit=True)
    await other.execute("create table piped_stale (a int)")
    try:
        await table.fetch("select * from piped_stale")
        with contextlib.suppress(pgasync.DataError):
            await table.fetchval(sql)
        await other._core.query("alter table piped_stale add column b int")

        async def stale() -> None:
            with contextlib.suppress(pgasync.InvalidCachedStatement):
                assert await table.fetch("select * from piped_stale") == []

        task = outside.create_task(stale)
        await asyncio.sleep(0)
        with contextlib.suppress(pgasync.DataError):
            async with table.pipeline() as p:
                assert await asyncio.wait_for(p.fetchval(sql), 5) == 1
        await asyncio.wait_for(task, 5)
        assert await table.fetchval("select 2") == 2
    finally:
        await other.execute("drop table piped_stale")


# Awaiting inside


async def test_await_inside(table: Any) -> None:
    """Comes without ending the transaction."""
    await table.execute(INSERT, [0])
    writes = Writes(table)
    async with table.pipeline() as p:
        first = p.execute(INSERT, [1])
        second = p.fetchval("select pg_current_xact_id_if_assigned()::text")
        third = p.execute(INSERT, [2])
        assert await second is not None
        assert third.done() or (await third).rowcount == 1
        assert (await first).rowcount == 1
    everything = " ".join(writes.writes)
    assert everything.count("Flush") in (1, 2)
    assert everything.endswith("Sync")
    assert await rows(table) == [0, 1, 2]


async def test_gather_inside(conn: Any) -> None:
    async with conn.pipeline() as p:
        results = [p.fetchval("select $1::int", [n]) for n in range(100)]
        assert await asyncio.gather(*results) == list(range(100))


async def test_tasks_inside(conn: Any) -> None:
    async with conn.pipeline() as p:

        async def ask(n: int) -> None:
            for k in range(5):
                assert await p.fetchval("select $1::int", [n * 10 + k]) == n * 10 + k

        await asyncio.gather(*map(ask, range(20)))


async def test_one_result_cancelled(table: Any) -> None:
    """It has not been sent: it does not run, the others do."""
    async with table.pipeline() as p:
        first = p.execute(INSERT, [1])
        task = asyncio.ensure_future(p.fetchval("select pg_sleep(50)"))
        await asyncio.sleep(0)
        assert not first.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert (await first).rowcount == 1
    assert await rows(table) == [1]


async def test_cancelled_while_it_runs(table: Any) -> None:
    """The server is told to stop; the implicit transaction is gone with it."""
    await table.execute(INSERT, [0])
    async with table.pipeline() as p:
        first = p.execute(INSERT, [1])
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(p.fetchval("select pg_sleep(30)"), 0.2)
        behind = p.execute(INSERT, [2])
        assert (await first).rowcount == 1
        with pytest.raises(PipelineAborted, match="cancelled"):
            await behind
    assert await rows(table) == [0]
    assert await table.fetchval("select 1") == 1


async def test_cancelled_at_the_end(table: Any) -> None:
    await table.execute(INSERT, [0])

    async def work() -> None:
        async with table.pipeline() as p:
            p.execute(INSERT, [1])
            p.fetchval("select pg_sleep(30)")
            p.execute(INSERT, [2])

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert await rows(table) == [0]
    assert table._core.pipelines == 0


async def test_timeout_at_the_end(table: Any) -> None:
    with pytest.raises(pgasync.QueryTimeout):
        async with table.pipeline(timeout=0.2) as p:
            p.execute(INSERT, [1])
            slow = p.fetchval("select pg_sleep(30)")
    with pytest.raises(PipelineAborted):
        await slow
    assert await rows(table) == []


async def test_block_left_by_an_exception(table: Any) -> None:
    """What it has sent is undone, what it has not is not sent."""
    await table.execute(INSERT, [0])
    with pytest.raises(ZeroDivisionError):
        async with table.pipeline() as p:
            sent = p.execute(INSERT, [1])
            await sent
            unsent = p.execute(INSERT, [2])
            raise ZeroDivisionError
    assert (await sent).rowcount == 1
    with pytest.raises(PipelineAborted, match="ZeroDivisionError") as caught:
        await unsent
    assert caught.value.safe_to_retry
    assert await rows(table) == [0]


async def test_block_left_with_something_running(table: Any) -> None:
    started = asyncio.get_running_loop().time()
    with pytest.raises(ZeroDivisionError):
        async with table.pipeline() as p:
            await p.execute(INSERT, [1])
            task = asyncio.ensure_future(p.fetchval("select pg_sleep(30)"))
            await asyncio.sleep(0.2)
            raise ZeroDivisionError
    with pytest.raises(PipelineAborted):
        await task
    assert await rows(table) == []
    assert asyncio.get_running_loop().time() - started < 10


# Beside others


async def test_other_tasks_wait(table: Any) -> None:
    """Their statements come behind the segment, and do not end its transaction."""
    order: list[str] = []

    async def other() -> None:
        assert await table.fetchval("select count(*) from piped") == 2
        order.append("other")

    async with table.pipeline() as p:
        await p.execute(INSERT, [1])
        task = outside.create_task(other)
        await asyncio.sleep(0.05)
        await p.execute(INSERT, [2])
        order.append("pipeline")
    await task
    assert order == ["pipeline", "other"]


class outside:  # noqa: N801
    """Tasks that know nothing of the pipelines of the one that starts them."""

    @staticmethod
    def create_task(function: Callable[[], Any]) -> asyncio.Task[Any]:
        import contextvars

        context = contextvars.Context()
        return context.run(asyncio.ensure_future, function())


async def test_own_task_is_refused(table: Any) -> None:
    async with table.pipeline() as p:
        assert await table.fetchval("select 1") == 1
        p.execute(INSERT, [1])
        for call in (
            lambda: table.fetchval("select 1"),
            lambda: table.commit(),
            lambda: table.transaction().__aenter__(),
            lambda: table.prepare("select 1"),
        ):
            with pytest.raises(pgasync.InterfaceError, match="pipeline"):
                await call()
        await p.sync()
        assert await rows(table) == [1]
        await p.execute(INSERT, [2])
        with pytest.raises(pgasync.InterfaceError, match="pipeline"):
            await table.fetchval("select 1")
    assert await rows(table) == [1, 2]


async def test_two_pipelines(table: Any) -> None:
    """Of two tasks: segment by segment."""

    async def work(first: int) -> None:
        async with table.pipeline() as p:
            for n in range(first, first + 20, 2):
                p.execute(INSERT, [n])
                assert await p.fetchval("select $1::int", [n]) == n
                p.execute(INSERT, [n + 1])
                if n % 3 == 0:
                    await p.sync()

    await asyncio.gather(*(work(first) for first in range(0, 200, 20)))
    assert await rows(table) == list(range(200))


async def test_beside_a_transaction(table: Any) -> None:
    """Of another task: one waits for the other, whoever comes first."""

    async def block(n: int) -> None:
        async with table.transaction():
            await table.execute(INSERT, [n])
            await asyncio.sleep(0.01)
            await table.execute(INSERT, [n + 1])

    async def piped(n: int) -> None:
        async with table.pipeline() as p:
            p.execute(INSERT, [n])
            await asyncio.sleep(0.01)
            await p.execute(INSERT, [n + 1])

    work = [block(0), piped(2), piped(4), block(6), piped(8), block(10), block(12)]
    await asyncio.wait_for(asyncio.gather(*work), 20)
    assert await rows(table) == list(range(14))


async def test_waiting_for_its_turn_is_cancelled(table: Any) -> None:
    async def late() -> None:
        async with table.pipeline() as p:
            p.execute(INSERT, [5])

    async with table.pipeline() as p:
        await p.execute(INSERT, [1])
        task = outside.create_task(late)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await p.execute(INSERT, [2])
    assert await rows(table) == [1, 2]
    assert table._core.pipelines == 0


# Much


async def test_huge(conn: Any) -> None:
    """Answers are read while statements are written."""
    sql = "select $1::int, $2::text"
    text = "x" * 500
    async with conn.pipeline() as p:
        results = [p.fetchrow(sql, [n, text]) for n in range(20_000)]
    assert [(await result)[0] for result in results] == list(range(20_000))


async def test_huge_beside_others(conn: Any) -> None:
    """The loop has its turns."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    async with conn.pipeline() as p:
        for n in range(10_000):
            p.fetchval("select $1::int", [n])
    counting.cancel()
    assert turns > 30


async def test_server_that_does_not_read(server: Any) -> None:
    """What it has not taken is not made: statements wait as the program gave them."""
    if not hasattr(server, "socket_dir"):
        pytest.skip("needs a server of the suite")
    sql = "select length($1::text)"
    text = "x" * 20_000
    with Proxy(str(server.socket_dir), server.port) as proxy:
        dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        async with pgasync.connect(dsn, autocommit=True) as conn:
            await conn.fetchval(sql, [text])
            proxy.stall()
            async with conn.pipeline() as p:
                results = [p.fetchval(sql, [text]) for _ in range(3000)]  # 60 MB
                ends = asyncio.ensure_future(p.sync())
                await asyncio.sleep(0.5)
                assert conn._core.crowded
                assert conn._core.pending < 1500
                proxy.resume()
                await ends
            assert {await result for result in results} == {20_000}


async def test_timeout_inside(table: Any) -> None:
    await table.execute(INSERT, [0])
    with pytest.raises(pgasync.QueryTimeout):
        async with table.pipeline(timeout=0.2) as p:
            p.execute(INSERT, [1])
            await p.fetchval("select pg_sleep(30)")
    assert await rows(table) == [0]


async def test_connection_lost(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    other = await connect(autocommit=True)
    pid = conn.info.backend_pid
    with pytest.raises(pgasync.ConnectionLost):
        async with conn.pipeline() as p:
            done = p.fetchval("select 1")
            assert await done == 1
            await other.execute("select pg_terminate_backend($1)", [pid])
            lost = p.fetchval("select pg_sleep(5)")
            with pytest.raises(pgasync.ConnectionLost):
                await lost
            behind = p.fetchval("select 2")
    with pytest.raises(pgasync.ConnectionLost) as caught:
        await behind
    assert caught.value.safe_to_retry
    assert conn.closed


async def test_closed_inside(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    with pytest.raises(pgasync.InterfaceError):
        async with conn.pipeline() as p:
            await p.fetchval("select 1")
            p.fetchval("select 2")
            await conn.close()
    assert conn.closed


@pytest_asyncio.fixture
async def locked(connect: Callable[..., Any]) -> AsyncIterator[str]:
    """A table that somebody has locked."""
    holder = await connect()
    await holder.execute("create table locked (n int, t text)")
    await holder.commit()
    await holder.execute("lock table locked")
    yield "locked"
    await holder.execute("drop table locked")
    await holder.commit()


async def test_timeout_of_a_description(
    connect: Callable[..., Any], locked: str
) -> None:
    conn = await connect(autocommit=True)
    with pytest.raises(pgasync.QueryTimeout):
        async with conn.pipeline(timeout=0.2) as p:
            p.fetchval(f"select 1 from {locked}")
            p.fetchval(f"select 2 from {locked}")
    assert await asyncio.wait_for(conn.fetchval("select 1"), 10) == 1


async def test_timeout_while_there_is_no_room(connect: Callable[..., Any]) -> None:
    """The server waits in the first statement, and takes no more of the others than the
    buffers of the sockets."""
    conn = await connect(autocommit=True, command_timeout=0.5)
    size = "select length($1::text)"
    await conn.fetchval(size, ["x"])
    await conn.prepare("select pg_sleep($1)")
    with pytest.raises(pgasync.QueryTimeout):
        async with conn.pipeline() as p:
            p.execute("select pg_sleep($1)", [60])
            for _ in range(200):
                p.fetchval(size, ["x" * 50_000])
    assert await asyncio.wait_for(conn.fetchval("select 1"), 10) == 1


async def test_timeout_before_its_turn(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def block() -> None:
        async with conn.transaction():
            entered.set()
            await leave.wait()

    task = asyncio.ensure_future(block())
    await entered.wait()
    with pytest.raises(pgasync.QueryTimeout):
        async with conn.pipeline(timeout=0.1) as p:
            p.fetchval("select 1")
    leave.set()
    await task
    assert await conn.fetchval("select 2") == 2
