"""Fixtures of the whole suite.

dsn         URI of a PostgreSQL 18 the suite starts (Unix socket, trust)
server      that server: .dsn, .tcp_dsn, .pid, .restart(), … (tests/servers.py)
hba_server  a server with a role for each password method (servers.ROLES)
connect     factory: `await connect(**keywords)`; closes what it opened
conn        an open connection with autocommit=True

Every async test runs on asyncio and on uvloop, but for those about values alone, which
run on asyncio; `--loop` picks one. The
environment variable PGASYNC_TEST_DSN names another server for `dsn`; what needs to
control the server is skipped then. `--pgtrace` prints, with a test that fails, the
trace of its connections.

After each test no task may be left on its loop and no socket be left open; mark a
test `no_leak_check` where that is what it is about.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import servers
from certificates import Certificates

collect_ignore = ["sqlalchemy"]  # a run of its own: run_sqlalchemy.py
VALUES = {"codec", "types"}  # folders of tests about values, which know no loop
RUNNER = "_function_scoped_runner"  # pytest-asyncio's, holding the loop of a test
FD_FOLDER = Path("/proc/self/fd")
CLOSE_TIMEOUT_S = 10
GRACE_S = 0.2
# Then an async test is cancelled; pyproject.toml bounds the others.
TEST_LIMIT_S = float(os.environ.get("PGASYNC_TEST_LIMIT_S", "180"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--loop",
        choices=["asyncio", "uvloop", "both"],
        default="both",
        help="event loop of the async tests (default: both)",
    )
    parser.addoption(
        "--pgtrace",
        action="store_true",
        help="with a test that fails, print the trace of its connections",
    )


# Lines for the end of the run: what tests have counted.

SUMMARY: pytest.StashKey[list[str]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SUMMARY] = []


@pytest.fixture(scope="session")
def summary(request: pytest.FixtureRequest) -> list[str]:
    """Lines to print at the end of the run."""
    return request.config.stash[SUMMARY]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in config.stash[SUMMARY]:
        terminalreporter.write_line(line)


# The two loops


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {}
    wanted = config.getoption("--loop")
    if wanted == "both" and not VALUES.isdisjoint(item.path.parts):
        wanted = "asyncio"
    if wanted != "uvloop":
        factories["asyncio"] = asyncio.SelectorEventLoop
    if wanted != "asyncio":
        import uvloop

        factories["uvloop"] = uvloop.new_event_loop
    return factories


# The segfault sentinel: the name of the running test, in a file. If it is still
# there when the next run starts, that test took the interpreter down (or the run
# was killed); faulthandler, which pytest enables, has printed where.


def sentinel(config: pytest.Config) -> Path | None:
    cache = getattr(config, "cache", None)
    return None if cache is None else cache.mkdir("pgasync") / "running"


def pytest_report_header(config: pytest.Config) -> list[str]:
    path = sentinel(config)
    if path is None or not path.is_file():
        return []
    return [f"note: the previous run ended inside {path.read_text()}"]


def pytest_runtest_logstart(nodeid: str) -> None:
    if (path := running) is not None:
        path.write_text(nodeid)


running: Path | None = None


def pytest_sessionstart(session: pytest.Session) -> None:
    global running
    running = sentinel(session.config)


def pytest_sessionfinish() -> None:
    if running is not None:
        running.unlink(missing_ok=True)


# Leaks


def open_sockets() -> set[str]:
    names = set()
    for entry in os.listdir(FD_FOLDER):
        with contextlib.suppress(OSError):
            names.add(os.readlink(FD_FOLDER / entry))
    return {name for name in names if name.startswith("socket:")}


@pytest.fixture(autouse=True)
def no_socket_left(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.node.get_closest_marker("no_leak_check") or not FD_FOLDER.is_dir():
        yield
        return
    before = open_sockets()
    yield
    left = open_sockets() - before
    if left:
        gc.collect()
        left &= open_sockets()
    assert not left, f"{len(left)} socket(s) left open by the test: {sorted(left)}"


@pytest.fixture(autouse=True)
def no_task_left(
    request: pytest.FixtureRequest, no_socket_left: None
) -> Iterator[None]:
    """Set up before the test's own fixtures, so torn down after them, while the
    loop is still there."""
    checked = not request.node.get_closest_marker("no_leak_check")
    if not checked or not request.node.get_closest_marker("asyncio"):
        yield
        return
    loop = request.getfixturevalue(RUNNER).get_loop()

    def give_up() -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel(f"no end of the test after {TEST_LIMIT_S} s")

    limit = loop.call_later(TEST_LIMIT_S, give_up)
    yield
    limit.cancel()
    left = set() if loop.is_closed() else asyncio.all_tasks(loop)
    if left:  # those that are about to end are no leak
        _, left = loop.run_until_complete(asyncio.wait(left, timeout=GRACE_S))
    assert not left, f"task(s) left by the test: {left}"


# The conversations of a test that fails

TRACE_SHOWN = 100_000  # characters, the last ones


@pytest.fixture(autouse=True)
def pgtrace(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if request.config.getoption("--pgtrace"):
        path = tmp_path_factory.mktemp("pgtrace") / "trace"
        request.node.stash[TRACE] = path
        monkeypatch.setenv("PGASYNC_TRACE", str(path))


TRACE: pytest.StashKey[Path] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    path = item.stash.get(TRACE, None)
    if report.failed and path is not None and path.is_file():
        text = path.read_text(errors="backslashreplace")[-TRACE_SHOWN:]
        report.sections.append(("pgtrace", text))
    return report


# Servers


@pytest.fixture(autouse=True)
def no_pooler_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests know what they talk to: no statement asks whether it is a pooler, but in
    those about poolers."""
    from pgasync import pooler

    monkeypatch.setattr(pooler, "unknown", False)


@pytest.fixture
def poolers_expected(monkeypatch: pytest.MonkeyPatch, no_pooler_expected: None) -> None:
    """Nothing is known about any place, as in a new process."""
    from pgasync import pooler

    monkeypatch.setattr(pooler, "unknown", None)
    monkeypatch.setattr(pooler, "_seen", {})
    monkeypatch.setattr(pooler, "_warned", set())


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    if given := os.environ.get("PGASYNC_TEST_DSN"):
        yield servers.ExternalServer(given)
        return
    with servers.Server(18) as started:
        yield started


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def hba_server() -> Iterator[servers.Server]:
    with servers.password_server() as started:
        yield started


@pytest.fixture(scope="session")
def dsn(server: Any) -> str:
    return str(server.dsn)


# Connections


async def close_quietly(connection: Any) -> None:
    try:
        await asyncio.wait_for(connection.close(), CLOSE_TIMEOUT_S)
    except Exception:
        connection.terminate()


@pytest.fixture
async def connect(dsn: str) -> AsyncIterator[Callable[..., Any]]:
    import pgasync

    opened: list[Any] = []

    async def factory(address: str | None = None, **keywords: Any) -> Any:
        connection = await pgasync.connect(address or dsn, **keywords)
        opened.append(connection)
        return connection

    yield factory
    for connection in reversed(opened):
        if not connection.closed:
            await close_quietly(connection)


@pytest.fixture
async def conn(connect: Callable[..., Any]) -> Any:
    return await connect(autocommit=True)
