"""connection.trace() and PGASYNC_TRACE: whole conversations in tests/traces/, secrets,
kinds of files, files that fail, traces begun in the middle.

PGASYNC_WRITE_TRACES=1 writes tests/traces/ anew.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pgasync
import servers
from pgasync import _core
from pgmock import Proxy

TRACES = Path(__file__).parents[1] / "traces"
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\t[FB]\t")


# Whole conversations


async def query(conn: Any) -> None:
    for _ in range(2):  # the second time it is prepared
        await conn.fetch("select $1::int as n, $2::text as t", [1, "é\n"])


async def error(conn: Any) -> None:
    with pytest.raises(pgasync.errors.UndefinedColumn):
        await conn.fetch("select nope")
    with pytest.raises(pgasync.errors.DivisionByZero):
        await conn.fetch("select 1 / $1::int", [0])


async def transaction(conn: Any) -> None:
    async with conn.transaction():
        await conn.execute("create temporary table traced (n int)")
        async with conn.transaction():
            await conn.execute("insert into traced values (1)")
    await conn.execute("drop table traced")


async def executemany(conn: Any) -> None:
    await conn.executemany("select $1::int, $2::text", [(1, None), (2, "two")])


async def portal(conn: Any) -> None:
    core = conn._core
    async with conn.transaction():
        sql = "select generate_series(1, 3)"
        opened = await core.open_portal("hand", sql, None, 2, False)
        assert opened.suspended
        await core.fetch_portal("hand", opened.statement, 2, False)
        await core.close_portal("hand")


async def copy(conn: Any) -> None:
    with pytest.raises(pgasync.NotSupportedError):
        await conn.execute("copy (select 1) to stdout")


async def script(conn: Any) -> None:
    """With a DO, so that each waits for the one before."""
    await conn.execute("do $$ begin end $$; select 'two'")


async def eviction(conn: Any) -> None:
    for n in range(3):
        await conn.fetch(f"select {n}")


async def notify(conn: Any) -> None:
    await conn.execute("listen here")
    await conn.execute("do $$ begin raise notice 'hello'; end $$")
    await conn.execute("notify here, 'payload'")


SCENARIOS: list[Callable[[Any], Any]] = [
    query,
    error,
    transaction,
    executemany,
    portal,
    copy,
    script,
    eviction,
    notify,
]


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_golden(scenario: Callable[[Any], Any], connect: Any) -> None:
    conn = await connect(autocommit=True, statement_cache_size=2)
    conn._core.catalog = None  # whatever other tests have prepared
    if not conn.info.server_version >= 180000:
        pytest.skip("the traces are those of PostgreSQL 18")
    file = io.StringIO()
    conn.trace(file, timestamps=False, regress=True)
    await scenario(conn)
    await conn.close()
    path = TRACES / f"{scenario.__name__}.trace"
    if os.environ.get("PGASYNC_WRITE_TRACES"):
        path.write_text(file.getvalue())
    assert file.getvalue().splitlines() == path.read_text().splitlines()


def test_every_golden_trace_has_its_scenario() -> None:
    assert {path.stem for path in TRACES.iterdir()} == {
        scenario.__name__ for scenario in SCENARIOS
    }


async def test_values_appear(conn: Any) -> None:
    file = io.StringIO()
    conn.trace(file, timestamps=False)
    await conn.fetchval("select $1::text", ["visible"])
    lines = file.getvalue().splitlines()
    assert any(line.endswith(" 7 'visible' 1 1") for line in lines)
    assert "B\t17\tDataRow\t 1 7 'visible'" in lines


# From the environment


@pytest.mark.parametrize("role", ["scram_user", "md5_user", "password_user"])
async def test_environment(
    role: str,
    hba_server: Any,
    connect: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """From the first byte to the last, and nothing secret in it."""
    monkeypatch.setenv("PGASYNC_TRACE", str(tmp_path / "trace-%p"))
    secret = servers.ROLES[role]
    dsn = hba_server.tcp_dsn_for(user=role, password=secret)
    conn = await connect(dsn, sslmode="disable", require_auth=None)
    await conn.fetchval("select 1")
    key = conn._core.backend_key
    await conn.close()
    path = tmp_path / f"trace-{os.getpid()}"
    text = path.read_text()
    lines = text.splitlines()
    assert all(STAMP.match(line) for line in lines)
    assert f'\tStartupMessage\t 3 0 "user" "{role}"' in lines[0].replace("3 2", "3 0")
    assert lines[-1].endswith("\tF\t4\tTerminate")
    assert text.count("BackendKeyData") == 1
    assert re.search(r"BackendKeyData\t \d+ 'BBBB'\n", text)
    assert secret not in text
    assert "r=" not in text
    assert "md5" not in text.replace("md5_user", "")
    assert key.hex() not in text
    answer = (
        "SASLResponse\t 'BBBB'" if role == "scram_user" else 'PasswordMessage\t "SSSS"'
    )
    assert text.count(answer) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_environment_appends(
    connect: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "trace"
    path.write_text("before\n")
    monkeypatch.setenv("PGASYNC_TRACE", str(path))
    first, second = await connect(), await connect()
    await asyncio.gather(first.fetchval("select 1"), second.fetchval("select 2"))
    await first.close()
    await second.close()
    lines = path.read_text().splitlines()
    assert lines[0] == "before"
    assert sum(line.endswith("\tTerminate") for line in lines) == 2
    assert all(STAMP.match(line) for line in lines[1:])


async def test_environment_stderr(
    connect: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGASYNC_TRACE", "-")
    conn = await connect()
    await conn.close()
    assert "\tStartupMessage\t" in capsys.readouterr().err


async def test_environment_with_a_path_that_cannot_be(
    connect: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "there is no such folder" / "trace"
    monkeypatch.setenv("PGASYNC_TRACE", str(path))
    conn = await connect()
    assert await conn.fetchval("select 1") == 1
    assert [str(path) in message for message in caplog.messages] == [True]


async def test_encryption_request(
    server: Any, connect: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What goes before the session is in the trace as well."""
    path = tmp_path / "trace"
    monkeypatch.setenv("PGASYNC_TRACE", str(path))
    with Proxy(str(server.socket_dir), server.port) as proxy:
        dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres?sslmode=prefer"
        conn = await connect(dsn)
        await conn.close()
    names = [line.split("\t")[3:] for line in path.read_text().splitlines()]
    assert names[0] == ["SSLRequest", " 1234 5679"]
    assert names[1] == ["SSLResponse", " N"]
    assert names[2][0] == "StartupMessage"


async def test_cancel_request(conn: Any) -> None:
    file = io.StringIO()
    conn.trace(file, timestamps=False)
    with pytest.raises(pgasync.QueryTimeout):
        await conn.fetchval("select pg_sleep(30)", timeout=0.1)
    assert await conn.fetchval("select 1") == 1
    pid = conn._core.backend_pid
    lines = file.getvalue().splitlines()
    assert f"F\t16\tCancelRequest\t 1234 5678 {pid} 'BBBB'" in lines
    assert any('C "57014"' in line for line in lines)


# Files


async def traced(conn: Any, file: Any) -> None:
    conn.trace(file, timestamps=False)
    assert await conn.fetchval("select 'ä'") == "ä"
    conn.untrace()


async def test_kinds_of_files(conn: Any, tmp_path: Path) -> None:
    class Custom:
        def __init__(self) -> None:
            self.pieces: list[bytes] = []

        def write(self, lines: bytes) -> None:
            self.pieces.append(lines)

    text, data, custom = io.StringIO(), io.BytesIO(), Custom()
    await conn.fetchval("select 'ä'")
    await traced(conn, text)
    await traced(conn, data)
    await traced(conn, custom)
    for mode, options in (
        ("w", {"encoding": "utf-8"}),
        ("wb", {}),
        ("wb", {"buffering": 0}),
    ):
        with (tmp_path / mode).open(mode, **options) as file:
            await traced(conn, file)
            assert (tmp_path / mode).read_text() == text.getvalue()  # it was flushed
    assert data.getvalue().decode() == text.getvalue()
    assert b"".join(custom.pieces).decode() == text.getvalue()
    assert text.getvalue().endswith("ReadyForQuery\t I\n")


async def test_timestamps(conn: Any) -> None:
    file = io.StringIO()
    conn.trace(file)
    await conn.fetchval("select 1")
    assert all(STAMP.match(line) for line in file.getvalue().splitlines())


class Failing:
    def __init__(self, error: BaseException, good: int = 0) -> None:
        self.error, self.good, self.calls = error, good, 0

    def write(self, lines: bytes) -> None:
        self.calls += 1
        if self.calls > self.good:
            raise self.error


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "pgasync" and record.levelno == logging.WARNING
    ]


@pytest.mark.parametrize("good", [0, 1, 2, 3])
async def test_a_file_that_fails(
    conn: Any, good: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, and the connection goes on without a trace."""
    file = Failing(OSError(28, "No space left on device"), good)
    conn.trace(file)
    for n in range(5):
        assert await conn.fetchval("select $1::int", [n]) == n
    assert file.calls == good + 1
    (warning,) = warnings_of(caplog)
    assert "No space left" in warning


async def test_files_that_are_full_or_closed(
    conn: Any, caplog: pytest.LogCaptureFixture
) -> None:
    closed = io.StringIO()
    closed.close()
    conn.trace(closed)
    assert await conn.fetchval("select 1") == 1
    with open("/dev/full", "wb", buffering=0) as full:
        conn.trace(full)
        assert await conn.fetchval("select 2") == 2
    assert await conn.fetchval("select 3") == 3
    first, second = warnings_of(caplog)
    assert "closed file" in first
    assert "No space left" in second


async def test_a_file_that_interrupts(conn: Any) -> None:
    """KeyboardInterrupt is not the trace's: the program gets it."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        file = Failing(KeyboardInterrupt())
        conn.trace(file)
        assert await conn.fetchval("select 1") == 1
        conn.untrace()
        assert seen
        assert len(seen) == file.calls > 1  # it went on
    finally:
        signal.signal(signal.SIGINT, before)


class Meddling:
    """A file that uses the connection it is the trace of."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.written: list[bytes] = []

    def write(self, lines: bytes) -> None:
        self.written.append(lines)
        if len(self.written) == 1:
            self.act()


async def test_a_file_that_ends_its_trace(conn: Any) -> None:
    file = Meddling(lambda: conn.untrace())
    conn.trace(file)
    assert await conn.fetchval("select 1") == 1
    assert len(file.written) == 1


async def test_a_file_that_begins_another_trace(conn: Any) -> None:
    other = io.StringIO()
    file = Meddling(lambda: conn.trace(other, timestamps=False))
    conn.trace(file)
    assert await conn.fetchval("select 1") == 1
    assert len(file.written) == 1
    assert other.getvalue().startswith("B\t4\tParseComplete\n")


@pytest.mark.parametrize("after", [0, 1])
async def test_a_file_that_closes_the_connection(conn: Any, after: int) -> None:
    """While sending (the first write), and while receiving (the second)."""
    count = iter(range(10))

    class Closing:
        def write(self, lines: bytes) -> None:
            if next(count) == after:
                conn.terminate()

    conn.trace(Closing())
    with pytest.raises(pgasync.InterfaceError):
        await conn.fetchval("select 1")
    assert conn.closed


async def test_a_file_that_queries(conn: Any) -> None:
    asked: list[Any] = []
    file = Meddling(lambda: asked.append(conn._core.query("select 2")))
    conn.trace(file)
    assert await conn.fetchval("select 1") == 1
    assert (await asked[0]).statusmessage == "SELECT 1"


# Begun in the middle


def well_formed(text: str) -> None:
    assert "mismatched" not in text
    assert "Unknown" not in text
    assert all(re.match(r"[FB]\t\d+\t[A-Z]", line) for line in text.splitlines())


async def test_begun_while_bytes_wait_to_be_sent(server: Any, connect: Any) -> None:
    """What was queued before is not traced, not even its second half."""
    with Proxy(str(server.socket_dir), server.port) as proxy:
        dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres?sslmode=disable"
        conn = await connect(dsn, autocommit=True)
        await conn.fetchval("select length($1::text)", ["prepared"])
        proxy.stall()
        large = asyncio.create_task(
            conn.fetchval("select length($1::text)", ["x" * 30_000_000])
        )
        await asyncio.sleep(0.1)
        file = io.StringIO()
        conn.trace(file, timestamps=False)
        last = asyncio.create_task(conn.fetchval("select 7"))
        await asyncio.sleep(0)
        proxy.resume()
        assert await large == 30_000_000
        assert await last == 7
        await conn.close()
    text = file.getvalue()
    well_formed(text)
    sent = [line for line in text.splitlines() if line[0] == "F"]
    assert '"select 7"' in sent[0]
    assert '"SELECT 1"' in text  # the answer to what was not traced


async def test_begun_while_a_message_arrives(server: Any, connect: Any) -> None:
    """One that was received in part has its line, when the rest is there."""
    with Proxy(str(server.socket_dir), server.port, chunk=10_001) as proxy:
        dsn = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres?sslmode=disable"
        conn = await connect(dsn, autocommit=True)
        sql = "select repeat('x', 300000) from generate_series(1, 100)"
        task = asyncio.create_task(conn.fetch(sql))
        file = io.StringIO()
        while proxy.down_bytes < 15_000_000:
            await asyncio.sleep(0)
        conn.trace(file, timestamps=False)
        assert len(await task) == 100
        await conn.close()
    text = file.getvalue()
    well_formed(text)
    assert 0 < text.count("\tDataRow\t") < 100
    assert text.endswith("F\t4\tTerminate\n")


async def test_closed_connection(connect: Any) -> None:
    conn = await connect()
    await conn.close()
    with pytest.raises(pgasync.InterfaceError):
        conn.trace(io.StringIO())
    conn.untrace()


async def test_large_values_do_not_stay_in_memory(conn: Any) -> None:
    sizes: list[int] = []

    class Counting:
        def write(self, lines: bytes) -> None:
            sizes.append(len(lines))

    conn.trace(Counting())
    assert len(await conn.fetchval("select repeat('x', 3000000)")) == 3_000_000
    assert max(sizes) > 3_000_000
    assert await conn.fetchval("select 1") == 1


def test_exchange() -> None:
    request = b"\0\0\0\x08\x04\xd2\x16\x2f"
    lines = _core.trace_exchange(request, b"S", False, False)
    assert lines == b"F\t8\tSSLRequest\t 1234 5679\nB\t1\tSSLResponse\t S\n"
    assert STAMP.match(_core.trace_exchange(request, b"", True, False).decode())


FAILING = """
async def test_that_fails(conn):
    assert await conn.fetchval("select 'traced ' || 1") == 2


async def test_that_passes(conn):
    assert await conn.fetchval("select 'untraced ' || 1")
"""


def test_pgtrace(server: Any, tmp_path: Path) -> None:
    """pytest --pgtrace prints the trace of the test that failed, and of no other."""
    path = tmp_path / "test_failing.py"
    path.write_text(FAILING)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pytest", "-c", str(root / "pyproject.toml")]
    command += ["-p", "conftest", "-p", "no:cacheprovider", "--pgtrace"]
    done = subprocess.run(
        [*command, "--loop", "asyncio", str(path)],
        cwd=root / "tests",
        env={
            **os.environ,
            "PYTHONPATH": str(root / "tests"),
            "PGASYNC_TEST_DSN": server.dsn,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "DataRow\t 1 8 'traced 1'" in done.stdout
    assert "untraced 1" not in done.stdout
