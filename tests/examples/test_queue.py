"""The example of a queue: jobs are done once, also when the server goes away."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pgasync
import servers

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "queue"
PROGRAM = EXAMPLE / "work_queue.py"
JOBS = 25
WORKERS = 3
LIMIT_S = 60.0


@pytest.fixture
def work_queue(
    own_server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The example's module, on a server with its table."""
    monkeypatch.setenv("DATABASE_URL", own_server.dsn)
    monkeypatch.syspath_prepend(EXAMPLE)
    subprocess.run([sys.executable, PROGRAM, "create"], check=True)
    yield importlib.import_module("work_queue")
    del sys.modules["work_queue"]


async def until_done(server: servers.Server, wanted: int) -> None:
    loop = asyncio.get_running_loop()
    limit = loop.time() + LIMIT_S
    count = "select count(*) from done"
    while (found := int(await asyncio.to_thread(server.psql, count))) != wanted:
        assert loop.time() < limit, f"{found} of {wanted} jobs done"
        await asyncio.sleep(0.05)


async def put(url: str, numbers: range) -> None:
    """A job for each number, each committed for certain."""
    for number in numbers:
        while True:
            try:
                async with pgasync.connect(url) as conn:
                    add = "insert into job (text) values ($1)"
                    await conn.execute(add, ["x " * (number % 7)])
                break
            except pgasync.OperationalError as error:
                assert error.outcome != "in_doubt"
                await asyncio.sleep(0.02)


async def stop(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        assert task.cancelled() or task.result() is None


async def test_jobs_are_done_once(
    work_queue: Any, own_server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those from before, those from now, and those added around two failures."""
    monkeypatch.setattr(work_queue, "PAUSE", 0.05)
    url = own_server.dsn
    await put(url, range(20))
    workers = [work_queue.Worker(url) for _ in range(WORKERS)]
    tasks = [asyncio.ensure_future(worker.run()) for worker in workers]
    await until_done(own_server, 20)
    added = 20
    for fast in (True, False):
        await put(url, range(JOBS))
        await asyncio.to_thread(own_server.shut_down, fast=fast)
        adding = asyncio.ensure_future(put(url, range(JOBS)))
        await asyncio.to_thread(own_server.start)
        await adding
        added += 2 * JOBS
        await until_done(own_server, added)
    assert [worker.gaps for worker in workers] == [2] * WORKERS
    assert own_server.psql("select count(*) from job").strip() == "0"
    await stop(*tasks)


async def test_a_worker_that_fails(work_queue: Any, own_server: servers.Server) -> None:
    """Its job is another one's."""

    async def fail(conn: Any, job: int, text: str) -> None:
        raise ZeroDivisionError

    url = own_server.dsn
    await put(url, range(3))
    with pytest.raises(ZeroDivisionError):
        await work_queue.Worker(url, fail).run()
    worker = asyncio.ensure_future(work_queue.Worker(url).run())
    await until_done(own_server, 3)
    await stop(worker)


def test_as_a_program(work_queue: Any, own_server: servers.Server) -> None:
    worker = subprocess.Popen([sys.executable, PROGRAM, "work"])
    subprocess.run(
        [sys.executable, PROGRAM, "put", "one two three", "four"], check=True
    )
    try:
        asyncio.run(until_done(own_server, 2))
    finally:
        os.kill(worker.pid, signal.SIGINT)
        assert worker.wait(LIMIT_S) == 0
    found = own_server.psql("select words from done order by id")
    assert found.split() == ["3", "1"]
