"""Row: a tuple that answers to names."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import weakref
from typing import Any

import pytest

from pgasync import Row, _core
from pgasync.rows import restore


async def one(conn: Any, sql: str) -> Any:
    return await conn.fetchrow(sql)


async def test_is_a_tuple(conn: Any) -> None:
    row = await one(conn, "select 1 as a, 'x' as b, null as c")
    assert isinstance(row, tuple)
    assert isinstance(row, Row)
    assert row == (1, "x", None)
    assert hash(row) == hash((1, "x", None))
    assert len(row) == 3
    a, b, c = row
    assert (a, b, c) == row
    assert row[0] == row[-3] == 1
    assert row[1:] == ("x", None)
    assert row < (2,)
    assert row + (4,) == (1, "x", None, 4)  # noqa: RUF005
    assert "x" in row


async def test_names(conn: Any) -> None:
    row = await one(conn, "select 1 as a, 'x' as b")
    assert row._fields == ("a", "b")
    assert (row["a"], row["b"], row.a, row.b) == (1, "x", 1, "x")
    assert row._asdict() == {"a": 1, "b": "x"}
    assert list(row._asdict()) == ["a", "b"]


async def test_missing(conn: Any) -> None:
    row = await one(conn, "select 1 as a")
    with pytest.raises(KeyError, match="z"):
        row["z"]
    with pytest.raises(AttributeError, match="z"):
        row.z  # noqa: B018
    with pytest.raises(IndexError):
        row[1]
    with pytest.raises(TypeError):
        row[1.5]
    assert getattr(row, "z", 5) == 5


async def test_immutable(conn: Any) -> None:
    row = await one(conn, "select 1 as a")
    with pytest.raises(TypeError):
        row[0] = 2
    with pytest.raises((AttributeError, TypeError)):
        row.a = 2


async def test_odd_names(conn: Any) -> None:
    row = await one(
        conn,
        'select 1 as class, 2 as "1st", 3 as "a b", 4 as "naïve",'
        """ 5 as "'; import os", 6 as "_x" """,
    )
    assert row["class"] == getattr(row, "class") == 1
    assert row["1st"] == 2
    assert row["a b"] == 3
    assert row["naïve"] == row.naïve == 4
    assert row["'; import os"] == 5
    assert row["_x"] == 6


async def test_names_of_tuple_methods(conn: Any) -> None:
    row = await one(conn, 'select 1 as count, 2 as index, 3 as "_fields"')
    assert (row["count"], row["index"], row["_fields"]) == (1, 2, 3)
    assert tuple(row) == (1, 2, 3)
    assert row._asdict() == {"count": 1, "index": 2, "_fields": 3}


async def test_duplicates(conn: Any) -> None:
    row = await one(conn, "select 1 as a, 2 as a, 3 as b")
    assert (row.a, row["a"], row.b) == (1, 1, 3)
    assert row._fields == ("a", "a", "b")
    assert tuple(row) == (1, 2, 3)


async def test_unnamed_columns(conn: Any) -> None:
    row = await one(conn, "select 1, 2")
    assert row == (1, 2)
    assert row["?column?"] == 1


async def test_no_columns(conn: Any) -> None:
    row = await one(conn, "select")
    assert row == ()
    assert row._fields == ()


async def test_pickle_and_copy(conn: Any) -> None:
    row = await one(conn, "select 1 as a, array[1, 2] as b")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(row, protocol))
        assert again == row
        assert (again.a, again["b"], again._fields) == (1, [1, 2], ("a", "b"))
        assert type(again) is type(row)
    assert copy.copy(row) == row
    deep = copy.deepcopy(row)
    assert deep == row
    assert deep.b is not row.b


async def test_type_is_shared(conn: Any) -> None:
    first = await one(conn, "select 1 as a, 2 as b")
    second = await one(conn, "select 3 as a, 4 as b from pg_class")
    other = await one(conn, "select 1 as b, 2 as a")
    assert type(first) is type(second)
    assert type(first) is not type(other)


async def test_repr(conn: Any) -> None:
    text = repr(await one(conn, "select 1 as a, 'x' as b"))
    assert "a=1" in text
    assert "b='x'" in text


def test_restore() -> None:
    row = restore(("a", "b"), (1, 2))
    assert (row.a, row["b"]) == (1, 2)


# Row has a deallocator of its own.


def test_rows_in_rows_end_at_any_depth() -> None:
    kind = _core.row_type(("a", "b"))

    class Subclass(kind):  # type: ignore[misc, valid-type]
        pass

    for make in (kind, Subclass):
        row = make((1, 2))
        for number in range(200_000):
            row = make((row, number))
        del row


def test_rows_let_go_of_their_type_and_values() -> None:
    kind = _core.row_type(("a", "b"))

    class Subclass(kind):  # type: ignore[misc, valid-type]
        pass

    value = object()
    for make in (kind, Subclass):
        before = sys.getrefcount(make), sys.getrefcount(value)
        rows = [make((number, value)) for number in range(1000)]
        during = sys.getrefcount(make), sys.getrefcount(value)
        assert (during[0] - before[0], during[1] - before[1]) == (1000, 1000)
        del rows
        assert (sys.getrefcount(make), sys.getrefcount(value)) == before


def test_rows_in_a_cycle_are_collected() -> None:
    kind = _core.row_type(("a", "b"))

    class Subclass(kind):  # type: ignore[misc, valid-type]
        pass

    class Value:
        pass

    for make in (kind, Subclass):
        value = Value()
        value.row = make((value, 1))  # type: ignore[attr-defined]
        gone = weakref.ref(value)
        del value
        gc.collect()
        assert gone() is None


def test_a_subclass_with_a_finalizer() -> None:
    class Subclass(Row):
        def __del__(self) -> None:
            seen.append(tuple(self))

    seen: list[tuple[Any, ...]] = []
    row = Subclass((1, [2]))
    row.more = row  # type: ignore[attr-defined]
    del row
    gc.collect()
    assert seen == [(1, [2])]
