"""connect(): hosts in turn, deadlines, refusals, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pgasync
from pgasync import errors

FD_FOLDER = Path("/proc/self/fd")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


class Silent:
    """Accepts connections and never says a word."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.accepted: list[socket.socket] = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.accepted.append(self.socket.accept()[0])

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)
        for each in self.accepted:
            each.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


async def test_await_and_async_with(dsn: str) -> None:
    conn = await pgasync.connect(dsn)
    assert not conn.closed
    await conn.close()
    assert conn.closed
    async with pgasync.connect(dsn) as conn:
        assert await conn.fetchval("select 1") == 1
    assert conn.closed


async def test_as_a_task_and_in_gather(dsn: str) -> None:
    task = asyncio.create_task(pgasync.connect(dsn))
    first = await task
    second, third = await asyncio.gather(pgasync.connect(dsn), pgasync.connect(dsn))
    for conn in (first, second, third):
        assert await conn.fetchval("select 2") == 2
        await conn.close()


async def test_async_with_commits_and_rolls_back(dsn: str, conn: Any) -> None:
    await conn.execute("drop table if exists connect_with")
    await conn.execute("create table connect_with (n int)")
    async with pgasync.connect(dsn) as one:
        await one.execute("insert into connect_with values (1)")
    assert one.closed
    with pytest.raises(ZeroDivisionError):
        async with pgasync.connect(dsn) as two:
            await two.execute("insert into connect_with values (2)")
            raise ZeroDivisionError
    assert two.closed
    assert [row.n for row in await conn.fetch("select n from connect_with")] == [1]
    await conn.execute("drop table connect_with")


async def test_async_with_tells_that_the_commit_failed(dsn: str) -> None:
    with pytest.raises(pgasync.TransactionRolledBack):
        async with pgasync.connect(dsn) as conn:
            with pytest.raises(errors.DivisionByZero):
                await conn.execute("select 1/0")
    assert conn.closed


async def test_tcp(server: Any) -> None:
    async with pgasync.connect(server.tcp_dsn) as conn:
        assert await conn.fetchval("select 1") == 1
        assert conn.info.port == await conn.fetchval("select inet_server_port()")
        assert conn.info.host == "127.0.0.1"


async def test_keywords_win_over_the_dsn(dsn: str) -> None:
    async with pgasync.connect(
        dsn,
        application_name="from the keyword",
        options="-c work_mem=77kB",
        server_settings={"geqo": "off"},
    ) as conn:
        assert await conn.fetchval("show application_name") == "from the keyword"
        assert await conn.fetchval("show work_mem") == "77kB"
        assert await conn.fetchval("show geqo") == "off"
        assert await conn.fetchval("show client_encoding") == "UTF8"


async def test_key_value_string(server: Any) -> None:
    if not hasattr(server, "socket_dir"):
        pytest.skip("needs a server of the suite")
    pairs = (
        f"host='{server.socket_dir}' port={server.port} user=postgres dbname=postgres"
    )
    async with pgasync.connect(pairs) as conn:
        assert conn.info.user == "postgres"


async def test_unknown_keyword_is_an_error_at_once(dsn: str) -> None:
    with pytest.raises(pgasync.InterfaceError, match="statement_cache_size"):
        pgasync.connect(dsn, statement_cachesize=5)
    with pytest.raises(pgasync.InterfaceError, match="autocomit"):
        pgasync.connect(dsn, autocomit=True)


async def test_nothing_listens() -> None:
    port = free_port()
    with pytest.raises(pgasync.ConnectError) as caught:
        await pgasync.connect(host="127.0.0.1", port=port, user="u")
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "nothing listens" in str(caught.value)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert isinstance(caught.value, pgasync.OperationalError)


async def test_no_such_socket(tmp_path: Path) -> None:
    with pytest.raises(pgasync.ConnectError, match="no such socket") as caught:
        await pgasync.connect(host=str(tmp_path), port=1, user="u")
    assert str(tmp_path / ".s.PGSQL.1") in str(caught.value)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


async def test_unknown_host() -> None:
    with pytest.raises(pgasync.ConnectError, match="no-such-host") as caught:
        await pgasync.connect(host="no-such-host.invalid", user="u")
    assert isinstance(caught.value.__cause__, OSError)


async def test_unknown_database(dsn: str) -> None:
    with pytest.raises(errors.InvalidCatalogName, match="missing_db") as caught:
        await pgasync.connect(dsn, dbname="missing_db")
    assert isinstance(caught.value, pgasync.ProgrammingError)
    assert caught.value.sqlstate == "3D000"


async def test_unknown_setting(dsn: str) -> None:
    with pytest.raises(pgasync.ProgrammingError, match="no_such_setting"):
        await pgasync.connect(dsn, server_settings={"no_such_setting": "1"})


async def test_next_host_is_tried(server: Any) -> None:
    if not hasattr(server, "socket_dir"):
        pytest.skip("needs a server of the suite")
    async with pgasync.connect(
        host=f"127.0.0.1,{server.socket_dir}",
        port=f"{free_port()},{server.port}",
        user="postgres",
        dbname="postgres",
    ) as conn:
        assert await conn.fetchval("select 1") == 1
        assert conn.info.host == str(server.socket_dir)


async def test_all_hosts_are_named(tmp_path: Path) -> None:
    one, two = free_port(), free_port()
    with pytest.raises(pgasync.ConnectError) as caught:
        await pgasync.connect(host="127.0.0.1,127.0.0.1", port=f"{one},{two}", user="u")
    assert f"127.0.0.1:{one}" in str(caught.value)
    assert f"127.0.0.1:{two}" in str(caught.value)
    assert caught.value.__cause__ is not None


async def test_timeout_covers_authentication(silent: Silent) -> None:
    started = time.monotonic()
    with pytest.raises(pgasync.ConnectError, match=r"timed out after 0\.2 s"):
        await pgasync.connect(
            host="127.0.0.1", port=silent.port, user="u", connect_timeout=0.2
        )
    assert 0.15 < time.monotonic() - started < 1.0


async def test_silent_host_is_passed_over(silent: Silent, server: Any) -> None:
    if not hasattr(server, "socket_dir"):
        pytest.skip("needs a server of the suite")
    async with pgasync.connect(
        host=f"127.0.0.1,{server.socket_dir}",
        port=f"{silent.port},{server.port}",
        user="postgres",
        dbname="postgres",
        timeout=0.2,
    ) as conn:
        assert await conn.fetchval("select 1") == 1


@pytest.mark.parametrize("turns", range(12))
async def test_cancelled_at_every_await(dsn: str, turns: int) -> None:
    """Wherever the cancellation meets it, no socket and no task stays behind."""
    task = asyncio.create_task(pgasync.connect(dsn))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        conn = await task
    except asyncio.CancelledError:
        pass
    else:
        await conn.close()


async def test_cancelled_while_authenticating(silent: Silent) -> None:
    before = len(os.listdir(FD_FOLDER)) if FD_FOLDER.is_dir() else 0
    task = asyncio.create_task(
        pgasync.connect(host="127.0.0.1", port=silent.port, user="u")
    )
    while not silent.accepted:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if FD_FOLDER.is_dir():
        assert len(os.listdir(FD_FOLDER)) <= before + 1  # the accepted end


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("scram_user", "scram secret"),
        ("md5_user", "md5 secret"),
        ("password_user", "plain secret"),
        ("unicode_user", "pa\u00dfw\u00f6rtIX"),  # SASLprep makes them equal
        ("scram_user", b"scram secret"),
    ],
)
async def test_passwords(hba_server: Any, user: str, password: Any) -> None:
    dsn = hba_server.tcp_dsn_for(user=user)
    for _ in range(2):  # the second time from the cache of derived keys
        async with pgasync.connect(dsn, password=password) as conn:
            assert await conn.fetchval("select current_user") == user


@pytest.mark.parametrize("user", ["scram_user", "md5_user", "password_user"])
async def test_wrong_password(
    hba_server: Any, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    dsn = hba_server.tcp_dsn_for(user=user)
    with pytest.raises(errors.InvalidPassword) as caught:
        await pgasync.connect(dsn, password="wr0ng")
    assert "wr0ng" not in str(caught.value)
    assert caught.value.sqlstate == "28P01"
    without = hba_server.tcp_dsn_for(user=user, password="")
    with pytest.raises(pgasync.ConnectError, match="password"):
        await pgasync.connect(without)


async def test_password_callables(hba_server: Any) -> None:
    dsn = hba_server.tcp_dsn_for(user="scram_user")
    asked = []

    def now() -> str:
        asked.append("now")
        return "scram secret"

    async def later() -> bytes:
        await asyncio.sleep(0.01)
        asked.append("later")
        return b"scram secret"

    async def never() -> str:
        await asyncio.sleep(60)
        return ""

    for ask in (now, later, now):
        async with pgasync.connect(dsn, password=ask) as conn:
            assert await conn.fetchval("select 1") == 1
    assert asked == ["now", "later", "now"]
    with pytest.raises(pgasync.InterfaceError, match="gave a int"):
        await pgasync.connect(dsn, password=lambda: 5)
    with pytest.raises(ZeroDivisionError):
        await pgasync.connect(dsn, password=lambda: 1 / 0)
    with pytest.raises(pgasync.ConnectError, match="waiting for the password"):
        await pgasync.connect(dsn, password=never, timeout=0.05)


async def test_require_auth(hba_server: Any) -> None:
    def dsn(user: str) -> str:
        return str(hba_server.tcp_dsn_for(user=user))

    async with pgasync.connect(
        dsn("scram_user"),
        password="scram secret",
        require_auth="scram-sha-256",
    ) as conn:
        assert await conn.fetchval("select 1") == 1
    for user, require in [
        ("md5_user", "scram-sha-256"),
        ("password_user", "!password"),
        ("scram_user", "md5,none"),
    ]:
        with pytest.raises(pgasync.ConnectError):
            await pgasync.connect(dsn(user), password="x", require_auth=require)
    with pytest.raises(pgasync.ConnectError):
        await pgasync.connect(hba_server.dsn, require_auth="scram-sha-256")


async def test_rejected_by_hba(hba_server: Any) -> None:
    with pytest.raises(pgasync.OperationalError) as caught:
        await pgasync.connect(hba_server.tcp_dsn_for(user="reject_user"))
    assert str(caught.value.sqlstate).startswith("28")


class Proactor(asyncio.AbstractEventLoop):
    """What Windows' Proactor loop lacks, on any system."""


def test_loop_without_add_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "get_running_loop", Proactor)
    opening = pgasync.connect(host="127.0.0.1", user="u")
    with pytest.raises(pgasync.InterfaceError, match="SelectorEventLoop"):
        opening.send(None)


async def test_many_at_once(connect: Callable[..., Any]) -> None:
    conns = await asyncio.gather(*(connect() for _ in range(20)))
    values = await asyncio.gather(*(conn.fetchval("select 7") for conn in conns))
    assert values == [7] * 20
