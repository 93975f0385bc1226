"""Statements in SQL: text() and exec_driver_sql()."""

# ruff: noqa: E501 - statements, a line each

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import text

from . import look
from . import reasons as why
from .case import Run, add, group
from .side import Side


def facts(result: Any) -> Any:
    """All that a result says; its rows last."""
    cursor = result.cursor
    described = None if cursor is None else look.codes(cursor.description)
    keys = list(result.keys()) if result.returns_rows else None
    rows = result.all() if result.returns_rows else None
    return keys, described, result.rowcount, rows


def plain(statement: Any, parameters: Any = None) -> Run:
    """Executed, and what the result says."""

    async def run(side: Side) -> Any:
        async with side.connect() as conn:
            return facts(await conn.execute(statement, parameters))

    return run


def raw(sql: str, parameters: Any = None) -> Run:
    """As the driver has it."""

    async def run(side: Side) -> Any:
        async with side.connect() as conn:
            return facts(await conn.exec_driver_sql(sql, parameters))

    return run


# (statement, parameters) of text()
TEXTS: list[tuple[str, Any]] = [
    ("select 1", None),
    ("select 1 as a, 2 as a", None),
    ('select 1 as "A b", 2 as "ä"', None),
    ("select name from item order by id", None),
    ("select * from item where id = :id", {"id": 1}),
    ("select :a || :b", {"a": "x", "b": "y"}),
    ("select :a::int + 1", {"a": 1}),
    ("select cast(:a as int) + 1", {"a": 1}),
    ("select :a\\:\\:text", {"a": "x"}),
    ("select '12:30'::time, '{\"a\": 1}'::jsonb", None),
    ("select name from item where name like 'a%'", None),
    ("select name from item where name like :p", {"p": "%"}),
    ("select 5 % 3, '%s', '%%', '%(x)s'", None),
    ("select 'a:b', E'\\:c'", None),
    ("select array[1,2,3][1:2]", None),
    ("select '$1', $$it's$$", None),
    ("select name from item where id = any(:ids)", {"ids": [1, 2]}),
    ("select name from item where id = any(cast(:ids as int[]))", {"ids": [1, 2]}),
    ("select unnest(cast(:a as text[]))", {"a": ["x", None]}),
    ("select jsonb_build_object('a', cast(:a as text))", {"a": "x"}),
    ("select cast(:a as jsonb)", {"a": '{"k": 1}'}),
    ("select '{\"a\": {\"b\": [1]}}'::jsonb #> '{a,b}', '{\"a\": 1}'::jsonb ? 'a'", None),
    ("select row_number() over (partition by price is null order by id) from item order by 1", None),
    ("with recursive n(i) as (select 1 union all select i + 1 from n where i < 3) select * from n", None),
    ("with gone as (delete from item where name = 'c' returning *) select name from gone", None),
    ("select distinct on (price is null) name from item order by price is null, name", None),
    ("select i.name, x.n from item i, lateral (select length(i.name) n) x order by 1", None),
    ("select name, count(*) from item group by rollup(name) order by 1", None),
    ("select name from item order by id for update skip locked", None),
    ("select name from item order by id for no key update of item nowait", None),
    ("values (1, 'a'), (2, 'b')", None),
    ("table keep", None),
    ("select", None),
    ("select from item", None),
    ("", None),
    (";", None),
    ("-- nothing", None),
    ("select 1;", None),
    ("/* a */ select /* b */ 1 -- c", None),
    ("insert into item (id, name) values (50, 'n') returning id, name as label", None),
    ("insert into item (id, name) values (50, 'n')", None),
    ("insert into item (name) values ('a') on conflict do nothing", None),
    ("insert into item (id, name) values (60, 'a') on conflict (name) do update set price = 7 returning id, price", None),
    ("insert into keep select i, 'x' from generate_series(1, 5) i", None),
    ("update item set price = 2 where price is not null", None),
    ("update item set price = 2 where name = 'a' returning old.price, new.price", None),
    ("update item set price = 1 where false", None),
    ("delete from item where name = 'b'", None),
    ("delete from item where name in ('b', 'c') returning name", None),
    ("merge into keep k using (values (1, 'a')) v(id, t) on k.id = v.id when matched then update set t = v.t when not matched then insert values (v.id, v.t)", None),
    ("truncate keep", None),
    ("create temp table made (a int)", None),
    ("create temp table made as select 1 as a union all select 2", None),
    ("select 1 as a into temp made", None),
    ("create index on item (price)", None),
    ("alter table keep add column more int default 5", None),
    ("comment on table keep is 'kept'", None),
    ("do $$ begin perform 1; end $$", None),
    ("call bump(1)", None),
    ("call bump(:n)", {"n": 5}),
    ("select * from rows_of(2)", None),
    ("select rows_of(2)", None),
    ("select (rows_of(1)).*", None),
    ("select fail('P0001') where false", None),
    ("select told()", None),
    ("select void_of()", None),
    ("select nextval('seq') > 0, setval('seq', 5)", None),
    ("set local work_mem = '5MB'", None),
    ("show work_mem", None),
    ("select current_setting('application_name')", None),
    ("reset work_mem", None),
    ("explain (costs off) select * from item", None),
    ("explain (costs off, format json) select 1", None),
    ("declare c cursor for select generate_series(1, 3)", None),
    ("lock table keep", None),
    ("listen channel", None),
    ("notify channel, 'x'", None),
    ("unlisten *", None),
    ("prepare p as select 1", None),
    ("discard plans", None),
    ("checkpoint", None),
    ("analyze keep", None),
    ("grant select on keep to public", None),
    ("create view v as select 1 as one", None),
    ("create type t as (a int)", None),
    ("create domain d as int", None),
    ("create or replace function f() returns int language sql as 'select 1'", None),
    ("set search_path = public", None),
    ("set constraints all deferred", None),
    ("savepoint s", None),
    ("select pg_advisory_xact_lock(7)", None),
    ("select txid_current() > 0, pg_backend_pid() > 0, now() = transaction_timestamp()", None),
    ("select repeat('x', 1000000)", None),
    ("select generate_series(1, 5000)", None),
    ("select null::text, null::int, null::timestamptz", None),
    ("select :a", {"a": None}),
    ("select :a", {"a": "untyped"}),
    ("select coalesce(:a, 'x')", {"a": None}),
    ("select :a = any(array['x'])", {"a": "x"}),
    ("select 'x' where :flag", {"flag": True}),
    ("select now() - make_interval(days => :n) < now()", {"n": 3}),
    ("select now() - :d < now()", {"d": dt.timedelta(1)}),
    ("select interval '1 day' * :n", {"n": 2}),
    ("select :a + :b", {"a": 1, "b": 2}),
    ("select :a + 1", {"a": 1}),
    ("select 1 limit :n offset :m", {"n": 1, "m": 0}),
    ("select to_char(cast(:d as date), 'YYYY')", {"d": dt.date(2024, 1, 1)}),
    ("select to_tsvector('english', :t) @@ plainto_tsquery('english', :t)", {"t": "cats"}),
    ("select :t ilike '%A%'", {"t": "cat"}),
    ("select :a, :a, :b", {"a": "x", "b": "y"}),
]  # fmt: skip
DIFFERING_TEXTS: dict[str, tuple[str, str]] = {
    "select": (why.EMPTY_ROWS, "[Row()]"),
    "select from item": (why.EMPTY_ROWS, "[Row(), Row(), Row()]"),
    next(sql for sql, _ in TEXTS if sql.startswith("merge")): (why.COUNTS, "None, 1,"),
    "select pg_advisory_xact_lock(7)": (why.VOID, "Row('')"),
}

for statement, parameters in TEXTS:
    reason, ours = DIFFERING_TEXTS.get(statement, ("", ""))
    add(f"text {statement!r}", plain(text(statement), parameters), reason, ours)

with group("exec_driver_sql"):
    for name, sql, given, reason, ours in [
        ("plain", "select 1", None, "", ""),
        ("percent", "select 5 % 2, 'a%'", None, "", ""),
        ("numbered", "select $1::int + $2::int", (1, 2), "", ""),
        ("numbered twice", "select $1::int + $1::int", (2,), "", ""),
        ("list of parameters", "select $1::int", [(1,)], "", ""),
        ("colon", "select ':x', '::'", None, "", ""),
        ("two statements", "select 1; select 2", None, why.SCRIPTS, "Row(2)"),
        (
            "three statements",
            "create temp table x (a int); insert into x values (1), (2); select * from x",
            None,
            why.SCRIPTS,
            "Row(1), Row(2)",
        ),
        (
            "executemany",
            "insert into keep values ($1, $2)",
            [(1, "a"), (2, "b")],
            why.COUNTS,
            "2, None",
        ),
    ]:
        add(name, raw(sql, given), reason, ours)
