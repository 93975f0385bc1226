"""Prepared statements that are not what they were: prepared again and sent once more
where that cannot be noticed, and never run twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import pgasync
from pgasync import _core
from stalecases import CASES, COUNT, TABLE, Case, fitted, name_of, own_schema

Connect = Callable[..., Any]
DEFERRABLE = "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE"


@pytest.fixture
async def place(dsn: str) -> AsyncIterator[str]:
    async with own_schema(dsn) as name:
        yield name


class Stage:
    """A connection whose statements become stale, and one that changes the schema."""

    def __init__(self, place: str, actor: Any, changer: Any) -> None:
        self.place = place
        self.actor = actor
        self.changer = changer

    def fitted(self, text: str) -> str:
        return fitted(text, self.place)

    async def ticks(self) -> int:
        """How often the statement has run."""
        count: int = await self.changer.fetchval(COUNT)
        return count

    async def begin(self, case: Case) -> None:
        """The statement is prepared, and has run."""
        await self.changer.execute(self.fitted(case.setup))
        if case.name.startswith("temporary"):
            await self.actor.execute(
                "create temp table only_here (n int); insert into only_here values (7)"
            )
        for _ in range(2):
            assert await run(self, case, case.args, "autocommit") == case.before

    async def change(self, case: Case, hidden: bool) -> None:
        who = self.actor if case.own else self.changer
        await who.execute(self.fitted(case.changes(hidden)))


LANGUAGE = (
    "select collcollate from pg_collation"
    " where collprovider = 'c' and collcollate ~* '^(de|fr|es)_.*utf-?8' limit 1"
)


@pytest.fixture
async def stage(place: str, connect: Connect) -> Stage:
    """The server's errors are in another language where it has one."""
    settings = {"search_path": place}
    language = await (await connect(autocommit=True)).fetchval(LANGUAGE)
    if language is not None:
        settings["lc_messages"] = language
    actor = await connect(autocommit=True, server_settings=settings)
    changer = await connect(autocommit=True, server_settings=settings)
    return Stage(place, actor, changer)


def shown(rows: Any) -> list[tuple[object, ...]]:
    """Without the sequence's value, which is the last."""
    return [tuple(row)[:-1] for row in rows]


async def run(
    stage: Stage, case: Case, args: tuple[object, ...], way: str
) -> list[tuple[object, ...]]:
    """Runs the statement once, in that way."""
    conn = stage.actor
    sql = stage.fitted(case.sql)
    if way == "autocommit":
        return shown(await conn.fetch(sql, args))
    conn._core.begin("BEGIN")
    if way == "later":
        await conn.fetchval("select 1")
    if way == "portal":
        opened = await conn._core.open_portal("p", sql, args, 50, False)
        rows = opened.rows
    else:
        rows = await conn.fetch(sql, args)
    await conn.commit()
    return shown(rows)


@pytest.mark.parametrize("hidden", [False, True], ids=["told", "hidden"])
@pytest.mark.parametrize("way", ["autocommit", "first", "portal"])
@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_healed(stage: Stage, case: Case, way: str, hidden: bool) -> None:
    await stage.begin(case)
    before = await stage.ticks()
    await stage.change(case, hidden)
    assert await run(stage, case, case.then, way) == case.after
    assert await stage.ticks() == before + len(case.after)
    assert not stage.actor._core.in_transaction


@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_later(stage: Stage, case: Case) -> None:
    """Behind earlier work of the transaction, nothing can be sent again: an error that
    says so, and the whole transaction again is the remedy."""
    await stage.begin(case)
    before = await stage.ticks()
    await stage.change(case, hidden=True)
    if case.refused:
        kind = pgasync.ProgrammingError if case.natural else pgasync.OperationalError
        with pytest.raises(kind) as caught:
            await run(stage, case, case.then, "later")
        await stage.actor.rollback()
        assert await stage.ticks() == before
        if not case.natural:
            assert isinstance(caught.value, pgasync.InvalidCachedStatement)
            assert caught.value.retryable
            assert caught.value.outcome == "failed"
            assert "run the transaction again" in str(caught.value)
            assert caught.value.sqlstate in ("0A000", "26000", "XX000")
    assert await run(stage, case, case.then, "later") == case.after
    assert await stage.ticks() == before + len(case.after)


@pytest.mark.parametrize("case", [c for c in CASES if not c.own], ids=name_of)
async def test_later_told(stage: Stage, case: Case) -> None:
    """What this process has changed itself, by any connection, is known."""
    await stage.begin(case)
    before = await stage.ticks()
    await stage.change(case, hidden=False)
    assert await run(stage, case, case.then, "later") == case.after
    assert await stage.ticks() == before + len(case.after)


async def test_dropped_beside_a_temporary_table(stage: Stage) -> None:
    """By a connection that has made temporary tables: all are told nevertheless."""
    conn, table = stage.actor, f"{stage.place}.fleeting"
    await stage.changer.execute("create temp table beside (n int)")
    for kind, value in [("int", 7), ("text", "7"), ("int", 7)]:
        await stage.changer.execute(f"create table {table} as select 7::{kind} n")
        conn._core.begin("BEGIN")
        await conn.execute("savepoint before")
        assert await conn.fetchval(f"select n from {table}") == value
        await conn.rollback()
        await stage.changer.execute(f"drop table {table}")


@pytest.mark.parametrize(
    "made", ["(n {0}); insert into {1} values (7)", "as select 7::{0} n"]
)
@pytest.mark.parametrize("undo", ["rollback", "rollback to savepoint before"])
async def test_made_and_undone(stage: Stage, made: str, undo: str) -> None:
    """A table that was rolled back, and another one of its name."""
    conn, table = stage.actor, f"{stage.place}.fleeting"
    for kind, value in [("int", 7), ("text", "7"), ("int", 7)]:
        if not conn._core.in_transaction:
            conn._core.begin("BEGIN")
        await conn.execute("savepoint before")
        for command in made.format(kind, table).split("; "):
            head = "" if command.startswith("insert") else f"create table {table} "
            await conn.execute(head + command)
        assert await conn.fetchval(f"select n from {table}") == value
        await conn.execute(undo)
    await conn.rollback()


@pytest.mark.parametrize("transaction", [False, True], ids=["autocommit", "first"])
@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_executemany(stage: Stage, case: Case, transaction: bool) -> None:
    await stage.begin(case)
    before = await stage.ticks()
    await stage.change(case, hidden=True)
    if transaction:
        stage.actor._core.begin("BEGIN")
    done = await stage.actor._core.executemany(stage.fitted(case.sql), [case.then] * 3)
    assert done.rowcount == 3 * len(case.after)
    await stage.actor.commit()
    assert await stage.ticks() == before + 3 * len(case.after)


@pytest.mark.parametrize("transaction", [False, True], ids=["autocommit", "first"])
@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_pipelined(stage: Stage, case: Case, transaction: bool) -> None:
    """Two tasks, both with the stale statement in flight; in the transaction a third
    one whose statement the server would take."""
    await stage.begin(case)
    conn = stage.actor
    sql = stage.fitted(case.sql)
    assert await conn.fetchval("select $1::int", [1]) == 1
    before = await stage.ticks()
    await stage.change(case, hidden=True)
    tasks: list[Awaitable[Any]] = [conn.fetch(sql, case.then) for _ in range(2)]
    if transaction:
        conn._core.begin("BEGIN")
        tasks.append(conn.fetchval("select $1::int", [5]))
    first, second, *rest = await asyncio.gather(*tasks)
    assert shown(first) == shown(second) == case.after
    assert rest == ([5] if transaction else [])
    assert [row[-1] for row in first] < [row[-1] for row in second]  # in their order
    await conn.commit()
    assert await stage.ticks() == before + 2 * len(case.after)


@pytest.mark.parametrize("case", [c for c in CASES if c.reads], ids=name_of)
async def test_begun_in_the_same_way(stage: Stage, case: Case) -> None:
    """The transaction that is begun again is of the same kind."""
    reading = Case(
        case.name,
        case.setup,
        case.sql.replace("nextval('ticks')", "0"),
        case.change,
        case.before,
        case.after,
        case.args,
        case.args_after,
        case.own,
    )
    await stage.begin(reading)
    await stage.change(reading, hidden=True)
    conn = stage.actor
    conn._core.begin(DEFERRABLE)
    assert shown(await conn.fetch(reading.sql, reading.then)) == reading.after
    for setting in ("read_only", "deferrable"):
        assert await conn.fetchval(f"show transaction_{setting}") == "on"
    assert await conn.fetchval("show transaction_isolation") == "serializable"
    await conn.commit()


async def test_savepoint(stage: Stage) -> None:
    """Behind a savepoint the transaction goes on from there."""
    case = CASES[0]
    await stage.begin(case)
    conn, sql = stage.actor, stage.fitted(case.sql)
    await stage.change(case, hidden=True)
    async with conn.transaction():
        await conn.fetchval("select 1")
        with pytest.raises(pgasync.InvalidCachedStatement):
            async with conn.transaction():
                await conn.fetch(sql, case.then)
        assert shown(await conn.fetch(sql, case.then)) == case.after


@pytest.mark.parametrize("local", ["local", "session"])
async def test_search_paths_that_differ(stage: Stage, local: str) -> None:
    """Tables of several schemas, of the same names and other columns: a statement that
    has once been stale for it is prepared anew after each SET."""
    case = next(case for case in CASES if case.name == "search_path")
    await stage.begin(case)
    conn = stage.actor
    sql = "select * from t where id = $1"
    rows = {stage.place: [(1, 10)], f"{stage.place}_other": [(1, "o", 4)]}
    errors = 0
    for n in range(8):
        path = list(rows)[n % 2]
        conn._core.begin("BEGIN")
        await conn.execute(f"set {local} search_path = {path}")
        try:
            assert shown_all(await conn.fetch(sql, [1])) == rows[path]
        except pgasync.InvalidCachedStatement:
            errors += 1
        if n == 6:
            await conn.rollback()
            assert (
                shown_all(await conn.fetch(sql, [1]))
                == rows[stage.place if local == "local" else f"{stage.place}_other"]
            )
        elif conn._core.transaction_status == "E":
            await conn.rollback()
        else:
            await conn.commit()
    assert errors == 1


async def test_deallocated_by_hand(stage: Stage) -> None:
    conn = stage.actor
    await conn.execute(TABLE)
    for command in ("deallocate {}", "deallocate all", "discard all"):
        await conn.fetch("select * from t")
        name = await conn.fetchval(
            "select name from pg_prepared_statements"
            " where statement = 'select * from t'"
        )
        await conn.execute(command.format(name))
        conn._core.begin("BEGIN")
        await conn.fetchval("select 1")
        assert shown_all(await conn.fetch("select * from t")) == [(1, 10)]
        await conn.commit()


# What has run is never run again


RAISES = {
    "26000": "raise exception 'no' using errcode = '26000'",
    "0A000": "raise exception 'no' using errcode = '0A000'",
    "42P01": "raise exception 'no' using errcode = '42P01'",
    "XX000": "raise exception 'no' using errcode = 'XX000'",
    "a statement of its own": "execute 'execute nowhere'",
    "a plan of its own": "execute 'execute planned'",
}


@pytest.mark.parametrize("way", ["autocommit", "first", "later", "portal", "many"])
@pytest.mark.parametrize("what", RAISES)
async def test_errors_of_what_runs(stage: Stage, what: str, way: str) -> None:
    """The same SQLSTATEs, even the same message of the same routine, out of a function
    that the statement calls: it has run, and is not sent again."""
    conn = stage.actor
    await conn.execute(TABLE)
    await conn.execute("prepare planned as select * from t")
    await conn.execute("alter table t add column b int")
    await stage.changer.execute(
        "create function f(fails bool) returns int language plpgsql as $$ begin"
        f" perform nextval('ticks'); if fails then {RAISES[what]}; end if;"
        " return 1; end $$"
    )
    sql = "select f($1::bool)"
    assert await conn.fetchval(sql, [False]) == 1
    before = await stage.ticks()
    if way != "autocommit":
        conn._core.begin("BEGIN")
    if way == "later":
        await conn.fetchval("select 1")
    with pytest.raises(pgasync.DatabaseError) as caught:
        if way == "portal":
            await conn._core.open_portal("p", sql, (True,), 1, False)
        elif way == "many":
            await conn._core.executemany(sql, [(True,), (False,)])
        else:
            await conn.fetchval(sql, [True])
    assert not isinstance(caught.value, pgasync.InvalidCachedStatement)
    assert await stage.ticks() == before + 1
    await conn.rollback()
    assert await conn.fetchval(sql, [False]) == 1


@pytest.mark.parametrize("transaction", [False, True], ids=["autocommit", "first"])
async def test_executemany_that_has_begun(stage: Stage, transaction: bool) -> None:
    """Its first set makes the statement stale for the second."""
    conn = stage.actor
    await stage.changer.execute(
        "create function f() returns table (x int) language sql as 'select 1';"
        "create function swap() returns int language plpgsql as $$ begin"
        " drop function f(); create function f() returns table (x text)"
        " language sql as 'select ''one''::text'; return 1; end $$"
    )
    sql = "select *, nextval('ticks'), case when $1 then swap() end from f()"
    await conn.fetch(sql, [False])
    before = await stage.ticks()
    if transaction:
        conn._core.begin("BEGIN")
    with pytest.raises(pgasync.DatabaseError) as caught:
        await conn._core.executemany(sql, [(True,), (False,), (False,)])
    assert caught.value.sqlstate == "0A000"
    assert await stage.ticks() == before + 1
    await conn.rollback()
    assert len(await conn.fetch(sql, [False])) == 1


# Pipelines that cannot be sent again


@pytest.fixture
async def changed(stage: Stage) -> Stage:
    """The statement `BY_ID` is stale, "insert into log values ($1)" is not."""
    await stage.begin(CASES[0])
    await stage.changer.execute("create table log (n int)")
    await stage.actor.fetch("select * from log where n = $1", [0])
    await stage.actor.execute("insert into log values ($1)", [0])
    await stage.changer.execute("truncate log")
    await stage.change(CASES[0], hidden=True)
    return stage


async def gathered(*requests: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*requests, return_exceptions=True)


async def test_nothing_is_overtaken(changed: Stage) -> None:
    """Behind the stale one another request has run: it must not come after it."""
    conn, sql = changed.actor, changed.fitted(CASES[0].sql)
    before = await changed.ticks()
    first, second, third = await gathered(
        conn.fetch(sql, [1]),
        conn.execute("insert into log values ($1)", [1]),
        conn.fetchval("select 5"),
    )
    assert isinstance(first, pgasync.InvalidCachedStatement)
    assert second.rowcount == 1
    assert third == 5
    assert await changed.ticks() == before
    assert shown(await conn.fetch(sql, [1])) == CASES[0].after


async def test_the_last_of_a_pipeline(changed: Stage) -> None:
    conn, sql = changed.actor, changed.fitted(CASES[0].sql)
    first, second = await gathered(
        conn.execute("insert into log values ($1)", [1]), conn.fetch(sql, [1])
    )
    assert first.rowcount == 1
    assert shown(second) == CASES[0].after


async def test_commit_behind(changed: Stage) -> None:
    """The transaction's end has been answered: nothing of it may come after that."""
    conn, sql = changed.actor, changed.fitted(CASES[0].sql)
    before = await changed.ticks()
    conn._core.begin("BEGIN")
    first, second, end = await gathered(
        conn.fetch(sql, [1]),
        conn.execute("insert into log values ($1)", [1]),
        conn.commit(),
    )
    assert isinstance(first, pgasync.InvalidCachedStatement)
    assert isinstance(second, pgasync.InternalError)
    assert second.sqlstate == "25P02"
    assert isinstance(end, pgasync.TransactionRolledBack)
    assert await changed.ticks() == before
    assert await conn.fetch("select * from log where n = $1", [1]) == []


async def test_statement_that_ends_it_behind(changed: Stage) -> None:
    conn, sql = changed.actor, changed.fitted(CASES[0].sql)
    await conn.execute("rollback")
    conn._core.begin("BEGIN")
    first, second, third = await gathered(
        conn.fetch(sql, [1]),
        conn.execute("rollback"),
        conn.execute("insert into log values ($1)", [1]),
    )
    assert isinstance(first, pgasync.InvalidCachedStatement)
    assert second.statusmessage == "ROLLBACK"
    assert third.rowcount == 1
    assert len(await conn.fetch("select * from log where n = $1", [1])) == 1


async def test_begin_of_somebody_else(changed: Stage) -> None:
    """A transaction that has work in it from a request whose answer was not there yet:
    its BEGIN opens nothing, and it may not roll that back."""
    conn, sql = changed.actor, changed.fitted(CASES[0].sql)
    conn._core.autocommit = False
    first, second = await gathered(
        conn._core.query("begin; insert into log values (7)"), conn.fetch(sql, [1])
    )
    assert first.statusmessage == "INSERT 0 1"
    assert isinstance(second, pgasync.InvalidCachedStatement)
    assert conn._core.transaction_status == "E"
    await conn.rollback()


async def test_new_texts_behind(changed: Stage) -> None:
    """A pipeline in a transaction, some of whose texts are not prepared yet."""
    conn, sql = changed.actor, changed.fitted(CASES[0].sql)
    before = await changed.ticks()
    conn._core.begin("BEGIN")
    found, inserted, five, found_again = await gathered(
        conn.fetch(sql, [1]),
        conn.execute("insert into log values ($1)", [1]),
        conn.fetchval("select 5 /* new */"),
        conn.fetch(sql, [1]),
    )
    assert shown(found) == shown(found_again) == CASES[0].after
    assert (inserted.rowcount, five) == (1, 5)
    await conn.commit()
    assert await changed.ticks() == before + 2
    assert len(await conn.fetch("select * from log where n = $1", [1])) == 1


async def test_cancelled_at_any_time(stage: Stage) -> None:
    """Of a pipeline that is sent again some requests are given up: the others have a
    result or an error, and what has a result has run once."""
    await stage.changer.execute("create table log (n int)")
    sql = "insert into log values ($1) returning *"
    conn = stage.actor
    for n in range(120):
        await conn.fetch(sql, [n])
        await stage.changer.execute(
            "do $$ begin alter table log add b int; alter table log drop b; end $$"
            if n % 3 == 0
            else f"do $$ begin alter table log add c{n} int; end $$"
        )
        await stage.changer.execute("truncate log")
        conn._core.begin("BEGIN")
        tasks = [asyncio.ensure_future(conn.fetch(sql, [k])) for k in range(4)]
        for _ in range(n % 5):
            await asyncio.sleep(0)
        await asyncio.sleep((n % 7) * 0.0002)
        tasks[n % 4].cancel()
        outcome = await asyncio.gather(*tasks, return_exceptions=True)
        kept = [k for k, got in enumerate(outcome) if isinstance(got, list)]
        if conn._core.transaction_status == "T":
            await conn.commit()
            rows = await stage.changer.fetch("select n from log order by n")
            found = [row[0] for row in rows]
            assert set(kept) <= set(found)
            assert len(set(found)) == len(found)
        else:
            await conn.rollback()
            assert await stage.changer.fetchval("select count(*) from log") == 0
        assert await conn.fetchval("select 1") == 1
        await conn.commit()


# Statements in other forms


async def test_prepared_object(stage: Stage) -> None:
    """PreparedStatement: healed, and prepared anew where the change is known."""
    case = CASES[0]
    await stage.begin(case)
    conn = stage.actor
    statement = await conn.prepare(stage.fitted(case.sql))
    assert shown(await statement.fetch([1])) == case.before
    await stage.change(case, hidden=True)
    assert shown(await statement.fetch([1])) == case.after
    conn._core.begin("BEGIN")
    await conn.fetchval("select 1")
    await stage.changer.execute("alter table t rename column b to c")
    assert shown(await statement.fetch([1])) == case.after
    await conn.commit()


@pytest.mark.parametrize("hidden", [False, True], ids=["told", "hidden"])
async def test_inferred_parameters(stage: Stage, hidden: bool) -> None:
    """Parameters whose type only the value tells are told again."""
    conn = stage.actor
    await conn.execute(TABLE)
    sql = "select pg_typeof($1)::text, * from t"
    assert shown_all(await conn.fetch(sql, ["x"])) == [("text", 1, 10)]
    change = "alter table t drop column a"
    await stage.changer.execute(f"do $$ begin {change}; end $$" if hidden else change)
    conn._core.begin("BEGIN")
    if not hidden:
        await conn.fetchval("select 1")
    assert shown_all(await conn.fetch(sql, ["y"])) == [("text", 1)]
    await conn.commit()


def shown_all(rows: Any) -> list[tuple[object, ...]]:
    return [tuple(row) for row in rows]


async def test_row_factory(stage: Stage) -> None:
    conn = stage.actor
    await conn.execute(TABLE)
    sql = "select * from t"
    assert await conn.fetch(sql, row_factory=dict) == [{"id": 1, "a": 10}]
    await stage.change(CASES[0], hidden=True)
    conn._core.begin("BEGIN")
    rows = await conn.fetch(sql, row_factory=dict)
    assert rows == [{"id": 1, "a": 10, "b": "x"}]
    await conn.commit()


async def test_name_that_is_taken(stage: Stage) -> None:
    """A pooler may give the connection a session where the name is in use."""
    conn = stage.actor
    await conn.fetchval("select 1 /* taken */")
    name = await conn.fetchval(
        "select name from pg_prepared_statements where statement ~ '^select 1 /. taken'"
    )
    await conn._core.query("deallocate all")
    await conn._core.query(f"prepare {name} as select 2")
    assert await conn.fetchval("select 1 /* taken */") == 1
    await conn._core.query("deallocate all")
    await conn._core.query(f"prepare {name} as select 2")
    conn._core.begin("BEGIN")
    assert await conn.fetchval("select 1 /* taken */") == 1
    await conn.commit()


async def test_other_statements_of_the_transaction(stage: Stage) -> None:
    """The first one finds out about another program's change: those behind it are
    prepared anew at once."""
    conn = stage.actor
    await conn.execute(TABLE)
    texts = ["select * from t", "select * from t where id = 1", "select a.* from t a"]
    for text in texts:
        await conn.fetch(text)
    await stage.change(CASES[0], hidden=True)
    conn._core.begin("BEGIN")
    for text in texts:
        assert shown_all(await conn.fetch(text)) == [(1, 10, "x")]
    await conn.commit()


async def test_other_connections(stage: Stage, connect: Connect) -> None:
    """One connection runs into another program's change: the others know."""
    settings = {"search_path": stage.place}
    others = [
        await connect(autocommit=True, server_settings=settings) for _ in range(3)
    ]
    await stage.changer.execute(TABLE)
    for conn in (stage.actor, *others):
        await conn.fetch("select * from t")
    await stage.change(CASES[0], hidden=True)
    await stage.actor.fetch("select * from t")
    for conn in others:
        conn._core.begin("BEGIN")
        await conn.fetchval("select 1")
        assert shown_all(await conn.fetch("select * from t")) == [(1, 10, "x")]
        await conn.commit()


async def test_what_needs_no_new_statement(stage: Stage) -> None:
    """Creating things, and changes that come to nothing for a statement, cost at most
    one description in a transaction; no other request."""
    conn = stage.actor
    await conn.execute(TABLE)
    await conn.fetch("select * from t")

    async def prepared() -> Any:
        return await stage.actor.fetchval(
            "select prepare_time::text from pg_prepared_statements"
            " where statement = 'select * from t'"
        )

    first = await prepared()
    conn._core.begin("BEGIN")
    await conn.execute("create table other (n int)")
    await conn.execute("create index on other (n)")
    await conn.execute("create type mood as enum ('sad')")
    await conn.execute("grant select on other to public")
    await conn.execute("truncate other")
    await conn.fetch("select * from t")
    assert await prepared() == first
    await conn.execute("alter table other add m int")
    await conn.fetch("select * from t")
    assert await prepared() > first
    await conn.rollback()


async def test_leaves_nothing(stage: Stage) -> None:
    """Healing, holding back and giving up keep no object."""
    conn, sql = stage.actor, "select * from t where id = $1"
    await conn.execute(TABLE)

    async def turn(n: int) -> None:
        kind = ("text", "bigint", "int")[n % 3]
        change = f"alter table t alter column a type {kind} using a::{kind}"
        await stage.changer.execute(f"do $$ begin {change}; end $$")
        if n % 2:
            conn._core.begin("BEGIN")
        requests = [conn.fetch(sql, [1]) for _ in range(1 + n % 4)]
        if n % 5 == 0:
            requests.append(conn.fetch("select 5"))
        await gathered(*requests)
        await conn.rollback()

    for n in range(60):
        await turn(n)
    live = _core.live_objects()
    for n in range(120):
        await turn(n)
    assert _core.live_objects() == live
