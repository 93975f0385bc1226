"""The worker examples: jobs by asyncio.run() in one process, in forked and in spawned
ones; a worker in one event loop; time limits, and a server that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import async_sessionmaker

import pgasync
import servers

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "worker"
MODULES = ("documents", "jobs", "arq_worker")
DOCUMENTS = 100
WORDS = 3  # of each
JOBS = 1000
PROCESSES = 4
SETTLE_S = 10.0
LIMIT_S = 60
BACKENDS = "select count(*) from pg_stat_activity where application_name = 'documents'"
COUNTED = f"select count(*) from documents where words = {WORDS}"

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
needs_alarm = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="needs signal.setitimer"
)
# Of CPython 3.12 on, about the very thing that is tried here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")


class Worker(NamedTuple):
    documents: Any
    jobs: Any
    arq_worker: Any
    server: servers.Server

    def asked(self, sql: str) -> int:
        return int(self.server.psql(sql))

    def until_backends(self, wanted: int, condition: str = "true") -> None:
        """Until so many sessions of the worker meet the condition."""
        until = time.monotonic() + SETTLE_S
        while (found := self.asked(f"{BACKENDS} and {condition}")) != wanted:
            assert time.monotonic() < until, f"{found} sessions, not {wanted}"
            time.sleep(0.02)


@pytest.fixture
def worker(
    own_server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Worker]:
    """The modules of the example, on tables with DOCUMENTS documents."""
    address = own_server.tcp_dsn.replace("postgresql:", "postgresql+pgasync:")
    monkeypatch.setenv("DATABASE_URL", address)
    monkeypatch.syspath_prepend(EXAMPLE)
    subprocess.run([sys.executable, EXAMPLE / "documents.py"], check=True)
    own_server.psql(
        "insert into documents (id, text)"
        f" select n, 'one two three' from generate_series(1, {DOCUMENTS}) n"
    )
    yield Worker(*map(importlib.import_module, MODULES), own_server)
    for name in MODULES:
        del sys.modules[name]


@pytest.fixture(params=["NullPool", "pool"])
def either(
    request: pytest.FixtureRequest, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Worker]:
    """The jobs as they are, and with a pool, whose connection goes from one
    asyncio.run() to the next."""
    if request.param == "NullPool":
        yield worker
        worker.until_backends(0)
        return
    engine = worker.documents.make_engine()
    monkeypatch.setattr(worker.jobs, "engine", engine)
    monkeypatch.setattr(worker.jobs, "sessions", async_sessionmaker(engine))
    yield worker
    worker.until_backends(1)
    asyncio.run(engine.dispose())
    worker.until_backends(0)


@contextlib.contextmanager
def locked(server: servers.Server) -> Iterator[None]:
    """No job can be done meanwhile."""
    loop = asyncio.new_event_loop()
    conn = loop.run_until_complete(pgasync.connect(server.dsn))
    loop.run_until_complete(conn.execute("select from documents for update"))
    try:
        yield
    finally:
        loop.run_until_complete(conn.close())
        loop.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


@pytest.mark.slow
def test_many_jobs(either: Worker, summary: list[str], request: Any) -> None:
    """Nothing is left of any of them."""
    count_words = either.jobs.count_words
    assert count_words(1) == WORDS
    before = descriptors()
    begun, used = time.monotonic(), time.process_time()
    for n in range(JOBS):
        assert count_words(n % DOCUMENTS + 1) == WORDS
    took, used = time.monotonic() - begun, time.process_time() - used
    assert descriptors() == before
    assert either.asked(BACKENDS) <= 1
    assert either.asked(COUNTED) == DOCUMENTS
    summary.append(
        f"{JOBS} jobs by asyncio.run(), {request.node.callspec.params['either']}: "
        f"{JOBS / took:.0f} a second, {used / JOBS * 1e3:.2f} ms CPU each"
    )


def test_jobs_that_fail(either: Worker) -> None:
    before = descriptors()
    for _ in range(20):
        with pytest.raises(LookupError, match="no document -1"):
            either.jobs.count_words(-1)
    assert either.jobs.count_words(1) == WORDS
    assert descriptors() <= before + 1


@needs_fork
def test_forked_workers(either: Worker) -> None:
    """The engine was used before the fork, and is used on both sides behind it."""
    count_words = either.jobs.count_words
    assert count_words(1) == WORDS
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        counting = pool.map_async(count_words, range(1, DOCUMENTS + 1), 5)
        for _ in range(20):
            assert count_words(1) == WORDS
        assert counting.get(LIMIT_S) == [WORDS] * DOCUMENTS
        pool.close()
        pool.join()
    assert either.asked(COUNTED) == DOCUMENTS
    assert count_words(1) == WORDS


def test_spawned_workers(worker: Worker) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        counting = pool.map_async(worker.jobs.count_words, range(1, DOCUMENTS + 1), 5)
        assert counting.get(LIMIT_S) == [WORDS] * DOCUMENTS
        pool.close()
        pool.join()
    worker.until_backends(0)


def test_as_a_program(worker: Worker) -> None:
    command = [sys.executable, EXAMPLE / "jobs.py", "1", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.stdout, done.stderr) == (f"1 {WORDS}\n2 {WORDS}\n", "")
    worker.until_backends(0)


def test_time_limit(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statement is ended at the server, too."""
    before = descriptors()
    monkeypatch.setattr(worker.jobs, "TIME_LIMIT", 0.3)
    for _ in range(3):
        with locked(worker.server):
            with pytest.raises(asyncio.TimeoutError):
                worker.jobs.count_words(1)
            worker.until_backends(0)
        assert descriptors() == before
    assert worker.jobs.count_words(1) == WORDS


class SoftTimeLimit(Exception):
    pass


# The end of the loop may cut a CancelRequest short: the collector comes to its task,
# which closes the socket, or to the socket first, which warns.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@needs_alarm
def test_exception_of_a_signal(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's soft time limit is raised by a signal handler, wherever the main thread
    is: in the event loop."""

    def over(number: int, frame: Any) -> None:
        raise SoftTimeLimit

    before = descriptors()
    handler = signal.signal(signal.SIGALRM, over)
    try:
        for _ in range(3):
            with locked(worker.server):
                signal.setitimer(signal.ITIMER_REAL, 0.3)
                with pytest.raises(SoftTimeLimit):
                    worker.jobs.count_words(1)
                worker.until_backends(0)
            gc.collect()  # a CancelRequest that the end of the loop has cut short
            assert descriptors() == before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert worker.jobs.count_words(1) == WORDS


def test_a_worker_is_killed(worker: Worker) -> None:
    """PostgreSQL notices, although the statement waits for a lock."""
    with locked(worker.server):
        command = [sys.executable, EXAMPLE / "jobs.py", "1"]
        process = subprocess.Popen(command)
        worker.until_backends(1, "wait_event_type = 'Lock'")
        process.kill()
        process.wait()
        worker.until_backends(0)


def test_server_restarts_between_jobs(either: Worker) -> None:
    """A job that begins when the server is back is not disturbed; one while it is away
    fails as one to be tried again."""
    count_words, server = either.jobs.count_words, either.server
    for how in (True, False, None):
        assert count_words(1) == WORDS
        server.kill() if how is None else server.shut_down(fast=how)
        for _ in range(2):
            with pytest.raises(exc.OperationalError) as caught:
                count_words(1)
            assert either.documents.is_transient(caught.value)
        server.start()
        assert count_words(1) == WORDS
        server.restart(fast=False)
        assert count_words(1) == WORDS


async def test_a_worker_in_one_loop(worker: Worker) -> None:
    """Jobs as ARQ runs them: at most max_jobs at once, cancelled after job_timeout,
    tried again behind a passing failure."""
    settings = worker.arq_worker.WorkerSettings
    ctx: dict[str, Any] = {}
    await settings.on_startup(ctx)
    turns = asyncio.Semaphore(settings.max_jobs)
    failed = []

    async def job(document: int) -> int:
        while True:
            try:
                async with turns:
                    counting = settings.functions[0](ctx, document)
                    return await asyncio.wait_for(counting, settings.job_timeout)
            except Exception as error:
                assert worker.documents.is_transient(error)
                failed.append(error)
            await asyncio.sleep(0.05)

    async def restart() -> None:
        await asyncio.sleep(0.1)
        await asyncio.to_thread(worker.server.restart, fast=False)

    numbers = [n % DOCUMENTS + 1 for n in range(JOBS)]
    counts, _ = await asyncio.gather(asyncio.gather(*map(job, numbers)), restart())
    assert counts == [WORDS] * JOBS
    assert failed
    assert worker.asked(COUNTED) == DOCUMENTS

    with locked_aside(worker.server):
        late = [
            asyncio.wait_for(settings.functions[0](ctx, n), 0.3) for n in range(1, 9)
        ]
        ended = await asyncio.gather(*late, return_exceptions=True)
        assert [type(error) for error in ended] == [asyncio.TimeoutError] * 8
        pool = ctx["engine"].pool
        assert pool.checkedout() == 0
        assert await asyncio.to_thread(worker.asked, BACKENDS) <= pool.size()
    assert await settings.functions[0](ctx, 1) == WORDS
    await settings.on_shutdown(ctx)
    await asyncio.to_thread(worker.until_backends, 0)


@contextlib.contextmanager
def locked_aside(server: servers.Server) -> Iterator[None]:
    """The same, from within an event loop: by a thread with a loop of its own."""
    with ThreadPoolExecutor(1) as thread:
        lock = locked(server)
        thread.submit(lock.__enter__).result()
        try:
            yield
        finally:
            thread.submit(lock.__exit__, None, None, None).result()
