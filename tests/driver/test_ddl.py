"""The schema changes while statements run: types that others drop, make again and
alter. Tables are in test_stale.py."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import pgasync
from stalecases import own_schema

Connect = Callable[..., Any]


@pytest.fixture
async def place(dsn: str) -> AsyncIterator[str]:
    async with own_schema(dsn) as name:
        yield name


class Stage:
    """A connection, and another program that changes the schema."""

    def __init__(self, actor: Any, changer: Any) -> None:
        self.actor = actor
        self.changer = changer
        self.prepared: Any = None

    async def change(self, text: str) -> None:
        """No command tag tells it."""
        await self.changer.execute(f"do $hidden$ begin {text}; end $hidden$")


@pytest.fixture
async def stage(place: str, connect: Connect) -> Stage:
    settings = {"search_path": place}
    actor = await connect(autocommit=True, server_settings=settings)
    changer = await connect(autocommit=True, server_settings=settings)
    return Stage(actor, changer)


CONTAINERS = {
    "select p from pair p": lambda row: row,
    "select array_agg(p) from pair p": lambda row: [row],
    "select array[array[p]] from pair p": lambda row: [[row]],
    "select row(p, 1) from pair p": lambda row: (row, 1),
    "select array[row(p)] from pair p": lambda row: [(row,)],
}


@pytest.mark.parametrize("sql", CONTAINERS)
@pytest.mark.parametrize("value", [7, 200])
async def test_values_of_an_altered_composite(
    stage: Stage, sql: str, value: int
) -> None:
    """It is part of what is read, at any depth: its bytes are never taken for those of
    something else."""
    conn = stage.actor
    await stage.changer.execute("create table pair (x int, y int)")
    await stage.changer.execute("insert into pair values (1, 2)")
    assert await conn.fetchval(sql) == CONTAINERS[sql]((1, 2))
    await stage.change(f"alter table pair add z int default {value}")
    assert await conn.fetchval(sql) == CONTAINERS[sql]((1, 2, value))
    await stage.change("alter table pair drop z, alter y type text")
    assert await conn.fetchval(sql) == CONTAINERS[sql]((1, "2"))


@pytest.mark.parametrize("pipeline", [False, True], ids=["tasks", "pipeline"])
async def test_several_results_wait_for_types(stage: Stage, pipeline: bool) -> None:
    """Each of them holds values that were not known: one lookup after the other."""
    conn = stage.actor
    for name in ("a", "b", "c"):
        await stage.changer.execute(f"create table {name} (x int)")
        await stage.changer.execute(f"insert into {name} values (1)")
    texts = [
        f"select row(array_agg({n})), array_agg({n}) from {n}" for n in ("a", "b", "c")
    ]
    for value in (7, 200):
        if pipeline:
            async with conn.pipeline() as p:
                results = [p.fetchrow(text) for text in texts * 2]
        else:
            results = [conn.fetchrow(text) for text in texts * 2]
        kept = [(1,)] if value == 7 else [(1, 7)]
        for row in await asyncio.gather(*results):
            assert row == ((kept,), kept)
        for name in ("a", "b", "c"):
            await stage.change(f"alter table {name} add y{value} int default {value}")


@pytest.mark.parametrize("turns", [0, 3, 7])
@pytest.mark.parametrize("given_up", [0, 2])
async def test_given_up_while_it_waits_for_types(
    stage: Stage, given_up: int, turns: int
) -> None:
    conn = stage.actor
    for name in ("a", "b", "c", "d"):
        await stage.changer.execute(f"create table {name} (x int)")
        await stage.changer.execute(f"insert into {name} values (1)")
    texts = [f"select row(array_agg({n})) from {n}" for n in ("a", "b", "c", "d")]
    tasks = [asyncio.ensure_future(conn.fetchval(text)) for text in texts]
    for _ in range(turns):
        await asyncio.sleep(0.0005)
    tasks[given_up].cancel()
    outcome = await asyncio.gather(*tasks, return_exceptions=True)
    for n, value in enumerate(outcome):
        if n == given_up:
            assert isinstance(value, asyncio.CancelledError) or value == ([(1,)],)
        else:
            assert value == ([(1,)],)
    assert await conn.fetchval(texts[0]) == ([(1,)],)


# Values that the types of a statement do not take any more

TAKEN = {
    "bigint": ("int", "bigint", 1, 2**40),
    "text, given as int before": ("int", "text", 1, "x"),
    "int, given as text before": ("text", "int using 5", "1", 2),
    "timestamptz": (
        "timestamp",
        "timestamptz",
        dt.datetime(2020, 2, 2),
        dt.datetime(2020, 2, 2, tzinfo=dt.timezone.utc),
    ),
    "an array": ("int", "int[] using array[a]", 1, [1, 2]),
    "a composite with one more": ("pair", "wide using null", (1, 2), (1, 2, 3)),
    "an enum": ("text", "mood using 'sad'", "sad", "happy"),
    "another composite": ("wide", "pair using null", (1, 2, 3), (1, 2)),
}


@pytest.mark.parametrize("case", TAKEN)
async def test_taken_by_the_new_type(stage: Stage, case: str) -> None:
    """A column of another type: a value of the new one is sent as such."""
    old, new, first, then = TAKEN[case]
    await stage.changer.execute("create type pair as (x int, y int)")
    await stage.changer.execute("create type wide as (x int, y int, z int)")
    await stage.changer.execute("create type mood as enum ('sad', 'happy')")
    for way in ("autocommit", "first", "later", "many", "prepared"):
        if way == "later" and case in REFUSED_BY_THE_SERVER:
            continue  # test_stale.py::test_later
        await stage.changer.execute(f"create table {way} (a {old})")
        assert await inserted(stage, way, first) == first
        await stage.change(f"alter table {way} alter a type {new}")
        assert await inserted(stage, way, then) == then


async def inserted(stage: Stage, way: str, value: object) -> object:
    """What the table of the name of `way` has of the value, inserted in that way."""
    conn = stage.actor
    sql = f"insert into {way} values ($1) returning a"
    if way in ("first", "later"):
        conn._core.begin("BEGIN")
    if way == "later":
        await conn.fetchval("select 5")
    if way == "many":
        await conn.executemany(sql, [(value,), (value,)])
        return await conn.fetchval("select a from many order by ctid desc limit 1")
    if way == "prepared":
        stage.prepared = stage.prepared or await conn.prepare(sql)
        return await stage.prepared.fetchval([value])
    got: object = await conn.fetchval(sql, [value])
    await conn.commit()
    return got


REFUSED_BY_THE_SERVER = {
    "text, given as int before",
    "int, given as text before",
    "an enum",
}


@pytest.mark.parametrize("element", ["pair", "pair[]", "holder"])
async def test_altered_types_of_parameters(stage: Stage, element: str) -> None:
    """Of the same OID, with other members; other connections learn of it."""
    conn = stage.actor
    await stage.changer.execute("create type pair as (x int, y int)")
    await stage.changer.execute("create type holder as (p pair)")

    def value(*members: object) -> object:
        return {"pair": members, "pair[]": [members], "holder": (members,)}[element]

    sql = f"select $1::{element}"
    assert await conn.fetchval(sql, [value(1, 2)]) == value(1, 2)
    assert await stage.changer.fetchval(sql, [value(1, 2)]) == value(1, 2)
    await stage.change("alter type pair add attribute z int")
    assert await conn.fetchval(sql, [value(1, 2, 3)]) == value(1, 2, 3)
    assert stage.changer._core.get_codec(23) is None
    assert stage.changer._link.typelink._used == {}  # it was told
    assert await stage.changer.fetchval(sql, [value(1, 2, 3)]) == value(1, 2, 3)
    await stage.change("alter type pair drop attribute z, drop attribute y")
    assert await conn.fetchval(sql, [value(1)]) == value(1)


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(
    ("kind", "good", "bad", "error"),
    [
        ("int", 1, 2**40, pgasync.DataError),
        ("int", "1", "x", pgasync.errors.InvalidTextRepresentation),
        ("mood", "sad", "bad", pgasync.errors.InvalidTextRepresentation),
        ("pair", (1, 2), (1, 2, 3), pgasync.DataError),
    ],
)
async def test_bad_values_stay_errors(
    stage: Stage, begun: bool, kind: str, good: object, bad: object, error: Any
) -> None:
    """The statement is described once more for each of them, and no other connection
    loses what it knows."""
    conn, other = stage.actor, stage.changer
    await other.execute("create type mood as enum ('sad', 'happy')")
    await other.execute("create type pair as (x int, y int)")
    sql = f"select $1::{kind}"
    await conn.fetchval(sql, [good])
    await other.fetchval(sql, [good])
    known = {**other._link.typelink._used}
    for _ in range(3):
        if begun:
            conn._core.begin("BEGIN")
            await conn.fetchval("select 5")
        with pytest.raises(error) as caught:
            await conn.fetchval(sql, [bad])
        assert not isinstance(caught.value, pgasync.InvalidCachedStatement)
        await conn.rollback()
        await conn.fetchval(sql, [good])
    assert other._link.typelink._used == known


# Connections with other search_paths


class Mood(enum.Enum):
    sad = "sad"
    happy = "happy"


@pytest.mark.parametrize("how", ["role", "set", "local"])
async def test_search_paths_that_differ(
    server: Any, place: str, connect: Connect, how: str
) -> None:
    """Of the role, changed between two connections, or set: the same texts mean other
    types, and a class registered without a schema is for what the path shows."""
    changer = await connect(autocommit=True)
    if changer.info.server_version < 180000:
        pytest.skip("before 18 the server does not tell the search_path")
    other, role = f"{place}_other", f"{place}_role"
    for schema, labels, kind in (
        (place, "'sad', 'happy'", "int"),
        (other, "'glad', 'sad'", "text"),
    ):
        await changer.execute(
            f"create type {schema}.mood as enum ({labels});"
            f"create table {schema}.t (m {schema}.mood, a {kind});"
            f"insert into {schema}.t values ('sad', 7)"
        )
    await changer.execute(f"create role {role} superuser login")
    types = pgasync.TypeRegistry()
    types.register_enum(Mood)
    dsn = server.dsn_for(user=role) if how == "role" else server.dsn

    async def opened(path: str) -> Any:
        if how == "role":
            await changer.execute(f"alter role {role} set search_path = {path}")
        conn = await connect(dsn, autocommit=how != "local", types=types)
        if how != "role":
            await conn.execute(f"set {how.replace('set', '')} search_path = {path}")
        return conn

    try:
        one, two = await opened(place), await opened(other)
        for _ in range(2):
            for conn, value in ((one, 7), (two, "7")):
                assert tuple(await conn.fetchrow("select m, a from t")) == (
                    Mood.sad,
                    value,
                )
                sql = "select m, a from t where m = $1 and a = $2"
                row = await conn.fetchrow(sql, [Mood.sad, value])
                assert tuple(row) == (Mood.sad, value)
        elsewhere = await one.fetchval(f"select m from {other}.t")
        assert elsewhere == "sad"  # what another path shows is not what is registered
        assert await two.fetchval(f"select m from {place}.t") == "sad"
    finally:
        for conn in (one, two):
            await conn.close()
        await changer.execute(f"drop role {role}")


# Locks


@pytest.mark.parametrize("way", ["autocommit", "first", "later", "many", "stream"])
async def test_lock_timeout_of_a_new_statement(stage: Stage, way: str) -> None:
    """Parse waits for the lock in vain: an error, and nothing is left behind."""
    conn, changer = stage.actor, stage.changer
    await changer.execute("create table t (id int); insert into t values (1)")
    await conn.execute("set lock_timeout = 30")
    changer._core.begin("BEGIN")
    await changer.execute("lock table t in access exclusive mode")
    if way in ("first", "later"):
        conn._core.begin("BEGIN")
    if way == "later":
        await conn.fetchval("select 5")
    with pytest.raises(pgasync.errors.LockNotAvailable) as caught:
        if way == "many":
            await conn.executemany("select id from t where id = $1", [(1,), (1,)])
        elif way == "stream":
            async with conn.stream("select id from t where id = $1", [1]) as rows:
                [row async for row in rows]
        else:
            await conn.fetchval("select id from t where id = $1", [1])
    assert caught.value.outcome == "failed"
    begun = way in ("first", "later")
    assert conn._core.transaction_status == ("E" if begun else "I")
    await conn.rollback()
    await changer.commit()
    assert conn._core.pending == 0
    assert await conn.fetchval("select id from t where id = $1", [1]) == 1
    known = "select count(*) from pg_prepared_statements where statement like $1"
    assert await conn.fetchval(known, ["select id from t%"]) == 1


async def test_deadlock_of_new_statements(stage: Stage) -> None:
    """Each waits in its Parse for the table that the other has locked."""
    pair = (stage.actor, stage.changer)
    await stage.changer.execute("create table a (n int); create table b (n int)")
    for conn, table in zip(pair, ("a", "b"), strict=True):
        await conn.execute("set deadlock_timeout = 20")
        conn._core.begin("BEGIN")
        await conn.execute(f"lock table {table} in access exclusive mode")
    outcome = await asyncio.gather(
        stage.actor.fetch("select n from b where n = $1", [1]),
        stage.changer.fetch("select n from a where n = $1", [1]),
        return_exceptions=True,
    )
    (failed,) = [value for value in outcome if isinstance(value, BaseException)]
    assert isinstance(failed, pgasync.errors.DeadlockDetected)
    assert failed.retryable
    for conn, value in zip(pair, outcome, strict=True):
        assert conn._core.transaction_status == ("E" if value is failed else "T")
        await conn.rollback()
        assert await conn.fetch("select n from a where n = $1", [1]) == []


@pytest.mark.parametrize("way", ["rows", "row", "value", "stream", "many"])
async def test_first_use_behind_a_change(
    place: str, connect: Connect, way: str
) -> None:
    """A statement that the process knows from another connection, whose columns have
    become of types that nobody has met since: its rows wait until those are known."""
    settings = {"search_path": place}
    opened = [
        await connect(autocommit=True, server_settings=settings) for _ in range(3)
    ]
    one, two, changer = opened
    await changer.execute("create table t (m int, n text); insert into t values (1)")
    sql = "update t set n = n returning *"
    assert await one.fetch(sql) == [(1, None)]
    await changer.execute(
        "do $do$ begin drop table t; create type pair as (a text);"
        " create type mood as enum ('sad'); create table t (m pair[], n mood);"
        " insert into t values ('{(x),(y)}', 'sad'), (null, null); end $do$"
    )
    expected = [([("x",), ("y",)], "sad"), (None, None)]
    if way == "rows":
        assert await two.fetch(sql) == expected
    elif way == "row":
        assert await two.fetchrow(sql) == expected[0]
    elif way == "value":
        assert await two.fetchval(sql) == expected[0][0]
    elif way == "stream":
        async with two.stream(sql) as rows:
            assert [row async for row in rows] == expected
    else:
        done = await two.executemany(sql, [(), ()], returning=True)
        assert await done.fetchall() == expected
    for conn in (two, one):
        assert await conn.fetch(sql) == expected


@pytest.mark.parametrize("pipeline", [False, True], ids=["tasks", "pipeline"])
async def test_first_uses_behind_a_change(
    place: str, connect: Connect, pipeline: bool
) -> None:
    """Several at once, the first of which brings its Parse along: the columns that it
    turns out to have are those of the others."""
    settings = {"search_path": place}
    opened = [
        await connect(autocommit=True, server_settings=settings) for _ in range(3)
    ]
    one, two, changer = opened
    await changer.execute("create table t (a int, b text); insert into t values (1)")
    sql = "select * from t"
    assert await one.fetch(sql) == [(1, None)]
    await changer.execute(
        "do $do$ begin drop table t; create table t (b text, a int8, c float8, d int);"
        " insert into t values ('x', 1, 2.5, 4); end $do$"
    )
    if pipeline:
        async with two.pipeline() as pipe:
            results = [pipe.fetch(sql) for _ in range(4)]
    else:
        results = [two.fetch(sql) for _ in range(4)]
    for rows in await asyncio.gather(*results):
        assert [row._asdict() for row in rows] == [{"b": "x", "a": 1, "c": 2.5, "d": 4}]


REFUSALS = {
    "a column": ("alter table t add column b int", "select * from t where a = $1"),
    "a column's type": ("alter table t alter a type bigint", "select a from t"),
    "an enum": (
        "alter table t drop m; drop type mood; create type mood as enum ('sad');"
        " alter table t add m mood",
        "select m from t where a = $1",
    ),
}


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("case", REFUSALS)
async def test_one_is_refused_and_all_know(
    place: str, connect: Connect, case: str, told: bool
) -> None:
    """The server refuses a statement once, whichever connection meets the change first;
    the others prepare theirs anew in the flight in which they would have run."""
    settings = {"search_path": place}
    conns = [await connect(autocommit=True, server_settings=settings) for _ in range(5)]
    changer = await connect(autocommit=True, server_settings=settings)
    await changer.execute("create type mood as enum ('sad')")
    await changer.execute("create table t (a int, m mood)")
    text, sql = REFUSALS[case]
    args = [1] if "$1" in sql else []
    for conn in conns:
        await conn.fetch(sql, args)
        await conn.fetch(sql, args)
    await changer.execute(text if told else f"do $do$ begin {text}; end $do$")
    refused, written = [], []
    for conn in conns:
        trace = io.StringIO()
        conn.trace(trace)
        await conn.fetch(sql, args)
        lines = trace.getvalue().splitlines()
        refused.append(sum("ErrorResponse" in line for line in lines))
        written.append(sum("\tSync" in line for line in lines))
    assert refused[0] <= 1
    assert refused[1:] == [0, 0, 0, 0]
    if case != "an enum":  # whose codec each connection has to find for itself
        assert refused[0] == 1
        assert written[1:] == [1, 1, 1, 1]
