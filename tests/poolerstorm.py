"""Many clients over a pooler with few server connections: what each statement gives,
how many round trips it takes, and which errors come.

A Storm knows no driver: a Client does the work with one (see PgasyncClient). Every
statement carries a token that must come back, every transaction leaves one behind, and
all of it is held against the table at the end. Each client has a forwarder of its own,
which counts its round trips.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dialect.flights import FlightCounter

LIMIT_S = 60.0  # for one piece of work
CALM = 5  # works of each kind, for each client, when the storm is over
ROWS = 200

SCHEMA = f"""
CREATE TABLE storm_kept (token bigint, client int, n int);
CREATE TABLE storm_wide (id int PRIMARY KEY, x text, n int);
CREATE TABLE storm_plain (id int PRIMARY KEY, x text, n int);
INSERT INTO storm_wide SELECT i, 'x' || i, i FROM generate_series(1, {ROWS}) i;
INSERT INTO storm_plain SELECT i, 'x' || i, i FROM generate_series(1, {ROWS}) i;
"""
DROP = "DROP TABLE IF EXISTS storm_kept, storm_wide, storm_plain;"

# Run again and again, each with its token as $1.
PLAIN = (
    "select $1::bigint, x from storm_plain where id = $2",
    "select $1::bigint, x from storm_plain where id = $2 and n > 0",
    "select $1::bigint, 'x' || n from storm_plain where n = $2",
    "select $1::bigint, max(x) from storm_plain where id in ($2, $2)",
    "select $1::bigint, coalesce(x, '') from storm_plain where id = $2 for share",
)
READ_WIDE = "select $1::bigint as token, w.* from storm_wide w where id = $2"
KEEP = "insert into storm_kept values ($1, $2, $3)"
UPDATE = "update storm_plain set n = n where id = $1 returning n"
SERIES = "select $1::bigint, i from generate_series(1, $2::int) i"
SLEEP = "select $1::bigint, pg_sleep($2)"


def share(trips: Counter[int]) -> str:
    """How many took no more than they had to."""
    return f"{trips[0]:,} of {sum(trips.values()):,}"


class Client:
    """One connection, or whatever gives the client one when it needs it. A statement is
    (text, parameters), rows are sequences."""

    counted = True  # its round trips are its own, and go through the forwarder

    async def open(self, port: int) -> None:
        """Gets ready to use the forwarder at this port of 127.0.0.1."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def fetch(
        self, sql: str, params: Sequence[Any], timeout: float | None = None
    ) -> list[Any]:
        """One statement in autocommit. TimeoutError when the time is over."""
        raise NotImplementedError

    async def transaction(
        self, statements: Sequence[tuple[str, Sequence[Any]]]
    ) -> list[list[Any]]:
        """The rows of each, all in one transaction."""
        raise NotImplementedError

    async def executemany(self, sql: str, sets: list[Sequence[Any]]) -> None:
        """In autocommit."""
        raise NotImplementedError

    async def stream(self, sql: str, params: Sequence[Any], rows: int) -> list[Any]:
        """The first `rows` rows."""
        raise NotImplementedError


class PgasyncClient(Client):
    """connect() with no keyword about poolers."""

    def __init__(self, **keywords: Any) -> None:
        self.keywords = {"user": "postgres", "dbname": "postgres", **keywords}
        self.conn: Any = None

    async def open(self, port: int) -> None:
        import pgasync

        where = {"host": "127.0.0.1", "port": port, "sslmode": "disable"}
        self.conn = await pgasync.connect(**where, **self.keywords, autocommit=True)

    async def close(self) -> None:
        await self.conn.close()

    async def fetch(
        self, sql: str, params: Sequence[Any], timeout: float | None = None
    ) -> list[Any]:
        return list(await self.conn.fetch(sql, params, timeout=timeout))

    async def transaction(
        self, statements: Sequence[tuple[str, Sequence[Any]]]
    ) -> list[list[Any]]:
        async with self.conn.transaction():
            return [await self.conn.fetch(*statement) for statement in statements]

    async def executemany(self, sql: str, sets: list[Sequence[Any]]) -> None:
        await self.conn.executemany(sql, sets)

    async def stream(self, sql: str, params: Sequence[Any], rows: int) -> list[Any]:
        found = []
        async for row in self.conn.stream(sql, params):
            found.append(row)
            if len(found) == rows:
                break
        return found


class PoolClient(Client):
    """A pgasync.Pool that all clients have in common."""

    counted = False

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    async def open(self, port: int) -> None:
        pass

    async def close(self) -> None:
        pass

    async def fetch(
        self, sql: str, params: Sequence[Any], timeout: float | None = None
    ) -> list[Any]:
        return list(await self.pool.fetch(sql, params, timeout=timeout))

    async def transaction(
        self, statements: Sequence[tuple[str, Sequence[Any]]]
    ) -> list[list[Any]]:
        async with self.pool.acquire() as conn:
            return [await conn.fetch(*statement) for statement in statements]

    async def executemany(self, sql: str, sets: list[Sequence[Any]]) -> None:
        await self.pool.executemany(sql, sets)

    async def stream(self, sql: str, params: Sequence[Any], rows: int) -> list[Any]:
        found = []
        async with self.pool.acquire() as conn:
            async for row in conn.stream(sql, params):
                found.append(row)
                if len(found) == rows:
                    break
        return found


class Storm:
    """`make` gives the client with a number; `target` is the pooler's (host, port) or
    socket."""

    def __init__(self, target: Any, make: Any, clients: int, seed: int) -> None:
        self.target = target
        self.make = make
        self.clients = clients
        self.rng = random.Random(seed)
        self.tokens = itertools.count(1)
        self.texts = itertools.count()
        self.kept: Counter[int] = Counter()  # token -> rows that are in the table
        self.left = 0  # statements
        self.statements = 0
        self.errors: Counter[str] = Counter()
        self.first: dict[str, str] = {}  # of each kind of error
        self.wrong: list[str] = []
        self.trips: Counter[int] = Counter()  # of warm works: beyond one each
        self.calm_trips: Counter[int] = Counter()  # the same when no table changes
        self.storming = clients
        self.ddl = asyncio.Lock()
        self.reopened = 0

    # The works: each returns how many statements it has run.

    def check(self, what: str, found: Any, wanted: Any) -> None:
        if found != wanted:
            text = f"{what}: {found!r:.200} instead of {wanted!r:.200}"
            self.wrong.append(text)

    async def plain(self, client: Client, number: int) -> int:
        for _ in range(10):
            token, key = next(self.tokens), self.rng.randint(1, ROWS)
            rows = await client.fetch(self.rng.choice(PLAIN), [token, key])
            self.check("plain", [*map(tuple, rows)], [(token, f"x{key}")])
        return 10

    async def transaction(self, client: Client, number: int) -> int:
        token = next(self.tokens)
        keys = [self.rng.randint(1, ROWS) for _ in range(self.rng.randint(1, 3))]
        own = number + 1  # no two clients update the same row
        works: list[tuple[str, Sequence[Any]]] = [
            (self.rng.choice(PLAIN[:4]), [token, key]) for key in keys
        ]
        works += [(KEEP, [token, number, 1]), (UPDATE, [own])]
        results = await client.transaction(works)
        self.kept[token] += 1
        for key, rows in zip(keys, results, strict=False):
            self.check("transaction", [*map(tuple, rows)], [(token, f"x{key}")])
        self.check("update", [*map(tuple, results[-1])], [(own,)])
        return len(works)

    async def first_use(self, client: Client, number: int) -> int:
        """Texts that are new to the process, or to this client at least."""
        token, text = next(self.tokens), next(self.texts) // 2
        sql = f"select $1::bigint, $2::int + {text}"
        rows = await client.fetch(sql, [token, number])
        self.check("first use", [*map(tuple, rows)], [(token, number + text)])
        sql = f"select $1::bigint, $2::text -- {text}"
        results = await client.transaction([(sql, [token, "a"]), (sql, [token, "b"])])
        found = [tuple(row) for rows in results for row in rows]
        self.check("first use", found, [(token, "a"), (token, "b")])
        return 3

    async def executemany(self, client: Client, number: int) -> int:
        token, count = next(self.tokens), self.rng.randint(1, 40)
        await client.executemany(KEEP, [(token, number, n) for n in range(count)])
        self.kept[token] += count
        return 1

    async def stream(self, client: Client, number: int) -> int:
        token, count = next(self.tokens), self.rng.randint(1, 400)
        wanted = self.rng.choice((count, max(1, count // 2)))
        rows = await client.stream(SERIES, [token, count], wanted)
        good = [(token, n) for n in range(1, wanted + 1)]
        self.check("stream", [*map(tuple, rows)], good)
        return 1

    async def wide(self, client: Client, number: int) -> int:
        """Reads a table that others change, alone and behind other statements."""
        token, key = next(self.tokens), self.rng.randint(1, ROWS)
        rows = await client.fetch(READ_WIDE, [token, key])
        self.check("wide", tuple(rows[0])[:3], (token, key, f"x{key}"))
        results = await client.transaction(
            [(PLAIN[0], [token, key]), (READ_WIDE, [token, key])]
        )
        self.check("wide", tuple(results[1][0])[:3], (token, key, f"x{key}"))
        return 3

    async def change(self, client: Client, number: int) -> int:
        """ALTER of a table in use, and CREATE and DROP of others."""
        if self.rng.random() < 0.5:
            async with self.ddl:
                await client.fetch("alter table storm_wide add column extra int", [])
                await client.fetch("alter table storm_wide drop column extra", [])
            return 2
        token = next(self.tokens)
        table = f"storm_new_{token}"
        await client.fetch(f"create table {table} (token bigint)", [])
        await client.executemany(f"insert into {table} values ($1)", [(token,)])
        rows = await client.fetch(f"select * from {table}", [])
        self.check("create", [*map(tuple, rows)], [(token,)])
        await client.fetch(f"drop table {table}", [])
        return 4

    async def timeout(self, client: Client, number: int) -> int:
        token = next(self.tokens)
        try:
            await client.fetch(SLEEP, [token, 30.0], timeout=0.02)
        except TimeoutError:
            pass
        else:
            self.wrong.append("a statement of 30 s came to its end in 0.02 s")
        return 1

    async def cancel(self, client: Client, number: int) -> int:
        task = asyncio.ensure_future(self.plain(client, number))
        await asyncio.sleep(self.rng.random() * 0.01)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
        return 5

    # (work, weight, COMMITs in it; None: its round trips are not looked at)
    WORKS: tuple[tuple[Any, int, int | None], ...] = (
        (plain, 30, 0),
        (transaction, 20, 1),
        (first_use, 6, None),
        (executemany, 6, None),
        (stream, 6, None),
        (wide, 8, None),
        (change, 2, None),
        (timeout, 1, None),
        (cancel, 4, None),
    )

    # One after the other

    async def one(self, client: Client, number: int, counter: FlightCounter) -> None:
        weights = [weight for _, weight, _ in self.WORKS]
        work, _, commits = self.rng.choices(self.WORKS, weights)[0]
        before = counter.count
        try:
            ran = await asyncio.wait_for(work(self, client, number), LIMIT_S)
        except Exception as error:
            self.note(work.__name__, error)
            await self.reopen(client, counter)
            ran = 1
        else:
            if commits is not None:
                self.trips[counter.count - before - ran - commits] += 1
        self.statements += ran
        self.left -= ran

    async def calm(self, client: Client, number: int, counter: FlightCounter) -> None:
        """When nothing changes any more: what each statement takes that is known."""
        self.storming -= 1
        while self.storming > 0:
            await asyncio.sleep(0.01)
        try:
            for sql in PLAIN:
                await client.fetch(sql, [0, 1])
            self.statements += len(PLAIN) + await self.transaction(client, number)
            for _ in range(CALM):
                for work, commits in ((Storm.plain, 0), (Storm.transaction, 1)):
                    before = counter.count
                    ran = await asyncio.wait_for(work(self, client, number), LIMIT_S)
                    self.calm_trips[counter.count - before - ran - commits] += 1
                    self.statements += ran
        except Exception as error:
            self.note("calm", error)

    def note(self, work: str, error: Exception) -> None:
        cause: Any = getattr(error, "orig", None) or error
        kind = type(cause).__name__
        sqlstate = getattr(cause, "sqlstate", None)
        name = kind if sqlstate is None else f"{kind} ({sqlstate})"
        self.errors[name] += 1
        self.first.setdefault(name, f"{work}: {error}")

    async def reopen(self, client: Client, counter: FlightCounter) -> None:
        """A connection that has failed may be in any state."""
        self.reopened += 1
        try:
            await asyncio.wait_for(client.close(), LIMIT_S)
        except Exception as error:
            self.note("close", error)
        await client.open(counter.port)

    async def worker(self, number: int) -> None:
        client = self.make(number)
        async with FlightCounter(self.target) as counter:
            await client.open(counter.port)
            while self.left > 0:
                await self.one(client, number, counter)
            if client.counted:
                await self.calm(client, number, counter)
            await client.close()

    async def run(self, statements: int) -> None:
        self.left = statements
        await asyncio.gather(*(self.worker(n) for n in range(self.clients)))

    # What came of it

    def missing(self, rows: Sequence[Any]) -> str | None:
        """`rows`: (token, count) of storm_kept."""
        found = {int(token): int(count) for token, count in rows}
        if found == dict(self.kept):
            return None
        lost = dict(self.kept.items() - found.items())
        strange = dict(found.items() - self.kept.items())
        return f"lost: {lost}, not acknowledged: {strange}"

    def report(self) -> str:
        errors = sum(self.errors.values())
        kinds = ", ".join(f"{n} {name}" for name, n in self.errors.most_common())
        return (
            f"{self.statements:,} statements of {self.clients} clients, {errors} errors"
            + (f": {kinds}" if errors else "")
            + f"; one round trip for each warm statement in {share(self.trips)} works"
            f" while tables change, in {share(self.calm_trips)} when they do not"
        )
