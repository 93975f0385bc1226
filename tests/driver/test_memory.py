"""Each allocation fails once, in a request as in the reading of its answer: the request
fails properly, and the connection is usable or closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from driver import faulty

SCRIPT = """
import json, random, time

LIMIT_S = 5
py = ctypes.PyDLL(os.environ["LD_PRELOAD"])
counts = py.faulty_memory_counts


def counted(call):
    def run(*args):
        counts(1)
        try:
            return call(*args)
        finally:
            counts(0)

    return run


class Loop(type(new_loop())):
    counting = False

    def add_reader(self, fd, callback, *args):
        if self.counting:
            callback = counted(callback)
        super().add_reader(fd, callback, *args)


class Waiting:
    def __init__(self, operation):
        self.operation = operation
        operation.add_done_callback(self)

    def __call__(self, operation):
        counts(0)

    async def done(self):
        deadline = time.monotonic() + LIMIT_S
        while not self.operation.done():
            assert time.monotonic() < deadline, "hangs"
            await asyncio.sleep(0)


async def asked(call, *args):
    operation = counted(call)(*args)
    await Waiting(operation).done()
    return operation.result()


VALUES = [1, "text", 2.5, None, True, b"bytes", [1, 2, None], {"a": [1, "b"]}]
TYPES = (
    "$1::int, $2::text, $3::float8, $4::date, $5::bool, $6::bytea, $7::int[], $8::jsonb"
)
ROWS = (
    "select n, n::numeric / 7, repeat('x', n), now(), interval '1 day', "
    "row(n, 'y'), array[n, null], '[1, {\\"a\\": 2}]'::jsonb, int4range(n, n + 5), "
    "'192.168.0.1'::inet, gen_random_uuid() from generate_series(1, 30) n"
)


def dumps(value):
    # Not json.dumps: that of CPython 3.13.0 crashes when there is no memory.
    return '{"a": [1, "b"]}'


async def requests(core, fresh):
    mode, row = pgasync._core.MODE_ROWS, fresh % 2 == 0
    note = f"/* {fresh} */"
    rows = await asked(core.execute, f"select {TYPES} {note}", VALUES, mode, row)
    assert [*rows[0]] == VALUES
    rows = await asked(core.execute, ROWS + note, None, mode, row)
    assert [each[0] for each in rows] == [*range(1, 31)]
    sets = [[n, "v"] for n in range(5)]
    await asked(core.executemany, f"select $1::int, $2::text {note}", sets)
    core.begin("BEGIN")
    await asked(core.execute, "savepoint s", None)
    try:
        await asked(core.execute, f"select 1/0 {note}", None)
    except pgasync.DataError:
        pass
    await asked(core.query, "rollback to savepoint s")
    sql = f"select n from generate_series(1, 9) n {note}"
    opened = await asked(core.open_portal, "p", sql, None, 5, row)
    await asked(core.fetch_portal, "p", opened.statement, 5, row)
    await asked(core.commit)
    await asked(core.prepare, f"select 3 {note}")


async def main(loop):
    conn, lost, failed, number = None, 0, 0, 0
    while True:
        number += 1
        if conn is None or conn.closed:
            loop.counting = True
            conn = await pgasync.connect(
                dsn, autocommit=True, statement_cache_size=20, json_dumps=dumps
            )
            loop.counting = False
        faulty.faulty_memory(number)
        error = None
        try:
            await requests(conn._core, number)
        except (MemoryError, pgasync.Error) as caught:
            error = caught
        counts(0)
        over = faulty.faulty_memory_failed() == 0
        faulty.faulty_memory(0)
        failed += error is not None
        if not conn.closed:
            await asyncio.wait_for(conn.rollback(), LIMIT_S)
            assert await asyncio.wait_for(conn.fetchval("select 7"), LIMIT_S) == 7
            assert conn.info.transaction_status == "I"
        else:
            lost += 1
            await conn.close()
        if over:
            assert error is None, error
            break
    await conn.close()
    assert failed > 50
    print(number, failed, lost)


loop = Loop()
loop.run_until_complete(main(loop))
loop.close()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faulty.build(tmp_path_factory.mktemp("faulty"))


def test_every_allocation(library: Path, dsn: str, summary: list[str]) -> None:
    printed = faulty.run(library, SCRIPT, dsn, "asyncio", PYTHONMALLOC="malloc")
    number, failed, lost = map(int, printed.split())
    assert number > 500
    summary.append(
        f"allocations that failed: {number - 1:,}, {failed:,} requests refused for it, "
        f"{lost:,} connections closed"
    )
