"""What pgasync, asyncpg and psycopg make of the same values, type by type.

`python benchmarks/values.py [TYPE …]` selects every literal of tests/types/literals.py
through each driver as it is when nobody has set it up, and sends back what came;
"exact" is pgasync with the options that lose nothing. For each type it prints the
classes of the values, and how many came back to the same text. Under that stands each
value that a driver refuses, that differs from pgasync's though its class is the same,
or that did not come back: `!` and the error, or `~` and the text that it has become.
At the end stand records and parameters of another class than the type's own.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
import psycopg

import harness
import pgasync

sys.path.insert(0, str(harness.HERE.parent / "tests" / "types"))
import contexts
import literals
import servers

WIDTH = 60

# (sql, parameters or none) -> the first column of the first row
Fetch = Callable[..., Awaitable[Any]]


@dataclass
class Seen:
    """One value in one driver."""

    value: Any = None
    error: str = ""  # of decoding it
    back: str = ""  # what became of it when it was sent: "", "!" and why, "~" and text

    @property
    def kind(self) -> str:
        return "!" if self.error else kind_of(self.value)

    def __str__(self) -> str:
        return self.error or short(repr(self.value))


def kind_of(value: Any) -> str:
    """The class, and of what it holds the first."""
    name = type(value).__name__
    module = type(value).__module__.partition(".")[0]
    if module in ("asyncpg", "psycopg"):
        name = f"{module}.{name}"
    if isinstance(value, list):
        inner = next((item for item in value if item is not None), None)
        return name if inner is None else f"{name} of {kind_of(inner)}"
    return name


def short(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def reason(error: Exception) -> str:
    """One line."""
    return short(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")


async def of_pgasync(dsn: str, **keywords: Any) -> tuple[Fetch, Any]:
    conn = await pgasync.connect(
        dsn, autocommit=True, server_settings=contexts.SETTINGS, **keywords
    )

    async def fetch(sql: str, *params: Any) -> Any:
        return await conn.fetchval(sql, params or None)

    return fetch, conn


async def of_exact(dsn: str) -> tuple[Fetch, Any]:
    return await of_pgasync(dsn, **contexts.LOSS_FREE)


async def of_asyncpg(dsn: str) -> tuple[Fetch, Any]:
    conn = await asyncpg.connect(dsn, server_settings=contexts.SETTINGS)
    return conn.fetchval, conn


async def of_psycopg(dsn: str) -> tuple[Fetch, Any]:
    conn = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    for name, value in contexts.SETTINGS.items():
        await conn.execute("select set_config(%s, %s, false)", (name, value))

    async def fetch(sql: str, *params: Any) -> Any:
        # Without parameters nothing of the statement is rewritten.
        cursor = await conn.execute(sql.replace("$1", "%s"), params or None)
        row = await cursor.fetchone()
        return row and row[0]

    return fetch, conn


OPENERS = {
    "pgasync": of_pgasync,
    "exact": of_exact,
    "asyncpg": of_asyncpg,
    "psycopg": of_psycopg,
}


async def look(fetch: Fetch, one: literals.Type, text: str, expected: str) -> Seen:
    sql = "select " + contexts.literal_sql(one, text)
    try:
        seen = Seen(await fetch(sql))
    except Exception as error:
        return Seen(error=f"! {reason(error)}")
    try:
        again = await fetch(f"select $1::{one.name}::text", seen.value)
    except Exception as error:
        seen.back = f"! {reason(error)}"
    else:
        seen.back = "" if again == expected else f"~ {short(repr(again))}"
    return seen


def same(one: Any, other: Any) -> bool:
    return bool(one == other) or repr(one) == repr(other)


def differs(seen: Seen, ours: Seen) -> bool:
    """Whether a value is another one than ours, though it looks alike."""
    if ours.error or seen.error or seen.kind != ours.kind:
        return False
    return not same(seen.value, ours.value)


def compare(one: literals.Type, found: dict[str, list[Seen]]) -> list[str]:
    """The lines about a type."""
    cells = []
    for name, column in found.items():
        kinds = collections.Counter(seen.kind for seen in column if not seen.error)
        good = sum(not seen.error and not seen.back for seen in column)
        cells.append(f"{name}: {', '.join(kinds) or '-'} ({good}/{len(column)})")
    lines = [f"{one.name}: " + "; ".join(cells)]
    for i, text in enumerate(one.literals):
        for name, column in found.items():
            seen = column[i]
            if seen.error or seen.back or differs(seen, found["pgasync"][i]):
                what = f"{seen} {seen.back}".strip()
                lines.append(f"    {short(repr(text))} {name}: {what}")
    return lines


# (type, value): what is sent for another type than its own.
PARAMETERS: tuple[tuple[str, Any], ...] = (
    ("numeric", 5),
    ("numeric", 1.1),
    ("float8", 5),
    ("text", 5),
    ("int4", 5.0),
    ("int4", "5"),
    ("date", "2024-01-01"),
    ("timestamptz", "now"),
    ("interval", "1 month"),
    ("bool", "t"),
    ("name", "n" * 70),
    ("jsonb", {"a": 1}),
    ("jsonb", [1, 2]),
    ("int4[]", (1, 2)),
    ("point", (1, 2)),
    ("int4range", (1, 2)),
    ("int4range", range(1, 5)),
    ("pair", (1, "a")),
    ("pair", {"n": 1, "t": "a"}),
    ("hstore", {"a": "b"}),
    ("vector", [1, 2]),
)


async def records(fetches: dict[str, Fetch]) -> None:
    """Prints what is in anonymous records, and what becomes of PARAMETERS."""

    async def result(fetch: Fetch, sql: str, *params: Any) -> str:
        try:
            return short(repr(await fetch(sql, *params)))
        except Exception as error:
            return f"! {reason(error)}"

    for sql, _ in literals.RECORDS:
        print(f"select {sql}")
        for name, fetch in fetches.items():
            print(f"    {name}: {await result(fetch, f'select {sql}')}")
    for pg_type, value in PARAMETERS:
        print(f"{short(repr(value))} for {pg_type}")
        for name, fetch in fetches.items():
            text = await result(fetch, f"select $1::{pg_type}::text", value)
            print(f"    {name}: {text}")


async def run(dsn: str, wanted: list[str]) -> None:
    tables = await contexts.create(dsn, literals.TYPES)
    chosen = [one for one in tables.types if not wanted or one.name in wanted]
    opened = {name: await opener(dsn) for name, opener in OPENERS.items()}
    totals = {name: [0, 0, 0] for name in opened}
    for one in chosen:
        found: dict[str, list[Seen]] = {name: [] for name in opened}
        for text in one.literals:
            sql = f"select ({contexts.literal_sql(one, text)})::text"
            expected = await opened["pgasync"][0](sql)
            for name, (fetch, _) in opened.items():
                found[name].append(await look(fetch, one, text, expected))
        print("\n".join(compare(one, found)))
        for name, column in found.items():
            totals[name][0] += len(column)
            totals[name][1] += sum(not seen.error for seen in column)
            totals[name][2] += sum(not seen.error and not seen.back for seen in column)
    if not wanted:
        await records({name: fetch for name, (fetch, _) in opened.items()})
    print()
    for name, (values, decoded, back) in totals.items():
        print(f"{name}: {values} values, {decoded} decoded, {back} came back the same")
    for _, conn in opened.values():
        await conn.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("types", nargs="*", metavar="TYPE")
    options = parser.parse_args()
    with servers.Server(18) as server:
        asyncio.run(run(server.dsn, options.types))


if __name__ == "__main__":
    main()
