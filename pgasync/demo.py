"""What moves rows in bulk, with the driver alone: COPY in and out, a stream, pipelined
selects, notifications, a pool.

The rows say how far the clocks of a zone were from UTC in an hour: the package `tzdata`
knows it for every zone.
"""

import asyncio
import datetime
import io
import math
import random
import sys
import time
from collections.abc import Iterator
from importlib import resources
from zoneinfo import ZoneInfo

import pgasync

BAR_WIDTH = 24
PROGRESS_EVERY_S = 0.2
FIRST_HOUR = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
HOUR = datetime.timedelta(hours=1)
ZERO = datetime.timedelta(0)
NOTIFICATIONS = 1000
POOL_SIZE = 10
POOL_TASKS = 100
POOL_NAME = "pgasync_demo_pool"
KILL = """
select count(pg_terminate_backend(pid, 5000)) from (
    select pid from pg_stat_activity where application_name = $1 limit $2
) sessions
"""

Observation = tuple[str, datetime.datetime, int]


class Progress:
    """One line that is rewritten on a terminal; elsewhere a line per second."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.start = self.shown = time.perf_counter()
        self.terminal = sys.stdout.isatty()
        self.interval = PROGRESS_EVERY_S if self.terminal else 1.0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.start

    def update(self, state: str) -> None:
        now = time.perf_counter()
        if now - self.shown >= self.interval:
            self.shown = now
            begin, end = ("\r\x1b[K", "") if self.terminal else ("", "\n")
            print(f"{begin}  {self.label:<12}{state}", end=end, flush=True)

    def bar(self, done: int, total: int) -> None:
        """The same with a bar in front, for `done` of `total` rows."""
        filled = "█" * (done * BAR_WIDTH // total)
        self.update(
            f"{filled:·<{BAR_WIDTH}} {done:,} rows, {done / self.seconds:,.0f} rows/s"
        )

    def done(self, result: str) -> None:
        begin = "\r\x1b[K" if self.terminal else ""
        print(f"{begin}  {self.label:<12}{result}", flush=True)


# The tables


def rows_of(table: str) -> Iterator[list[str]]:
    """The tab-separated rows of a table of tzdata."""
    try:
        folder = resources.files("tzdata")
    except ModuleNotFoundError:
        raise SystemExit("The demo's data is missing: pip install tzdata") from None
    for line in (folder / "zoneinfo" / table).read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


def degrees(angle: str) -> float:
    """±DDMM, ±DDMMSS, ±DDDMM or ±DDDMMSS as degrees."""
    sign = -1 if angle[0] == "-" else 1
    digits = angle[1:]
    whole = len(digits) % 2 + 2
    parts = [int(digits[:whole])]
    parts += [int(digits[i : i + 2]) for i in range(whole, len(digits), 2)]
    return sign * math.fsum(part / 60**power for power, part in enumerate(parts))


def observations(zones: list[str], rows: int) -> Iterator[Observation]:
    """Zone, hour, its distance from UTC in seconds."""
    clocks = [(zone, ZoneInfo(zone)) for zone in zones]
    for number in range(rows):
        hour, place = divmod(number, len(clocks))
        zone, clock = clocks[place]
        at = FIRST_HOUR + hour * HOUR
        offset = at.astimezone(clock).utcoffset() or ZERO
        yield zone, at, offset.days * 86400 + offset.seconds


# The steps


async def copy_in(
    conn: pgasync.Connection, table: str, zones: list[str], rows: int
) -> None:
    """The rows go into the server as they are made."""
    progress = Progress("copy in")
    await conn.execute(
        f"create table {table} (zone text, at timestamptz, utc_offset int)"
    )
    schema, name = table.split(".")
    async with conn.transaction():
        await conn.copy_records_to_table(
            name,
            schema_name=schema,
            records=observations(zones, rows),
            progress=lambda _, copied: progress.bar(copied or 0, rows),
        )
    progress.done(f"{rows:,} hours of zones: {rows / progress.seconds:,.0f} rows/s")


async def stream(conn: pgasync.Connection, table: str, rows: int) -> None:
    """Back again, a few at a time: when did which clocks change?"""
    progress = Progress("stream")
    sql = f"select zone, at, utc_offset from {table} order by at, zone"
    last: dict[str, int] = {}
    count = changes = 0
    async with conn.stream(sql) as found:
        async for zone, _, offset in found:
            count += 1
            changes += last.get(zone, offset) != offset
            last[zone] = offset
            if count % 1000 == 0:
                progress.bar(count, rows)
    if count != rows:
        raise RuntimeError(f"{count:,} rows came back, not {rows:,}")
    progress.done(
        f"{count:,} rows: {count / progress.seconds:,.0f} rows/s;"
        f" clocks changed {changes} times"
    )


async def copy_out(conn: pgasync.Connection, table: str) -> None:
    progress = Progress("copy out")
    text = io.BytesIO()
    schema, name = table.split(".")
    await conn.copy_from_table(name, schema_name=schema, output=text, format="csv")
    size = len(text.getvalue())
    progress.done(f"{size:,} bytes of CSV: {size / progress.seconds / 1e6:,.0f} MB/s")


async def pipelined(
    conn: pgasync.Connection,
    table: str,
    zones: list[str],
    rows: int,
    tasks: int,
    seconds: float,
) -> None:
    """Many tasks ask on one connection, and each gets its own answers."""
    index = Progress("index")
    await conn.execute(f"create index on {table} (zone, at)")
    index.done(f"{rows:,} rows in {index.seconds:.1f} s")
    sql = f"select zone, utc_offset from {table} where zone = $1 and at = $2"
    hours = rows // len(zones)
    progress = Progress("pipeline")
    asked = 0

    async def worker(seed: int) -> None:
        nonlocal asked
        pick = random.Random(seed)
        while progress.seconds < seconds:
            zone = pick.choice(zones)
            at = FIRST_HOUR + pick.randrange(hours) * HOUR
            found = await conn.fetchrow(sql, [zone, at])
            if found is None or found.zone != zone:
                raise RuntimeError(f"asked for {zone} at {at}, got {found}")
            asked += 1
            progress.update(f"{asked:,} selects")

    await asyncio.gather(*(worker(seed) for seed in range(tasks)))
    progress.done(
        f"{asked:,} selects by {tasks} tasks on one connection:"
        f" {asked / progress.seconds:,.0f}/s"
    )


async def notify(conn: pgasync.Connection, sender: pgasync.Connection) -> None:
    """One connection tells the other."""
    progress = Progress("notify")
    async with conn.listen("pgasync_demo") as notifications:
        sql = "select pg_notify('pgasync_demo', n::text) from generate_series(1, $1) n"
        await sender.execute(sql, [NOTIFICATIONS])
        got = 0
        async for notification in notifications:
            got += 1
            if notification.payload != str(got):
                raise RuntimeError(f"{notification.payload} came as number {got}")
            if got == NOTIFICATIONS:
                break
    progress.done(f"{got:,} in order: {got / progress.seconds:,.0f}/s")


async def pooled(
    pool: pgasync.Pool,
    admin: pgasync.Connection,
    table: str,
    zones: list[str],
    hours: int,
    seconds: float,
) -> None:
    """Many tasks on few connections, half of which are killed in the middle."""
    sql = f"select zone, utc_offset from {table} where zone = $1 and at = $2"
    asked = 0

    async def worker(seed: int, progress: Progress) -> None:
        nonlocal asked
        pick = random.Random(seed)
        while progress.seconds < seconds / 2:
            zone = pick.choice(zones)
            at = FIRST_HOUR + pick.randrange(hours) * HOUR
            found = await pool.fetchrow(sql, [zone, at])
            if found is None or found.zone != zone:
                raise RuntimeError(f"asked for {zone} at {at}, got {found}")
            asked += 1
            progress.update(f"{asked:,} selects")

    async def work() -> None:
        progress, before = Progress("pool"), asked
        await asyncio.gather(*(worker(seed, progress) for seed in range(POOL_TASKS)))
        progress.done(
            f"{asked - before:,} selects by {POOL_TASKS} tasks on {POOL_SIZE} "
            f"connections: {(asked - before) / progress.seconds:,.0f}/s"
        )

    await work()
    progress = Progress("kill")
    half = pool.stats().size // 2
    killed = await admin.fetchval(KILL, [POOL_NAME, half])
    progress.done(f"{killed} of {pool.stats().size} connections ended by the server")
    await work()
    stats = pool.stats()
    wait = stats.wait_seconds * 1e3 / max(stats.waited, 1)
    Progress("stats").done(
        f"{stats.acquired:,} acquired, no error; {stats.opened} opened, closed: "
        f"{dict(stats.closed)}; {stats.waited:,} waited, {wait:.1f} ms each"
    )


async def run(dsn: str, schema: str, *, rows: int, tasks: int, seconds: float) -> None:
    """The steps, in a schema that is there."""
    zones = [row[2] for row in rows_of("zone1970.tab")]
    rows = max(rows, len(zones))
    table = f"{schema}.observation"
    async with (
        pgasync.connect(dsn, autocommit=True) as conn,
        pgasync.connect(dsn, autocommit=True) as other,
    ):
        await copy_in(conn, table, zones, rows)
        await stream(conn, table, rows)
        await copy_out(conn, table)
        await pipelined(conn, table, zones, rows, tasks, seconds)
        await notify(conn, other)
        async with pgasync.create_pool(
            dsn, min_size=POOL_SIZE, max_size=POOL_SIZE, application_name=POOL_NAME
        ) as pool:
            await pooled(pool, other, table, zones, rows // len(zones), seconds)
