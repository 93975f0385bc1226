"""run_transaction(): what is run again, what is not, and what the last error tells."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import pgasync
from pgasync import errors, runtransaction
from pgasync.runtransaction import Policy

MakePool = Callable[..., Any]
TASKS, TURNS = 20, 3
STOP_COMMITS = """
select pg_terminate_backend(pid, 5000) from pg_stat_activity
 where query = 'COMMIT' and state = 'active'
"""


@pytest.fixture
async def counter(conn: Any) -> AsyncIterator[Any]:
    await conn.execute("drop table if exists run_counter")
    await conn.execute("create table run_counter (id int primary key, n int)")
    await conn.execute("insert into run_counter values (1, 0)")
    yield conn
    await conn.execute("drop table run_counter")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtransaction, "FIRST", 0.0)


async def value(conn: Any) -> Any:
    return await conn.fetchval("select sum(n) from run_counter")


async def increment(conn: Any, by: int) -> int:
    n = await conn.fetchval("select n from run_counter where id = 1")
    await conn.execute("update run_counter set n = $1 where id = 1", [n + by])
    return int(n) + by


class Failing:
    """Fails in these ways, one a call, then works."""

    def __init__(self, *ways: Any) -> None:
        self.ways = [*ways]
        self.calls = 0

    async def __call__(self, conn: Any) -> str:
        self.calls += 1
        await conn.execute("update run_counter set n = n + 1")
        if self.ways:
            way = self.ways.pop(0)
            if isinstance(way, str):
                await conn.execute(way)
            else:
                raise way
        return "done"


def raising(sqlstate: str) -> str:
    return f"do $$ begin raise 'oh' using errcode = '{sqlstate}'; end $$"


async def test_contention(make_pool: MakePool, counter: Any) -> None:
    """Nobody's increment is lost, and no error reaches the program."""
    pool = make_pool(min_size=5, max_size=5)
    calls = 0

    async def counted(conn: Any, by: int) -> int:
        nonlocal calls
        calls += 1
        return await increment(conn, by)

    async def work() -> None:
        for _ in range(TURNS):
            await pool.run_transaction(
                counted, 1, retries=1000, isolation="serializable"
            )

    await asyncio.gather(*(work() for _ in range(TASKS)))
    assert await value(counter) == TASKS * TURNS
    assert calls > TASKS * TURNS
    await pool.close()


async def test_deadlock(make_pool: MakePool, counter: Any) -> None:
    await counter.execute("insert into run_counter values (2, 0)")
    pool = make_pool(
        min_size=2, max_size=2, server_settings={"deadlock_timeout": "50ms"}
    )
    met = asyncio.Barrier(2) if hasattr(asyncio, "Barrier") else None
    calls = 0

    async def both(conn: Any, first: int, second: int) -> None:
        nonlocal calls
        calls += 1
        sql = "update run_counter set n = n + 1 where id = $1"
        await conn.execute(sql, [first])
        if calls <= 2:
            await asyncio.sleep(0.2) if met is None else await met.wait()
        await conn.execute(sql, [second])

    await asyncio.gather(
        pool.run_transaction(both, 1, 2), pool.run_transaction(both, 2, 1)
    )
    assert await value(counter) == 4
    assert calls >= 3
    await pool.close()


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
async def test_run_again(make_pool: MakePool, counter: Any, sqlstate: str) -> None:
    fn = Failing(raising(sqlstate), raising(sqlstate), raising(sqlstate))
    pool = make_pool(min_size=1, max_size=1)
    assert await pool.run_transaction(fn) == "done"
    assert fn.calls == 4 and await value(counter) == 1
    await pool.close()
    assert pool.stats().acquired == 4


@pytest.mark.usefixtures("at_once")
async def test_the_last_error_tells_of_the_others(conn: Any, counter: Any) -> None:
    fn = Failing(raising("40001"), raising("40P01"), raising("40001"))
    with pytest.raises(errors.SerializationFailure) as caught:
        await conn.run_transaction(fn, retries=2)
    error: Any = caught.value
    assert fn.calls == 3 and await value(counter) == 0
    assert len(error.__notes__) == 2
    assert "attempt 1" in error.__notes__[0] and "40001" in error.__notes__[0]
    assert "attempt 2" in error.__notes__[1] and "40P01" in error.__notes__[1]


async def test_others_are_not_repeated(conn: Any, counter: Any) -> None:
    for way, cls in (
        (raising("23505"), errors.UniqueViolation),
        ("selec", errors.SyntaxError),  # it did not run, and would not run later
        (raising("55P03"), errors.LockNotAvailable),
        (ZeroDivisionError(), ZeroDivisionError),
    ):
        fn = Failing(way)
        with pytest.raises(cls) as caught:
            await conn.run_transaction(fn)
        assert fn.calls == 1
        assert not getattr(caught.value, "__notes__", [])
    assert await value(counter) == 0
    assert conn.info.transaction_status == "I"


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("on", "ways", "calls"),
    [
        ("23505", [raising("23505")], 2),
        ("23", [raising("23505"), raising("23503")], 3),
        (["55P03", ZeroDivisionError], [raising("55P03"), ZeroDivisionError()], 3),
        (errors.IntegrityError, [raising("23505")], 2),
        (lambda error: isinstance(error, KeyError), [KeyError(1)], 2),
    ],
)
async def test_on(
    conn: Any, counter: Any, on: Any, ways: list[Any], calls: int
) -> None:
    fn = Failing(*ways)
    assert await conn.run_transaction(fn, on=on) == "done"
    assert fn.calls == calls and await value(counter) == 1


async def test_on_takes_the_place_of_the_default(conn: Any, counter: Any) -> None:
    for on in ("23505", lambda _error: False, []):
        fn = Failing(raising("40001"))
        with pytest.raises(errors.SerializationFailure):
            await conn.run_transaction(fn, on=on)
        assert fn.calls == 1


@pytest.mark.parametrize(
    "keywords",
    [
        {"retries": -1},
        {"retries": 1.5},
        {"retries": True},
        {"on": "4"},
        {"on": [5]},
        {"on": 40001},
    ],
)
async def test_misuse(conn: Any, counter: Any, keywords: dict[str, Any]) -> None:
    with pytest.raises(pgasync.InterfaceError):
        await conn.run_transaction(Failing(), **keywords)


async def test_not_inside_of_a_transaction(conn: Any, counter: Any) -> None:
    async with conn.transaction():
        with pytest.raises(pgasync.InterfaceError, match="inside a transaction"):
            await conn.run_transaction(Failing())


async def test_modes_and_settings(make_pool: MakePool) -> None:
    async def look(conn: Any, *names: str) -> list[str]:
        return [await conn.fetchval("select current_setting($1)", [n]) for n in names]

    pool = make_pool(min_size=1, max_size=1)
    keywords = {
        "isolation": "repeatable read",
        "readonly": True,
        "settings": {"app.user_id": 7},
    }
    names = "transaction_isolation", "transaction_read_only", "app.user_id"
    wanted = ["repeatable read", "on", "7"]
    assert await pool.run_transaction(look, *names, **keywords) == wanted
    async with pool.transaction(**keywords) as conn:
        assert await look(conn, *names) == wanted
    async with pool.acquire() as conn:
        assert await look(conn, "transaction_read_only") == ["off"]
        assert await conn.fetchval("select current_setting('app.user_id', true)") in (
            None,
            "",
        )
    await pool.close()


async def test_transaction_of_a_pool(make_pool: MakePool, counter: Any) -> None:
    pool = make_pool(min_size=1, max_size=1)
    async with pool.transaction() as conn:
        await increment(conn, 2)
    with pytest.raises(ZeroDivisionError):
        async with pool.transaction() as conn:
            await increment(conn, 2)
            raise ZeroDivisionError
    assert await value(counter) == 2
    with pytest.raises(pgasync.InterfaceError, match="given back"):
        await conn.execute("select 1")
    await pool.close()


async def kill(conn: Any, pid: int) -> None:
    await conn.execute("select pg_terminate_backend($1, 5000)", [pid])


@pytest.mark.usefixtures("at_once")
async def test_a_lost_connection(make_pool: MakePool, counter: Any) -> None:
    """Rolled back for certain: it is run again, on another connection."""
    pool = make_pool(min_size=1, max_size=1)
    calls = 0

    async def work(conn: Any) -> int:
        nonlocal calls
        calls += 1
        n = await increment(conn, 1)
        if calls < 3:
            await kill(counter, conn.info.backend_pid)
        return n + await conn.fetchval("select 0")

    assert await pool.run_transaction(work) == 1
    assert calls == 3 and await value(counter) == 1
    await pool.close()


@pytest.mark.usefixtures("at_once")
async def test_a_lost_connection_of_ones_own(connect: Any, counter: Any) -> None:
    conn = await connect(autocommit=True)
    calls = 0

    async def work(conn: Any) -> None:
        nonlocal calls
        calls += 1
        await increment(conn, 1)
        await kill(counter, conn.info.backend_pid)
        await conn.fetchval("select 0")

    with pytest.raises(errors.ConnectionLost):
        await conn.run_transaction(work)
    assert calls == 1 and await value(counter) == 0


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("on", "calls"), [(None, 1), (["in_doubt", "40001"], 2)])
async def test_a_commit_in_doubt(
    make_pool: MakePool, counter: Any, on: Any, calls: int
) -> None:
    """The session ends in its COMMIT, which waits for a deferred trigger."""
    await counter.execute("""
        create or replace function run_slowly() returns trigger language plpgsql as
            'begin if new.n = 1 then perform pg_sleep(30); end if; return null; end';
        create constraint trigger slow after update on run_counter
            deferrable initially deferred for each row execute function run_slowly()
    """)
    pool = make_pool(min_size=1, max_size=1)
    made = 0

    async def work(conn: Any) -> None:
        nonlocal made
        made += 1
        if made == 2:
            await counter.execute(STOP_COMMITS)
        await conn.execute("update run_counter set n = $1", [made])
        if made == 1:
            loop = asyncio.get_running_loop()
            loop.call_later(0.1, conn._core.terminate, lost)

    lost = errors.ConnectionLost("cut")
    lost.outcome = "in_doubt"
    try:
        if on is None:
            with pytest.raises(errors.ConnectionLost, match="cut"):
                await pool.run_transaction(work, on=on)
        else:
            await pool.run_transaction(work, on=on)
    finally:
        await counter.execute(STOP_COMMITS)
    assert made == calls
    await pool.close()


async def test_timeout(conn: Any, counter: Any) -> None:
    began = time.monotonic()
    with pytest.raises(errors.QueryTimeout, match=r"0\.2 s") as caught:
        await conn.run_transaction(Failing("select pg_sleep(30)"), timeout=0.2)
    assert caught.value.outcome == "failed"
    assert time.monotonic() - began < 10
    assert await value(counter) == 0
    fn = Failing(*[raising("40001")] * 1000)
    with pytest.raises(errors.QueryTimeout) as caught:
        await conn.run_transaction(fn, retries=1000, timeout=0.4)
    assert fn.calls > 1 and caught.value.__notes__  # type: ignore[attr-defined]
    assert await value(counter) == 0


async def test_cancelled(make_pool: MakePool, counter: Any) -> None:
    pool = make_pool(min_size=1, max_size=1)
    task = asyncio.ensure_future(
        pool.run_transaction(Failing("select pg_sleep(30)"), retries=9)
    )
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await pool.fetchval("select sum(n) from run_counter") == 0
    await pool.close()


async def test_acquire_is_not_repeated(make_pool: MakePool) -> None:
    pool = make_pool(min_size=1, max_size=1, timeout=0.1)
    async with pool.acquire():
        began = time.monotonic()
        with pytest.raises(errors.PoolTimeout):
            await pool.run_transaction(Failing(), retries=1000)
        assert time.monotonic() - began < 5
    await pool.close()


@pytest.mark.parametrize(
    ("error", "outcome", "committing", "allowed"),
    [
        (errors.SerializationFailure, "failed", True, True),
        (errors.ConnectionLost, "failed", False, True),
        (errors.ConnectionLost, "failed", True, True),
        (errors.ConnectionLost, "not_sent", True, True),
        (errors.ConnectionLost, "in_doubt", True, False),
        (errors.ConnectionLost, "in_doubt", False, False),
        (errors.ProtocolViolation, "failed", False, False),
        (errors.InvalidCachedStatement, "failed", False, True),
        (errors.TransactionRolledBack, "failed", True, False),
        (errors.QueryTimeout, "in_doubt", False, False),
        (errors.UndefinedTable, "failed", False, False),
        (errors.TooManyConnections, "not_sent", False, True),
        (errors.TooManyConnections, "failed", False, False),
    ],
)
def test_policy(error: Any, outcome: str, committing: bool, allowed: bool) -> None:
    made = error("x")
    made.outcome = outcome
    made._unrun = error is errors.InvalidCachedStatement
    assert Policy(3, None).allows(made, committing) == allowed
