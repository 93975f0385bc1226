"""What the core knows of a session's state, and what rides in front to undo it."""

from __future__ import annotations

import asyncio
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

import pgasync
from pgasync import _core

SETTINGS = _core.TAINT_SETTINGS
ROLE = _core.TAINT_SETTINGS | _core.TAINT_ROLE
LISTEN = _core.TAINT_LISTEN
TEMP = _core.TAINT_TEMP
LOCKS = _core.TAINT_LOCKS
CURSORS = _core.TAINT_CURSORS
PREPARED = _core.TAINT_PREPARED
OPAQUE = _core.TAINT_OPAQUE

TEXTS = {
    "select 1": 0,
    "set work_mem = '1MB'": SETTINGS,
    "SET SESSION work_mem = '1MB'": ROLE,
    "set time zone 'Europe/Paris'": SETTINGS,
    "-- set\n/* a /* nested */ one */ SeT work_mem = '1MB'": SETTINGS,
    "set session characteristics as transaction read write": ROLE,
    "set role postgres": ROLE,
    'set "role" = postgres': ROLE,
    "set session authorization postgres": ROLE,
    "reset work_mem": ROLE,
    "set local work_mem = '1MB'": 0,
    "set transaction read write": 0,
    "set constraints all deferred": 0,
    "select set_config('a.b', '1', false)": ROLE,
    "select set_config('a.b', '1', true)": 0,
    "select pg_catalog.set_config ('a.b', concat('1', ',', true), TRUE)": 0,
    "select set_config('a.b', '1', 1 < 2 and true)": ROLE,
    "select set_config('a.b', set_config('a.c', '1', false), true)": ROLE,
    "select 'set_config(''a.b'', ''1'', false)'": 0,
    r"select e'\'', $$ pg_advisory_lock(1) $$, $x$ $$ set_config( $x$": 0,
    "update pg_settings set setting = '1MB' where name = 'work_mem'": ROLE,
    "select count(*) from pg_settings": 0,
    "listen jobs": LISTEN,
    "create temp table taint_a (x int)": TEMP,
    "create temporary view taint_b as select 1": TEMP,
    "create or replace temp view taint_b as select 1": TEMP,
    "create local temp sequence taint_c": TEMP,
    "create table pg_temp.taint_d (x int)": TEMP,
    "select 1 as x into temp taint_e": TEMP,
    "create temp table taint_f (x int) on commit drop": 0,
    "select 1 as temp": 0,
    "select pg_advisory_lock(1)": LOCKS,
    "select pg_try_advisory_lock_shared(1, 2)": LOCKS,
    'select "pg_advisory_lock"(1)': LOCKS,
    "select pg_advisory_xact_lock(1)": 0,
    "select 1 as pg_advisory_lock_": 0,
    "begin": 0,
    "declare taint_g cursor with hold for select 1": CURSORS,
    "declare taint_h cursor without hold for select 1": 0,
    "commit": 0,
    "close taint_g": 0,
    "prepare taint_i as select 1": PREPARED,
    "prepare taint_j as select set_config('a.b', '1', false)": PREPARED | ROLE,
    "do $$ begin end $$": OPAQUE,
    "discard plans": 0,
}


# What texts may be made of, so that every piece of the lexer has its turn.
PIECES = (
    *" ;,().'\"$\\-*/\n\téx1",
    *("$$", "$a$", "--", "/*", "*/", "''", '""', "e'", "E'\\'", "U&'"),
    *("set ", "local ", "role ", "set_config", "true", "false", "create ", "temp "),
    *("on ", "commit ", "drop", "into ", "with ", "hold", "prepare ", "listen x"),
    *("pg_advisory_lock", "pg_temp", "pg_settings", "do ", "select ", "session "),
)


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_text(text: str) -> None:
    taints = _core.taints(text)
    assert taints & ~1023 == 0
    assert _core.taints("/* a 'comment */ " + text) == taints
    assert _core.taints("select 1;" + text) == taints
    assert _core.taints(text.upper()) == taints or "$" in text or "é" in text
    assert _core.taints("listen x;" + text) == taints | LISTEN


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.sampled_from([*TEXTS]), st.text("ab'\"$; \\é", max_size=12))
def test_strings_do_not_count(text: str, inside: str) -> None:
    quoted = text.replace("'", "''") + inside.replace("'", "''")
    assert _core.taints(f"select '{quoted}'") == 0
    assert _core.taints(f"select $q$ {text} {inside} $q$") == 0
    assert _core.taints(f"select $q$ {text} {inside} $q$; {text}") == TEXTS[text]


def test_long_texts() -> None:
    """Neither many calls in each other nor a text without end take long."""
    assert _core.taints("select " + "set_config(" * 20_000) == ROLE
    assert _core.taints("/*" * 100_000) == 0
    assert _core.taints("$a" * 100_000) == 0
    many = "select " + "set_config('a', 'b', false) || " * 20_000 + "''"
    assert _core.taints(many) == ROLE


async def test_texts(conn: Any) -> None:
    """Each as a statement of its own, the second time as one that is known."""
    core, wrong = conn._core, {}
    for _ in range(2):
        for text, taints in TEXTS.items():
            core.tainted = 0
            try:
                await conn.execute(text)
            except pgasync.ProgrammingError as error:  # the second time, not before
                assert "already exists" in str(error)
            if core.tainted & ~_core.TAINT_REPORTED != taints:
                wrong[text] = core.tainted
    assert not wrong


async def test_scripts(conn: Any) -> None:
    core = conn._core
    core.tainted = 0
    await conn.execute("select 1; listen jobs; set local timezone = 'UTC'; select 2")
    assert core.tainted == LISTEN
    await core.query("set timezone = 'UTC'; select pg_advisory_lock(1)")
    assert core.tainted & (SETTINGS | LOCKS) == SETTINGS | LOCKS


async def test_tainted_though_it_failed(conn: Any) -> None:
    """A lock is held whatever became of its statement."""
    core = conn._core
    core.tainted = 0
    with pytest.raises(pgasync.errors.DivisionByZero):
        await conn.execute("select pg_advisory_lock(7), 1 / (random() * 0)::int")
    assert core.tainted == LOCKS
    assert await conn.fetchval("select count(*) from pg_locks where objid = 7") == 1


async def test_pipelines_and_portals(conn: Any) -> None:
    core = conn._core
    core.tainted = 0
    async with conn.pipeline() as p:
        p.execute("select set_config('a.b', '1', false)")
    assert core.tainted == ROLE
    core.tainted = 0
    async for _ in conn.stream(
        "select pg_advisory_lock(x) from generate_series(1, 3) x"
    ):
        break
    assert core.tainted == LOCKS
    core.tainted = 0
    await conn.executemany("select set_config('a.b', $1, false)", [("1",), ("2",)])
    assert core.tainted == ROLE
    core.tainted = 0
    await conn.copy_from_query(
        "select set_config('a.b', '1', false)", output=lambda data: None
    )
    assert core.tainted == ROLE


async def test_reported(conn: Any) -> None:
    """What a function sets is seen where the server reports it."""
    await conn.execute(
        "create or replace function taint_zone() returns void language plpgsql as "
        "$$ begin perform set_config('timezone', 'Asia/Tokyo', false); end $$"
    )
    core = conn._core
    core.tainted = 0
    await conn.execute("select taint_zone()")
    assert core.tainted == _core.TAINT_REPORTED
    await conn.execute("drop function taint_zone()")


# What is due

BEGIN = ("begin isolation level read committed", ())
COMMIT = ("commit", ())


def riders(*settings: tuple[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    one = "select set_config($1, $2, false)"
    return (BEGIN, *((one, setting) for setting in settings), COMMIT)


NAME = "current_setting('application_name')"
FIRSTS = {
    "execute": lambda c: c.fetchval(f"select {NAME}"),
    "transaction": lambda c: c.fetchval(f"select {NAME}"),
    "executemany": lambda c: c.executemany("select $1::text", [("a",), ("b",)]),
    "stream": lambda c: drained(c.stream(f"select {NAME}")),
    "prepare": lambda c: c.prepare(f"select {NAME}"),
    "copy": lambda c: c.copy_from_query(f"select {NAME}", output=lambda data: None),
    "query": lambda c: c._core.query("savepoint_is_no_statement"),
    "pipeline": lambda c: pipelined(c, f"select {NAME}"),
    "look_up": lambda c: c._core.look_up(f"select {NAME}"),
}


async def drained(stream: Any) -> list[Any]:
    return [row async for row in stream]


async def pipelined(conn: Any, sql: str) -> Any:
    async with conn.pipeline() as p:
        value = p.fetchval(sql)
    return await value


@pytest.mark.parametrize("first", FIRSTS)
async def test_rides_in_front_of(conn: Any, first: str) -> None:
    if first == "transaction":
        conn.autocommit = False
    for name in ("one", "two"):  # new, and known
        conn._core.reset_due(riders(("application_name", name)))
        try:
            await FIRSTS[first](conn)
        except pgasync.ProgrammingError:
            assert first == "query"
        await conn.rollback()
        assert await conn.fetchval("show application_name") == name
        assert conn.info.parameters["application_name"] == name
        await conn.rollback()


async def test_stands_when_the_statement_fails(conn: Any) -> None:
    conn.autocommit = False
    conn._core.reset_due(riders(("application_name", "stands")))
    with pytest.raises(pgasync.errors.DivisionByZero):
        await conn.execute("select 1 / 0")
    await conn.rollback()
    assert await conn.fetchval("show application_name") == "stands"


async def test_is_kept_when_nothing_was_sent(conn: Any) -> None:
    await conn.fetchval("select $1::int", (1,))
    conn._core.reset_due(riders(("application_name", "kept")))
    with pytest.raises(pgasync.DataError):
        await conn.fetchval("select $1::int", (b"no",))
    assert await conn.fetchval("show application_name") == "kept"


@pytest.mark.parametrize("first", FIRSTS)
async def test_refused(conn: Any, first: str) -> None:
    """Nothing of the request has run."""
    conn._core.reset_due(riders(("no_such_setting", "x")))
    with pytest.raises(pgasync.ConnectionLost, match="no_such_setting") as caught:
        await FIRSTS[first](conn)
    assert caught.value.outcome == "not_sent"
    assert conn.closed


async def test_refused_in_front_of_others(conn: Any) -> None:
    """What was sent behind it fails as well, in the transaction that has failed."""
    await conn.execute("create table if not exists taint_k (x int)")
    await conn.execute("truncate taint_k")
    conn._core.reset_due(riders(("no_such_setting", "x")))
    results = await asyncio.gather(
        *(conn.execute("insert into taint_k values ($1)", (n,)) for n in range(3)),
        return_exceptions=True,
    )
    assert all(isinstance(result, pgasync.ConnectionLost) for result in results)


async def test_reset_now(conn: Any) -> None:
    core = conn._core
    core.reset_due(riders(("application_name", "now")))
    reset = core.reset_now()
    assert await conn.fetchval("show application_name") == "now"
    assert reset.done() and reset.result() is None
    assert core.reset_now().done()  # nothing is due
    core.reset_due(riders(("no_such_setting", "x")))
    core.reset_now()
    with pytest.raises(pgasync.ConnectionLost, match="no_such_setting") as caught:
        await conn.execute("select 1")
    assert caught.value.outcome == "not_sent"


@pytest.mark.parametrize("cache", [0, 100])
async def test_prepared_names(connect: Any, cache: int) -> None:
    """Also where the driver's own statements have no names."""
    conn = await connect(autocommit=True, statement_cache_size=cache)
    long = "n" * 62 + "\N{LATIN SMALL LETTER E WITH ACUTE}"
    for name in ("Mixed", '"Mixed"', '"a""b"', f'"{long}"', "_x$1"):
        await conn.execute(f"prepare {name} as select 1")
    ours = await conn.prepare("select 42")
    names = "select name from pg_prepared_statements where from_sql order by 1"
    assert len(await conn.fetch(names)) == 5
    conn._core.reset_due(())
    assert await conn.fetch(names) == []
    assert await ours.fetchval() == 42
    await conn.execute("prepare first as select 1")
    conn._core.reset_due(())
    await conn._core.query("")
    assert await conn.fetch(names) == []
    await conn.execute("prepare again as select 1")
    conn._core.reset_due(())
    await conn.execute("prepare again as select 2")
    assert await conn.fetch(names) == [("again",)]
    conn._core.reset_due(())
    await conn._core.reset_now()
    assert await conn.fetch(names) == []
    await conn.execute("prepare kept as select 1")
    conn._core.reset_due(None)
    assert await conn.fetch(names) == [("kept",)]


@pytest.mark.parametrize("resets", [3, "x", [BEGIN]])
async def test_reset_due_takes_a_tuple(conn: Any, resets: Any) -> None:
    with pytest.raises(TypeError):
        conn._core.reset_due(resets)


async def test_settings_log(conn: Any) -> None:
    log: list[Any] = []
    conn._core.watch_settings(log)
    await conn.execute("select 1")
    await conn.execute("set work_mem = '1MB'")
    await conn.execute("select set_config($1, $2, false)", ("a.b", "1"))
    conn._core.watch_settings(None)
    await conn.execute("reset work_mem")
    assert log == [
        ("set work_mem = '1MB'", None),
        ("select set_config($1, $2, false)", ("a.b", "1")),
    ]


async def test_abandon_all_leaves_a_reset(conn: Any) -> None:
    core = conn._core
    core.reset_due(riders(("application_name", "stays")))
    core.reset_now()
    slow = asyncio.ensure_future(conn.execute("select pg_sleep(60)"))
    await asyncio.sleep(0)
    core.abandon_all(pgasync.InterfaceError("given back"))
    with pytest.raises(pgasync.InterfaceError, match="given back"):
        await slow
    assert await conn.fetchval("show application_name") == "stays"


async def test_spotless(conn: Any) -> None:
    core = conn._core
    core.tainted = 0
    await conn.execute("select 1")
    assert core.at_rest and core.spotless
    await conn.execute("set work_mem = '1MB'")
    assert core.at_rest and not core.spotless
    core.reset_due((("reset work_mem", ()),))
    assert core.spotless and core.resets == (("reset work_mem", ()),)
    await conn.execute("select 1")
    assert core.resets is None
