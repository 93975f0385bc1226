"""Value → Python → value gives the same text on the server, for every type, by itself
and inside of arrays, a composite, a domain, a range, a multirange and a record."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import contexts
from contexts import Case, Tables
from literals import RECORDS, TYPES, Type
from pgasync import types
from pgasync.errors import DataError, IntervalFieldOverflow, UndefinedFunction


class Difference(NamedTuple):
    """A case that does not come back identical, and why."""

    type: str
    contexts: frozenset[str] | None  # None: all that hold a value
    literal: str | None  # None: all
    reason: str

    def covers(self, case: Case) -> bool:
        return (
            self.type == case.type.name
            and (self.contexts is None or case.context in self.contexts)
            and self.literal in (None, case.literal)
        )


MADE = ("arrays", "user-defined")
IN_RECORD = frozenset(["record"])
NO_BINARY_OUTPUT = (
    "the server sends a record in binary only, and an aclitem in text only; it refuses"
)
OID_IN_RECORD = (
    "in binary, so in a record, it is a number, and what that stands for is the "
    "server's to tell: the driver refuses"
)
MONEY_TEXT = (
    "what the text of money means depends on the server's locale: the driver refuses"
)
SPELLING = "json keeps the spelling of a number, a Decimal spells it in its own way"
STRING = "a str is sent as the text of a document: send a JSON string as types.Json"
DIFFERENCES = (
    *(
        Difference(name, IN_RECORD, None, NO_BINARY_OUTPUT)
        for name in ("aclitem", "aclitem[]", "granted", "granted[]", "deep")
    ),
    *(
        Difference(one.name, IN_RECORD, None, OID_IN_RECORD)
        for one in TYPES
        if one.name.startswith("reg")
    ),
    Difference("money", frozenset(["value sent in text"]), None, MONEY_TEXT),
    Difference("json", None, "1e400", SPELLING),
    *(
        Difference(name, None, text, STRING)
        for name in ("json", "jsonb")
        for text in ('"text"', '""')
    ),
)


@dataclass
class Tally:
    """What the summary counts."""

    types: dict[str, bool] = field(default_factory=dict)  # name: natural kind?
    text_types: int = 0
    values: int = 0
    cases: int = 0
    identical: int = 0
    unused: set[Difference] = field(default_factory=lambda: set(DIFFERENCES))

    def add(self, one: Type, cases: list[Case]) -> None:
        self.values += len(one.literals)
        self.cases += len(cases)
        self.identical += sum(case.identical for case in cases)
        if one.kinds == (str,):
            self.text_types += 1
        else:
            self.types[one.name] = all(
                isinstance(case.value, one.kinds)
                for case in cases
                if case.context == contexts.BARE.name
            )

    @property
    def natural(self) -> float:
        return sum(self.types.values()) / len(self.types)

    def __str__(self) -> str:
        share = 100 * self.identical / self.cases
        return (
            f"{self.text_types + len(self.types)} types, {self.values} values, "
            f"{self.cases} type x value x context cases: {share:.2f} % with identical "
            f"text ({self.cases - self.identical} documented differences); natural "
            f"Python kind, not str, for {sum(self.types.values())} of "
            f"{len(self.types)} types ({self.text_types} more are text by nature)"
        )


@pytest.fixture(scope="module")
def tables(dsn: str) -> Iterator[Tables]:
    yield asyncio.run(contexts.create(dsn, TYPES))
    asyncio.run(contexts.drop(dsn))


@pytest.fixture(scope="module")
def tally() -> Tally:
    return Tally()


def reason(case: Case) -> Difference | None:
    return next((found for found in DIFFERENCES if found.covers(case)), None)


@pytest.mark.parametrize("one", TYPES, ids=lambda one: one.name)
def test_round_trip(dsn: str, tables: Tables, tally: Tally, one: Type) -> None:
    if one not in tables.types:
        pytest.skip(f"the server has no {one.name}")

    async def run() -> list[Case]:
        async with contexts.connected(dsn) as conn:
            return await contexts.cases_of(conn, tables, one)

    cases = asyncio.run(run())
    assert len(cases) > 6 * len(one.literals)
    differ = [case for case in cases if not case.identical]
    tally.unused -= {reason(case) for case in differ}
    wrong = [case for case in differ if reason(case) is None]
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(map(str, wrong))
    tally.add(one, cases)


def test_xml(hba_server: Any) -> None:
    """On PostgreSQL 17 where it is installed, since the suite's 18 has no libxml."""

    async def run() -> list[Case]:
        tables = await contexts.create(hba_server.dsn, wanted)
        async with contexts.connected(hba_server.dsn) as conn:
            found = [await contexts.cases_of(conn, tables, t) for t in tables.types]
        await contexts.drop(hba_server.dsn)
        return [case for cases in found for case in cases]

    wanted = tuple(one for one in TYPES if one.name == "xml")
    cases = asyncio.run(run())
    if not cases:
        pytest.skip("neither has xml")
    wrong = [case for case in cases if not case.identical]
    assert not wrong, "\n".join(map(str, wrong))
    assert {case.context for case in cases} >= {"value", "3-D array", "record"}


def test_summary(summary: list[str], tables: Tables, tally: Tally) -> None:
    if tally.text_types + len(tally.types) < len(tables.types):
        pytest.skip("counts nothing but a whole run without failures")
    summary.append(f"types: {tally}")
    assert len(tables.types) > 125
    assert tally.cases > 11_000
    assert tally.identical / tally.cases > 0.98
    assert tally.natural >= 0.9, [
        name for name, good in tally.types.items() if not good
    ]
    assert not tally.unused, "no longer different"


# The defaults


def test_defaults(dsn: str, tables: Tables) -> None:
    """With no policy chosen, what comes back differs in JSON only: numbers are floats,
    of which one is infinite, and null is None. What Python's classes for dates and
    times cannot hold is an error that says what to do."""

    async def run() -> None:
        async with contexts.connected(
            dsn, out_of_range="error", json_numbers="float", json_null="none"
        ) as conn:
            for one in tables.types:
                for case in await contexts.cases_in(conn, one, contexts.BARE):
                    check(case)

    def check(case: Case) -> None:
        if case.identical:
            seen.add("identical")
        elif case.type.name in ("json", "jsonb", "jsonb[]", "nested"):
            seen.add("json")
        else:
            assert isinstance(case.error, DataError), case
            assert "out_of_range='sentinel' or 'clamp'" in str(case.error), case
            seen.add("error")

    seen: set[str] = set()
    asyncio.run(run())
    assert seen == {"identical", "error", "json"}


def test_documented() -> None:
    """Every type of the server has its place in docs/types.md."""
    text = (Path(__file__).parents[2] / "docs" / "types.md").read_text()
    named = {one.name.strip('"') for one in TYPES if one.group not in MADE}
    assert not named - set(re.findall(r'`"?(\w+)"?`', text))


# Settings of the session and the connection that a text form could depend on


@pytest.mark.parametrize("style", ["sql_standard", "postgres_verbose", "iso_8601"])
def test_styles(dsn: str, tables: Tables, style: str) -> None:
    """By itself and in text, whatever the session writes, and whatever its zone."""
    settings = {
        "intervalstyle": style,
        "datestyle": "German" if style == "iso_8601" else "SQL, DMY",
        "timezone": "America/St_Johns",
        "bytea_output": "escape",
        "xmlbinary": "hex",
    }

    async def run() -> list[Case]:
        found: list[Case] = []
        server_settings = {**contexts.SETTINGS, **settings}
        async with contexts.connected(dsn, server_settings=server_settings) as conn:
            for one in tables.types:
                if one.group in ("dates and times", "ranges") or one.name == "bytea":
                    alone = await contexts.cases_in(conn, one, contexts.BARE)
                    found += alone
                    found += await contexts.cases_in_text(conn, one, alone)
        return found

    # The server does not read its own text of the smallest interval in verbose style.
    wrong = [
        case
        for case in asyncio.run(run())
        if not case.identical and not isinstance(case.error, IntervalFieldOverflow)
    ]
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(map(str, wrong))


async def test_infinity_is_not_clamped_in_text(connect: Callable[..., Any]) -> None:
    conn = await connect(autocommit=True, out_of_range="clamp")
    for values in ([types.INFINITY, "2024-02-29"], ["2024-02-29", types.INFINITY]):
        text = await conn.fetchval("select $1::date[]::text", [values])
        assert sorted(text.strip("{}").split(",")) == ["2024-02-29", "infinity"]


# Records that are made in the statement


@pytest.mark.parametrize(("sql", "expected"), RECORDS, ids=[sql for sql, _ in RECORDS])
async def test_records(conn: Any, sql: str, expected: Any) -> None:
    assert await conn.fetchval(f"select {sql}") == expected


async def test_a_record_without_a_binary_form(conn: Any) -> None:
    """The server's error, by name; nothing is guessed from the bytes."""
    sql = "select row(1, '=r/postgres'::aclitem)"
    with pytest.raises(
        UndefinedFunction, match=r"no binary output function .* aclitem"
    ):
        await conn.fetchval(sql)
    assert await conn.fetchval(f"{sql}::text") == "(1,=r/postgres)"
