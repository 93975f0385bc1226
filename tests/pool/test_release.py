"""release(): what is left open is tidied up; what is given back is out of reach."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from typing import Any

import pytest

import pgasync
from pgasync import errors
from pgasync.poolhandle import place

MakePool = Callable[..., Any]


def adds_up(pool: Any) -> bool:
    stats = pool.stats()
    closed = sum(stats.closed.values())
    return bool(
        stats.size == stats.idle + stats.used + stats.cleaning == stats.opened - closed
        and stats.acquired == stats.released + stats.used
        and stats.size + stats.opening <= stats.max_size
    )


async def test_use_after_release(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        c = await pool.acquire()
        cursor = await c.execute("select 1")
        statement = await c.prepare("select 2")
        info = c.info
        await pool.release(c)
        for use in (
            lambda: c.fetch("select 1"),
            lambda: c.fetchval("select 1"),
            lambda: c.execute("select 1"),
            lambda: c.executemany("select 1", []),
            lambda: c.prepare("select 1"),
            lambda: statement.fetch(),
            lambda: cursor.execute("select 1"),
            lambda: c.transaction().start(),
            lambda: c.commit(),
            lambda: c.rollback(),
            lambda: c.copy_from_query("select 1", output=print),
            lambda: c.stream("select 1").__anext__(),
        ):
            with pytest.raises(errors.InterfaceError, match="given back"):
                await use()
        with pytest.raises(errors.InterfaceError, match="given back"):
            c.cursor()
        assert c.closed
        await c.close()
        c.terminate()
        c.cancel()
        assert "given back" in repr(c)
        assert info.backend_pid == await pool.fetchval("select pg_backend_pid()")
        with pytest.raises(errors.InterfaceError, match="already"):
            await pool.release(c)
        assert adds_up(pool)


async def test_foreign_connections(make_pool: MakePool, conn: Any) -> None:
    async with make_pool() as pool, make_pool() as other:
        with pytest.raises(errors.InterfaceError, match="not a connection of this"):
            await pool.release(conn)
        async with other.acquire() as c:
            with pytest.raises(errors.InterfaceError, match="not a connection of this"):
                await pool.release(c)
        assert adds_up(pool) and adds_up(other)


async def test_statements_of_other_tasks_are_given_up(make_pool: MakePool) -> None:
    async with make_pool(max_size=1, autocommit=True) as pool:
        c = await pool.acquire()
        pid = c.info.backend_pid
        other = asyncio.create_task(c.execute("select pg_sleep(60)"))
        late = asyncio.create_task(c.execute("select 1"))
        await asyncio.sleep(0.05)
        await pool.release(c)
        for task in (other, late):
            with pytest.raises(errors.InterfaceError, match="given back"):
                await task
        assert await pool.fetchval("select pg_backend_pid()") == pid
        assert adds_up(pool)


async def test_a_cancelled_statement_is_drained_first(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        with pytest.raises(errors.QueryTimeout):
            async with pool.acquire() as c:
                pid = c.info.backend_pid
                await c.execute("select pg_sleep(60)", timeout=0.05)
        assert await pool.fetchval("select pg_backend_pid()") == pid
        with pytest.raises(errors.QueryTimeout):
            await pool.fetch("select pg_sleep(60)", timeout=0.05)
        assert await pool.fetchval("select pg_backend_pid()") == pid
        assert adds_up(pool)


@pytest.mark.parametrize("autocommit", [True, False])
async def test_an_open_stream(make_pool: MakePool, autocommit: bool) -> None:
    async with make_pool(max_size=1, autocommit=autocommit) as pool:
        c = await pool.acquire()
        pid = c.info.backend_pid
        stream = c.stream("select * from generate_series(1, 1000000)")
        assert await stream.__anext__() == (1,)
        await pool.release(c)
        with pytest.raises(errors.InterfaceError):
            async for _ in stream:
                pass
        assert await pool.fetchval("select pg_backend_pid()") == pid
        del stream, c
        gc.collect()
        assert await pool.fetchval("select 3") == 3
        assert adds_up(pool)


async def test_an_open_block(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        c = await pool.acquire()
        pid = c.info.backend_pid
        begun = asyncio.Event()
        waiting = asyncio.create_task(asking(c, begun))
        transaction = c.transaction()
        await transaction.start()
        await c.execute("create table pool_open_block ()")
        begun.set()
        await asyncio.sleep(0.02)
        await pool.release(c)
        with pytest.raises(errors.InterfaceError):
            await waiting
        assert await pool.fetchval("select to_regclass('pool_open_block')") is None
        assert await pool.fetchval("select pg_backend_pid()") == pid
        with pytest.raises(errors.InterfaceError):
            await transaction.commit()
        assert adds_up(pool)


async def asking(c: Any, begun: asyncio.Event) -> Any:
    await begun.wait()
    return await c.fetchval("select 1")


async def test_a_transaction_that_has_begun_nothing(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        c = await pool.acquire()
        await c.transaction(isolation="serializable").start()
        await pool.release(c)
        level = "select current_setting('transaction_isolation')"
        assert await pool.fetchval(level) == "read committed"


async def test_an_open_pipeline_costs_the_connection(make_pool: MakePool) -> None:
    async with make_pool(max_size=1, autocommit=True) as pool:
        c = await pool.acquire()
        pid = c.info.backend_pid
        with pytest.raises(errors.Error):
            async with c.pipeline() as p:
                p.execute("select 1")
                await pool.release(c)
        assert await pool.fetchval("select pg_backend_pid()") != pid
        assert adds_up(pool)


async def test_failed_transactions_end(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        with pytest.raises(pgasync.DataError):
            async with pool.acquire() as c:
                await c.execute("select 1/0")
        async with pool.acquire() as c:
            with pytest.raises(pgasync.DataError):
                await c.execute("select 1/0")
            await c.rollback()
        with pytest.raises(errors.TransactionRolledBack):
            async with pool.acquire() as c:
                with pytest.raises(pgasync.DataError):
                    await c.execute("select 1/0")
        assert await pool.fetchval("select 1") == 1
        assert pool.stats().opened == 1 and adds_up(pool)


async def test_release_is_shielded(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        c = await pool.acquire()
        await c.execute("select 1")
        task = asyncio.create_task(pool.release(c))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await pool.fetchval("select 1", timeout=5) == 1
        assert pool.stats().opened == 1 and adds_up(pool)


async def test_closed_by_its_holder(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        async with pool.acquire() as c:
            await c.close()
        assert await pool.fetchval("select 1") == 1
        c = await pool.acquire()
        c.terminate()
        assert await pool.fetchval("select 2", timeout=5) == 2
        await pool.release(c)
        assert pool.stats().opened == 3 and adds_up(pool)


async def test_collected_without_release(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        c = await pool.acquire()
        await c.execute("create table pool_collected ()")
        with pytest.warns(ResourceWarning, match=r"test_release\.py:\d+.* never given"):
            del c
            gc.collect()
        exists = "select to_regclass('pool_collected')"
        assert await pool.fetchval(exists, timeout=5) is None
        assert adds_up(pool)


async def test_a_connection_lost_in_use_is_replaced(
    make_pool: MakePool, conn: Any
) -> None:
    async with make_pool(max_size=1) as pool:
        with pytest.raises(errors.ConnectionLost):
            async with pool.acquire() as c:
                await c.execute("create temp table pool_lost ()")
                pid = c.info.backend_pid
                await conn.execute("select pg_terminate_backend($1, 5000)", (pid,))
                await c.fetchval("select 1")
        assert await pool.fetchval("select 1") == 1
        assert pool.stats().closed["lost"] == 1 and adds_up(pool)


async def test_statement_that_cannot_be_stopped(make_pool: MakePool) -> None:
    """The server does not end it within cancel_timeout: another connection comes."""
    async with make_pool(max_size=1, cancel_timeout=0.3, autocommit=True) as pool:
        c = await pool.acquire()
        pid = c.info.backend_pid
        await c.execute(
            "create or replace function pg_temp.stubborn() returns void as $$ begin"
            " loop begin perform pg_sleep(3); return; exception when query_canceled"
            " then null; end; end loop; end $$ language plpgsql"
        )
        task = asyncio.create_task(c.execute("select pg_temp.stubborn()"))
        await asyncio.sleep(0.1)
        await pool.release(c)
        with pytest.raises(errors.InterfaceError):
            await task
        assert await pool.fetchval("select pg_backend_pid()") != pid
        assert adds_up(pool)


async def test_inside_of_a_fork(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        assert await pool.fetchval("select 1") == 1
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                loop = asyncio.new_event_loop()
                loop.run_until_complete(pool.fetchval("select 1"))
                os.write(write, b"no error")
            except errors.InterfaceError as error:
                os.write(write, str(error).encode())
            except BaseException as error:
                os.write(write, repr(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        text = os.read(read, 10_000).decode()
        os.close(read)
        assert "fork" in text
        assert await pool.fetchval("select 1") == 1


def test_place() -> None:
    assert place(None) == ""
    code = test_place.__code__
    lines = (code.co_firstlineno, code.co_firstlineno + 1)  # the latter on Python 3.10
    assert place((code, 0)) in [f"{code.co_filename}:{line}" for line in lines]
