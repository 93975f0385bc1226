"""What the benchmarks run: the tables and the statements, the same for every driver.

    acc       100,000 rows of 8 columns, fetched one at a time by primary key
    mixed     1000 rows of 11 types, fetched 100 at a time
    pg_type   the catalogue query of MagicStack's pgbench suite, about 600 rows of 12
    many      where executemany() and COPY write

`$1` is the parameter; a driver with another placeholder rewrites it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

ACC_ROWS = 100_000
MIXED_ROWS = 1000
MIXED_FETCHED = 100
TASKS = 50  # of `tasks`: how many coroutines share one connection
POOLED = 10  # of `pool`: connections
POOL_TASKS = 100  # of `pool`: how many coroutines share them
POOL_CROWD = 1000  # of `pool_crowd`: the same
BATCH = 10_000  # of `executemany`: sets of parameters in one call
COPIED = 100_000  # of COPY: rows in one statement
STREAMED = 100_000  # of `stream`: the same
FETCHED = 1000  # of `stream`: rows at a time, where a driver has to be told
NOTIFIED = 1000  # of `notify`: in one statement

SCHEMA = f"""
create table acc (
    id int primary key, bid int, balance bigint, filler text, ts timestamptz,
    u uuid, num numeric, flag bool
);
insert into acc
select i, i % 100, i * 1000::bigint, rpad('row ' || i, 40, '.'),
    timestamptz '2024-01-01 00:00:00.123456+00' + i * interval '1 minute',
    md5(i::text)::uuid, (i * 1.25)::numeric(12,2), i % 2 = 0
from generate_series(1, {ACC_ROWS}) i;

create table mixed (
    id int8 primary key, name text, at timestamptz, day date, score float8,
    amount numeric(12,4), u uuid, doc jsonb, tags int4[], note text, flag bool
);
insert into mixed
select i, 'name of row ' || i,
    timestamptz '2024-01-01 00:00:00.123456+00' + i * interval '1 hour',
    date '2024-01-01' + i::int, i * 1.1, 123456.7890 + i, md5(i::text)::uuid,
    jsonb_build_object('a', i % 10, 'b', array[1, 2]), array[i, i + 1, i + 2],
    case when i % 2 = 0 then 'note ' || i end, i % 3 = 0
from generate_series(1, {MIXED_ROWS}) i;

create unlogged table many (id int, name text, score float8);
vacuum analyze;
"""

ONE = "select 1+1"
PK = "select * from acc where id=$1"
MIXED = "select * from mixed where id<=$1"
PG_TYPE = """
select typname, typnamespace, typowner, typlen, typbyval, typcategory,
    typispreferred, typisdefined, typdelim, typrelid, typelem, typarray
from pg_type where typtypmod=-1 and typisdefined=true
"""
INSERT = "insert into many (id, name, score) values ($1, $2, $3)"
TRUNCATE = "truncate many"
INSERT_RETURNING = f"{INSERT} returning id"
COLUMNS = ("id", "name", "score")
# A set-returning function in the list of columns sends rows as it makes them.
SERIES = """
select i, 'name ' || i, i * 0.5::float8 from (select generate_series(1, $1) i) s
"""
COPY_OUT = SERIES.replace("$1", str(COPIED)).strip()
# One row, so that what is measured is to receive.
NOTIFY = """
select count(*) from (
    select pg_notify('bench', 'job ' || i) from generate_series(1, $1) i offset 0
) sent
"""


KEYS = [i * 7919 % ACC_ROWS + 1 for i in range(1000)]


def keys(count: int) -> Iterator[int]:
    """Primary keys of `acc`, spread over the table, the same in every run."""
    return itertools.islice(itertools.cycle(KEYS), count)


def shares(count: int, tasks: int = TASKS) -> list[list[int]]:
    """The same keys, dealt out to so many coroutines."""
    every = [*keys(count)]
    return [every[i::tasks] for i in range(tasks)]


@functools.cache
def sets() -> list[tuple[int, str, float]]:
    """Parameters for INSERT, one batch."""
    return [(i, f"name {i}", i * 0.5) for i in range(BATCH)]


@functools.cache
def records() -> list[tuple[int, str, float]]:
    """For COPY of records."""
    return [(i, f"name {i}", i * 0.5) for i in range(COPIED)]


@functools.cache
def text() -> bytes:
    """The same records in COPY's text format."""
    return "".join(f"{i}\t{name}\t{score}\n" for i, name, score in records()).encode()


def pieces(size: int = 65536) -> Iterator[bytes]:
    """text() as a file would be read."""
    whole = text()
    return (whole[i : i + size] for i in range(0, len(whole), size))


def times(count: int, each: int) -> range:
    """How often something that does `each` units is done for `count` of them."""
    return range(0, count, each)
