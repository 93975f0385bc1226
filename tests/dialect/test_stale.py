"""Statements made stale under an engine, by itself or by others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import pgasync
from dialect.flights import FlightCounter
from stalecases import CASES, COUNT, Case, fitted, name_of, own_schema

MakeEngine = Callable[..., AsyncEngine]


@pytest.fixture
async def place(dsn: str) -> AsyncIterator[str]:
    async with own_schema(dsn) as name:
        yield name


class Stage:
    """An engine with one connection, whose statements become stale, and another program
    that changes the schema."""

    def __init__(self, place: str, engine: AsyncEngine, changer: Any) -> None:
        self.place = place
        self.engine = engine
        self.changer = changer

    async def ticks(self) -> int:
        count: int = await self.changer.fetchval(COUNT)
        return count

    async def begin(self, case: Case) -> None:
        """The statement is prepared, and has run."""
        await self.changer.execute(fitted(case.setup, self.place))
        if case.name.startswith("temporary"):
            async with self.engine.begin() as conn:
                await conn.exec_driver_sql("create temp table only_here (n int)")
                await conn.exec_driver_sql("insert into only_here values (7)")
        for _ in range(2):
            assert await run(self, case, case.args, "first") == case.before

    async def change(self, case: Case) -> None:
        """Nothing of the engine's is told of it."""
        text = fitted(case.changes(hidden=True), self.place)
        if not case.own:
            await self.changer.execute(text)
            return
        async with self.engine.begin() as conn:
            await conn.exec_driver_sql(text)


@pytest.fixture
async def stage(
    place: str, make_engine: MakeEngine, connect: Callable[..., Any]
) -> Stage:
    settings = {"search_path": place}
    engine = make_engine(
        connect_args={"server_settings": settings}, pool_size=1, max_overflow=0
    )
    changer = await connect(autocommit=True, server_settings=settings)
    return Stage(place, engine, changer)


def shown(rows: Any) -> list[tuple[object, ...]]:
    """Without the sequence's value, which is the last."""
    return [tuple(row)[:-1] for row in rows]


async def run(
    stage: Stage, case: Case, args: tuple[object, ...], way: str
) -> list[tuple[object, ...]]:
    """Runs the statement once, in that way."""
    sql = fitted(case.sql, stage.place)
    async with stage.engine.connect() as conn:
        if way.endswith("autocommit"):
            await conn.execution_options(isolation_level="AUTOCOMMIT")
        if way == "later":
            await conn.execute(sa.text("select 1"))

        def fetched(sync: sa.Connection) -> Any:
            streamed = sync.execution_options(stream_results=way.startswith("streamed"))
            return streamed.exec_driver_sql(sql, args).all()

        rows = shown(await conn.run_sync(fetched))
        await conn.commit()
    return rows


@pytest.mark.parametrize(
    "way", ["autocommit", "first", "streamed", "streamed in autocommit"]
)
@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_healed(stage: Stage, case: Case, way: str) -> None:
    await stage.begin(case)
    before = await stage.ticks()
    await stage.change(case)
    assert await run(stage, case, case.then, way) == case.after
    assert await stage.ticks() == before + len(case.after)


@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_later(stage: Stage, case: Case) -> None:
    """Another program's change, seen behind earlier work: an OperationalError of
    SQLAlchemy's that keeps the connection, and the same transaction again works."""
    await stage.begin(case)
    before = await stage.ticks()
    await stage.change(case)
    if case.refused:
        kind = exc.ProgrammingError if case.natural else exc.OperationalError
        with pytest.raises(kind) as caught:
            await run(stage, case, case.then, "later")
        assert not caught.value.connection_invalidated
        assert await stage.ticks() == before
        if not case.natural:
            error: Any = caught.value.orig
            assert isinstance(error, pgasync.InvalidCachedStatement)
            assert error.retryable
            assert error.sqlstate in ("0A000", "26000", "XX000")
    assert await run(stage, case, case.then, "later") == case.after
    assert await stage.ticks() == before + len(case.after)


@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize("case", [c for c in CASES if c.args], ids=name_of)
async def test_executemany(stage: Stage, case: Case, autocommit: bool) -> None:
    await stage.begin(case)
    before = await stage.ticks()
    await stage.change(case)
    sql = fitted(case.sql, stage.place)
    async with stage.engine.connect() as conn:
        if autocommit:
            await conn.execution_options(isolation_level="AUTOCOMMIT")
        result = await conn.exec_driver_sql(sql, [case.then] * 3)
        assert result.rowcount == 3 * len(case.after)
        await conn.commit()
    assert await stage.ticks() == before + 3 * len(case.after)


@pytest.mark.parametrize("case", [c for c in CASES if c.reads], ids=name_of)
async def test_begun_in_the_same_way(stage: Stage, case: Case) -> None:
    """SERIALIZABLE READ ONLY DEFERRABLE is what the transaction is begun with again."""
    await stage.begin(case)
    sql = fitted(case.sql, stage.place).replace(f"nextval('{stage.place}.ticks')", "0")
    async with stage.engine.begin() as conn:
        await conn.exec_driver_sql(sql, case.args)
    await stage.change(case)
    async with stage.engine.connect() as conn:
        await conn.execution_options(
            isolation_level="SERIALIZABLE",
            postgresql_readonly=True,
            postgresql_deferrable=True,
        )
        result = await conn.exec_driver_sql(sql, case.then)
        assert shown(result.all()) == case.after
        for setting in ("read_only", "deferrable"):
            assert await conn.scalar(sa.text(f"show transaction_{setting}")) == "on"
        assert await conn.scalar(sa.text("show transaction_isolation")) == (
            "serializable"
        )


# The engine's own DDL


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "thing"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


THINGS = sa.table("thing", sa.column("id"), sa.column("name"))


async def test_insertmanyvalues(engine: AsyncEngine) -> None:
    """The rows come back by RETURNING, whose column gets another type."""
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    insert = sa.insert(Thing).returning(Thing.id, sort_by_parameter_order=True)
    rows = [{"name": f"n{n}"} for n in range(5)]
    async with engine.begin() as conn:
        assert list((await conn.scalars(insert, rows)).all()) == [1, 2, 3, 4, 5]
    async with engine.begin() as conn:
        hidden = "alter table thing alter column id type bigint"
        await conn.execute(sa.text(f"do $$ begin {hidden}; end $$"))
    async with engine.begin() as conn:
        assert list((await conn.scalars(insert, rows)).all()) == [6, 7, 8, 9, 10]
    async with engine.begin() as conn:
        count = sa.select(sa.func.count()).select_from(THINGS)
        assert await conn.scalar(count) == 10


async def test_session(engine: AsyncEngine) -> None:
    """A unit of work whose select and flush both meet a changed table."""
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)

    async def work(name: str) -> int:
        async with AsyncSession(engine) as session:
            found = await session.scalars(sa.select(Thing).order_by(Thing.id))
            count = len(found.all())
            session.add(Thing(name=name))
            await session.commit()
            return count

    assert [await work("a"), await work("b")] == [0, 1]
    for n, kind in enumerate(("bigint", "int", "bigint")):
        async with engine.begin() as conn:
            hidden = f"alter table thing alter column id type {kind}"
            await conn.execute(sa.text(f"do $$ begin {hidden}; end $$"))
        assert await work("c") == n + 2


@pytest.mark.parametrize("who", ["same", "other", "autocommit"])
async def test_told(make_engine: MakeEngine, who: str) -> None:
    """DDL by text through any connection of the process: a statement later in a
    transaction is prepared anew."""
    engine = make_engine(pool_size=2)
    everything = sa.text("select * from shape where 0 < :n")
    async with engine.connect() as one, engine.connect() as two:
        await one.execute(sa.text("create table shape (a int, b int)"))
        await one.commit()
        for _ in range(2):
            await two.execute(everything, {"n": 1})
            await two.rollback()
        changer = two if who == "same" else one
        if who == "autocommit":
            await changer.execution_options(isolation_level="AUTOCOMMIT")
        await changer.exec_driver_sql("alter table shape drop column a")
        if who != "same":
            await changer.commit()
            await two.execute(sa.text("select 1"))
        assert list((await two.execute(everything, {"n": 1})).keys()) == ["b"]
        await two.rollback()
        await two.execute(sa.text("select 1"))
        left = (await two.execute(everything, {"n": 1})).keys()
        assert list(left) == (["a", "b"] if who == "same" else ["b"])


async def test_rolled_back_to_a_savepoint(engine: AsyncEngine) -> None:
    everything = sa.text("select * from shape")
    async with engine.connect() as conn:
        await conn.execute(sa.text("create table shape (a int)"))
        nested = await conn.begin_nested()
        await conn.execute(sa.text("alter table shape add b int"))
        assert list((await conn.execute(everything)).keys()) == ["a", "b"]
        await nested.rollback()
        assert list((await conn.execute(everything)).keys()) == ["a"]


async def test_create_all_asks_for_nothing_twice(
    make_engine: MakeEngine, counted_url: str, flights: FlightCounter
) -> None:
    """Two flights for a new text, one for a check whose text is known; none for the
    statements that were prepared before."""
    metadata = sa.MetaData()
    for n in range(50):
        sa.Table(f"t{n}", metadata, sa.Column("id", sa.Integer, primary_key=True))
    engine = make_engine(url=counted_url)
    async with engine.begin() as conn:
        await conn.execute(sa.text("select 1"))
        before = flights.count
        await conn.run_sync(metadata.create_all)
        created = flights.count - before
        before = flights.count
        await conn.execute(sa.text("select 1"))
        assert flights.count == before + 1
    assert created <= 50 + 2 * 50 + 1


async def test_under_load(make_engine: MakeEngine) -> None:
    """Twenty tasks while a table changes all the time: no error of a first statement or
    one in autocommit, and each insert is there once."""
    engine = make_engine(pool_size=21, max_overflow=0)
    async with engine.begin() as conn:
        await conn.execute(sa.text("create table busy (id int, task int)"))
    end = time.monotonic() + 3
    done = [0] * 20
    changes = 0

    async def change() -> None:
        nonlocal changes
        async with engine.connect() as conn:
            await conn.execution_options(isolation_level="AUTOCOMMIT")
            while time.monotonic() < end:
                kind = "text" if changes % 2 == 0 else "int using id::int"
                await conn.execute(sa.text("alter table busy add column more int"))
                await conn.execute(sa.text("alter table busy drop column more"))
                await conn.execute(
                    sa.text(f"alter table busy alter column id type {kind}")
                )
                changes += 1
                await asyncio.sleep(0.002)

    async def work(conn: AsyncConnection, n: int) -> None:
        rows = await conn.execute(
            sa.text("insert into busy (task) values (:n) returning *"), {"n": n}
        )
        assert rows.one().task == n
        done[n] += 1

    async def task(n: int) -> None:
        while time.monotonic() < end:
            async with engine.connect() as conn:
                if n % 2:
                    await conn.execution_options(isolation_level="AUTOCOMMIT")
                await work(conn, n)
                await conn.commit()
            async with engine.connect() as conn:
                rows = await conn.execute(sa.text("select * from busy limit 3"))
                assert rows.all()

    tasks = [asyncio.ensure_future(work) for work in (change(), *map(task, range(20)))]
    try:
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert changes > 20 and min(done) > 0
    async with engine.connect() as conn:
        counted = await conn.execute(
            sa.text("select task, count(*) from busy group by task order by task")
        )
        assert [tuple(row) for row in counted] == list(enumerate(done))


# Types that are dropped and made again

SIZE = pg.ENUM("small", "large", name="size", create_type=False)
GOODS = sa.Table(
    "goods",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("size", SIZE),
    sa.Column("sizes", pg.ARRAY(SIZE)),
)
MAKE_GOODS = (
    "create type size as enum ({}); create table goods"
    " (id int generated always as identity, size size, sizes size[])"
)


@pytest.mark.parametrize("autocommit", [False, True])
async def test_enum_made_again(stage: Stage, autocommit: bool) -> None:
    """With other labels in another order: the cached statements of the engine go on."""
    labels = ["'small', 'large'", "'tiny', 'large', 'small'"]
    await stage.changer.execute(MAKE_GOODS.format(labels[0]))
    options = {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
    for turn in range(4):
        if turn:
            text = MAKE_GOODS.format(labels[turn % 2])
            again = f"drop table goods; drop type size; {text}"
            await stage.changer.execute(f"do $do$ begin {again}; end $do$")
        for write in (True, False):
            async with stage.engine.connect() as conn:
                await conn.execution_options(**options)
                if write:
                    row = {"size": "small", "sizes": ["large", "small"]}
                    insert = GOODS.insert().returning(GOODS.c.size)
                    assert await conn.scalar(insert, row) == "small"
                    await conn.execute(GOODS.insert(), [row, row])
                    await conn.commit()
                select = sa.select(GOODS.c.size, GOODS.c.sizes)
                found = await conn.execute(select.where(GOODS.c.size == "small"))
                assert [*map(tuple, found)] == [("small", ["large", "small"])] * 3
                await conn.commit()
