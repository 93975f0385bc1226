"""The rule: a connection works for the transaction() block that is open on it, and for
nobody else until that has ended."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

import pgasync
from pgasync.block import Block

XID = "select pg_current_xact_id()::text"
SOON_S = 0.05  # so long nothing may happen that is to wait


def outside(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task that the running one has not started: it is in no block."""
    return contextvars.Context().run(asyncio.create_task, work)


async def waits(*tasks: asyncio.Task[Any]) -> bool:
    await asyncio.sleep(SOON_S)
    return not any(task.done() for task in tasks)


@pytest.fixture
async def plain(connect: Callable[..., Any]) -> Any:
    """PEP 249's mode: a statement opens a transaction."""
    return await connect()


async def test_others_wait_in_their_order(conn: Any) -> None:
    order: list[int] = []

    async def other(number: int) -> str:
        xid = await conn.fetchval(XID)
        order.append(number)
        return str(xid)

    async with conn.transaction():
        first = await conn.fetchval(XID)
        tasks = [outside(other(n)) for n in range(5)]
        assert await waits(*tasks)
        assert await conn.fetchval(XID) == first
    xids = await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]
    assert first not in xids
    assert len(set(xids)) == 5


async def test_before_the_first_statement(conn: Any) -> None:
    """The BEGIN that is due does not ride with another task's statement."""
    go = asyncio.Event()

    async def other() -> Any:
        await go.wait()
        return await conn.fetchval(XID)

    task = asyncio.create_task(other())
    async with conn.transaction():
        go.set()
        assert await waits(task)
        xid = await conn.fetchval(XID)
    assert await task != xid


async def test_tasks_started_inside_belong_to_it(conn: Any) -> None:
    async with conn.transaction():
        first = await conn.fetchval(XID)
        xids = await asyncio.gather(*(conn.fetchval(XID) for _ in range(5)))
        assert set(xids) == {first}


async def test_task_that_outlives_the_block(conn: Any) -> None:
    """It was inside of that one, not of the next."""
    go = asyncio.Event()

    async def child() -> Any:
        await go.wait()
        return await conn.fetchval(XID)

    async with conn.transaction():
        task = asyncio.create_task(child())
    async with conn.transaction():
        xid = await conn.fetchval(XID)
        go.set()
        assert await waits(task)
    assert await task != xid


async def test_blocks_take_turns(conn: Any) -> None:
    order: list[str] = []

    async def block(name: str) -> set[Any]:
        async with conn.transaction():
            order.append(name)
            first = await conn.fetchval(XID)
            await asyncio.sleep(0.005)
            order.append(name)
            return {first, await conn.fetchval(XID)}

    xids = await asyncio.gather(*(block(name) for name in "abcd"))
    assert order == [*"aabbccdd"]
    assert all(len(pair) == 1 for pair in xids)
    assert len(set.union(*xids)) == 4


async def test_blocks_and_statements_first_come_first_served(conn: Any) -> None:
    order: list[str] = []

    async def block(name: str) -> None:
        async with conn.transaction():
            await conn.execute("select 1")
            order.append(name)

    async def statement(name: str) -> None:
        await conn.execute("select 1")
        order.append(name)

    works = [statement, block, statement, block, block, statement]
    async with conn.transaction():
        tasks = [outside(work(str(number))) for number, work in enumerate(works)]
        assert await waits(*tasks)
    await asyncio.gather(*tasks)
    assert order == ["0", "1", "2", "3", "4", "5"]


async def test_block_behind_statements_that_wait(conn: Any) -> None:
    """New texts wait for their descriptions when the block comes; a statement that
    comes after it is outside."""
    xids = [f"{XID} where {number} > 0" for number in range(1, 5)]
    before = [asyncio.create_task(conn.fetchval(sql)) for sql in xids[:3]]
    await asyncio.sleep(0)

    async def block() -> tuple[Any, Any]:
        async with conn.transaction():
            return await conn.fetchval(XID), await conn.fetchval(XID)

    inside = asyncio.create_task(block())
    await asyncio.sleep(0)
    after = asyncio.create_task(conn.fetchval(xids[3]))
    first, second = await inside
    assert first == second
    assert first not in await asyncio.gather(*before, after)


async def test_cancelled_while_waiting(conn: Any) -> None:
    async def block() -> None:
        async with conn.transaction():
            pytest.fail("entered")

    async with conn.transaction():
        tasks = [
            outside(block()),
            outside(conn.fetchval("select 1")),
            outside(conn.commit()),
        ]
        last = outside(conn.fetchval("select 2"))
        assert await waits(*tasks)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert await conn.fetchval("select 3") == 3
    assert await last == 2


async def test_cancelled_when_its_turn_has_come(conn: Any) -> None:
    """Between the end of the first block and the first step of the second task."""

    async def block() -> None:
        async with conn.transaction():
            pytest.fail("entered")

    async with conn.transaction():
        task = outside(block())
        assert await waits(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.wait_for(conn.fetchval("select 1"), 5) == 1


async def test_timeouts_of_those_who_wait(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True, command_timeout=0.1)

    async def block() -> None:
        async with conn.transaction():
            pytest.fail("entered")

    async with conn.transaction():
        tasks = [outside(work) for work in (block(), conn.execute("x"))]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, pgasync.QueryTimeout) for result in results)
        assert all("another task's transaction()" in str(error) for error in results)
        assert await conn.fetchval("select 1") == 1


async def test_owner_ends_without_leaving(conn: Any) -> None:
    """Those who wait have their turn, in the transaction that was left open."""
    xids: list[Any] = []

    async def owner() -> None:
        await conn.transaction().start()
        xids.append(await conn.fetchval(XID))
        await asyncio.sleep(0.1)

    task = asyncio.create_task(owner())
    await asyncio.sleep(0.03)
    assert await asyncio.wait_for(conn.fetchval(XID), 5) == xids[0]
    assert task.done()


async def test_opened_in_a_task_that_is_done(conn: Any) -> None:
    """As fixtures do: set up in one task, used in another, torn down in a third."""
    transaction = conn.transaction()
    await outside(transaction.start())
    xid = await conn.fetchval(XID)
    async with conn.transaction():  # a savepoint, which is an own block again
        assert await conn.fetchval(XID) == xid
        task = outside(conn.fetchval(XID))
        assert await waits(task)
    assert await task == xid
    await outside(transaction.rollback())
    assert conn.info.transaction_status == "I"


async def test_ended_by_another_task_beside_its_owner(conn: Any) -> None:
    """An async generator is finished in another task and context than it began in."""

    async def dependency() -> AsyncIterator[Any]:
        async with conn.transaction():
            yield await conn.fetchval(XID)

    generator = dependency()
    go = asyncio.Event()

    async def owner() -> None:
        await generator.__anext__()
        await go.wait()

    task = outside(owner())
    await asyncio.sleep(0.03)
    assert conn.info.transaction_status == "T"
    other = outside(conn.fetchval("select 1"))
    assert await waits(other)
    await generator.aclose()  # type: ignore[attr-defined]
    assert await other == 1
    go.set()
    await task


async def test_the_owner_in_another_context(conn: Any) -> None:
    async with conn.transaction():
        xid = await conn.fetchval(XID)
        operation = contextvars.Context().run(conn.fetchval, XID)
        assert await operation == xid


async def test_commit_and_rollback_of_others_wait(plain: Any) -> None:
    async with plain.transaction():
        xid = await plain.fetchval(XID)
        tasks = [outside(plain.commit())]
        tasks += [outside(plain.rollback())]
        assert await waits(*tasks)
        assert await plain.fetchval(XID) == xid
        with pytest.raises(pgasync.InterfaceError, match="block"):
            await plain.commit()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("end", ["close", "terminate", "exit"])
async def test_closed_while_others_wait(connect: Callable[..., Any], end: str) -> None:
    conn = await connect(autocommit=True)

    async def block() -> None:
        async with conn.transaction():
            pytest.fail("entered")

    with pytest.raises(pgasync.InterfaceError, match="connection is closed"):
        await conn.transaction().__aenter__()
        await conn.execute("select 1")
        tasks = [outside(block())]
        tasks += [outside(conn.fetchval("select 1"))]
        assert await waits(*tasks)
        ending = outside(finish(conn, end))
        await asyncio.wait_for(ending, 5)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, pgasync.InterfaceError) for result in results)
        await conn.execute("select 1")


async def finish(conn: Any, end: str) -> None:
    if end == "close":
        await conn.close()
    elif end == "terminate":
        conn.terminate()
    else:
        await conn.__aexit__(KeyError, KeyError(), None)


async def test_lost_while_others_wait(conn: Any, connect: Callable[..., Any]) -> None:
    other = await connect(autocommit=True)
    with pytest.raises(pgasync.OperationalError):
        async with conn.transaction():
            pid = await conn.fetchval("select pg_backend_pid()")
            task = outside(conn.fetchval("select 1"))
            assert await waits(task)
            await other.execute("select pg_terminate_backend($1)", [pid])
            await conn.execute("select pg_sleep(5)")
    with pytest.raises(pgasync.ConnectionLost) as caught:
        await task
    assert caught.value.outcome == "not_sent"


async def stream(conn: Any) -> list[Any]:
    async with conn.stream("select generate_series(1, 3) as n") as rows:
        return [row.n async for row in rows]


async def copy_in(conn: Any) -> Any:
    return await conn.copy_records_to_table("block_bulk", records=[(1,), (2,), (3,)])


async def copy_out(conn: Any) -> bytes:
    pieces: list[bytes] = []
    await conn.copy_from_query("select 7", output=pieces.append)
    return b"".join(pieces)


async def many(conn: Any) -> int:
    sql = "insert into block_bulk values ($1)"
    return int((await conn.executemany(sql, ((n,) for n in range(5)))).rowcount)


async def server_cursor(conn: Any) -> int:
    async with conn.cursor("outside", withhold=True) as cursor:
        await cursor.execute("select generate_series(1, 200)")
        return len([row async for row in cursor])


@pytest.fixture
async def bulk(conn: Any) -> AsyncIterator[Any]:
    await conn.execute(
        "drop table if exists block_bulk; create table block_bulk (n int)"
    )
    yield conn
    await conn.execute("drop table block_bulk")


async def pipeline(conn: Any) -> list[Any]:
    async with conn.pipeline() as p:
        results = [p.fetchval("select $1::int", [n]) for n in range(5)]
    return [await result for result in results]


async def prepared(conn: Any) -> Any:
    statement = await conn.prepare("select 5")
    return await statement.fetchval()


async def script(conn: Any) -> Any:
    return await conn.fetchval("set work_mem = '1MB'; select 5")


WORKS = [
    stream,
    copy_in,
    copy_out,
    many,
    server_cursor,
    pipeline,
    prepared,
    script,
]


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
async def test_bulk_of_others_waits(bulk: Any, work: Callable[..., Any]) -> None:
    with pytest.raises(KeyError):
        async with bulk.transaction():
            xid = await bulk.fetchval(XID)
            task = outside(work(bulk))
            assert await waits(task)
            assert await bulk.fetchval(XID) == xid
            raise KeyError
    result = await task
    assert result == await work(bulk)
    async with bulk.transaction():  # inside it just runs
        assert await work(bulk) == result
    kept = await bulk.fetchval("select count(*) from block_bulk")
    assert kept == {copy_in: 9, many: 15}.get(work, 0)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
async def test_bulk_of_others_given_up(bulk: Any, work: Callable[..., Any]) -> None:
    async with bulk.transaction():
        await bulk.execute("insert into block_bulk values (0)")
        task = outside(work(bulk))
        assert await waits(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await bulk.fetchval("select count(*) from block_bulk") == 1
    assert await bulk.fetchval("select count(*) from block_bulk") == 1


@pytest.mark.parametrize("end", ["close", "terminate"])
async def test_bulk_of_others_when_the_end_comes(
    connect: Callable[..., Any], end: str
) -> None:
    conn = await connect(autocommit=True)
    await conn.transaction().start()
    await conn.execute("create temp table block_bulk (n int)")
    tasks = [outside(work(conn)) for work in WORKS]
    assert await waits(*tasks)
    await finish(conn, end)
    done, pending = await asyncio.wait(tasks, timeout=5)
    assert not pending
    assert all(isinstance(task.exception(), pgasync.Error) for task in done)


async def test_block_waits_for_a_stream_of_another_task(bulk: Any) -> None:
    go = asyncio.Event()

    async def slowly() -> int:
        count = 0
        async with bulk.stream("select generate_series(1, 100000)") as rows:
            async for _ in rows:
                count += 1
                if count == 1:
                    await go.wait()
        return count

    async def block() -> Any:
        async with bulk.transaction():
            return await bulk.fetchval("select 1")

    streaming = outside(slowly())
    await asyncio.sleep(SOON_S)
    task = outside(block())
    assert await waits(streaming, task)
    go.set()
    assert await asyncio.gather(streaming, task) == [100000, 1]


async def test_siblings_nest_one_after_the_other(conn: Any) -> None:
    """Their savepoints would undo each other."""
    await conn.execute("create temp table sibling (n int)")

    async def child(number: int) -> None:
        async with conn.transaction():
            await conn.execute("insert into sibling values ($1)", [number])
            await asyncio.sleep(0.01)
            if number % 2:
                raise KeyError
            await conn.execute("insert into sibling values ($1)", [number])

    async with conn.transaction():
        results = await asyncio.gather(
            *(child(n) for n in range(6)), return_exceptions=True
        )
    assert [type(result) for result in results] == [type(None), KeyError] * 3
    assert await conn.fetchval("select array_agg(n) from sibling") == [0, 0, 2, 2, 4, 4]


async def test_sibling_that_is_cancelled_and_one_that_never_leaves(conn: Any) -> None:
    async def child(leaves: bool) -> None:
        transaction = conn.transaction()
        await transaction.start()
        await asyncio.sleep(0.05)
        if leaves:
            await transaction.commit()

    async with conn.transaction():
        await conn.execute("select 1")
        first = asyncio.create_task(child(True))
        second = asyncio.create_task(child(True))
        third = asyncio.create_task(child(False))
        fourth = asyncio.create_task(child(False))
        await asyncio.sleep(0.02)
        second.cancel()
        await asyncio.wait_for(asyncio.gather(first, third, fourth), 5)
        assert second.cancelled()
        assert len(conn._transactions) == 3
        await conn._transactions[-1].rollback()
        await conn._transactions[-1].rollback()
    assert conn.info.transaction_status == "I"


async def test_sibling_and_command_timeout(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True, command_timeout=0.1)

    async def child(pause: float) -> None:
        async with conn.transaction():
            await asyncio.sleep(pause)

    async with conn.transaction():
        first = asyncio.create_task(child(0.3))
        await asyncio.sleep(0)
        with pytest.raises(pgasync.QueryTimeout, match="another task's transaction"):
            await asyncio.create_task(child(0))
        await first


async def test_block_that_waits_for_a_task_of_its_outer_block(conn: Any) -> None:
    """The task nests in the owner's inner block: waiting would be for ever."""
    go = asyncio.Event()

    async def child() -> Any:
        await go.wait()
        async with conn.transaction():
            return await conn.fetchval(XID)

    async with conn.transaction():
        task = asyncio.create_task(child())
        async with conn.transaction():
            go.set()
            xid = await conn.fetchval(XID)
            assert await asyncio.wait_for(task, 5) == xid


async def test_a_script_is_a_block(conn: Any) -> None:
    script = "; ".join([XID] * 4)

    async def run() -> set[Any]:
        cursor = await conn.execute(script)
        xids = {await cursor.fetchone()}
        while await cursor.nextset():
            xids.add(await cursor.fetchone())
        return xids

    results = await asyncio.gather(run(), conn.fetch(XID), run(), conn.fetch(XID))
    assert [len(result) for result in results] == [1, 1, 1, 1]
    assert len({next(iter(row)) for result in results for row in result}) == 4


async def test_a_start_that_fails_lets_others_in(plain: Any) -> None:
    await plain.execute("select 1")
    with pytest.raises(pgasync.InterfaceError, match="savepoint"):
        await plain.transaction(readonly=True).start()
    with pytest.raises(pgasync.DatabaseError):
        await plain.execute("select 1/0")
    with pytest.raises(pgasync.DatabaseError):  # the savepoint
        await plain.transaction().start()
    assert await asyncio.wait_for(outside(plain.rollback()), 5) is None


async def test_autocommit_does_not_change_inside(conn: Any) -> None:
    async with conn.transaction():
        with pytest.raises(pgasync.InterfaceError, match="inside a transaction"):
            conn.autocommit = False
    conn.autocommit = False


async def test_savepoint_block_without_autocommit(plain: Any) -> None:
    """Outside of the block its statements would be undone with the savepoint."""
    await plain.execute("create temp table left_over (n int)")
    with pytest.raises(KeyError):
        async with plain.transaction():
            await plain.execute("insert into left_over values (1)")
            sql = "insert into left_over values (2)"
            task = outside(plain.execute(sql))
            assert await waits(task)
            raise KeyError
    await task
    assert await plain.fetchval("select array_agg(n) from left_over") == [2]


@pytest.mark.no_leak_check
def test_loop_that_ends_inside(dsn: str) -> None:
    """Its owner will never go on: the block belongs to whoever comes."""

    async def begin() -> tuple[Any, Any]:
        conn = await pgasync.connect(dsn, autocommit=True)

        async def owner() -> None:
            await conn.transaction().start()
            await conn.execute("select 1")
            await asyncio.sleep(60)

        task = outside(owner())
        await asyncio.sleep(0.1)
        return conn, task

    first = asyncio.new_event_loop()
    conn, task = first.run_until_complete(begin())
    second = asyncio.new_event_loop()
    with pytest.raises(pgasync.InterfaceError, match="busy in the event loop"):
        second.run_until_complete(conn.execute("select 1"))
    first.close()
    assert second.run_until_complete(conn.fetchval("select 1")) == 1
    assert conn.info.transaction_status == "T"
    second.run_until_complete(conn.close())
    second.close()
    task._log_destroy_pending = False


async def test_another_thread(conn: Any) -> None:
    """It cannot take the connection along while its block is open here."""

    def elsewhere(sql: str) -> Any:
        async def run() -> Any:
            return await conn.fetchval(sql)

        return asyncio.run(run())

    loop = asyncio.get_running_loop()
    async with conn.transaction():
        await conn.execute("select 1")
        with pytest.raises(pgasync.InterfaceError, match="busy in the event loop"):
            await loop.run_in_executor(None, elsewhere, "select 1")
        assert await conn.fetchval("select 2") == 2
        # asyncio.to_thread() takes the context along: that is inside.
        context = contextvars.copy_context()
        work = loop.run_in_executor(None, context.run, elsewhere, "select 3")
        assert await work == 3
        assert await conn.fetchval("select 4") == 4


async def test_nothing_is_kept(conn: Any) -> None:
    """A task that opens block after block, each with others waiting."""

    async def round_trip() -> None:
        async with conn.transaction():
            tasks = [outside(conn.fetchval("select 1")) for _ in range(2)]
            await conn.execute("select 1")
            await asyncio.gather(nested(), nested())
        await asyncio.gather(*tasks)

    async def nested() -> None:
        async with conn.transaction():
            await asyncio.sleep(0)

    for _ in range(20):
        await round_trip()
    del round_trip
    gc.collect()
    blocks = [found for found in gc.get_objects() if isinstance(found, Block)]
    assert len(blocks) <= 2  # what the context of this task names, at most


async def test_storm(conn: Any) -> None:
    """Blocks, statements and scripts of many tasks, some of them cancelled: nobody
    ever sees another's transaction."""
    dice = random.Random(7)
    owners: dict[str, int] = {}

    def note(xid: str, who: int) -> None:
        assert owners.setdefault(xid, who) == who

    async def block(who: int) -> None:
        async with conn.transaction():
            note(await conn.fetchval(XID), who)
            if dice.random() < 0.3:
                await asyncio.sleep(0.001)
            if dice.random() < 0.3:
                await asyncio.gather(*(nested(who) for _ in range(2)))
            if dice.random() < 0.2:
                raise KeyError
            note(await conn.fetchval(XID), who)

    async def nested(who: int) -> None:
        async with conn.transaction():
            await conn.execute("select $1::int", [who])

    async def statement(who: int) -> None:
        note(await conn.fetchval(XID), who)

    async def script(who: int) -> None:
        cursor = await conn.execute(f"{XID}; {XID}")
        note((await cursor.fetchone())[0], who)
        await cursor.nextset()
        note((await cursor.fetchone())[0], who)

    async def victim(who: int) -> None:
        task = asyncio.create_task(block(who))
        await asyncio.sleep(dice.random() * 0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    works = [block, block, statement, statement, script, victim]
    tasks = [dice.choice(works)(number) for number in range(300)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    kinds = {type(result) for result in results}
    assert kinds <= {type(None), KeyError}, kinds
    assert conn.info.transaction_status == "I"
    assert conn._core.block is None
    assert conn._transactions == []
