"""What tells a pooler from a server, and poolers that have no habit of PgBouncer's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import pgasync
import pgpooler
from pgasync import pooler

pytestmark = pytest.mark.usefixtures("poolers_expected")
NAMES = "select count(*) from pg_prepared_statements where name <> ''"


@pytest.fixture(params=pgpooler.KEYS)
async def behind(request: Any, server: Any) -> AsyncIterator[pgpooler.Pooler]:
    """Two sessions that take turns, a Flush is late."""
    async with pgpooler.Pooler(server, 2, key=request.param, flush_s=0.01) as made:
        yield made


# What tells them


@pytest.mark.parametrize(
    ("pid", "process"),
    [(1, True), (4_194_304, True), (4_194_305, False), (0, False), (2**32 - 1, False)],
)
def test_process(pid: int, process: bool) -> None:
    assert pooler.is_process(pid) is process


async def test_plain_server(connect: Any, conn: Any) -> None:
    """The first statement takes the question along, and is the last without a name."""
    assert conn._core.asking and conn._core.unnamed
    assert await conn.fetchval("select $1::int", [1]) == 1
    assert not conn._core.asking and not conn._core.unnamed
    assert await conn.fetchval("select $1::int", [2]) == 2
    assert await conn.fetchval(NAMES) >= 1
    other = await connect(autocommit=True)
    assert not other._core.asking and not other._core.unnamed


@pytest.mark.parametrize("autocommit", [True, False])
async def test_alone_in_its_transaction(connect: Any, autocommit: bool) -> None:
    """What must be alone does not take it along; what may comes later."""
    conn = await connect(autocommit=True)
    await conn.execute("vacuum pg_am")
    assert conn._core.asking
    conn.autocommit = autocommit
    await conn.execute("set local work_mem = '1MB'")
    assert conn._core.asking
    await conn.rollback()
    assert await conn.fetchval("/* a */ select 1") == 1
    assert not conn._core.asking
    await conn.rollback()


@pytest.mark.parametrize("mode", ["named", "unnamed"])
async def test_said(connect: Any, mode: str) -> None:
    """Nothing is asked where prepared_statements says it."""
    conn = await connect(prepared_statements=mode, autocommit=True)
    assert not conn._core.asking and conn._core.unnamed is (mode == "unnamed")
    for n in range(3):
        assert await conn.fetchval("select $1::int", [n]) == n
    assert (await conn.fetchval(NAMES) > 0) is (mode == "named")
    assert pooler._seen == {}


async def test_in_a_transaction(connect: Any) -> None:
    conn = await connect()
    async with conn.transaction():
        assert await conn.fetchval("select 1") == 1
        assert not conn._core.asking
        assert await conn.fetchval("select 2") == 2


async def test_asked_again_after_an_error(connect: Any) -> None:
    """A statement that fails brings no answer, or one."""
    conn = await connect(autocommit=True)
    with pytest.raises(pgasync.ProgrammingError):
        await conn.fetchval("select nothing_there")
    assert await conn.fetchval("select 3") == 3
    assert not conn._core.asking


@pytest.mark.parametrize("autocommit", [True, False])
async def test_question_refused(server: Any, connect: Any, autocommit: bool) -> None:
    """Who may not ask is not kept from working, and stays without names."""
    server.psql(
        "CREATE ROLE not_asking LOGIN;"
        " REVOKE EXECUTE ON FUNCTION pg_backend_pid() FROM PUBLIC"
    )
    try:
        conn = await connect(user="not_asking", autocommit=autocommit)
        assert await conn.fetchval("select $1::int", [1]) == 1
        assert not conn._core.asking and conn._core.unnamed
        assert await conn.fetchval("select $1::int", [2]) == 2
        await conn.rollback()
    finally:
        server.psql(
            "GRANT EXECUTE ON FUNCTION pg_backend_pid() TO PUBLIC; DROP ROLE not_asking"
        )


async def test_name_in_the_way(connect: Any) -> None:
    """42P05 of a name that nobody here has given: could there be a pooler?"""
    first = await connect(autocommit=True)
    await first.fetchval("select 1")
    await first.fetchval("select $1::int + 5", [1])
    (name,) = await first.fetchrow(
        "select name from pg_prepared_statements where statement ~ '[+] 5'"
    )
    second = await connect(autocommit=True)
    await second.execute(f"prepare {name} (int) as select $1::int + 5")
    assert not second._core.asking
    assert await second.fetchval("select $1::int + 5", [2]) == 7
    assert await second.fetchval("select 2") == 2
    assert not second._core.asking and not second._core.unnamed


# Behind one


async def test_detected(behind: pgpooler.Pooler, connect: Any) -> None:
    conn = await connect(behind.dsn, autocommit=True)
    assert conn._core.unnamed
    pids = {await conn.fetchval("select pg_backend_pid()") for _ in range(4)}
    assert len(pids) == 2
    assert conn._core.unnamed and not conn._core.asking
    assert await conn.fetchval(NAMES) == 0
    other = await connect(behind.dsn, autocommit=True)
    assert other._core.unnamed and not other._core.asking


async def test_statements(behind: pgpooler.Pooler, connect: Any) -> None:
    conns = [await connect(behind.dsn, autocommit=n % 2 == 0) for n in range(4)]

    async def work(conn: Any, number: int) -> None:
        for n in range(20):
            value = await conn.fetchval("select $1::int + $2::int", [number, n])
            assert value == number + n
            async with conn.transaction():
                assert (
                    await conn.fetchval(f"select $1::int + {n % 7}", [n]) == n + n % 7
                )
                assert await conn.fetchval("select $1::text", [str(n)]) == str(n)
            await conn.commit()

    await asyncio.gather(*(work(conn, n) for n, conn in enumerate(conns)))
    assert behind.given >= 80


async def test_other_work(behind: pgpooler.Pooler, connect: Any) -> None:
    conn = await connect(behind.dsn, autocommit=True)
    table = f"pooler_{behind.key}"
    await conn.execute(f"create table {table} (a int)")
    await conn.executemany(
        f"insert into {table} values ($1)", [(n,) for n in range(50)]
    )
    await conn.copy_records_to_table(table, records=[(n,) for n in range(50, 100)])
    rows = [row[0] async for row in conn.stream(f"select a from {table} order by a")]
    assert rows == list(range(100))
    assert await conn.fetchval("select 1; select 2") == 2
    async with conn.pipeline() as pipeline:
        results = [pipeline.fetchval("select $1::int", [n]) for n in range(5)]
    assert [await result for result in results] == list(range(5))
    await conn.execute(f"drop table {table}")


async def test_timeout(server: Any, connect: Any) -> None:
    """A pooler that gives no key cannot be asked to cancel."""
    async with pgpooler.Pooler(server) as behind:
        conn = await connect(behind.dsn, autocommit=True)
        with pytest.raises(pgasync.QueryTimeout):
            await conn.execute("select pg_sleep(30)", timeout=0.1)
        assert await conn.fetchval("select 4") == 4
