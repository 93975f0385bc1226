"""Changes that make a prepared statement stale: for the tests of the driver and those
of the dialect.

Each statement calls nextval('ticks'), or inserts, so that it can be counted how often
it has run: a sequence is not rolled back.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pgasync

TICK = "nextval('ticks') as tick"
COUNT = "select case when is_called then last_value else 0 end from ticks"


@contextlib.asynccontextmanager
async def own_schema(dsn: str) -> AsyncIterator[str]:
    """The name of a schema of the test's own, with another one beside it, and the
    sequence."""
    name = f"stale_{secrets.token_hex(6)}"
    async with pgasync.connect(dsn, autocommit=True) as conn:
        await conn.execute(f"create schema {name}; create schema {name}_other")
        await conn.execute(f"create sequence {name}.ticks")
    yield name
    async with pgasync.connect(dsn, autocommit=True) as conn:
        await conn.execute("set client_min_messages = warning")
        await conn.execute(f"drop schema {name}, {name}_other cascade")


@dataclass(frozen=True)
class Case:
    """`sql` gives `before` with `args`, and after the change `after` with `args_after`;
    what comes from the sequence is left out."""

    name: str
    setup: str
    sql: str
    change: str
    before: list[tuple[object, ...]]
    after: list[tuple[object, ...]]
    args: tuple[object, ...] = ()
    args_after: tuple[object, ...] | None = None
    own: bool = False
    """Only the session itself can do it."""
    refused: bool = True
    """The server refuses the statement; else it plans anew by itself."""
    natural: bool = False
    """The server's error could also be one of the statement: its own class."""
    reads: bool = field(default=True)
    """It runs in a READ ONLY transaction once the sequence is left out."""

    @property
    def then(self) -> tuple[object, ...]:
        return self.args if self.args_after is None else self.args_after

    def changes(self, hidden: bool) -> str:
        """The change; `hidden`: without a command tag that tells it."""
        if hidden or self.change.startswith("execute "):
            return f"do $hidden$ begin {self.change}; end $hidden$"
        return self.change


def fitted(text: str, place: str) -> str:
    """The text for a schema `place`, beside which is `place`_other."""
    return (
        text.replace("'ticks'", f"'{place}.ticks'")
        .replace("other.t", f"{place}_other.t")
        .replace("search_path = other", f"search_path = {place}_other")
    )


def name_of(case: Case) -> str:
    return case.name


TABLE = "create table t (id int, a int); insert into t values (1, 10)"
BY_ID = f"select *, {TICK} from t where id = $1"

CASES = (
    Case(
        "column added",
        TABLE,
        BY_ID,
        "alter table t add column b text default 'x'",
        [(1, 10)],
        [(1, 10, "x")],
        (1,),
    ),
    Case(
        "column dropped",
        TABLE,
        BY_ID,
        "alter table t drop column a",
        [(1, 10)],
        [(1,)],
        (1,),
    ),
    Case(
        "column of another type",
        TABLE,
        BY_ID,
        "alter table t alter column a type text",
        [(1, 10)],
        [(1, "10")],
        (1,),
    ),
    Case(
        "column renamed",
        TABLE,
        BY_ID,
        "alter table t rename column a to other",
        [(1, 10)],
        [(1, 10)],
        (1,),
    ),
    Case(
        "parameter of another type",
        TABLE,
        f"select id, {TICK} from t where a = $1",
        "alter table t alter column a type text",
        [(1,)],
        [(1,)],
        (10,),
        ("10",),
        natural=True,
    ),
    Case(
        "table recreated",
        TABLE,
        BY_ID,
        "drop table t; create table t (id int, c text); insert into t values (1, 'n')",
        [(1, 10)],
        [(1, "n")],
        (1,),
    ),
    Case(
        "insert",
        TABLE,
        f"insert into t (id, a) values ($1, $2) returning *, {TICK}",
        "alter table t add column b text default 'x'",
        [(2, 20)],
        [(2, 20, "x")],
        (2, 20),
        reads=False,
    ),
    Case(
        "value of an enum added",
        "create type mood as enum ('sad'); create table t (m mood)",
        f"insert into t values ($1) returning *, {TICK}",
        "alter type mood add value 'happy'",
        [("sad",)],
        [("happy",)],
        ("sad",),
        ("happy",),
        refused=False,
        reads=False,
    ),
    Case(
        "enum recreated",
        "create type mood as enum ('sad'); create table t (m mood)",
        f"insert into t values ($1) returning *, {TICK}",
        "drop table t; drop type mood; create type mood as enum ('happy', 'glad');"
        " create table t (m mood, n int default 1)",
        [("sad",)],
        [("happy", 1)],
        ("sad",),
        ("happy",),
        reads=False,
    ),
    Case(
        "composite with another attribute",
        "create type pair as (x int, y int); create table t (p pair);"
        " insert into t values ((1, 2))",
        f"select (p).x, (p).y, {TICK} from t",
        "alter type pair add attribute z int",
        [(1, 2)],
        [(1, 2)],
        refused=False,
    ),
    Case(
        "function recreated",
        "create function f() returns table (x int) language sql as 'select 1'",
        f"select *, {TICK} from f()",
        "drop function f(); create function f() returns table (x text, y int)"
        " language sql as $$ select 'one'::text, 2 $$",
        [(1,)],
        [("one", 2)],
    ),
    Case(
        "view replaced",
        f"{TABLE}; create view v as select id from t",
        f"select *, {TICK} from v",
        "create or replace view v as select id, a from t",
        [(1,)],
        [(1, 10)],
    ),
    Case(
        "index of ON CONFLICT recreated",
        f"{TABLE}; create unique index t_id on t (id)",
        "insert into t (id, a) values ($1, $2) on conflict (id) do update"
        f" set a = excluded.a returning *, {TICK}",
        "drop index t_id; create unique index t_id2 on t (id);"
        " alter table t add column b int default 3",
        [(1, 11)],
        [(1, 11, 3)],
        (1, 11),
        reads=False,
    ),
    Case(
        "partition attached",
        "create table p (id int, a int) partition by range (id);"
        " create table p1 partition of p for values from (0) to (10);"
        " create table p2 (id int, a int); insert into p values (1, 10);"
        " insert into p2 values (12, 120)",
        f"select *, {TICK} from p order by id",
        "alter table p attach partition p2 for values from (10) to (20)",
        [(1, 10)],
        [(1, 10), (12, 120)],
        refused=False,
    ),
    Case(
        "search_path",
        f"{TABLE}; create table other.t (id int, c text, d int);"
        " insert into other.t values (1, 'o', 4)",
        BY_ID,
        "set search_path = other",
        [(1, 10)],
        [(1, "o", 4)],
        (1,),
        own=True,
    ),
    Case(
        "temporary table recreated",
        TABLE,
        f"select *, {TICK} from only_here",
        "drop table if exists only_here; create temp table only_here (n text, m int);"
        " insert into only_here values ('new', 1)",
        [(7,)],
        [("new", 1)],
        own=True,
    ),
    Case(
        "deallocated",
        TABLE,
        BY_ID,
        "execute 'deallocate all'",
        [(1, 10)],
        [(1, 10)],
        (1,),
        own=True,
    ),
)
