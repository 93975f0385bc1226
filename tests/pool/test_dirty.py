"""What one user of a connection leaves to the next: nothing, at no cost where there is
nothing to be undone."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

import pytest

import pgasync
from pgasync import _core, reset

MakePool = Callable[..., Any]

# Everything that a session has and its user may see.
QUESTION = """
select current_setting('work_mem') as work_mem,
    current_setting('TimeZone') as zone,
    current_setting('search_path') as path,
    coalesce(current_setting('dirty.tenant', true), '') as tenant,
    current_setting('default_transaction_read_only') as read_only,
    current_setting('default_transaction_isolation') as isolation,
    current_setting('statement_timeout') as timeout,
    current_user::text as role, session_user::text as login,
    (select array_agg(name) from pg_listening_channels() as name) as channels,
    (select count(*) from pg_class where relnamespace = pg_my_temp_schema()) as temp,
    (select count(*) from pg_locks
     where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
    (select count(*) from pg_cursors where is_holdable) as cursors,
    (select count(*) from pg_prepared_statements where from_sql) as prepared
"""
FUNCTIONS = """
create or replace function dirty_zone() returns text language sql as
    $$ select set_config('TimeZone', 'Asia/Tokyo', false) $$;
create or replace procedure dirty_call() language plpgsql as
    $$ begin perform set_config('dirty.tenant', 'called', false); end $$
"""
DIRT = {
    "set": "set work_mem = '1MB'",
    "set session": "set session statement_timeout = '77s'",
    "set time zone": "set time zone 'Asia/Tokyo'",
    "set custom": "set dirty.tenant = 'evil'",
    "search_path": "set search_path = pg_catalog",
    "set_config": "select set_config('dirty.tenant', 'evil', false)",
    "pg_settings": "update pg_settings set setting = 1024 where name = 'work_mem'",
    "characteristics": "set session characteristics as transaction isolation level"
    " serializable, read only",
    "read only": "set default_transaction_read_only = on",
    "read only, with more": "create temp table dirty_k (x int);"
    " set default_transaction_isolation = serializable;"
    " set default_transaction_read_only = on; set default_transaction_deferrable = on",
    "role": "set role pg_monitor",
    "authorization": "set session authorization pg_monitor",
    "listen": "listen dirty",
    "temp table": "create temp table dirty_a (x int)",
    "temp view": "create temp view dirty_b as select 1",
    "select into": "select 1 as x into temp dirty_c",
    "lock": "select pg_advisory_lock(1)",
    "shared lock": "select pg_try_advisory_lock_shared(1, 2)",
    "cursor": "declare dirty_d cursor with hold for select 1",
    "prepare": "prepare dirty_e as select 1",
    "do": "do $$ begin perform set_config('dirty.tenant', 'evil', false);"
    " perform pg_advisory_lock(2); end $$",
    "call": "call dirty_call()",
    "function": "select dirty_zone()",
    "all": "set role pg_monitor; select set_config('dirty.tenant', 'x', false);"
    " set time zone 'Asia/Tokyo'; listen dirty; select pg_advisory_lock(3)",
}


async def by_handle(pool: Any, sql: str) -> None:
    async with pool.acquire() as c:
        c.autocommit = True
        await c.execute(sql)


async def committed(pool: Any, sql: str) -> None:
    async with pool.acquire() as c:
        await c.execute(sql)


async def left_open(pool: Any, sql: str) -> None:
    c = await pool.acquire()
    await c.execute(sql)
    await pool.release(c)


async def rolled_back(pool: Any, sql: str) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with pool.acquire() as c:
            await c.execute(sql)
            raise ZeroDivisionError


async def failed(pool: Any, sql: str) -> None:
    """Locks stay, and what was committed before."""
    async with pool.acquire() as c:
        c.autocommit = True
        await c.execute(sql)
        with pytest.raises(pgasync.Error):
            await c.execute("select 1 / 0")


async def by_pool(pool: Any, sql: str) -> None:
    await pool.execute(sql)


async def by_fetch(pool: Any, sql: str) -> None:
    await pool.fetch(sql)


async def in_pipeline(pool: Any, sql: str) -> None:
    async with pool.acquire() as c:
        c.autocommit = True
        async with c.pipeline() as p:
            for part in re.split(r"; (?![^$]*\$\$)", sql):
                p.execute(part)


async def by_cursor(pool: Any, sql: str) -> None:
    async with pool.acquire() as c:
        await c.cursor().execute(sql)


async def in_script(pool: Any, sql: str) -> None:
    async with pool.acquire() as c:
        c.autocommit = True
        await c.execute(f"select 1; {sql}; select 2")


WAYS = (
    by_handle,
    committed,
    left_open,
    rolled_back,
    failed,
    by_pool,
    by_fetch,
    in_pipeline,
    by_cursor,
    in_script,
)


@pytest.fixture
async def functions(dsn: str) -> None:
    async with pgasync.connect(dsn) as c:
        await c.execute("select pg_advisory_xact_lock(20261121)")  # both loops' tests
        await c.execute(FUNCTIONS)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_next_user_finds_nothing(
    make_pool: MakePool, functions: None, way: Callable[[Any, str], Awaitable[None]]
) -> None:
    found = {}
    async with make_pool(max_size=1) as pool:
        clean = await pool.fetchrow(QUESTION)
        for name, sql in DIRT.items():
            await way(pool, sql)
            for _ in range(2):
                seen = await pool.fetchrow(QUESTION)
                if seen != clean:
                    found[name] = set(seen._asdict().items()) ^ set(
                        clean._asdict().items()
                    )
        assert not found
        assert pool.stats().opened == 1


async def test_first_statement_fails(make_pool: MakePool) -> None:
    """What was undone in front of it stays undone."""
    async with make_pool(max_size=1) as pool:
        clean = await pool.fetchrow(QUESTION)
        for sql in DIRT["set"], DIRT["lock"], DIRT["temp table"], DIRT["role"]:
            await by_handle(pool, sql)
            with pytest.raises(pgasync.Error):
                async with pool.acquire() as c:
                    await c.execute("select 1 / 0")
            assert await pool.fetchrow(QUESTION) == clean


async def test_next_user_has_other_things_first(make_pool: MakePool) -> None:
    async def listens(c: Any) -> None:
        await c.rollback()
        async with c.listen("dirty_other"):
            pass

    async def streams(c: Any) -> None:
        async for _ in c.stream("select 1"):
            pass

    async def declares(c: Any) -> None:
        async with c.transaction(), c.cursor(name="dirty_f") as cursor:
            await cursor.execute("select 1")
            await cursor.fetchall()

    async def begins(c: Any) -> None:
        async with c.transaction(settings={"dirty.tenant": "mine"}):
            assert await c.fetchval("select current_setting('dirty.tenant')") == "mine"

    async def nothing(c: Any) -> None:
        pass

    async with make_pool(max_size=1) as pool:
        clean = await pool.fetchrow(QUESTION)
        for first in listens, streams, declares, begins, nothing:
            await by_handle(pool, "set work_mem = '1MB'; set role pg_monitor")
            async with pool.acquire() as c:
                await first(c)
                assert await c.fetchrow(QUESTION) == clean, first


# Costs


def watch(pool: Any) -> tuple[list[str], Callable[[], int]]:
    """The names of the messages to the server on the pool's one connection, and a
    function that counts the flights since it was called last."""
    (member,) = pool._state.members
    sent: list[str] = []
    runs: list[str] = []

    def write(lines: bytes) -> None:
        for line in lines.decode().splitlines():
            way, _, name, *_ = line.split("\t")
            if way == "F":
                sent.append(name)
            if runs[-1:] != [way]:
                runs.append(way)

    def flights() -> int:
        count = runs.count("F")
        runs.clear()
        return count

    member.resource.trace(write, False, True)
    return sent, flights


CLEAN = (
    "select set_config('dirty.tenant', 'x', true)",
    "select pg_advisory_xact_lock(1)",
    "create temp table dirty_g (x int) on commit drop",
    "set local time zone 'Asia/Tokyo'",
    "set transaction isolation level serializable",
)


async def test_clean_release_sends_nothing(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        async with pool.acquire() as c:
            await c.fetchval("select 1")
        sent, flights = watch(pool)
        for _ in range(3):
            assert await pool.fetchval("select 1") == 1
        assert sent == ["Bind", "Execute", "Sync"] * 3
        assert flights() == 3
        for sql in CLEAN:
            async with pool.acquire() as c:
                await c.execute(sql)
            sent.clear()
            flights()
            await asyncio.sleep(0)
            assert await pool.fetchval("select 1") == 1
            assert sent == ["Bind", "Execute", "Sync"], sql
            assert flights() == 1


async def test_reset_rides_in_one_flight(make_pool: MakePool) -> None:
    async with make_pool(max_size=1) as pool:
        await pool.fetchval("select 1")
        (member,) = pool._state.members
        known = member.resource.cached_statements
        sent, flights = watch(pool)
        await pool.execute("set work_mem = '1MB'")
        sent.clear()
        flights()
        await asyncio.sleep(0.01)
        assert sent == []
        assert await pool.fetchval("select 1") == 1
        assert flights() == 1
        assert sent == ["Parse", "Bind", "Execute"] * 3 + ["Bind", "Execute", "Sync"]
        assert member.resource.cached_statements == known + 1  # SET itself
        sent.clear()
        assert await pool.fetchval("select 1") == 1
        assert sent == ["Bind", "Execute", "Sync"]


async def test_what_others_feel_ends_at_once(make_pool: MakePool, conn: Any) -> None:
    """With nobody there who would use the connection."""
    async with make_pool(max_size=1) as pool:
        async with pool.acquire() as c:
            await c.execute("select pg_advisory_lock(4242)")
        await conn.fetchval("select pg_advisory_lock(4242)", timeout=60)
        await conn.fetchval("select pg_advisory_unlock(4242)")
        pid = await pool.fetchval("select pg_backend_pid()")
        c = await pool.acquire()
        await c.execute("select 1")
        await pool.release(c)
        state = "select state from pg_stat_activity where pid = $1"
        while await conn.fetchval(state, (pid,)) != "idle":
            await asyncio.sleep(0.01)


async def test_unused_handle_keeps_what_is_due(make_pool: MakePool) -> None:
    """Also when the next use adds to it without anything having been sent."""
    async with make_pool(max_size=1) as pool:
        clean = await pool.fetchrow(QUESTION)
        await pool.fetchval("select set_config('dirty.tenant', $1, false)", ("a",))
        await pool.fetchrow(QUESTION)
        await by_handle(pool, DIRT["temp table"])
        async with pool.acquire():
            pass
        with pytest.raises(pgasync.DataError):
            await pool.fetchval("select set_config('dirty.tenant', $1, false)", (b"",))
        assert await pool.fetchrow(QUESTION) == clean


SEEN = """
select current_setting('work_mem'), current_setting('TimeZone'),
    coalesce(current_setting('dirty.tenant', true), ''), current_user,
    (select count(*) from pg_listening_channels()),
    (select count(*) from pg_class where relnamespace = pg_my_temp_schema()),
    (select count(*) from pg_cursors where is_holdable),
    (select count(*) from pg_prepared_statements where from_sql)
"""
MESS = (
    "set work_mem = '1MB'",
    "set time zone 'Asia/Tokyo'",
    "select set_config('dirty.tenant', 'evil', false)",
    "set role pg_monitor",
    "listen dirty_storm",
    "create temp table dirty_storm (x int)",
    "declare dirty_storm cursor with hold for select 1",
    "prepare dirty_storm as select 1",
    "select pg_advisory_lock_shared(1)",
    "select pg_sleep(60)",
    "select 1 / 0",
    "begin",
)


async def test_storm(make_pool: MakePool) -> None:
    """Users that are cancelled anywhere, that release with statements under way, and
    that fail: whoever comes next finds nothing."""
    chance = random.Random(20261121)
    found: list[Any] = []

    async def use(pool: Any) -> None:
        async with pool.acquire() as c:
            c.autocommit = True
            if chance.random() < 0.8:
                found.append(await c.fetchrow(SEEN))
            for sql in chance.sample(MESS, 3):
                await c.execute(sql)

    async def user(pool: Any) -> None:
        for _ in range(60):
            task = asyncio.ensure_future(use(pool))
            await asyncio.wait({task}, timeout=chance.random() * 0.03)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async with make_pool(max_size=4, timestamptz="session") as pool:
        clean = await pool.fetchrow(SEEN)
        await asyncio.gather(*(user(pool) for _ in range(12)))
        assert {*found} <= {clean}
        assert len(found) > 10
        assert await pool.fetchrow(SEEN) == clean


# What init= has set


async def test_settings_of_init_survive(make_pool: MakePool) -> None:
    async def init(c: Any) -> None:
        await c.execute("set work_mem = '7MB'; set dirty.tenant = 'nobody'")
        await c.execute("select set_config($1, $2, false)", ("dirty.more", "it's"))
        await c.execute("set time zone 'Europe/Paris'")
        await c.execute("set search_path = pg_catalog, public")
        await c.execute("set role pg_monitor")

    async with make_pool(max_size=1, init=init, application_name="dirty") as pool:
        clean = await pool.fetchrow(QUESTION)
        assert clean[:4] == ("7MB", "Europe/Paris", "pg_catalog, public", "nobody")
        assert (clean.role, clean.login) == ("pg_monitor", "postgres")
        for sql in (*DIRT.values(), "reset all", "reset role", "discard all"):
            if "dirty_" not in sql or "temp" in sql or "declare" in sql:
                with contextlib.suppress(pgasync.ProgrammingError):
                    await by_handle(pool, sql)  # some may not do some of it
            assert await pool.fetchrow(QUESTION) == clean, sql
        async with pool.acquire() as c:
            assert await c.fetchval("show dirty.more") == "it's"
            assert await c.fetchval("show application_name") == "dirty"
            assert c.info.parameters["TimeZone"] == "Europe/Paris"
        assert pool.stats().opened == 1


async def test_what_init_makes_is_kept(make_pool: MakePool) -> None:
    async def init(c: Any) -> None:
        await c.execute("create temp table dirty_init (x int)")
        await c.execute("prepare dirty_init as select 42")
        await c.execute("select pg_advisory_lock_shared(99)")

    async with make_pool(max_size=1, init=init) as pool:
        await by_handle(pool, "set work_mem = '1MB'; create temp table dirty_h (x int)")
        assert await pool.fetch("select * from dirty_init") == []
        assert await pool.fetchval("execute dirty_init") == 42
        assert (await pool.fetchrow(QUESTION)).locks == 1


async def test_an_init_that_does_nothing_asks_nothing(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def init(c: Any) -> None:
        await c.fetchval("select 1")

    monkeypatch.setattr(reset, "QUESTION", "this would be an error")
    async with make_pool(max_size=1, init=init) as pool:
        assert await pool.fetchval("select 1") == 1


# What the driver has


class Mood(Enum):
    glad = 1


async def test_of_the_driver(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []
    async with make_pool(max_size=1) as pool:
        lines: list[bytes] = []
        async with pool.acquire() as c:
            c.add_notice_listener(lambda *args: heard.append(args))
            c.autocommit = True
            await c.set_type_codec("int4", decoder=lambda text: f"<{text}>")
            await c.add_listener("dirty_i", lambda *args: heard.append(args))
            c.trace(Lines(lines))
            assert await c.fetchval("select 1") == "<1>"
        assert "'dirty_i'" in caplog.text
        lines.clear()
        async with pool.acquire() as c:
            assert not c.autocommit
            assert await c.fetchval("select 1") == 1
            await c.execute("do $$ begin raise notice 'x'; end $$")
            await c.notify("dirty_i")
        await pool.fetchval("select 1")
        assert not heard
        assert not lines


class Lines:
    """A file."""

    def __init__(self, lines: list[bytes]) -> None:
        self.write = lines.append

    def flush(self) -> None:
        pass


async def test_time_zone_of_the_first_rows(make_pool: MakePool) -> None:
    async with make_pool(max_size=1, timestamptz="session") as pool:
        before = await pool.fetchval("select now()")
        await pool.execute("set time zone 'Asia/Tokyo'")
        after = await pool.fetchval("select now()")
        assert str(after.tzinfo) == str(before.tzinfo)


# A reset that the server refuses


async def first_fetch(pool: Any) -> Any:
    async with pool.acquire() as c:
        return await c.fetchval("select 1")


async def first_of_block(pool: Any) -> Any:
    async with pool.acquire() as c, c.transaction():
        return await c.fetchval("select 1")


async def first_execute(pool: Any) -> Any:
    async with pool.acquire() as c:
        return (await (await c.execute("select 1")).fetchone())[0]


async def first_of_pool(pool: Any) -> Any:
    return await pool.fetchval("select 1")


async def first_known(pool: Any) -> Any:
    return await pool.fetchval("select 2") - 1


FIRSTS = (first_fetch, first_of_block, first_execute, first_of_pool, first_known)


@pytest.mark.parametrize("urgent", [False, True], ids=["riding", "at once"])
@pytest.mark.parametrize("first", FIRSTS, ids=lambda first: first.__name__)
async def test_refused_reset_goes_unnoticed(
    make_pool: MakePool, first: Callable[[Any], Awaitable[Any]], urgent: bool
) -> None:
    """The connection ends, and the statement runs on another one."""
    async with make_pool(max_size=1) as pool:
        await pool.fetchval("select 2")
        (member,) = pool._state.members
        member.resource.link.baseline.settings = ((reset.PUT, ("no_such_one", "x")),)
        await pool.execute("do $$ begin end $$" if urgent else "set work_mem = '1MB'")
        assert await first(pool) == 1
        assert pool.stats().opened == 2


async def test_reset_without_an_answer(make_pool: MakePool) -> None:
    """Within cancel_timeout; who waits behind it is not kept waiting longer."""
    async with make_pool(max_size=1, cancel_timeout=0.2) as pool:
        await pool.fetchval("select 2")
        (member,) = pool._state.members
        member.resource.link.baseline.settings = (("select pg_sleep(60)", ()),)
        await pool.execute("do $$ begin end $$")
        assert await pool.fetchval("select 2") == 2
        assert pool.stats().opened == 2
        (member,) = pool._state.members
        member.resource.link.baseline.settings = (("select pg_sleep(60)", ()),)
        await pool.execute("do $$ begin end $$")
        async with pool.acquire() as c:
            with pytest.raises(pgasync.ConnectionLost, match="did not end") as caught:
                await c.fetchval("select 2")
            assert caught.value.safe_to_retry
        assert await pool.fetchval("select 2") == 2


# Connection.reset()


async def test_reset_of_a_connection(conn: Any, functions: None) -> None:
    clean = await conn.fetchrow(QUESTION)
    for sql in DIRT.values():
        await conn.execute(sql)
        await conn.reset()
        assert await conn.fetchrow(QUESTION) == clean, sql
    await conn.execute("begin")
    await conn.execute("create table dirty_reset (x int)")
    await conn.reset()
    assert conn.info.transaction_status == "I"
    assert await conn.fetchval("select to_regclass('dirty_reset')") is None
    await conn.reset()


async def test_reset_keeps_what_connect_has_set(connect: Any) -> None:
    conn = await connect(server_settings={"work_mem": "9MB"}, autocommit=True)
    await conn.execute("set work_mem = '1MB'")
    await conn.reset()
    assert await conn.fetchval("show work_mem") == "9MB"
    statement = await conn.prepare("select 1")
    await conn.reset()
    assert await statement.fetchval() == 1


async def test_reset_ends_streams_and_listeners(conn: Any) -> None:
    heard: list[Any] = []
    await conn.add_listener("dirty_j", lambda *args: heard.append(args))
    stream = conn.stream("select generate_series(1, 1000000)")
    await stream.__anext__()
    await conn.reset()
    await conn.notify("dirty_j")
    assert await conn.fetchval("select 1") == 1
    assert not heard
    async with conn.transaction():
        with pytest.raises(pgasync.InterfaceError, match="reset"):
            await conn.reset()
    await conn.close()
    with pytest.raises(pgasync.InterfaceError):
        await conn.reset()


async def test_refused_reset_of_a_connection(conn: Any) -> None:
    conn._link.baseline = reset.Baseline(settings=((reset.PUT, ("no_such_one", "")),))
    with pytest.raises(pgasync.ConnectionLost, match="no_such_one"):
        await conn.reset()
    assert conn.closed


def test_every_taint_is_undone() -> None:
    kinds = [kind for kind, _ in reset.UNDO]
    assert sum({*kinds}) == reset.ALL
    names = {name for name in dir(_core) if name.startswith("TAINT_")}
    rest = {"TAINT_PREPARED", "TAINT_OPAQUE", "TAINT_REPORTED", "TAINT_DRIVER"}
    assert sum(getattr(_core, name) for name in names - rest) == reset.ALL
