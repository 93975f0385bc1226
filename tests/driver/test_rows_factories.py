"""row_factory: what rows are made into, by whom it is told, and what goes wrong."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import functools
import gc
import subprocess
import sys
import traceback
import typing
import weakref
from collections.abc import Callable
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

import pgasync
from pgasync import InterfaceError, ProgrammingError, Row, _core, errors, rows

SQL = "select g as id, 'n' || g as name from generate_series(1, 3) g order by 1"


@dataclasses.dataclass
class Data:
    id: int
    name: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backwards:
    name: str
    id: int = 0
    extra: float = 1.5


class Tuple(typing.NamedTuple):
    name: str
    id: int


class Struct(msgspec.Struct, frozen=True):
    id: int
    name: str


class Model(pydantic.BaseModel):
    id: int
    name: str


@pydantic.dataclasses.dataclass
class ModelData:
    id: int
    name: str


@attrs.define
class Attrs:
    _id: int
    title: str = attrs.field(alias="name")


class Dict(typing.TypedDict):
    id: int
    name: str


class Plain:
    def __init__(self, id: int, *rest: int, name: str) -> None:  # noqa: A002
        self.key = (id, rest, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and self.key == other.key

    @classmethod
    def swapped(cls, name: str, id: int) -> Plain:  # noqa: A002
        return cls(-id, name=name)


class Anything(collections.OrderedDict[str, Any]):
    pass


def pair(**columns: Any) -> list[tuple[str, Any]]:
    return [*columns.items()]


# A factory, and its row for (id, name).
KINDS: dict[str, tuple[Any, Callable[[int, str], Any]]] = {
    "Row": (Row, lambda i, n: (i, n)),
    "tuple": (tuple, lambda i, n: (i, n)),
    "tuple[]": (tuple[int, str], lambda i, n: (i, n)),
    "list": (list, lambda i, n: [i, n]),
    "dict": (dict, lambda i, n: {"id": i, "name": n}),
    "dict[]": (dict[str, Any], lambda i, n: {"id": i, "name": n}),
    "namedtuple": (rows.namedtuple, lambda i, n: (i, n)),
    "scalar": (rows.scalar, lambda i, n: i),
    "dataclass": (Data, Data),
    "kw_only": (Backwards, lambda i, n: Backwards(name=n, id=i)),
    "NamedTuple": (Tuple, lambda i, n: Tuple(n, i)),
    "TypedDict": (Dict, lambda i, n: {"id": i, "name": n}),
    "msgspec": (Struct, Struct),
    "pydantic": (Model, lambda i, n: Model(id=i, name=n)),
    "pydantic dataclass": (ModelData, ModelData),
    "attrs": (Attrs, lambda i, n: Attrs(i, n)),
    "class": (Plain, lambda i, n: Plain(i, name=n)),
    "method": (Plain.swapped, lambda i, n: Plain(-i, name=n)),
    "function": (pair, lambda i, n: [("id", i), ("name", n)]),
    "dict class": (Anything, lambda i, n: Anything(id=i, name=n)),
    "partial": (
        functools.partial(Backwards, extra=2.5),
        lambda i, n: Backwards(name=n, id=i, extra=2.5),
    ),
}
TYPES = {
    "Row": Row,
    "tuple": tuple,
    "namedtuple": tuple,
    "scalar": int,
    "TypedDict": dict,
    "dict": dict,
}


def same(made: list[Any], kind: str) -> None:
    """The rows are those of SQL, by that kind of factory."""
    expected = KINDS[kind][1]
    assert made == [expected(i, f"n{i}") for i in (1, 2, 3)]
    for row in made:
        if kind == "Row":
            assert isinstance(row, Row)
        elif kind == "namedtuple":
            assert (type(row).__name__, row._fields) == ("Row", ("id", "name"))
            assert not isinstance(row, Row)
            assert type(row) is type(made[0])
        else:
            assert type(row) is type(expected(1, ""))


kinds = pytest.mark.parametrize("kind", KINDS)


# Where it is given


@kinds
async def test_calls(conn: Any, kind: str) -> None:
    factory = KINDS[kind][0]
    same(await conn.fetch(SQL, row_factory=factory), kind)
    same(await conn.fetch(SQL, row_factory=factory), kind)
    same(await conn.fetch(SQL, timeout=20, row_factory=factory), kind)
    first = await conn.fetchrow(SQL, row_factory=factory)
    assert first == KINDS[kind][1](1, "n1")
    assert await conn.fetchrow(f"{SQL} limit 0", row_factory=factory) is None
    assert await conn.fetch(f"{SQL} limit 0", row_factory=factory) == []
    cur = await conn.execute(SQL, row_factory=factory)
    same([await cur.fetchone(), *await cur.fetchmany(1), *await cur.fetchall()], kind)
    same([row async for row in await conn.execute(SQL, row_factory=factory)], kind)
    assert isinstance(await conn.fetchrow(SQL), Row)


@kinds
async def test_cursor(conn: Any, kind: str) -> None:
    factory = KINDS[kind][0]
    cur = conn.cursor(row_factory=factory)
    assert cur.row_factory is factory
    same(await (await cur.execute(SQL)).fetchall(), kind)
    await cur.execute(SQL, row_factory=tuple)
    assert type(await cur.fetchone()) is tuple
    same(await (await cur.execute(SQL)).fetchall(), kind)
    cur.row_factory = None
    assert isinstance(await (await cur.execute(SQL)).fetchone(), Row)


@kinds
async def test_prepared(conn: Any, kind: str) -> None:
    factory = KINDS[kind][0]
    statement = await conn.prepare(SQL)
    same(await statement.fetch(row_factory=factory), kind)
    assert await statement.fetchrow(row_factory=factory) == KINDS[kind][1](1, "n1")
    cur = await statement.execute(row_factory=factory)
    same(await cur.fetchall(), kind)
    assert isinstance(await statement.fetchrow(), Row)
    assert await statement.fetchval() == 1


@kinds
async def test_connection(connect: Callable[..., Any], kind: str) -> None:
    conn = await connect(autocommit=True, row_factory=KINDS[kind][0])
    same(await conn.fetch(SQL), kind)
    assert await conn.fetchrow(SQL) == KINDS[kind][1](1, "n1")
    same(await (await conn.execute(SQL)).fetchall(), kind)
    same(await (await conn.cursor().execute(SQL)).fetchall(), kind)
    statement = await conn.prepare(SQL)
    same(await statement.fetch(), kind)
    assert await statement.fetchval() == 1
    assert "Function Scan" in await statement.explain()
    # What is told in another place counts more; what has no rows needs no factory.
    assert isinstance(await conn.fetchrow("select 1 as a", row_factory=Row), Row)
    assert await conn.fetchval("select 5 as a, 6 as b") == 5
    await conn.execute("create temp table t (id int)")
    await conn.executemany("insert into t values ($1) returning id as x", [[1], [2]])
    assert await conn.fetchval("set work_mem = '4MB'; select count(*) from t") == 2


async def test_without_statement_cache(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True, statement_cache_size=0)
    for _ in range(3):
        same(await conn.fetch(SQL, row_factory=Data), "dataclass")


@kinds
async def test_portal(conn: Any, kind: str) -> None:
    factory, core = KINDS[kind][0], conn._core
    async with conn.transaction():
        opened = await core.open_portal("p", SQL, None, 2, factory)
        assert opened.suspended
        last = await core.fetch_portal("p", opened.statement, 2, factory)
        same(opened.rows + last.rows, kind)


async def test_script(conn: Any) -> None:
    """fetch: the last statement's rows; a cursor has those of each."""
    script = f"select 1 as x; {SQL}"
    same(await conn.fetch(script, row_factory=Data), "dataclass")
    assert await conn.fetchrow(script, row_factory=Data) == Data(1, "n1")
    assert await conn.fetchval(script) == 1
    cur = await conn.execute(script, row_factory=dict)
    assert await cur.fetchall() == [{"x": 1}]
    assert await cur.nextset()
    same(await cur.fetchall(), "dict")
    with pytest.raises(ProgrammingError, match="'x'"):
        await conn.execute(script, row_factory=Data)
    assert await conn.fetchval("select 1") == 1


async def test_pipeline(conn: Any) -> None:
    """Each statement in flight has its own."""
    results = await asyncio.gather(
        *(conn.fetch(SQL, row_factory=KINDS[kind][0]) for kind in KINDS),
        conn.fetch("select 1 as a", row_factory=Data),
        conn.fetchval("select 7"),
        return_exceptions=True,
    )
    for kind, made in zip(KINDS, results, strict=False):
        same(made, kind)
    assert isinstance(results[-2], ProgrammingError)
    assert results[-1] == 7


async def test_types_met_at_decoding(connect: Callable[..., Any]) -> None:
    """Rows that wait for their types are made when these are there."""
    maker = await connect(autocommit=True)
    await maker.execute("create type rows_mood as enum ('sad', 'ok')")
    try:
        sql = "select 1 as id, row('ok'::rows_mood) as name from generate_series(1, 2)"
        for factory in (Data, dict, rows.namedtuple, Struct):
            conn = await connect(autocommit=True)
            one, two = await conn.fetch(sql, row_factory=factory)
            assert one == two
            conn = await connect(autocommit=True)
            assert await conn.fetchrow(sql, row_factory=factory) == one
            plain = await conn.fetchrow(sql, row_factory=tuple)
            assert plain[1] == (one["name"] if factory is dict else one.name)
    finally:
        await maker.execute("drop type rows_mood")


# Special cases of values and names


async def test_scalar_null(conn: Any) -> None:
    sql = "select nullif(g, 2) from generate_series(1, 3) g order by g"
    assert await conn.fetch(sql, row_factory=rows.scalar) == [1, None, 3]
    cur = await conn.execute(sql, row_factory=rows.scalar)
    assert [value async for value in cur] == [1, None, 3]


async def test_no_columns(conn: Any) -> None:
    sql = "select from generate_series(1, 2)"
    for factory, row in ((tuple, ()), (list, []), (dict, {}), (rows.scalar, None)):
        assert await conn.fetch(sql, row_factory=factory) == [row, row]
    assert await conn.fetch(sql, row_factory=rows.namedtuple) == [(), ()]
    assert await conn.fetch(sql, row_factory=collections.Counter) == [{}, {}]
    with pytest.raises(ProgrammingError, match="required fields 'id', 'name'"):
        await conn.fetch(sql, row_factory=Data)


async def test_dict_is_its_own(conn: Any) -> None:
    one, two = await conn.fetch(f"{SQL} limit 2", row_factory=dict)
    one["x"] = one.pop("id")
    assert two == {"id": 2, "name": "n2"}
    assert [*await conn.fetchrow(SQL, row_factory=dict)] == ["id", "name"]


async def test_many_columns(conn: Any) -> None:
    names = [f"c{i}" for i in range(1600)]
    sql = "select " + ", ".join(f"{i} as {name}" for i, name in enumerate(names))
    expected = dict(zip(names, range(1600), strict=True))
    assert await conn.fetchrow(sql, row_factory=dict) == expected
    assert await conn.fetchrow(sql, row_factory=pair) == [*expected.items()]
    made = await conn.fetchrow(sql, row_factory=rows.namedtuple)
    assert made._asdict() == expected


async def test_odd_names(conn: Any) -> None:
    sql = 'select 1 as "a b", 2 as class, 3 as "naïve", 4, 5 as "_x"'
    names = ["a b", "class", "naïve", "?column?", "_x"]
    assert [*await conn.fetchrow(sql, row_factory=dict)] == names
    assert [name for name, _ in await conn.fetchrow(sql, row_factory=pair)] == names
    made = await conn.fetchrow(sql, row_factory=rows.namedtuple)
    assert made._fields == ("_0", "_1", "naïve", "_3", "_4")


async def test_two_columns_of_one_name(conn: Any) -> None:
    sql = "select 1 as id, 2 as name, 3 as id, 4 as id, 5 as name"
    made = await conn.fetchrow(sql, row_factory=dict)
    assert [*made.items()] == [("id", 1), ("name", 2)]
    assert made == (await conn.fetchrow(sql))._asdict()
    assert await conn.fetchrow(sql, row_factory=list) == [1, 2, 3, 4, 5]
    for factory in (Data, Tuple, Struct, Model, Attrs, Dict, pair, rows.namedtuple):
        with pytest.raises(ProgrammingError) as info:
            await conn.fetch(sql, row_factory=factory)
        assert "more than one column is named 'id', 'name'" in str(info.value)
        assert "AS name" in str(info.value)
    assert await conn.fetchval("select 1") == 1


class Aliased(pydantic.BaseModel):
    key: int = pydantic.Field(alias="id")
    name: str = pydantic.Field(
        "none",
        validation_alias=pydantic.AliasChoices(
            "title", pydantic.AliasPath("names", 0), "name"
        ),
    )


class Populated(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True, extra="allow")
    key: int = pydantic.Field(alias="id")


class Own(pydantic.BaseModel):
    id: int

    def __init__(self, number: int) -> None:
        super().__init__(id=number)


class Root(pydantic.RootModel[dict[str, int]]):
    pass


async def test_pydantic(conn: Any) -> None:
    async def one(sql: str, model: Any) -> Any:
        return await conn.fetchrow(sql, row_factory=model)

    assert (await one("select '7' as id, 'x' as name", Model)).id == 7
    assert (await one("select 1 as id", Aliased)).key == 1
    assert (await one("select 1 as id, 'x' as title", Aliased)).name == "x"
    assert (await one("select 1 as id, array['y'] as names", Aliased)).name == "y"
    with pytest.raises(ProgrammingError, match=r"field 'key'.* column 'key'"):
        await one("select 1 as key", Aliased)
    made = await one("select 1 as key, 2 as more", Populated)
    assert (made.key, made.more) == (1, 2)
    assert (await one("select 1 as id", Populated)).key == 1
    with pytest.raises(ProgrammingError, match="required field 'key'"):
        await one("select 1 as other", Populated)
    assert (await one("select 1 as number", Own)).id == 1
    assert (await one("select 1 as a, 2 as b", Root)).root == {"a": 1, "b": 2}


# What does not fit


@pytest.mark.parametrize("factory", [Data, Tuple, Struct, Model, ModelData, Attrs])
async def test_mismatch(conn: Any, factory: Any) -> None:
    async def message(sql: str) -> str:
        with pytest.raises(ProgrammingError) as info:
            await conn.fetch(sql, row_factory=factory)
        assert type(info.value) is ProgrammingError
        assert factory.__name__ in str(info.value)
        return str(info.value)

    text = await message("select 1 as id, 2 as nam, 3 as x")
    assert "required field 'name'" in text
    assert "no field for the columns 'nam', 'x'" in text
    assert "AS name" in text
    text = await message("select 1 as id")
    assert "required field 'name'" in text
    assert "no field" not in text
    assert "default" in text
    text = await message("select 1 as id, 'x' as name, 3 as more where false")
    assert "no field for the column 'more'" in text
    assert "required" not in text
    assert await conn.fetchval("select 1") == 1


async def test_mismatch_of_functions(conn: Any) -> None:
    def takes(first: int, /, second: int) -> None: ...

    with pytest.raises(ProgrammingError, match=r"'first', 'second'.* 'id', 'name'"):
        await conn.fetch(SQL, row_factory=takes)
    with pytest.raises(ProgrammingError, match=r"takes: no column for the"):
        await conn.fetch("select 1 as second", row_factory=takes)
    with pytest.raises(ProgrammingError, match="required field 'id'"):
        await conn.fetch("select 'x' as name", row_factory=Dict)
    with pytest.raises(TypeError):  # it has no signature to be looked at
        await conn.fetch("select 'x' as name", row_factory=int)
    assert await conn.fetchval("select 1") == 1


async def test_mismatch_runs_nothing(connect: Callable[..., Any]) -> None:
    """It is noticed before the statement runs, and ends no transaction."""
    conn = await connect()
    await conn.execute("create temp table t (id int)")
    insert = "insert into t values (1) returning id as x"
    for _ in range(2):
        with pytest.raises(ProgrammingError):
            await conn.fetch(insert, row_factory=Data)
    assert await conn.fetchval("select count(*) from t") == 0
    await conn.execute(insert)
    with pytest.raises(ProgrammingError):
        await conn.fetch(insert, row_factory=Data)
    assert await conn.fetchval("select count(*) from t") == 1
    await conn.commit()
    for _ in range(2):
        with pytest.raises(ProgrammingError):
            await conn.fetch("select 1 as x", row_factory=Data)
        assert conn.info.transaction_status != "E"
    same(await conn.fetch(SQL, row_factory=Data), "dataclass")


async def test_no_factory(conn: Any, dsn: str) -> None:
    for wrong in (5, "dict", object()):
        with pytest.raises(InterfaceError, match="row_factory is None, a class"):
            await conn.fetch(SQL, row_factory=wrong)
        with pytest.raises(InterfaceError, match="row_factory is None, a class"):
            await conn.cursor(row_factory=wrong).execute(SQL)
        with pytest.raises(InterfaceError, match="row_factory is None"):
            await pgasync.connect(dsn, row_factory=wrong)


# Compiled once


class Counted:
    """A factory that counts how often it is looked at and called."""

    def __init__(self) -> None:
        self.looked = self.called = 0

    @property
    def __signature__(self) -> Any:
        import inspect

        self.looked += 1
        return inspect.signature(Data)

    def __call__(self, **columns: Any) -> Data:
        self.called += 1
        return Data(**columns)


async def test_compiled_once(conn: Any) -> None:
    counted = Counted()
    for _ in range(3):
        same(await conn.fetch(SQL, row_factory=counted), "dataclass")
        await conn.fetchrow(SQL, row_factory=counted)
        await conn.execute(SQL, row_factory=counted)
        await conn.fetch(SQL, row_factory=dict)
    assert (counted.looked, counted.called) == (1, 21)
    await conn.fetchval(f"{SQL} limit 1")
    await conn.fetch(f"{SQL} limit 1", row_factory=counted)
    assert counted.looked == 2


async def test_many_factories(conn: Any) -> None:
    """Those made anew for every call do not pile up."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    for _ in range(200):
        factory = functools.partial(Data)
        alive.add(factory)
        same(await conn.fetch(SQL, row_factory=factory), "dataclass")
    del factory
    assert len(alive) <= 16
    same(await conn.fetch(SQL, row_factory=Data), "dataclass")


async def test_columns_that_change(conn: Any) -> None:
    """Columns that do not fit (any more) are asked for again."""
    await conn.execute("create temp table t as select 1 as id, 'n1' as name")
    assert await conn.fetch("select * from t", row_factory=Data) == [Data(1, "n1")]
    await conn.execute("alter table t add extra float8 default 0.5")
    wanted = Backwards(name="n1", id=1, extra=0.5)
    assert await conn.fetch("select * from t", row_factory=Backwards) == [wanted]
    with pytest.raises(ProgrammingError, match="'extra'"):
        await conn.fetch("select * from t", row_factory=Data)
    statement = await conn.prepare("select * from t")
    await conn.execute("alter table t drop extra")
    assert await statement.fetch(row_factory=Data) == [Data(1, "n1")]
    assert await conn.fetch("select * from t", row_factory=Data) == [Data(1, "n1")]
    assert await conn.fetch("select * from t", row_factory=dict) == [
        {"id": 1, "name": "n1"}
    ]


# Errors of the class


def refuse(id: int, name: str) -> int:  # noqa: A002
    if id == 2:
        raise LookupError("two")
    return id


class Broken(BaseException):
    pass


async def test_error_as_it_is(conn: Any) -> None:
    calls = (
        conn.fetch(SQL, row_factory=refuse),
        conn.execute(SQL, row_factory=refuse),
        conn.fetchrow(f"{SQL} offset 1", row_factory=refuse),
    )
    for call in calls:
        with pytest.raises(LookupError, match="two") as info:
            await call
        assert traceback.extract_tb(info.tb)[-1].name == "refuse"
        assert await conn.fetchval("select 1") == 1
    # Only the first row is made.
    assert await conn.fetchrow(SQL, row_factory=refuse) == 1
    with pytest.raises(pydantic.ValidationError):
        await conn.fetch("select 'x' as id, 'y' as name", row_factory=Model)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await conn.fetch(SQL, row_factory=lambda **row: next(iter(())))
    with pytest.raises(errors.DivisionByZero):
        await conn.fetch(
            "select 1 / (2 - g) as id from generate_series(1, 2) g", row_factory=pair
        )

    def broken(**columns: Any) -> None:
        raise Broken

    with pytest.raises(Broken):
        await conn.fetch(SQL, row_factory=broken)
    same(await conn.fetch(SQL, row_factory=Data), "dataclass")


async def test_error_while_looking(conn: Any) -> None:
    class Odd:
        @property
        def __signature__(self) -> Any:
            raise LookupError("no signature")

        def __call__(self, **columns: Any) -> Any:
            return columns

    with pytest.raises(LookupError, match="no signature"):
        await conn.fetch(SQL, row_factory=Odd())
    assert await conn.fetchval("select 1") == 1


async def test_error_in_transaction(connect: Callable[..., Any]) -> None:
    """The statement has run; the transaction goes on."""
    conn = await connect()
    await conn.execute("create temp table t (id int, name text)")
    with pytest.raises(LookupError):
        await conn.fetch(
            "insert into t values (1, 'a'), (2, 'b') returning *", row_factory=refuse
        )
    assert conn.info.transaction_status == "T"
    assert await conn.fetchval("select count(*) from t") == 2


# Factories that do more than make a row


async def test_factory_uses_the_connection(conn: Any) -> None:
    started: list[Any] = []

    def more(**row: Any) -> Any:
        started.append(conn._core.execute(f"select {row['id']} * 10", None, 3))
        return row["id"]

    assert await conn.fetch(SQL, row_factory=more) == [1, 2, 3]
    assert [await one for one in started] == [10, 20, 30]


async def test_factory_starts_tasks(conn: Any) -> None:
    tasks: list[Any] = []

    def more(**row: Any) -> Any:
        tasks.append(asyncio.ensure_future(conn.fetchval(f"select {row['id']}")))
        coroutine = conn.execute("select 1")
        coroutine.close()
        return row["id"]

    assert await conn.fetch(SQL, row_factory=more) == [1, 2, 3]
    assert await asyncio.gather(*tasks) == [1, 2, 3]


@pytest.mark.parametrize("method", ["fetch", "fetchrow", "execute"])
async def test_factory_closes(connect: Callable[..., Any], method: str) -> None:
    conn = await connect(autocommit=True)
    made: list[Any] = []

    def close(**row: Any) -> Any:
        made.append(row)
        conn.terminate()
        return row

    with pytest.raises(pgasync.Error):
        await getattr(conn, method)(SQL, row_factory=close)
    assert (len(made), conn.closed) == (1, True)


class Looked(Counted):
    """Runs a function when it is looked at."""

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__()
        self.function = function

    @property
    def __signature__(self) -> Any:
        self.function()
        return super().__signature__


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("ahead", [0, 2])
async def test_look_closes(
    connect: Callable[..., Any], known: bool, ahead: int
) -> None:
    """Whether the statement is new or known, sent at once or in its turn."""
    conn = await connect(autocommit=True)
    if known:
        await conn.fetch(SQL)
    others = [asyncio.ensure_future(conn.fetchval(f"select {n}")) for n in range(ahead)]
    await asyncio.sleep(0)
    factory = Looked(conn.terminate)
    with pytest.raises(pgasync.Error):
        await conn.fetch(SQL, row_factory=factory)
    await asyncio.gather(*others, return_exceptions=True)
    assert (factory.looked, conn.closed) == (1, True)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("ahead", [0, 2])
async def test_look_cancels(conn: Any, known: bool, ahead: int) -> None:
    if known:
        await conn.fetch(SQL)
    others = [asyncio.ensure_future(conn.fetchval(f"select {n}")) for n in range(ahead)]
    factory = Looked(lambda: task.cancel())
    task = asyncio.ensure_future(conn.fetch(SQL, row_factory=factory))
    later = asyncio.ensure_future(conn.fetchval("select 5"))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.gather(*others, later) == [*range(ahead), 5]
    same(await conn.fetch(SQL, row_factory=Data), "dataclass")
    assert factory.looked == 1


@pytest.mark.parametrize("known", [True, False])
async def test_look_starts_others(conn: Any, known: bool) -> None:
    if known:
        await conn.fetch(SQL)
    tasks: list[Any] = []
    started: list[Any] = []

    def start() -> None:
        started.append(conn._core.execute("select 6", None, 3))
        tasks.append(asyncio.ensure_future(conn.fetchval("select 7")))

    same(await conn.fetch(SQL, row_factory=Looked(start)), "dataclass")
    assert [await started[0], await tasks[0]] == [6, 7]


@pytest.mark.parametrize("do", ["close", "cancel"])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("ahead", [0, 2])
async def test_encoder(
    connect: Callable[..., Any], do: str, known: bool, ahead: int
) -> None:
    """The same of a codec: it, too, runs while a request is encoded."""
    conn = await connect(autocommit=True)
    done: list[str] = []

    def dumps(value: Any) -> str:
        if "now" in value:
            done.append(do)
            conn.terminate() if do == "close" else task.cancel()
        return "1"

    conn._core.configure({"json_dumps": dumps})
    sql = "select $1::jsonb"
    if known:
        await conn.fetch(sql, [{}])
    others = [asyncio.ensure_future(conn.fetchval(f"select {n}")) for n in range(ahead)]
    task = asyncio.ensure_future(conn.fetch(sql, [{"now": 1}]))
    with pytest.raises((pgasync.Error, asyncio.CancelledError)):
        await task
    await asyncio.gather(*others, return_exceptions=True)
    assert (done, conn.closed) == ([do], do == "close")
    if do == "cancel":
        assert await conn.fetchval(sql, [{}]) == 1


@pytest.mark.parametrize("method", ["fetch", "fetchrow", "execute"])
async def test_factory_cancels(conn: Any, method: str) -> None:
    def cancel(**row: Any) -> Any:
        task.cancel()
        return row

    task = asyncio.ensure_future(getattr(conn, method)(SQL, row_factory=cancel))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await conn.fetchval("select 1") == 1


async def test_factory_forgets_the_statement(conn: Any) -> None:
    """What the maker lies in goes away while it is used."""
    fresh: list[Any] = []

    def make() -> Any:
        def forget(**row: Any) -> Any:
            fresh.append(conn._core.query("deallocate all"))
            conn._core.drop_codecs()
            gc.collect()
            return row["id"]

        return forget

    for _ in range(3):
        assert await conn.fetch(SQL, row_factory=make()) == [1, 2, 3]
        for operation in fresh:
            await operation
        fresh.clear()


# Leaks


class Value:
    pass


async def settle() -> None:
    await asyncio.sleep(0)
    gc.collect()


@kinds
async def test_references(conn: Any, kind: str) -> None:
    """Rows belong to the caller alone; the factory to the statement, once."""
    factory = KINDS[kind][0]
    await conn.fetch(SQL, row_factory=factory)
    made = await conn.fetch(SQL, row_factory=factory)
    await settle()  # until then the task runs inside of the request's end
    counts = sys.getrefcount(made), sys.getrefcount(made[0])
    assert counts[0] == 2
    assert counts[1] == 2 or kind == "scalar"  # small integers are everybody's
    del made
    before = sys.getrefcount(factory)
    for _ in range(50):
        await conn.fetch(SQL, row_factory=factory)
        await conn.fetchrow(SQL, row_factory=factory)
        await conn.execute(SQL, row_factory=factory)
    await settle()
    assert sys.getrefcount(factory) - before < 10


async def test_rows_of_errors_are_freed(conn: Any) -> None:
    alive: weakref.WeakSet[Value] = weakref.WeakSet()

    def make(**row: Any) -> Value:
        value = Value()
        alive.add(value)
        if row["id"] == 3:
            raise LookupError
        return value

    for method in (conn.fetch, conn.execute):
        with contextlib.suppress(LookupError):
            await method(SQL, row_factory=make)
    await settle()
    assert not alive


async def test_objects_are_freed(connect: Callable[..., Any]) -> None:
    """A factory that knows its connection is collected with it."""
    await settle()
    live = _core.live_objects()

    async def use() -> weakref.ref[Any]:
        conn = await connect(autocommit=True)

        def make(**row: Any) -> Any:
            return (conn, keep, row)

        keep = await conn.prepare(SQL)
        await keep.fetch(row_factory=make)
        await conn.fetch(SQL, row_factory=make)
        await conn.close()
        return weakref.ref(make)

    made = await use()
    factory = connect.__closure__  # the fixture holds what it opened
    assert factory is not None
    for cell in factory:
        if isinstance(cell.cell_contents, list):
            cell.cell_contents.clear()
    await settle()
    assert made() is None
    assert _core.live_objects() <= live


# Without a server


def test_makers() -> None:
    """In the order of its fields a class takes values by position."""
    names = ("id", "name")

    def style(factory: Any, columns: tuple[str, ...] = names) -> int:
        made = rows.compile_maker(factory, columns)
        assert made[0] is factory
        return made[1]

    assert style(Data) == style(Struct) == _core.ROW_STAR
    assert style(Attrs) == style(ModelData) == _core.ROW_STAR
    assert style(Data, ("name", "id")) == style(Backwards) == _core.ROW_KEYWORDS
    assert style(Model) == style(pair) == style(Plain) == _core.ROW_KEYWORDS
    assert style(Tuple) == _core.ROW_KEYWORDS
    assert style(Tuple, ("name", "id")) == style(rows.namedtuple) == _core.ROW_STAR
    assert style(dict) == style(Dict) == style(dict[str, int]) == _core.ROW_DICT
    assert style(list) == style(tuple[int, str]) == _core.ROW_CALL
    assert style(rows.scalar) == _core.ROW_SCALAR


def test_classes_are_not_kept() -> None:
    class Local(Data):
        pass

    gone = weakref.ref(Local)
    rows.compile_maker(Local, ("id", "name"))
    del Local
    gc.collect()
    assert gone() is None


def test_called_directly() -> None:
    assert rows.scalar(1, 2) == 1
    assert rows.scalar() is None
    assert rows.namedtuple(a=1, b=2).b == 2


TYPED = """
from dataclasses import dataclass
from typing import Any, NamedTuple, assert_type
import msgspec, pydantic, pgasync
from pgasync.rows import namedtuple, scalar

@dataclass
class Data:
    id: int

class Tuple(NamedTuple):
    id: int

class Struct(msgspec.Struct):
    id: int

class Model(pydantic.BaseModel):
    id: int

def make(id: int) -> str:
    return str(id)

async def check(conn: pgasync.Connection) -> None:
    assert_type(await conn.fetch("x"), list[Any])
    assert_type(await conn.fetch("x", row_factory=Data), list[Data])
    assert_type(await conn.fetch("x", [1], row_factory=Tuple), list[Tuple])
    assert_type(await conn.fetch("x", row_factory=Struct), list[Struct])
    assert_type(await conn.fetch("x", row_factory=Model), list[Model])
    assert_type(await conn.fetch("x", row_factory=make), list[str])
    assert_type(await conn.fetch("x", row_factory=dict), list[dict[str, Any]])
    assert_type(await conn.fetch("x", row_factory=tuple), list[tuple[Any, ...]])
    assert_type(await conn.fetch("x", row_factory=pgasync.Row), list[pgasync.Row])
    assert_type(await conn.fetch("x", row_factory=scalar), list[Any])
    assert_type(await conn.fetch("x", row_factory=namedtuple), list[Any])
    assert_type(await conn.fetchrow("x", row_factory=Data), Data | None)
    assert_type(await conn.fetchrow("x", row_factory=dict), dict[str, Any] | None)
    statement = await conn.prepare("x")
    assert_type(await statement.fetch(row_factory=Data), list[Data])
    assert_type(await statement.fetchrow(row_factory=Data), Data | None)
    await conn.execute("x", row_factory=Data)
    conn.cursor(row_factory=Data)
"""


def test_typing() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            "--python-version=3.11",
            "-c",
            TYPED,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
