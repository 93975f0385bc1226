"""A round trip of each literal by itself and inside of everything that can hold it.

Each type gets a table of its literals, a composite, a domain and, where the server
allows one, a range over it. A case is one value in one context: the server computes
it from the literal, it is decoded, sent back, and compared on the server: the same
text, and equal where its type has an `=`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pgasync
from literals import EXTENSIONS, SETUP, Type
from pgasync.errors import (
    Error,
    FeatureNotSupported,
    UndefinedFunction,
    UndefinedObject,
)
from pgasync.types import Array

SCHEMA = "types_of_everything"
SETTINGS = {"search_path": f"{SCHEMA}, public", "timezone": "UTC"}
# Nothing is lost with these; the defaults suit programs better.
LOSS_FREE = {
    "out_of_range": "sentinel",
    "json_numbers": "exact",
    "json_null": "sentinel",
}


class Context:
    """Something that holds a value. `{t}`: the type, `{k}`: its part of the names
    of SQL objects, `{a}`: an array of it, `v`: the value."""

    def __init__(
        self, name: str, spelled: str, made: str, *, once: bool = False
    ) -> None:
        self.name = name
        self.spelled = spelled  # the type of the whole
        self.made = made  # SQL that makes it
        self.once = once  # does not depend on the value

    def sql(self, one: Type) -> str:
        """What makes it for the value `v`."""
        member = "v" if is_array(one) else "array[v]"
        return self.made.format(t=one.name, k=number(one), a=member)


BARE = Context("value", "{t}", "v")
# Of an array type these would be the same arrays again, with more dimensions.
ARRAYS = (
    Context("array", "{t}[]", "array[v]"),
    Context("array with NULL", "{t}[]", "array[null, v, null]::{t}[]"),
    Context("3-D array", "{t}[]", "array[[[v, v]], [[v, null]]]::{t}[]"),
    Context(
        "array with bounds",
        "{t}[]",
        "array_fill(v, array[1, 2], array[-1, 7])",
    ),
    Context("array of NULL", "{t}[]", "array[null::{t}]", once=True),
    Context("empty array", "{t}[]", "'{{}}'::{t}[]", once=True),
)
HOLDERS = (
    Context("NULL", "{t}", "null::{t}", once=True),
    Context("composite", "c{k}", "row(v, null, {a})::c{k}"),
    Context("composite of NULL", "c{k}", "row(null, null, null)::c{k}", once=True),
    Context("array of composites", "c{k}[]", "array[row(v, v, null)::c{k}, null]"),
    Context("domain", "d{k}", "v::d{k}"),
    Context("array of domain", "d{k}[]", "array[v::d{k}, null]::d{k}[]"),
)
RANGES = (
    Context("range", "r{k}", "r{k}(v, v, '[]')"),
    Context("half a range", "r{k}", "r{k}(null, v, '()')"),
    Context("empty range", "r{k}", "'empty'::r{k}", once=True),
    Context("infinite range", "r{k}", "'(,)'::r{k}", once=True),
    Context("array of ranges", "r{k}[]", "array[r{k}(v, null), null]"),
    Context("multirange", "m{k}", "m{k}(r{k}(v, v, '[]'))"),
    Context("empty multirange", "m{k}", "'{{}}'::m{k}", once=True),
)  # fmt: skip
# The aclitem has no binary form, and so what is beside it has none.
IN_TEXT = Context("composite in text", "x{k}", "row('=r/postgres', v, {a})::x{k}")
# A record cannot be sent (the server does not know what would be in it): its member
# is, by itself.
RECORD = Context("record", "{t}", "v")


@dataclass
class Case:
    """One value in one context, and what became of it."""

    type: Type
    context: str
    literal: str
    expected: str | None  # its text on the server
    value: Any = None
    sent: str | None = None  # the text of what was sent back
    equal: bool | None = None  # by `=`; None: there is none
    error: Exception | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.type.name, self.context, self.literal

    @property
    def identical(self) -> bool:
        return (
            self.error is None
            and self.sent == self.expected
            and self.equal is not False
        )

    def __str__(self) -> str:
        became = self.error or f"{self.sent!r} (equal: {self.equal})"
        return (
            f"{self.type.name}, {self.context}, {self.literal[:60]!r}:"
            f" {self.expected!r} as {self.value!r} came back as {became}"
        )[:1000]


class Tables:
    """The types of the schema, and which of them have a range."""

    def __init__(self, types: tuple[Type, ...], ranged: frozenset[str]) -> None:
        self.types = types
        self.ranged = ranged

    def contexts(self, one: Type) -> list[Context]:
        found = [BARE, *HOLDERS]
        if not is_array(one):
            found += ARRAYS
        if one.name in self.ranged:
            found += RANGES
        return found


def is_array(one: Type) -> bool:
    return one.name.endswith("[]")


def number(one: Type) -> str:
    """Part of the names of a type's objects."""
    return "".join(char if char.isalnum() else "_" for char in one.name)


async def create(dsn: str, types: tuple[Type, ...]) -> Tables:
    """The schema; types of extensions that the server has not are left out."""
    async with pgasync.connect(dsn, autocommit=True, server_settings=SETTINGS) as conn:
        await conn.execute(
            f"drop schema if exists {SCHEMA} cascade; create schema {SCHEMA}"
        )
        for name in EXTENSIONS:
            found = "select 1 from pg_available_extensions where name = $1"
            if await conn.fetchval(found, [name]) is not None:
                sql = f"create extension if not exists {name} schema public"
                await conn.execute(sql)
        await conn.execute(SETUP)
        known = [one for one in types if await _is_known(conn, one)]
        ranged = {one.name for one in known if await _create_objects(conn, one)}
    return Tables(tuple(known), frozenset(ranged))


def literal_sql(one: Type, text: str) -> str:
    """A constant. Not a cast from text, which some types read in a way of its own."""
    return "'" + text.replace("'", "''") + "'::" + one.name


async def _is_known(conn: Any, one: Type) -> bool:
    try:
        await conn.execute(f"select ({literal_sql(one, one.literals[0])})::text")
    except (UndefinedObject, FeatureNotSupported):  # xml, without libxml
        return False
    return True


async def drop(dsn: str) -> None:
    """The schema with all that create() made in it."""
    async with pgasync.connect(dsn, autocommit=True) as conn:
        await conn.execute(f"drop schema if exists {SCHEMA} cascade")


async def _create_objects(conn: Any, one: Type) -> bool:
    """Whether there is a range."""
    k, t = number(one), one.name
    await conn.execute(
        f"create table v{k} (i int primary key, v {t}, literal text);"
        f"create type c{k} as (v {t}, n {t}, a {t}[]);"
        # Without a binary form, for what is in it, too.
        f"create type x{k} as (g aclitem, v {t}, a {t}[]);"
        f"create domain d{k} as {t}"
    )
    values = ",".join(
        f"({i}, {literal_sql(one, text)}, $t${text}$t$)"
        for i, text in enumerate(one.literals)
    )
    await conn.execute(f"insert into v{k} values {values}")
    try:
        await conn.execute(
            f"create type r{k} as range (subtype = {t}, multirange_type_name = m{k})"
        )
        # Arrays and composites are ordered as far as all that is in them is.
        await conn.execute(f"select r{k}(v, v, '[]')::text from v{k}")
    except (UndefinedObject, UndefinedFunction):  # its values have no order
        return False
    return True


@asynccontextmanager
async def connected(dsn: str, **keywords: Any) -> AsyncIterator[Any]:
    keywords = {**LOSS_FREE, "server_settings": SETTINGS, **keywords}
    async with pgasync.connect(dsn, autocommit=True, **keywords) as conn:
        yield conn


async def cases_of(conn: Any, tables: Tables, one: Type) -> list[Case]:
    """All cases of a type."""
    found: list[Case] = []
    for context in tables.contexts(one):
        found += await cases_in(conn, one, context)
    found += await cases_in_text(conn, one, found[: len(one.literals)])
    return found + await _cases_in_records(conn, one)


async def cases_in(conn: Any, one: Type, context: Context) -> list[Case]:
    """All values of a type in one context."""
    found = await _read_in(conn, one, context)
    await _send_in(conn, one, context, found)
    return found


async def cases_in_text(conn: Any, one: Type, bare: list[Case]) -> list[Case]:
    """As they were read there, and the values that were read by themselves."""
    found = await cases_in(conn, one, IN_TEXT)
    others = []
    for case, alone in zip(found, bare, strict=True):
        value = alone.value
        # What a list of lists is, a plain one does not say.
        several = value if is_array(one) else Array([value], (1,))
        inside = ("=r/postgres", value, several)
        other = Case(one, "value sent in text", case.literal, case.expected, inside)
        other.error = alone.error
        others.append(other)
    await _send_in(conn, one, IN_TEXT, others)
    return found + others


async def _read_in(conn: Any, one: Type, context: Context) -> list[Case]:
    where = "where i = 0" if context.once else ""
    sql = f"select {{}} from v{number(one)} {where}"
    return await _read(conn, one, context.name, sql, context.sql(one))


async def _send_in(conn: Any, one: Type, context: Context, cases: list[Case]) -> None:
    k, made = number(one), context.sql(one)
    spelled = context.spelled.format(t=one.name, k=k)
    equal = await _equality(conn, f"v{k}", made)
    sql = (
        f"select p::text, {equal} from "
        f"(select $1::{spelled} as p, {made} as e from v{k} where i = $2) as q"
    )
    await _send(conn, sql, cases)


async def _cases_in_records(conn: Any, one: Type) -> list[Case]:
    k, t = number(one), one.name
    sql = f"select {{}} from v{k}"
    found = await _read(conn, one, "record", sql, "row(1, v, array[row(v)])", "v::text")
    for case in found:
        if case.error is None:
            number_1, case.value, ((again,),) = case.value
            assert number_1 == 1 and repr(again) == repr(case.value), case
    sql = f"select $1::{t}::text, null::bool from v{k} where i = $2"
    await _send(conn, sql, found)
    return found


async def _read(
    conn: Any, one: Type, context: str, sql: str, made: str, text: str = ""
) -> list[Case]:
    """The cases with their values; where a value cannot be decoded, with the error."""
    text = text or f"({made})::text"
    rows = await conn.fetch(sql.format(f"i, literal, {text}"))
    found = [
        (i, Case(one, context, literal, text)) for i, literal, text in sorted(rows)
    ]
    try:
        values = dict(await conn.fetch(sql.format(f"i, {made}"), row_factory=tuple))
        for i, case in found:
            case.value = values[i]
    except Error:
        where = " and " if "where" in sql else " where "
        for i, case in found:
            try:
                one_sql = sql.format(made) + where + f"i = {i}"
                case.value = await conn.fetchval(one_sql)
            except Error as error:
                case.error = error
    return [case for _, case in found]


async def _equality(conn: Any, table: str, made: str) -> str:
    """SQL that compares p, what was sent, with e, the original."""
    sql = f"select count(({made}) = ({made})) from {table}"
    try:
        await conn.fetchval(sql)
    except UndefinedFunction:
        return "null::bool"
    # A value that does not equal itself, as a box with a NaN, is not to equal itself.
    return "(p = e) is not distinct from (e = e)"


async def _send(conn: Any, sql: str, cases: list[Case]) -> None:
    async def send(position: int, case: Case) -> None:
        if case.error is None:
            try:
                case.sent, case.equal = await conn.fetchrow(sql, [case.value, position])
            except (Error, TypeError, ValueError, OverflowError) as error:
                case.error = error

    await asyncio.gather(*(send(position, case) for position, case in enumerate(cases)))
