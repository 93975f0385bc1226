"""Schemas that change under traffic: what is changed, what is read meanwhile, and how
each answer shows whether it was taken for what it is."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pgasync.types import Range

Check = Callable[[Any], None]


@dataclass(frozen=True)
class Read:
    """A statement that is right in every version of the schema. `check` takes its
    rows."""

    sql: str
    check: Check
    args: tuple[object, ...] = ()
    typed: bool = False
    """Its values are of a type that is dropped: the server may have looked at one just
    when it was, which in the middle of a transaction is an error of the value."""
    locked: bool = True
    """It reads a table, which keeps what it reads from changing while it runs."""


@dataclass(frozen=True)
class Change:
    """`versions`: scripts, each of which makes the next version of the schema, the
    first that behind the last, too. OTHER is a second schema on the search_path."""

    name: str
    setup: str
    versions: tuple[str, ...]
    reads: tuple[Read, ...]
    extension: str = ""


class Mood(enum.Enum):
    """Registered for the type `feeling`."""

    sad = "sad"
    happy = "happy"
    glad = "glad"


# Checks

OF_TYPE: dict[str, object] = {
    "integer": 10,
    "bigint": 10,
    "text": "10",
    "numeric": Decimal(10),
    "double precision": 10.0,
    "jsonb": 10,
}


def typed(rows: Any) -> None:
    """(value, the name of its type)."""
    assert rows
    for value, kind in rows:
        assert type(value) is type(OF_TYPE[kind]), (value, kind)
        assert value == OF_TYPE[kind], (value, kind)


def named(**expected: object) -> Check:
    """Each column has the value that goes with its name."""

    def check(rows: Any) -> None:
        assert rows
        for row in rows:
            for name, value in row._asdict().items():
                assert type(value) is type(expected[name]), row
                assert value == expected[name], row

    return check


def only(*expected: object) -> Check:
    """Each value is one of these."""

    def check(rows: Any) -> None:
        assert rows
        for row in rows:
            for value in row:
                assert value in expected, row

    return check


def spelled(rows: Any) -> None:
    """(composite, its text form)."""
    assert rows
    for value, text in rows:
        assert f"({','.join(str(field) for field in value)})" == text, (value, text)


def anything(rows: Any) -> None:
    """It is an answer at all."""
    assert isinstance(rows, list)


# Changes

COLUMNS = named(id=1, a=10, b="x", c=7, d=7)
RECREATED = named(id=1, a=10, b="x", c=dt.date(2020, 2, 2))
FRONT = named(id=1, a=10, b="x", m="sad")


def recreated(kind: str, tables: str, *types: str) -> tuple[str, ...]:
    """Versions in which a type is made in turn of each of the definitions, and with it
    the tables that use it."""
    names = [text.split()[0] for text in tables.split("create table ")[1:]]
    drop = f"drop table {', '.join(names)}; drop {kind} {types[0].split()[0]}"
    turn = types[1:] + types[:1]
    return tuple(f"{drop}; create {kind} {text}; {tables}" for text in turn)


MOODS = (
    "create table moods (m mood, l mood[]);"
    " insert into moods values ('happy', '{happy,sad}')"
)
FEELINGS = (
    "create table feelings (m feeling, l feeling[]);"
    " insert into feelings values ('happy', '{happy,sad}')"
)
PAIRS = "create table pairs (p pair, l pair[]);insert into pairs values ((1, 2), '{}')"
DOMAINS = "create table domains (v d, l d[]); insert into domains values (7, '{7}')"
SPANS = "create table spans (s span); insert into spans values ('[1,7)')"
STORES = "create table stores (v hstore); insert into stores values ('a=>1')"

CHANGES = (
    Change(
        "columns",
        "create table columns (id int primary key, a int);"
        " insert into columns values (1, 10)",
        (
            "alter table columns add column b text default 'x'",
            "alter table columns add column c int8 default 7",
            "alter table columns drop column b",
            "alter table columns rename column c to d",
            "alter table columns drop column d",
        ),
        (
            Read("select * from columns where id = $1", COLUMNS, (1,)),
            Read("select * from columns", COLUMNS),
            Read(
                "update columns set a = $1 where id = $2 returning *", COLUMNS, (10, 1)
            ),
        ),
    ),
    Change(
        "a column's type",
        "create table retyped (id int, a int); insert into retyped values (1, 10)",
        tuple(
            f"alter table retyped alter column a type {kind} using a::text::{kind}"
            for kind in ("bigint", "text", "numeric", "jsonb", "float8", "int")
        ),
        (
            Read(
                "select a, pg_typeof(a)::text from retyped where id = $1", typed, (1,)
            ),
            Read("select a, pg_typeof(a)::text from retyped", typed),
        ),
    ),
    Change(
        "table recreated",
        "create table again (a int, b text, id int);"
        " insert into again values (10, 'x', 1)",
        (
            "drop table again; create table again (b text, id int, a int8);"
            " insert into again values ('x', 1, 10)",
            "drop table again; create table again (id int, a int, b varchar, c date);"
            " insert into again values (1, 10, 'x', '2020-02-02')",
        ),
        (
            Read("select * from again where id = $1", RECREATED, (1,)),
            Read("select id, a, b from again", RECREATED),
            Read("delete from again where id = $1 returning a", anything, (0,)),
        ),
    ),
    Change(
        "view",
        "create view seen as select 1 id, 10 a",
        (
            "create or replace view seen as select 1 id, 10 a, 'x'::text b",
            "drop view seen; create view seen as select 'x'::text b, 1 id",
            "drop view seen; create view seen as select 1 id, 10 a",
        ),
        (Read("select * from seen where id = $1", named(id=1, a=10, b="x"), (1,)),),
    ),
    Change(
        "enum recreated",
        f"create type mood as enum ('sad', 'happy'); {MOODS}",
        recreated(
            "type",
            MOODS,
            "mood as enum ('sad', 'happy')",
            "mood as enum ('happy', 'sad')",
        ),
        (
            Read("select m, l[1], l[2] from moods", only("happy", "sad")),
            Read("select l from moods", only(["happy", "sad"])),
            Read("select m from moods where m = $1", only("happy"), ("happy",), True),
            Read(
                "insert into moods values ($1, $2) returning m, l[2]",
                only("happy", "sad"),
                ("happy", ["happy", "sad"]),
                True,
            ),
        ),
    ),
    Change(
        "registered enum recreated",
        f"create type feeling as enum ('sad', 'happy'); {FEELINGS}",
        recreated(
            "type",
            FEELINGS,
            "feeling as enum ('sad', 'happy')",
            "feeling as enum ('glad', 'happy', 'sad')",
        ),
        (
            Read("select m from feelings", only(Mood.happy)),
            Read("select l from feelings", only([Mood.happy, Mood.sad])),
            Read(
                "select m from feelings where m = $1",
                only(Mood.happy),
                (Mood.happy,),
                True,
            ),
            Read(
                "insert into feelings values ($1, $2) returning m",
                only(Mood.happy),
                (Mood.happy, [Mood.happy, Mood.sad]),
                True,
            ),
        ),
    ),
    Change(
        "values of an enum",
        "create type grade as enum ('good', 'bad'); create table grades (g grade);"
        " insert into grades values ('good')",
        (
            "alter type grade add value if not exists 'fair'",
            "alter type grade rename value 'fair' to 'fine'",
            "alter type grade rename value 'fine' to 'fair'",
        ),
        (
            Read("select g from grades", only("good")),
            Read("select g from grades where g = any($1)", only("good"), (["good"],)),
        ),
    ),
    Change(
        "composite recreated",
        f"create type pair as (x int, y int); {PAIRS}",
        recreated("type", PAIRS, "pair as (x int, y int)", "pair as (x int, y text)"),
        (
            Read("select p, p::text from pairs", spelled),
            Read("select (p).x from pairs", only(1)),
            Read("select l from pairs", only([])),
        ),
    ),
    Change(
        "domain recreated",
        f"create domain d as int; {DOMAINS}",
        recreated("domain", DOMAINS, "d as int", "d as text"),
        (
            Read("select v from domains", only(7, "7")),
            Read("select l from domains", only([7], ["7"])),
        ),
    ),
    Change(
        "range recreated",
        f"create type span as range (subtype = int4); {SPANS}",
        recreated(
            "type",
            SPANS,
            "span as range (subtype = int4)",
            "span as range (subtype = text)",
        ),
        (
            Read("select s from spans", only(Range(1, 7), Range("1", "7"))),
            Read("select array[s] from spans", only([Range(1, 7)], [Range("1", "7")])),
        ),
    ),
    Change(
        "function",
        "create function f(int) returns table (x int) language sql as 'select 7'",
        (
            "drop function f(int); create function f(int) returns table (x text, y int)"
            " language sql as $$ select '7'::text, 7 $$",
            "drop function f(int); create function f(int) returns setof int"
            " language sql as 'select 7'",
            "create or replace function f(int) returns setof int"
            " language sql as 'select 6 + 1'",
        ),
        (Read("select * from f($1)", only(7, "7"), (1,), locked=False),),
    ),
    Change(
        "partitions",
        "create table parts (id int, a int) partition by range (id);"
        " create table part1 partition of parts for values from (0) to (10);"
        " create table part2 (a int, id int); insert into parts values (1, 10);"
        " insert into part2 values (120, 12)",
        (
            "alter table parts attach partition part2 for values from (10) to (20)",
            "alter table parts detach partition part2",
        ),
        (
            Read("select id, a from parts where id < 10", named(id=1, a=10)),
            Read("select * from parts where id >= $1", anything, (0,)),
            Read("select * from part2", named(id=12, a=120)),
        ),
    ),
    Change(
        "indexes, statistics, policies",
        "create table busy (id int, a int); insert into busy values (1, 10);"
        " create table log (id int, a int)",
        (
            "truncate log; create index busy_a on busy (a); analyze busy",
            "drop index busy_a; alter table busy enable row level security",
            "create policy all_rows on busy using (true) with check (true)",
            "drop policy all_rows on busy; alter table busy disable row level security",
            "alter table busy set (fillfactor = 70), alter a set statistics 5",
            "comment on table busy is 'x'; grant select on busy to public",
        ),
        (
            Read("select id, a from busy where a = $1", named(id=1, a=10), (10,)),
            Read("insert into log values ($1, $2) returning a", only(2), (1, 2)),
        ),
    ),
    Change(
        "schema in the search_path",
        "create table OTHER.front (id int, a int);"
        " insert into OTHER.front values (1, 10)",
        (
            "drop schema OTHER cascade; create schema OTHER;"
            " create table OTHER.front (b text, a int, id int);"
            " insert into OTHER.front values ('x', 10, 1)",
            "drop schema OTHER cascade; create schema OTHER;"
            " create type OTHER.mood_in_front as enum ('sad');"
            " create table OTHER.front (id int, a int, m OTHER.mood_in_front);"
            " insert into OTHER.front values (1, 10, 'sad')",
        ),
        (
            Read("select * from front", FRONT),
            Read("select * from front where id = $1", FRONT, (1,)),
        ),
    ),
    Change(
        "extension recreated",
        f"create extension hstore; {STORES}",
        (
            "drop extension hstore cascade; create extension hstore;"
            f" drop table stores; {STORES}",
        ),
        (
            Read("select v from stores", only({"a": "1"})),
            Read("select v from stores where v = $1", only({"a": "1"}), ({"a": "1"},)),
            Read(
                "insert into stores values ($1) returning v",
                only({"a": "1"}),
                ({"a": "1"},),
            ),
        ),
        "hstore",
    ),
)
