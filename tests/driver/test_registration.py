"""set_type_codec, register_enum, register_composite, and TypeRegistry."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

import pgasync
import pgmock
from pgasync.errors import DataError

SETUP = (
    "create type mood as enum ('sad', 'happy')",
    "create type pair as (a int, b text)",
    "create type family as (head pair, others pair[], mood mood)",
    "create domain feeling as mood",
    "create type moodrange as range (subtype = mood)",
    "create extension if not exists citext with schema public",
)


class Mood(enum.Enum):
    SAD = "sad"
    HAPPY = "happy"


class Loud(enum.Enum):
    sad = 1
    happy = 2


class StrMood(str, enum.Enum):
    SAD = "sad"
    HAPPY = "happy"


@dataclasses.dataclass
class Pair:
    a: int
    b: str


class PairTuple(NamedTuple):
    a: int
    b: str


@dataclasses.dataclass
class Family:
    head: Pair
    others: list[Pair]
    mood: Mood


@pytest.fixture
async def schema(connect: Callable[..., Any]) -> AsyncIterator[str]:
    name = f"registered_{uuid.uuid4().hex[:12]}"
    conn = await connect(autocommit=True)
    await conn.execute(f"create schema {name}")
    await conn.execute(f"set search_path = {name}, public")
    for command in SETUP:
        await conn.execute(command)
    yield name
    await conn.execute(f"drop schema {name} cascade")


@pytest.fixture
def open_in(connect: Callable[..., Any], schema: str) -> Callable[..., Any]:
    async def factory(**keywords: Any) -> Any:
        settings = {"search_path": f"{schema}, public"}
        return await connect(server_settings=settings, autocommit=True, **keywords)

    return factory


class TestEnum:
    @pytest.mark.parametrize("cls", [Mood, Loud, StrMood])
    async def test_by_names_or_values(
        self, open_in: Callable[..., Any], cls: Any
    ) -> None:
        conn = await open_in()
        await conn.register_enum(cls, "mood")
        sad, happy = cls
        assert await conn.fetchval("select 'sad'::mood") is sad
        assert await conn.fetchval("select $1::mood::text", [happy]) == "happy"
        assert await conn.fetchval("select $1::mood", ["happy"]) is happy

    async def test_everything_made_of_it_follows(
        self, open_in: Callable[..., Any]
    ) -> None:
        conn = await open_in()
        assert await conn.fetchval("select array['sad'::mood]") == ["sad"]
        await conn.register_enum(Mood)
        value = [[Mood.SAD, None], [Mood.HAPPY, Mood.HAPPY]]
        assert await conn.fetchval("select $1::mood[]", [value]) == value
        assert await conn.fetchval("select $1::feeling", [Mood.SAD]) is Mood.SAD
        row = await conn.fetchval("select $1::family", [(None, [], Mood.SAD)])
        assert row.mood is Mood.SAD
        span = await conn.fetchval("select moodrange('sad', 'happy')")
        assert span.lower is Mood.SAD and span.upper is Mood.HAPPY
        assert await conn.fetchval("select $1::moodrange", [span]) == span

    async def test_mapping(self, open_in: Callable[..., Any]) -> None:
        class Feeling(enum.IntEnum):
            DOWN = 0
            UP = 1

        conn = await open_in()
        with pytest.raises(pgasync.ProgrammingError, match="give mapping="):
            await conn.register_enum(Feeling, "mood")
        await conn.register_enum(
            Feeling, "mood", mapping={Feeling.DOWN: "sad", Feeling.UP: "happy"}
        )
        assert await conn.fetchval("select $1::mood", [Feeling.UP]) is Feeling.UP
        with pytest.raises(DataError, match=r"cannot send 5 \(int\) as mood: give"):
            await conn.fetchval("select $1::mood", [5])
        assert await conn.fetchval("select 1") == 1

    async def test_label_without_member(self, open_in: Callable[..., Any]) -> None:
        conn = await open_in()
        await conn.register_enum(Mood)
        await conn.execute("alter type mood add value 'calm'")
        with pytest.raises(DataError, match="no member for the label 'calm'"):
            await conn.fetchval("select 'calm'::mood")
        assert await conn.fetchval("select 'sad'::mood") is Mood.SAD

    async def test_reset(self, open_in: Callable[..., Any]) -> None:
        conn = await open_in()
        await conn.register_enum(Mood)
        statement = await conn.prepare("select 'sad'::mood")
        assert await statement.fetchval() is Mood.SAD
        await conn.reset_type_codec("mood")
        assert await conn.fetchval("select 'sad'::mood") == "sad"
        assert await statement.fetchval() == "sad"


class TestComposite:
    @pytest.mark.parametrize("cls", [Pair, PairTuple])
    async def test_class(self, open_in: Callable[..., Any], cls: Any) -> None:
        conn = await open_in()
        plain = await conn.fetchval("select row(1, 'x')::pair")
        assert plain == (1, "x") and plain.a == 1 and plain["b"] == "x"
        await conn.register_composite(cls, "pair")
        value = await conn.fetchval("select row(1, 'x')::pair")
        assert type(value) is cls and value == cls(1, "x")
        assert await conn.fetchval("select $1::pair", [value]) == value
        array = await conn.fetchval("select $1::pair[]", [[value, None]])
        assert array == [value, None]

    async def test_nested(self, open_in: Callable[..., Any]) -> None:
        conn = await open_in()
        await conn.register_composite(Pair)
        await conn.register_composite(Family)
        await conn.register_enum(Mood)
        family = Family(Pair(1, "a"), [Pair(2, 'quo"te'), Pair(3, "")], Mood.HAPPY)
        assert await conn.fetchval("select $1::family", [family]) == family
        text = await conn.fetchval("select $1::family::text", [family])
        assert text == (
            '("(1,a)","{""(2,\\\\""quo\\\\""\\\\""te\\\\"")"",""(3,\\\\""\\\\"")""}",happy)'
        )

    async def test_that_is_none(self, open_in: Callable[..., Any]) -> None:
        conn = await open_in()
        with pytest.raises(pgasync.ProgrammingError, match="is not a composite type"):
            await conn.register_composite(Pair, "mood")

    async def test_changed_elsewhere(self, open_in: Callable[..., Any]) -> None:
        """A type changes under a connection that knows it, by another process."""
        conn, other = await open_in(), await open_in()
        other._link.typelink.changed = lambda: None  # as if it were not ours
        other._link.types_changed = lambda: None
        assert tuple(await conn.fetchval("select row(1, 'x')::pair")) == (1, "x")
        await other.execute("alter type pair add attribute c float8")
        row = await conn.fetchval("select row(1, 'x', 0.5)::pair as now")
        assert tuple(row) == (1, "x", 0.5) and row.c == 0.5
        rows = await conn.fetch(
            "select row(n, 'x', 0.5)::pair from generate_series(1, 3) n"
        )
        assert [row[0].a for row in rows] == [1, 2, 3]
        await other.execute("alter type pair alter attribute a set data type numeric")
        cursor = await conn.execute(
            "select row(n, 'x', 1)::pair, n from generate_series(1, 3) n"
        )
        assert [row[0].a for row in await cursor.fetchall()] == [
            Decimal(1),
            Decimal(2),
            Decimal(3),
        ]

    async def test_changed_elsewhere_before_it_is_sent(
        self, open_in: Callable[..., Any]
    ) -> None:
        conn, other = await open_in(), await open_in()
        other._link.typelink.changed = lambda: None  # as if it were not ours
        other._link.types_changed = lambda: None
        sql = "select $1::pair::text"
        assert await conn.fetchval(sql, [(1, "x")]) == "(1,x)"
        await other.execute("alter type pair add attribute c float8")
        with pytest.raises(DataError, match=r"as pair: .*3"):
            await conn.fetchval(sql, [(1, "x")])  # the server has said so
        assert await conn.fetchval(sql, [{"a": 1, "b": "x", "c": 0.5}]) == "(1,x,0.5)"
        await other.execute("alter type pair drop attribute b")
        half = [{"a": 1, "b": None, "c": 0.5}]
        async with conn.transaction():
            await conn.execute("select 1")
            with pytest.raises(pgasync.errors.DatatypeMismatch):
                async with conn.transaction():
                    await conn.fetchval(sql, half)
            assert await conn.fetchval(sql, [(1, 0.5)]) == "(1,0.5)"

    async def test_sent_again_as_the_type_is_now(
        self, open_in: Callable[..., Any]
    ) -> None:
        conn, other = await open_in(), await open_in()
        other._link.types_changed = lambda: None
        sql = "select $1::pair::text"
        assert await conn.fetchval(sql, [(1, "x")]) == "(1,x)"
        await other.execute("alter type pair alter attribute a set data type float8")
        assert await conn.fetchval(sql, [(2, "x")]) == "(2,x)"
        assert await conn.fetchval(sql, [(1.5, "x")]) == "(1.5,x)"


class TestFunctions:
    @pytest.mark.parametrize("form", ["text", "binary"])
    async def test_extension_type(self, open_in: Callable[..., Any], form: str) -> None:
        conn = await open_in()

        def encoder(value: str) -> Any:
            return value.upper() if form == "text" else value.upper().encode()

        def decoder(data: Any) -> str:
            text = data if isinstance(data, str) else data.decode()
            return f"<{text}>"

        await conn.set_type_codec(
            "citext", encoder=encoder, decoder=decoder, format=form
        )
        assert await conn.fetchval("select $1::citext", ["abc"]) == "<ABC>"
        assert await conn.fetchval("select $1::citext[]", [["a", None]]) == [
            "<A>",
            None,
        ]

    async def test_builtin_type_without_a_question(
        self, server: Any, connect: Callable[..., Any]
    ) -> None:
        with pgmock.Proxy(str(server.socket_dir), server.port) as proxy:
            conn = await connect(
                f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres",
                autocommit=True,
            )
            before = proxy.round_trips
            await conn.set_type_codec("numeric", encoder=str, decoder=float)
            await conn.set_type_codec("json", schema="pg_catalog", decoder=len)
            assert proxy.round_trips == before
            assert await conn.fetchval("select 1.5::numeric") == 1.5
            assert await conn.fetchval("select '[1]'::json") == 3
            assert proxy.round_trips == before + 4

    async def test_text_codec_inside_containers(
        self, open_in: Callable[..., Any]
    ) -> None:
        conn = await open_in()
        await conn.set_type_codec("numeric", encoder=repr, decoder=float)
        assert await conn.fetchval("select $1::numeric[]", [[1.5, None]]) == [1.5, None]
        span = await conn.fetchval("select numrange(1.5, 2.5)")
        assert (span.lower, span.upper) == (1.5, 2.5)
        assert type(span.lower) is float
        assert await conn.fetchval("select $1::numrange", [span]) == span

    async def test_statements_that_are_cached(self, conn: Any) -> None:
        statement = await conn.prepare("select $1::date")
        day = dt.date(2024, 2, 29)
        assert await statement.fetchval([day]) == day
        assert await conn.fetchval("select $1::date", [day]) == day
        await conn.set_type_codec(
            "date", encoder=lambda d: d.isoformat(), decoder=lambda s: ("day", s)
        )
        assert await statement.fetchval([day]) == ("day", "2024-02-29")
        assert await conn.fetchval("select $1::date", [day]) == ("day", "2024-02-29")

    async def test_errors(self, conn: Any) -> None:
        with pytest.raises(pgasync.InterfaceError, match="'text' or 'binary'"):
            await conn.set_type_codec("date", format="tuple")
        with pytest.raises(pgasync.InterfaceError, match="decoder is not callable"):
            await conn.set_type_codec("date", decoder=5)
        with pytest.raises(
            pgasync.errors.UndefinedObject, match=r"no type 'nowhere\.no'"
        ):
            await conn.set_type_codec("no", schema="nowhere")
        with pytest.raises(pgasync.errors.UndefinedObject):
            await conn.set_type_codec("it's \\ not")
        with pytest.raises(pgasync.InterfaceError, match="takes an Enum class"):
            await conn.register_enum(int)
        assert await conn.fetchval("select 1") == 1

    async def test_schema(self, open_in: Callable[..., Any], schema: str) -> None:
        conn = await open_in()
        await conn.execute("create type public.mood as enum ('left')")
        try:
            await conn.set_type_codec("mood", schema="public", decoder=len)
            assert await conn.fetchval("select 'left'::public.mood") == 4
            assert await conn.fetchval("select 'happy'::mood") == "happy"
            await conn.set_type_codec("mood", decoder=str.upper)
            assert await conn.fetchval("select 'happy'::mood") == "HAPPY"
            assert await conn.fetchval("select 'left'::public.mood") == 4
        finally:
            await conn.execute("drop type public.mood")

    async def test_codec_that_uses_the_connection(self, conn: Any) -> None:
        """Statements that a codec asks for wait until the codec is done."""
        asked: list[Any] = []

        def decoder(text: str) -> str:
            asked.append(conn._core.execute("select 5", None, 3, False))
            return text

        await conn.set_type_codec("date", decoder=decoder)
        assert await conn.fetchval("select '2024-02-29'::date") == "2024-02-29"
        assert [await operation for operation in asked] == [5]

    async def test_codec_that_registers(self, conn: Any) -> None:
        """The codec at work is replaced under its feet."""

        def decoder(text: str) -> str:
            conn._registry.reset_type_codec("date")
            conn._link.typelink.reset()
            return text

        await conn.set_type_codec("date", decoder=decoder)
        rows = await conn.fetch(
            "select '2024-02-29'::date, array['2024-02-29'::date] "
            "from generate_series(1, 3)"
        )
        assert [row[0] for row in rows] == ["2024-02-29"] * 3
        assert str(await conn.fetchval("select '2024-02-29'::date")) == "2024-02-29"


class TestRegistry:
    async def test_for_every_connection(self, open_in: Callable[..., Any]) -> None:
        types = pgasync.TypeRegistry()
        types.register_enum(Mood)
        types.register_composite(Pair)
        types.set_type_codec("money", decoder=str)
        for _ in range(2):
            conn = await open_in(types=types)
            assert await conn.fetchval("select 'sad'::mood") is Mood.SAD
            assert await conn.fetchval("select row(1, 'x')::pair") == Pair(1, "x")
            assert type(await conn.fetchval("select 5::money")) is str

    async def test_connections_have_their_own(
        self, open_in: Callable[..., Any]
    ) -> None:
        types = pgasync.TypeRegistry()
        one, other = await open_in(types=types), await open_in(types=types)
        await one.register_enum(Mood)
        assert await one.fetchval("select 'sad'::mood") is Mood.SAD
        assert await other.fetchval("select 'sad'::mood") == "sad"

    async def test_wrong_keyword(self, connect: Callable[..., Any]) -> None:
        with pytest.raises(pgasync.InterfaceError, match="is a pgasync"):
            await connect(types={"mood": Mood})
