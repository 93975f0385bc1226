"""transaction(settings=…): SET LOCAL in the flight of the first statement."""

from __future__ import annotations

import enum
import io
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

import pgasync
from pgasync import errors
from pgasync.settings import Settings

Connect = Callable[..., Any]
SHOW = "select current_setting($1, true)"


async def shown(conn: Any, name: str = "app.user_id") -> Any:
    return await conn.fetchval(SHOW, [name])


@pytest.fixture
async def role(conn: Any) -> AsyncIterator[str]:
    name = "settings_test"
    await conn.execute(f"drop role if exists {name}")
    await conn.execute(f"create role {name}")
    yield name
    await conn.execute(f"drop role {name}")


def flights(conn: Any) -> tuple[io.StringIO, Callable[[], int]]:
    """How often the client has spoken since; all it says goes into the trace."""
    out = io.StringIO()
    conn.trace(out, timestamps=False)

    def count() -> int:
        sides = [line.split("\t")[0] for line in out.getvalue().splitlines()]
        return sum(
            side == "F" and (at == 0 or sides[at - 1] == "B")
            for at, side in enumerate(sides)
        )

    return out, count


async def test_settings_last_as_long_as_the_transaction(conn: Any) -> None:
    for user in (42, 43):
        async with conn.transaction(settings={"app.user_id": user}):
            assert await shown(conn) == str(user)
        assert await shown(conn) in (None, "")
    with pytest.raises(ZeroDivisionError):
        async with conn.transaction(settings={"app.user_id": 44}):
            assert await shown(conn) == "44"
            raise ZeroDivisionError
    assert await shown(conn) in (None, "")


async def test_they_travel_with_begin(conn: Any) -> None:
    await conn.fetchval("select 1")
    _, count = flights(conn)
    async with conn.transaction(settings={"app.user_id": 1, "work_mem": "5MB"}):
        assert await conn.fetchval("select 1") == 1
        assert count() == 1
        assert await shown(conn, "work_mem") == "5MB"
    conn.untrace()


async def test_a_block_without_statements_sends_nothing(conn: Any) -> None:
    out, _ = flights(conn)
    async with conn.transaction(settings={"app.user_id": 1}):
        pass
    assert out.getvalue() == ""
    conn.untrace()
    assert await shown(conn) in (None, "")


class Kind(enum.Enum):
    ADMIN = "it's; drop table \\ t"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        ("", ""),
        ("'); select 1 --", "'); select 1 --"),
        ("grüße 🐘", "grüße 🐘"),
        (-5, "-5"),
        (2.5, "2.5"),
        (True, "true"),
        (False, "false"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Kind.ADMIN, "it's; drop table \\ t"),
    ],
)
async def test_values(conn: Any, value: object, text: str) -> None:
    async with conn.transaction(settings={"app.value": value}):
        assert await shown(conn, "app.value") == text


async def test_none_is_the_default(connect: Connect) -> None:
    conn = await connect(autocommit=True, server_settings={"work_mem": "7MB"})
    await conn.execute("set work_mem = '6MB'")
    async with conn.transaction(settings={"work_mem": None}):
        assert await shown(conn, "work_mem") == "7MB"
    assert await shown(conn, "work_mem") == "6MB"


async def test_settings_of_the_server(conn: Any, role: str) -> None:
    chosen = {"statement_timeout": "5s", "enable_seqscan": False, "role": role}
    async with conn.transaction(isolation="serializable", settings=chosen):
        assert await conn.fetchval("select current_user") == role
        assert await shown(conn, "statement_timeout") == "5s"
        assert await shown(conn, "enable_seqscan") == "off"
        assert await shown(conn, "transaction_isolation") == "serializable"
    assert await conn.fetchval("select current_user") != role
    assert await shown(conn, "statement_timeout") == "0"


async def test_search_path(conn: Any) -> None:
    """A statement that is prepared reads the table of the schema of its time."""
    for schema, column in (("settings_a", "int"), ("settings_b", "text")):
        await conn.execute(f"drop schema if exists {schema} cascade")
        await conn.execute(f"create schema {schema}")
        await conn.execute(f"create table {schema}.t (x {column})")
        await conn.execute(f"insert into {schema}.t values ('7')")
    try:
        for turn in range(3):
            for path, value in (("settings_a", 7), ("settings_b", "7")):
                async with conn.transaction(settings={"Search_Path": path}):
                    if turn > 0:  # it counts where it has once made a difference
                        assert await conn.fetchval("select 1") == 1
                    assert await conn.fetchval("select x from t") == value
            with pytest.raises(errors.UndefinedTable):
                await conn.fetchval("select x from t")
    finally:
        await conn.execute("drop schema settings_a, settings_b cascade")


@pytest.mark.parametrize(
    ("settings", "cls", "words"),
    [
        ({"no_such_setting": 1}, errors.UndefinedObject, "no_such_setting"),
        ({"work_mem": "much"}, errors.InvalidParameterValue, "work_mem"),
        ({"role": "nobody_is_called_so"}, errors.InvalidParameterValue, "role"),
        ({"shared_buffers": "1MB"}, errors.CantChangeRuntimeParam, "shared_buffers"),
    ],
)
async def test_an_error_comes_with_the_first_statement(
    conn: Any, settings: dict[str, Any], cls: type[Exception], words: str
) -> None:
    await conn.execute("create temp table if not exists ran (n int)")
    with pytest.raises(cls, match=words) as caught:
        async with conn.transaction(settings={"app.user_id": 1, **settings}):
            await conn.execute("insert into ran values (1)")
    error: Any = caught.value
    assert error.safe_to_retry and error.outcome == "failed"
    assert "set_config" in error.query and "did not run" in str(error)
    assert await conn.fetchval("select count(*) from ran") == 0
    assert conn.info.transaction_status == "I"


async def test_begin_that_is_refused(conn: Any) -> None:
    conn._core.begin("BEGIN nonsense")
    with pytest.raises(errors.SyntaxError, match="nonsense") as caught:
        await conn.execute("select 1")
    assert caught.value.query == "BEGIN nonsense" and caught.value.safe_to_retry


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"": 1}, "not a name"),
        ({"a b": 1}, "not a name"),
        ({"app.": 1}, "not a name"),
        ({"x;y": 1}, "not a name"),
        ({5: 1}, "not a name"),
        ({"app.x": b"x"}, "'app.x' is a bytes"),
        ({"app.x": [1]}, "'app.x' is a list"),
        ({"app.x": "a\0b"}, "NUL"),
        ({"Client_Encoding": "LATIN1"}, "UTF8"),
        ({"transaction_isolation": "serializable"}, "isolation="),
        ([("a", 1)], "mapping"),
    ],
)
def test_what_cannot_be_a_setting(settings: Any, words: str) -> None:
    with pytest.raises(pgasync.InterfaceError, match=words):
        Settings(settings)


async def test_a_value_that_is_no_utf8(conn: Any) -> None:
    with pytest.raises(pgasync.ProgrammingError, match="UTF-8"):
        async with conn.transaction(settings={"app.x": "\ud800"}):
            await conn.execute("select 1")
    assert await shown(conn) in (None, "")


async def test_in_a_savepoint(conn: Any, role: str) -> None:
    """They end with it, whether it is kept or not."""
    settings = {"app.user_id": 2, "work_mem": "9MB", "role": role}
    before = await shown(conn, "work_mem")
    async with conn.transaction(settings={"app.user_id": 1}):
        async with conn.transaction(settings=settings):
            assert await shown(conn) == "2"
            assert await conn.fetchval("select current_user") == role
        assert await shown(conn) == "1"
        assert await shown(conn, "work_mem") == before
        assert await conn.fetchval("select current_user") != role
        with pytest.raises(ZeroDivisionError):
            async with conn.transaction(settings={"app.user_id": 3, "app.new": "x"}):
                assert await shown(conn) == "3"
                raise ZeroDivisionError
        assert await shown(conn) == "1"
        assert await shown(conn, "app.new") in (None, "")
        with pytest.raises(errors.UndefinedObject):
            async with conn.transaction(settings={"no_such_setting": 1}):
                raise AssertionError("never reached")
        assert await shown(conn) == "1"
    assert await shown(conn) in (None, "")


async def test_a_savepoint_in_a_block_that_has_sent_nothing(conn: Any) -> None:
    async with conn.transaction(settings={"app.user_id": 1}):
        async with conn.transaction(settings={"app.user_id": 2}):
            assert await shown(conn) == "2"
        assert await shown(conn) == "1"


async def test_first_of_all_a_script(conn: Any) -> None:
    async with conn.transaction(settings={"app.user_id": 5}):
        await conn.execute("create temp table s (n int); insert into s values (1)")
        assert await shown(conn) == "5"
    assert await shown(conn) in (None, "")


async def test_first_of_all_a_copy(conn: Any) -> None:
    await conn.execute(
        "create temp table c (who text default current_setting('app.user_id'), n int)"
    )
    async with conn.transaction(settings={"app.user_id": 6}):
        await conn.copy_records_to_table("c", records=[(1,)], columns=["n"])
    async with (
        conn.transaction(settings={"app.user_id": 7}),
        conn.copy("copy c (n) from stdin") as copy,
    ):
        await copy.write(b"2\n")
    assert await conn.fetch("select who, n from c order by n", row_factory=tuple) == [
        ("6", 1),
        ("7", 2),
    ]
    async with conn.transaction(settings={"app.user_id": 8}):
        out = io.BytesIO()
        query = "select current_setting('app.user_id')"
        await conn.copy_from_query(query, output=out)
        assert out.getvalue() == b"8\n"
    with pytest.raises(errors.UndefinedObject):
        async with conn.transaction(settings={"no_such_setting": 8}):
            await conn.copy_from_query("select 1", output=io.BytesIO())


async def test_simple_queries_are_refused_while_settings_are_due(conn: Any) -> None:
    core = conn._core
    core.begin(Settings({"app.user_id": 1}).behind("BEGIN"))
    assert core.settings_due
    with pytest.raises(pgasync.InterfaceError, match="settings"):
        await core.query("select 1")
    assert core.settings_due
    await core.rollback()
    assert not core.settings_due


@pytest.mark.parametrize(
    "begin",
    [None, 5, ("BEGIN",), ("BEGIN", 1, ()), ("BEGIN", "x", (1,)), ("a", "b", [])],
)
async def test_begin_checks_what_it_is_given(conn: Any, begin: Any) -> None:
    with pytest.raises(pgasync.ProgrammingError, match="BEGIN is a str"):
        conn._core.begin(begin)


async def test_in_front_of_streams_pipelines_and_many(conn: Any) -> None:
    async with conn.transaction(settings={"app.user_id": 1}):
        assert [row async for row in conn.stream(SHOW, ["app.user_id"])] == [("1",)]
    async with conn.transaction(settings={"app.user_id": 2}):
        async with conn.pipeline() as p:
            first = p.fetchval(SHOW, ["app.user_id"])
        assert await first == "2"
    await conn.execute("create temp table m (who text, n int)")
    async with conn.transaction(settings={"app.user_id": 3}):
        await conn.executemany(
            "insert into m values (current_setting('app.user_id'), $1)", [(1,), (2,)]
        )
    assert await conn.fetch("select * from m", row_factory=tuple) == [
        ("3", 1),
        ("3", 2),
    ]


async def test_a_stale_first_statement_has_them_again(conn: Any) -> None:
    await conn.execute("create temp table st (n int)")
    await conn.execute("insert into st values (1)")
    query = "select *, current_setting('app.user_id') from st"
    async with conn.transaction(settings={"app.user_id": 1}):
        assert tuple(await conn.fetchrow(query)) == (1, "1")
    await conn._core.query("alter table st add b int default 2")
    async with conn.transaction(settings={"app.user_id": 2}):
        assert tuple(await conn.fetchrow(query)) == (1, 2, "2")
    await conn._core.query("deallocate all")
    async with conn.transaction(settings={"app.user_id": 3}):
        assert tuple(await conn.fetchrow(query)) == (1, 2, "3")


async def test_without_autocommit(connect: Connect) -> None:
    conn = await connect()
    async with conn.transaction(settings={"app.user_id": 1}):
        assert await shown(conn) == "1"
    assert await shown(conn) in (None, "")
