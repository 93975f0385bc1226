"""The core's cursor: PEP 249 over rows that have arrived."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

import pgasync
from pgasync import _core
from pgasync.sqlalchemy.adapter import Connection, Cursor

MakeEngine = Callable[..., AsyncEngine]
NUMBERS = "select n from generate_series(1, $1::int) n"


async def with_cursor(engine: AsyncEngine, work: Callable[[Cursor], Any]) -> Any:
    """What `work` makes of a cursor of the engine, in a greenlet."""
    async with engine.connect() as conn:
        adapted = (await conn.get_raw_connection()).dbapi_connection
        assert isinstance(adapted, Connection)
        return await greenlet_spawn(lambda: work(adapted.cursor()))


async def test_fetching(make_engine: MakeEngine) -> None:
    def work(cursor: Cursor) -> None:
        assert (cursor.description, cursor.rowcount, cursor.arraysize) == (None, -1, 1)
        assert (cursor.fetchone(), cursor.fetchmany(3), cursor.fetchall()) == (
            None,
            [],
            [],
        )
        cursor.execute(NUMBERS, (7,))
        assert (cursor.rowcount, cursor._left) == (7, 7)
        assert [column[:2] for column in cursor.description or ()] == [("n", 23)]
        assert cursor.fetchone() == (1,)
        assert cursor.fetchmany() == [(2,)]
        assert cursor.fetchmany(2) == [(3,), (4,)]
        assert cursor.fetchmany(0) == []
        assert cursor.fetchmany(-1) == []
        assert next(cursor) == (5,)
        assert cursor.fetchall() == [(6,), (7,)]
        assert (cursor.fetchone(), cursor.fetchall()) == (None, [])
        with pytest.raises(StopIteration):
            next(cursor)
        cursor.arraysize = 2
        cursor.execute(NUMBERS, (3,))
        assert cursor.fetchmany() == [(1,), (2,)]
        assert list(cursor) == [(3,)]
        cursor.execute(NUMBERS, [5])
        assert cursor.fetchmany(10**6) == [(n,) for n in range(1, 6)]
        with pytest.raises(TypeError, match="integer"):
            cursor.fetchmany("2")  # type: ignore[arg-type]

    await with_cursor(make_engine(), work)


async def test_execute_replaces_what_was_there(make_engine: MakeEngine) -> None:
    def work(cursor: Cursor) -> None:
        cursor.execute(NUMBERS, (3,))
        cursor.execute("create temp table gone(i int)")
        assert (cursor.description, cursor.fetchall()) == (None, [])
        cursor.executemany("insert into gone values ($1)", [(1,), (2,)])
        assert (cursor.description, cursor.rowcount) == (None, 2)
        cursor.execute("select i from gone; select i + 1 as j from gone order by 1")
        assert cursor.fetchall() == [(2,), (3,)]
        assert (cursor.description or ())[0][0] == "j"
        with pytest.raises(pgasync.ProgrammingError, match="nothing_here"):
            cursor.execute("select nothing_here")
        with pytest.raises(pgasync.ProgrammingError, match="must be a str"):
            cursor.execute(b"select 1")  # type: ignore[arg-type]

    await with_cursor(make_engine(), work)


async def test_no_rows_and_no_columns(make_engine: MakeEngine) -> None:
    def work(cursor: Cursor) -> None:
        cursor.execute("select 1 as one where false")
        assert (cursor.description or ())[0][0] == "one"
        assert (cursor.rowcount, cursor.fetchall()) == (0, [])
        cursor.execute("select from generate_series(1, 2)")
        assert cursor.fetchall() == [(), ()]

    await with_cursor(make_engine(), work)


async def test_close_and_await(make_engine: MakeEngine) -> None:
    kept: list[Cursor] = []

    def work(cursor: Cursor) -> None:
        cursor.execute(NUMBERS, (3,))
        kept.append(cursor)

    engine = make_engine()
    await with_cursor(engine, work)
    assert kept[0]._left == 3
    await kept[0]._async_soft_close()
    await kept[0]._async_soft_close()
    assert kept[0].fetchone() == (1,)  # nothing was closed: all rows are here
    with kept[0] as cursor:
        pass
    assert cursor.fetchall() == []


async def test_made_by_its_connection_only(make_engine: MakeEngine) -> None:
    with pytest.raises(TypeError, match="cannot create"):
        Cursor()
    with pytest.raises(TypeError, match="cannot create"):
        _core.Cursor()

    def work(cursor: Cursor) -> None:
        core: Any = cursor._core
        for wrong in ((), (Cursor,), (list, None, None)):
            with pytest.raises(TypeError, match="cursor"):
                core.cursor(*wrong)
        for rows in (None, (), "rows"):
            with pytest.raises(TypeError, match="list"):
                cursor._rows = rows  # type: ignore[assignment]
        for result in (None, 1, cursor):
            with pytest.raises(TypeError, match="Operation"):
                cursor._take(result)  # type: ignore[arg-type]
        strange = core.cursor(Cursor, None, lambda operation: operation.close())
        with pytest.raises(TypeError, match="Operation"):
            strange.execute("select 1")

    await with_cursor(make_engine(), work)


async def test_collected(make_engine: MakeEngine) -> None:
    """A cursor in a cycle with its own wait function is found by the collector."""
    engine = make_engine()

    def work(cursor: Cursor) -> None:
        ring: list[Any] = []
        ring.append(cursor._core.cursor(Cursor, ring, ring.append))

    await with_cursor(engine, work)
    gc.collect()
    before = _core.live_objects()
    for _ in range(10):
        await with_cursor(engine, work)
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is Cursor]
    assert _core.live_objects() == before


async def test_dialect_asks_by_any_name(make_engine: MakeEngine) -> None:
    """do_execute() as SQLAlchemy and as subclasses of the dialect call it."""
    engine = make_engine()

    def work(cursor: Cursor) -> None:
        dialect: Any = engine.dialect
        dialect.do_execute(cursor, NUMBERS, (2,), None)
        assert cursor.fetchall() == [(1,), (2,)]
        dialect.do_execute(cursor, NUMBERS, (1,), context=None)
        assert cursor.fetchall() == [(1,)]
        dialect.do_execute(cursor, "select 5", ())
        assert cursor.fetchall() == [(5,)]
        with pytest.raises(TypeError, match="do_execute"):
            dialect.do_execute(cursor, NUMBERS)

    await with_cursor(engine, work)
    async with engine.connect() as conn:
        assert (await conn.execute(sa.text("select 1"))).scalar() == 1
