"""Types that are met for the first time: one question, once a process."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import pgasync
import pgmock
from pgasync import introspect
from pgasync.typelink import GONE_MAX

SETUP = (
    "create type mood as enum ('sad', 'happy')",
    "create domain positive as int check (value > 0)",
    "create type pair as (number positive, mood mood)",
    "create domain moods as mood[]",
)


@pytest.fixture
async def schema(connect: Callable[..., Any]) -> AsyncIterator[str]:
    """A schema of its own with a few types, first on the path of `open_in`."""
    name = f"lookup_{uuid.uuid4().hex[:12]}"
    conn = await connect(autocommit=True)
    await conn.execute(f"create schema {name}")
    await conn.execute(f"set search_path = {name}, public")
    for command in SETUP:
        await conn.execute(command)
    yield name
    await conn.execute(f"drop schema {name} cascade")


@pytest.fixture
def open_in(connect: Callable[..., Any], schema: str) -> Callable[..., Any]:
    """connect() with the schema on the search path: a catalog of its own."""

    async def factory(**keywords: Any) -> Any:
        settings = {"search_path": f"{schema}, public"}
        keywords.setdefault("autocommit", True)
        return await connect(server_settings=settings, **keywords)

    return factory


@pytest.fixture
async def counted(
    server: Any, schema: str, connect: Callable[..., Any]
) -> AsyncIterator[tuple[pgmock.Proxy, Callable[..., Any]]]:
    with pgmock.Proxy(str(server.socket_dir), server.port) as proxy:

        async def factory() -> Any:
            return await connect(
                f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres",
                autocommit=True,
                server_settings={"search_path": schema},
            )

        yield proxy, factory


async def test_round_trips(
    counted: tuple[pgmock.Proxy, Callable[..., Any]],
) -> None:
    proxy, factory = counted

    async def trips(conn: Any, sql: str, *params: Any) -> int:
        before = proxy.round_trips
        await conn.fetch(sql, params)
        return proxy.round_trips - before

    first = await factory()
    connected = proxy.round_trips
    assert connected <= 2  # the startup and whatever authentication needs: no question
    assert await trips(first, "select 1") == 2
    # Described, looked up, run: enum, domain, composite and arrays in one question.
    sql = "select $1::pair[], $2::moods, $3::positive"
    params = ([(1, "sad")], ["happy"], 5)
    assert await trips(first, sql, *params) == 3
    assert await trips(first, sql, *params) == 1
    assert await trips(first, "select 'sad'::mood") == 2
    second = await factory()
    # The process knows it, but does not rely on it for 5 s after a change of a schema.
    end = time.monotonic() + 10
    while (count := await trips(second, sql, *params)) != 1 and time.monotonic() < end:
        assert count == 2
        await asyncio.sleep(0.2)
        second = await factory()
    assert count == 1
    assert await trips(second, sql, *params) == 1


async def test_nested_types(open_in: Callable[..., Any]) -> None:
    conn = await open_in()
    row = await conn.fetchrow("select 'sad'::mood, array[null, 'happy'::mood]")
    assert tuple(row) == ("sad", [None, "happy"])
    assert await conn.fetchval("select $1::moods", [["sad", "happy"]]) == [
        "sad",
        "happy",
    ]
    assert await conn.fetchval("select $1::positive * 2", [21]) == 42
    with pytest.raises(pgasync.errors.CheckViolation):
        await conn.fetchval("select $1::positive", [-1])


@pytest.mark.parametrize("count", [1, 5, 50])
async def test_the_plan_is_cheap(conn: Any, count: int) -> None:
    """Far below jit_above_cost (100000): the server does not compile it."""
    oids = range(16384, 16384 + count)
    sql = introspect.query(introspect.by_oid(oids), conn.info.server_version)
    plan = await conn.fetchval(f"explain (format json) {sql}")
    assert plan[0]["Plan"]["Total Cost"] < 20_000


@pytest.mark.parametrize(
    "keywords", [{"statement_cache_size": 0}, {"prepared_statements": "unnamed"}]
)
async def test_unnamed_statements(
    open_in: Callable[..., Any], keywords: dict[str, Any]
) -> None:
    """The question has no name either: what waits for it is described again."""
    conn = await open_in(**keywords)
    assert [*await conn.fetchrow("select $1::mood, $2::int", ["sad", 5])] == ["sad", 5]
    other = await open_in(autocommit=False, **keywords)
    assert [*await other.fetchrow("select 'happy'::mood, '(1,sad)'::pair")] == [
        "happy",
        (1, "sad"),
    ]


async def test_what_the_catalog_does_not_know_is_text(conn: Any) -> None:
    """It may have been dropped since the statement was described: that is done again
    some times."""
    link = conn._link.typelink
    sql = link.types(conn._core, [4_000_000_123])
    assert sql is not None
    rows = await conn._core.look_up(sql)
    for _ in range(GONE_MAX):
        assert link.types(conn._core, [4_000_000_123]) == sql
        assert link.found(conn._core, rows)
        assert conn._core.get_codec(4_000_000_123) is None
    assert link.types(conn._core, [4_000_000_123]) == sql
    assert not link.found(conn._core, rows)
    codec = conn._core.get_codec(4_000_000_123)
    assert codec is not None and codec.is_text


async def test_types_in_a_transaction(open_in: Callable[..., Any]) -> None:
    conn = await open_in(autocommit=False)
    assert await conn.fetchval("select 'sad'::mood") == "sad"
    assert conn.info.transaction_status == "T"
    await conn.execute("create type fresh as enum ('x')")
    assert await conn.fetchval("select array['x'::fresh]") == ["x"]
    await conn.rollback()
    with pytest.raises(pgasync.ProgrammingError):
        await conn.fetchval("select 'x'::fresh")
    await conn.rollback()


async def test_pipelined_behind_a_lookup(open_in: Callable[..., Any]) -> None:
    conn = await open_in()
    results = await asyncio.gather(
        conn.fetchval("select array['sad'::mood]"),
        *(conn.fetchval("select $1::int", [n]) for n in range(20)),
        conn.fetchval("select 'happy'::mood"),
    )
    assert results == [["sad"], *range(20), "happy"]


async def test_prepared_and_many(open_in: Callable[..., Any]) -> None:
    conn = await open_in()
    statement = await conn.prepare("select $1::mood[]")
    assert await statement.fetchval([["sad", None]]) == ["sad", None]
    await conn.execute("create temp table felt (mood mood, number positive)")
    await conn.executemany(
        "insert into felt values ($1, $2)", [("sad", 1), ("happy", 2)]
    )
    rows = await conn.fetch("select * from felt order by number")
    assert [tuple(row) for row in rows] == [("sad", 1), ("happy", 2)]


@pytest.mark.parametrize("delay", [0, 0.0005, 0.001, 0.002, 0.004])
async def test_cancelled_while_it_waits(
    open_in: Callable[..., Any], delay: float
) -> None:
    conn = await open_in()
    for turn in range(10):
        conn._link.typelink.catalog.forget()
        conn._link.typelink.reset()
        task = asyncio.ensure_future(
            conn.fetchval(f"select array['sad'::mood], {turn}")
        )
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
            raise asyncio.CancelledError  # it was faster
        assert await conn.fetchval("select $1::int", [turn]) == turn
    assert await conn.fetchval("select array['happy'::mood]") == ["happy"]
    assert conn._core.pending == 0


async def test_lookup_that_fails(open_in: Callable[..., Any]) -> None:
    conn = await open_in()
    link = conn._link.typelink
    original = introspect.query
    try:
        introspect.query = lambda *args: "select 1/0"  # type: ignore[assignment]
        with pytest.raises(pgasync.errors.DivisionByZero):
            await conn.fetchval("select array['sad'::mood]")
        introspect.query = lambda *args: "select 'not', 'an answer'"  # type: ignore[assignment]
        with pytest.raises(pgasync.InternalError, match="unpack"):
            await conn.fetchval("select array['sad'::mood]")
    finally:
        introspect.query = original
    assert await conn.fetchval("select array['sad'::mood]") == ["sad"]
    assert link.core is conn._core


async def test_connection_lost_meanwhile(server: Any, schema: str) -> None:
    """Cut at many places of what the server answers to the first use of a type."""
    with pgmock.Proxy(str(server.socket_dir), server.port, chunk=16) as proxy:
        dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"

        async def attempt() -> Any:
            async with pgasync.connect(
                dsn, autocommit=True, server_settings={"search_path": schema}
            ) as conn:
                before = proxy.down_bytes
                conn._link.typelink.catalog.forget()
                value = await conn.fetchval("select array['sad'::mood]")
                return value, before, proxy.down_bytes

        value, start, end = await attempt()
        assert value == ["sad"]
        cuts = 0
        for cut in range(start + 1, end - 20, (end - start) // 25):
            proxy.cut_after = cut
            proxy.down_bytes = 0
            with pytest.raises(pgasync.OperationalError):
                await attempt()
            cuts += 1
        assert cuts > 20


class TestChanges:
    async def test_enum_value_added(self, open_in: Callable[..., Any]) -> None:
        conn = await open_in()
        assert await conn.fetchval("select 'sad'::mood") == "sad"
        await conn.execute("alter type mood add value 'calm'")
        assert await conn.fetchval("select $1::mood[]", [["calm"]]) == ["calm"]

    async def test_dropped_and_created(self, open_in: Callable[..., Any]) -> None:
        one, other = await open_in(), await open_in()
        for conn in (one, other):
            assert await conn.fetchval("select 'sad'::mood") == "sad"
        await one.execute("drop type mood cascade")
        await one.execute("create type mood as (mood text, since int)")
        for conn in (one, other):
            row = await conn.fetchval("select row('sad', 5)::mood as now")
            assert tuple(row) == ("sad", 5)

    async def test_catalog_is_forgotten(self, open_in: Callable[..., Any]) -> None:
        conn = await open_in()
        await conn.fetchval("select 'sad'::mood")
        catalog = conn._link.typelink.catalog
        assert catalog.find(None, "mood") is not None
        await conn.execute("alter domain positive set default 7")
        assert catalog.find(None, "mood") is None
        assert await conn.fetchval("select 'sad'::mood") == "sad"


def test_catalogs_are_bounded() -> None:
    first = introspect.catalog_of(("first",))
    assert introspect.catalog_of(("first",)) is first
    for number in range(introspect._CATALOGS_MAX):
        introspect.catalog_of(("another", number))
    assert len(introspect._catalogs) == introspect._CATALOGS_MAX
    assert introspect.catalog_of(("first",)) is not first


def test_forgetting_takes_what_hangs_together() -> None:
    def info(oid: int, name: str, **parts: Any) -> introspect.TypeInfo:
        nothing = dict.fromkeys(("elem", "base", "array", "subtype", "range"), 0)
        given = {"kind": "b", "send": "", "visible": True, "members": (), "labels": ()}
        return introspect.TypeInfo(
            oid=oid, schema="s", name=name, **{**nothing, **given, **parts}
        )

    catalog = introspect.Catalog()
    catalog.add(
        [
            info(1, "mood"),
            info(2, "_mood", elem=1),
            info(3, "moods", base=2),
            info(4, "pair", members=(("m", 3),)),
            info(5, "other"),
        ]
    )
    assert catalog.find("s", "mood") is not None
    assert catalog.find("t", "mood") is None
    catalog.forget([3])  # mood and its array, which it is made of, and the pair
    assert sorted(catalog.types) == [5]
    catalog.forget()
    assert not catalog.types


class TestRecords:
    """Anonymous records bring the types of their members along with each value."""

    @pytest.mark.parametrize("how", ["fetch", "fetchrow", "fetchval", "execute"])
    async def test_members_are_looked_up(
        self, open_in: Callable[..., Any], how: str
    ) -> None:
        conn = await open_in()
        record = "row(n, 'sad'::mood, array['happy'::mood])"
        sql = f"select {record} from generate_series(1, 3) n"
        values = {
            "fetch": [((n, "sad", ["happy"]),) for n in (1, 2, 3)],
            "execute": [((n, "sad", ["happy"]),) for n in (1, 2, 3)],
            "fetchrow": ((1, "sad", ["happy"]),),
            "fetchval": (1, "sad", ["happy"]),
        }
        for _ in range(2):
            got = await getattr(conn, how)(sql)
            if how == "execute":
                got = await got.fetchall()
            assert got == values[how]

    async def test_some_rows_only(self, open_in: Callable[..., Any]) -> None:
        conn = await open_in()
        rows = await conn.fetch(
            "select case n when 2 then row('sad'::mood) when 3 then row(5::positive) "
            "else row(n) end from generate_series(1, 4) n"
        )
        assert [row[0] for row in rows] == [(1,), ("sad",), (5,), (4,)]

    async def test_types_inside_of_types(self, open_in: Callable[..., Any]) -> None:
        conn = await open_in()
        value = await conn.fetchval(
            "select array[row(row('sad'::mood), array[row(7::positive)])]"
        )
        assert value == [(("sad",), [(7,)])]

    async def test_pipelined(self, open_in: Callable[..., Any]) -> None:
        conn = await open_in()
        await conn.fetchval("select 1")
        for _ in range(20):
            conn._link.typelink.catalog.forget()
            conn._link.typelink.reset()
            results = await asyncio.gather(
                conn.fetchval("select row('sad'::mood)"),
                conn.fetchval("select 1"),
                conn.fetchval("select row(5::positive)"),
                *(conn.fetchval(f"select $1::int, {n}", [n]) for n in range(5)),
            )
            assert results == [("sad",), 1, (5,), *range(5)]
            await conn.execute("deallocate all")

    @pytest.mark.parametrize("delay", [0, 0.0005, 0.001, 0.002])
    async def test_cancelled(self, open_in: Callable[..., Any], delay: float) -> None:
        conn = await open_in()
        for turn in range(10):
            conn._link.typelink.catalog.forget()
            conn._link.typelink.reset()
            task = asyncio.ensure_future(conn.fetch("select row('sad'::mood)"))
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
                raise asyncio.CancelledError  # it was faster
            assert await conn.fetchval("select $1::int", [turn]) == turn
        assert conn._core.pending == 0

    async def test_in_a_portal(self, open_in: Callable[..., Any]) -> None:
        conn = await open_in(autocommit=False)
        core = conn._core
        sql = "select row('sad'::mood, n) from generate_series(1, 5) n"
        opened = await core.open_portal("p", sql, None, 2, False)
        assert opened.rows == [(("sad", 1),), (("sad", 2),)]
        more = await core.fetch_portal("p", opened.statement, 10, False)
        assert more.rows == [(("sad", n),) for n in (3, 4, 5)]
        await conn.rollback()

    async def test_lost_meanwhile(self, open_in: Callable[..., Any]) -> None:
        conn = await open_in()
        original = introspect.query
        try:
            introspect.query = lambda *args: "select pg_sleep(60)"  # type: ignore[assignment]
            task = asyncio.ensure_future(conn.fetch("select row('sad'::mood)"))
            await asyncio.sleep(0.1)
            conn.terminate()
            with pytest.raises(pgasync.InterfaceError):
                await task
        finally:
            introspect.query = original
