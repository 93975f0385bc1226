"""The first run of a statement on a connection: in one flight where the process knows
the statement, in one implicit transaction where it does not, and never with a wrong
value when what it knew is not true any more."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import io
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pgasync import _core, errors

Connect = Callable[..., Any]

ASKED = "Parse Describe Flush"
RUN = "Bind Execute Sync"
TOGETHER = "Parse Describe Bind Execute Sync"
BEGIN = "Parse Bind Execute"

TABLE = "create table t (id int, a int); insert into t values (1, 10)"


class Flights:
    """What a connection sends, as the names of the messages between two answers."""

    def __init__(self, conn: Any) -> None:
        self.file = io.StringIO()
        conn.trace(self.file, timestamps=False)

    def take(self) -> list[str]:
        flights: list[list[str]] = []
        theirs = True
        for line in self.file.getvalue().splitlines():
            side, _, name = line.split("\t")[:3]
            if side == "F":
                if theirs:
                    flights.append([])
                flights[-1].append(name)
            theirs = side == "B"
        self.file.seek(0)
        self.file.truncate()
        return [" ".join(names) for names in flights]

    def names(self) -> set[str]:
        """Of the statements that were parsed so far, since the last take()."""
        return {
            line.split('"')[1]
            for line in self.file.getvalue().splitlines()
            if line.startswith("F") and "\tParse\t" in line
        }


@pytest.fixture
async def place(connect: Connect) -> AsyncIterator[str]:
    """A schema of the test's own, and so a catalog that knows nothing."""
    name = f"cold_{uuid.uuid4().hex[:12]}"
    conn = await connect(autocommit=True)
    await conn.execute(f"create schema {name}")
    yield name
    await conn.execute(f"drop schema {name} cascade")


@pytest.fixture
def open_in(connect: Connect, place: str) -> Connect:
    async def factory(**keywords: Any) -> Any:
        keywords.setdefault("autocommit", True)
        return await connect(server_settings={"search_path": place}, **keywords)

    return factory


@pytest.fixture(params=["named", "unnamed", "off"])
async def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_kind(open_in: Connect, kind: str) -> Connect:
    """Connections with names, without, and without a cache."""

    async def factory(**keywords: Any) -> Any:
        if kind == "off":
            return await open_in(statement_cache_size=0, **keywords)
        conn = await open_in(**keywords)
        conn._core.unnamed = kind == "unnamed"
        return conn

    return factory


class Mood(enum.Enum):
    SAD = "sad"
    OK = "ok"


# Round trips


async def test_flights(open_in: Connect) -> None:
    first, second = await open_in(), await open_in()
    sql = "select $1::int + 1"
    seen = Flights(first)
    for n in range(2):
        assert await first.fetchval(sql, [n]) == n + 1
    assert seen.take() == [ASKED, RUN, RUN]
    seen = Flights(second)
    for n in range(2):
        assert await second.fetchval(sql, [n]) == n + 1
    assert seen.take() == [TOGETHER, RUN]


async def test_flights_without_names(open_kind: Connect, kind: str) -> None:
    first, second = await open_kind(), await open_kind()
    warm = RUN if kind == "named" else TOGETHER
    for conn, flights in ((first, [ASKED, RUN]), (second, [TOGETHER])):
        seen = Flights(conn)
        for n in range(3):
            assert await conn.fetchval("select $1::int", [n]) == n
        assert (kind == "named") == ("" not in seen.names())
        assert seen.take() == [*flights, warm, warm]
    left = "select count(*) from pg_prepared_statements where name <> ''"
    if kind != "named":
        assert await first.fetchval(left) == 0


async def test_in_a_transaction(open_kind: Connect, kind: str) -> None:
    first, second = [await open_kind(autocommit=False) for _ in range(2)]
    warm = RUN if kind == "named" else TOGETHER
    for conn, flights in (
        (first, [f"{BEGIN} {ASKED}", RUN]),
        (second, [f"{BEGIN} {TOGETHER}"]),
    ):
        seen = Flights(conn)
        for n in range(2):
            assert await conn.fetchval("select $1::int * 2", [n]) == 2 * n
        assert seen.take() == [*flights, warm]
        assert conn.info.transaction_status == "T"
        await conn.rollback()


async def test_many(open_kind: Connect) -> None:
    first, second = await open_kind(), await open_kind()
    await first.execute("create table t (id int, x text)")
    sql = "insert into t values ($1, $2)"
    for conn in (first, second):
        await conn.executemany(sql, [(n, "x" * n) for n in range(2000)])
    assert await first.fetchval("select count(*) from t") == 4000
    seen = Flights(second)
    await second.executemany(sql, [(1, "x"), (2, "y"), (3, "z")])
    assert seen.take()[-1].endswith("Bind Execute " * 3 + "Sync")
    assert len(seen.take()) == 0


async def test_everything_else(open_kind: Connect) -> None:
    """Scripts, prepared objects, streams, cursors, pipelines, COPY, types."""
    conn, other = await open_kind(), await open_kind()
    await conn.execute(
        "create type mood as enum ('sad', 'ok');"
        " create table t (id int primary key, m mood);"
        " insert into t select n, 'ok' from generate_series(1, 500) n"
    )
    for each in (conn, other, conn):
        prepared = await each.prepare("select m from t where id = $1")
        for n in range(1, 4):
            assert await prepared.fetchval([n]) == "ok"
        async with each.transaction():
            count = 0
            async with each.stream("select * from t where id > $1", [0]) as rows:
                async for row in rows:
                    assert row[1] == "ok"
                    count += 1
            assert count == 500
        async with each.pipeline() as pipe:
            one = pipe.fetchval("select m from t where id = $1", [1])
            two = pipe.fetchval("select $1::mood", ["sad"])
            pipe.execute("update t set m = $1 where id = $2", ["sad", 2])
            three = pipe.fetchval("select m from t where id = $1", [2])
            pipe.execute("update t set m = $1 where id = $2", ["ok", 2])
        assert [await one, await two, await three] == ["ok", "sad", "sad"]
        tag = await each.copy_records_to_table("t", records=[(1000, "ok")])
        assert tag == "COPY 1"
        await each.execute("delete from t where id = $1", [1000])
        pieces: list[bytes] = []
        await each.copy_from_query(
            "select id from t where id < $1", [3], output=pieces.append
        )
        assert b"".join(pieces) == b"1\n2\n"


async def test_many_at_once(open_kind: Connect) -> None:
    """The same new text from several tasks, one of which parses it."""
    conn, other = await open_kind(), await open_kind()
    for each in (conn, other):
        for text in ("select $1::int8 + 1", "select $1::int8 + 2"):
            values = await asyncio.gather(*(each.fetchval(text, [n]) for n in range(9)))
            assert values == [n + int(text[-1]) for n in range(9)]


async def test_named_again(open_in: Connect) -> None:
    """`unnamed` can change at any time."""
    conn = await open_in()
    sql = "select $1::int"
    seen = Flights(conn)
    for n, unnamed in enumerate([False, True, True, False, False]):
        conn._core.unnamed = unnamed
        assert await conn.fetchval(sql, [n]) == n
    # The name that was left is met again, where it is closed first.
    assert seen.take()[:4] == [ASKED, RUN, TOGETHER, TOGETHER]
    assert await conn.fetchval(sql, [7]) == 7


async def test_of_others(open_in: Connect) -> None:
    """Another user's unnamed statement in the same session is never bound."""
    conn = await open_in()
    conn._core.unnamed = True
    for n in range(3):
        assert await conn.fetchval("select $1::int", [n]) == n
        await conn._core.query("select 'somebody else'")  # replaces the unnamed one
        assert await conn.fetchval("select $1::text", [f"{n}"]) == f"{n}"


async def test_hints(open_kind: Connect) -> None:
    """Parameters whose types were inferred by their values."""
    first, second = await open_kind(), await open_kind()
    for conn in (first, second, first):
        for values, shown in (
            ((1, "a"), "1a"),
            (("b", 2), "b2"),
            ((3, None), "3"),
            ((4.5, True), "4.5t"),
        ):
            assert await conn.fetchval("select concat($1, $2)", values) == shown


# What is known is not true


CHANGES = {
    "another type": "alter table t alter column a type text",
    "to float8": "alter table t alter column a type float8",
    "to int8": "alter table t alter column a type int8",
    "one more": "alter table t add column b text default 'x'",
    "one less": "alter table t drop column a",
    "renamed": "alter table t rename column a to other",
    "made anew": "drop table t; create table t (a text, id int);"
    " insert into t values ('ten', 1)",
    "parameter": "alter table t alter column id type text",
}


@pytest.mark.parametrize("hidden", [False, True], ids=["told", "hidden"])
@pytest.mark.parametrize("begun", [False, True], ids=["autocommit", "first"])
@pytest.mark.parametrize("change", CHANGES)
async def test_changed(
    open_kind: Connect, change: str, begun: bool, hidden: bool
) -> None:
    """By another connection, of this process or not (hidden)."""
    user, late, changer = [await open_kind() for _ in range(3)]
    await changer.execute(TABLE)
    sql = "select * from t where id = $1"
    assert [tuple(row) for row in await user.fetch(sql, [1])] == [(1, 10)]
    text = CHANGES[change]
    await changer.execute(f"do $do$ begin {text}; end $do$" if hidden else text)
    value: Any = "1" if change == "parameter" else 1
    plain = await changer.fetch("select * from t")
    for conn in (late, user, late, user):
        if begun:
            conn._core.begin("BEGIN")
        (row,) = await conn.fetch(sql, [value])
        assert tuple(row) == tuple(plain[0])
        assert [type(v) for v in row] == [type(v) for v in plain[0]]
        assert row._fields == plain[0]._fields
        if begun:
            await conn.commit()


@pytest.mark.parametrize("way", ["row", "value", "dict", "many", "portal"])
async def test_changed_for_all_kinds(open_kind: Connect, way: str) -> None:
    user, late, changer = [await open_kind() for _ in range(3)]
    await changer.execute(TABLE)
    sql = "update t set id = id where id = $1 returning a, id"

    async def run(conn: Any) -> Any:
        if way == "row":
            return tuple(await conn.fetchrow(sql, [1]))
        if way == "value":
            return (await conn.fetchval(sql, [1]), 1)
        if way == "dict":
            (row,) = await conn.fetch(sql, [1], row_factory=dict)
            return tuple(row.values())
        if way == "many":
            cursor = await conn.executemany(sql, [(1,)], returning=True)
            return tuple(await cursor.fetchone())
        conn._core.begin("BEGIN")
        opened = await conn._core.open_portal("p", sql, (1,), 50, False)
        await conn.commit()
        return tuple(opened.rows[0])

    assert await run(user) == (10, 1)
    await changer.execute(
        "do $$ begin alter table t alter column a type float8 using 0.5; end $$"
    )
    for conn in (late, user, late, user):
        assert await run(conn) == (0.5, 1)


async def test_type_made_anew(open_kind: Connect) -> None:
    """Its OID is gone: Parse is refused, which nobody notices."""
    user, late, changer = [await open_kind() for _ in range(3)]
    await changer.execute("create type mood as enum ('sad')")
    sql = "select $1::mood, array[$1::mood]"
    assert tuple(await user.fetchrow(sql, ["sad"])) == ("sad", ["sad"])
    for again in range(2):
        await changer.execute(
            "do $$ begin drop type mood; create type mood as enum ('sad', 'ok'); end $$"
        )
        for conn in (late, user):
            conn._core.begin("BEGIN")
            got = await conn.fetchrow(sql, ["ok" if again else "sad"])
            assert got[0] == got[1][0] == ("ok" if again else "sad")
            await conn.commit()


@pytest.mark.parametrize("way", ["rows", "row", "value", "many"])
async def test_column_of_a_new_type(open_kind: Connect, way: str) -> None:
    """The rows come before anybody has asked what their type is."""
    user, late, changer = [await open_kind() for _ in range(3)]
    sql = "update t set id = id returning m, array[m], (m, 'x')::pair"

    async def run(conn: Any) -> Any:
        if way == "rows":
            (row,) = await conn.fetch(sql)
            return tuple(row)
        if way == "row":
            return tuple(await conn.fetchrow(sql))
        if way == "value":
            value = await conn.fetchval(sql)
            return (value, [value], (value, "x"))
        cursor = await conn.executemany(sql, [()], returning=True)
        return tuple(await cursor.fetchone())

    for n in range(3):
        labels = ", ".join(f"'l{i}'" for i in range(n + 1))
        await changer.execute(
            "do $$ begin drop table if exists t; drop type if exists pair;"
            f" drop type if exists mood; create type mood as enum ({labels});"
            " create type pair as (m mood, x text);"
            f" create table t (id int, m mood); insert into t values (1, 'l{n}');"
            " end $$"
        )
        for conn in (user, late):
            assert await run(conn) == (f"l{n}", [f"l{n}"], (f"l{n}", "x"))


async def test_later_in_a_transaction(open_kind: Connect) -> None:
    """Where an error could not be healed nothing is taken on trust: the change was told
    in this process."""
    user, late, changer = [await open_kind() for _ in range(3)]
    await changer.execute(TABLE)
    sql = "select a from t where id = $1"
    assert await user.fetchval(sql, [1]) == 10
    await changer.execute("alter table t alter column id type text")
    for conn in (late, user):
        async with conn.transaction():
            assert await conn.fetchval("select 1") == 1
            assert await conn.fetchval(sql, ["1"]) == 10


async def test_own_changes(open_kind: Connect) -> None:
    """What a transaction has changed is its own until it commits, temporary tables and
    the search path are the session's."""
    conn, other = await open_kind(), await open_kind()
    await conn.execute(TABLE)
    sql = "select a from t where id = $1"
    assert await other.fetchval(sql, [1]) == 10
    with pytest.raises(LookupError):
        async with conn.transaction():
            await conn.execute("alter table t alter column id type text")
            assert await conn.fetchval(sql, ["1"]) == 10
            raise LookupError
    assert await other.fetchval(sql, [1]) == 10
    assert await conn.fetchval(sql, [1]) == 10
    await conn.execute("create temp table t (id text, a text)")
    await conn.execute("insert into t values ('one', 'ten')")
    await conn.execute("set search_path = pg_temp, public")
    async with conn.transaction():
        assert await conn.fetchval("select 1") == 1
        assert await conn.fetchval(sql, ["one"]) == "ten"
    async with other.transaction():
        assert await other.fetchval("select 1") == 1
        assert await other.fetchval(sql, [1]) == 10


async def test_registered_types(open_in: Connect) -> None:
    """Codecs are each connection's own."""
    first = await open_in()
    await first.execute("create type mood as enum ('sad', 'ok')")
    sql = "select $1::mood"
    assert await first.fetchval(sql, ["ok"]) == "ok"
    second = await open_in()
    await second.register_enum(Mood)
    assert await second.fetchval(sql, [Mood.OK]) is Mood.OK
    assert await first.fetchval(sql, ["ok"]) == "ok"


# Locks


async def test_held_until_it_has_run(open_in: Connect) -> None:
    """A program that alters the table all the time comes between no Parse and Bind."""
    changer, *users = [await open_in() for _ in range(4)]
    await changer.execute(TABLE)
    done = False

    async def change() -> None:
        while not done:
            await changer.execute("alter table t add column b int")
            await changer.execute("alter table t drop column b")

    async def use(conn: Any) -> None:
        for n in range(60):
            rows = await conn.fetch(f"select * from t /* {n} */")
            assert len(rows) == 1 and rows[0][:2] == (1, 10)

    changing = asyncio.ensure_future(change())
    try:
        await asyncio.gather(*(use(conn) for conn in users))
    finally:
        done = True
        await changing


async def test_given_up_between(open_kind: Connect) -> None:
    """Cancelled at every step of its first run: the connection goes on, and no lock
    stays."""
    conn, other = await open_kind(), await open_kind()
    await other.execute("create table t (id int)")
    for n in range(40):
        task = asyncio.ensure_future(conn.fetchval(f"select {n} from t"))
        for _ in range(n % 5):
            await asyncio.sleep(0)
        await asyncio.sleep((n % 4) * 0.0004)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert await conn.fetchval("select $1::int", [n]) == n
    await asyncio.wait_for(other.execute("drop table t"), 5)
    assert conn.info.transaction_status == "I"


# Names that are not what they should be


@pytest.mark.parametrize("begun", [False, True], ids=["autocommit", "first"])
async def test_forgotten(open_in: Connect, begun: bool) -> None:
    """As behind a pooler: the session that the next statement meets is another one."""
    conn = await open_in()
    for n in range(4):
        if begun:
            conn._core.begin("BEGIN")
        assert await conn.fetchval("select $1::int", [n]) == n
        if begun:
            await conn.commit()
        await conn.execute("do $$ begin execute 'deallocate all'; end $$")
    assert await conn.fetchval("select $1::int", [4]) == 4
    assert not conn._core.unnamed  # it was asked: there is no pooler


async def test_forgotten_later(open_in: Connect) -> None:
    """In the middle of a transaction: an error; the next transaction works."""
    conn = await open_in()
    assert await conn.fetchval("select $1::int", [1]) == 1
    conn._core.begin("BEGIN")
    await conn.execute("do $$ begin execute 'deallocate all'; end $$")
    with pytest.raises(errors.InvalidCachedStatement):
        await conn.fetchval("select $1::int", [1])
    await conn.rollback()
    for n in range(2):
        conn._core.begin("BEGIN")
        assert await conn.fetchval("select 1") == 1
        assert await conn.fetchval("select $1::int", [n]) == n
        await conn.rollback()


async def test_taken(open_in: Connect) -> None:
    """The session that it meets has a statement of that name."""
    first, second = await open_in(), await open_in()
    assert await first.fetchval("select 1 /* taken */") == 1
    name = (await first.prepare("select 1 /* taken */"))._statement.name
    assert name
    await second._core.query(f"prepare {name} as select 2")
    assert await second.fetchval("select 1 /* taken */") == 1


async def test_dropped_by_the_program(open_in: Connect) -> None:
    """Its own affair, and no sign of a pooler."""
    conn = await open_in()
    for command in ("deallocate all", "discard all"):
        assert await conn.fetchval("select $1::int", [1]) == 1
        await conn.execute(command)
        assert await conn.fetchval("select $1::int", [1]) == 1
        name = (await conn.prepare("select $1::int"))._statement.name
        await conn._core.query(f'deallocate "{name}"')
        assert await conn.fetchval("select $1::int", [1]) == 1
    assert await conn.fetchval("select 1") == 1
    assert not conn._core.unnamed


# Memory


async def test_bounded(open_in: Connect) -> None:
    """Descriptions are no objects of connections, and there is an end to them."""
    conn = await open_in(statement_cache_size=5)
    for n in range(20):
        await conn.fetchval(f"select {n} as c{n}")
    live = _core.live_objects()
    for n in range(5000):
        await conn.fetchval(f"select {n} as d{n}")
    assert _core.live_objects() <= live
    seen = Flights(conn)
    assert await conn.fetchval("select 4999 as d4999") == 4999
    assert await conn.fetchval("select 4990 as d4990") == 4990
    assert seen.take() == [f"Close {RUN}", TOGETHER]
    assert await conn.fetchval("select 0 as c0") == 0
    assert seen.take() == [f"Close {ASKED}", RUN]
