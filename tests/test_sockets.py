"""pgasync.sockets: options as libpq's keywords say, and who listens (requirepeer)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pgasync import conninfo, sockets
from pgasync.errors import ConnectError, InterfaceError

IDLE = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", 0))
linux = pytest.mark.skipif(sys.platform != "linux", reason="options of Linux")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def leave(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(leave, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def opened(port: int, **keywords: Any) -> socket.socket:
    given = {"host": "127.0.0.1", "port": port, "user": "u", **keywords}
    config = conninfo.parse(None, given, {})
    address = sockets.Address(config.hosts[0], socket.AF_INET, ("127.0.0.1", port))
    return await sockets.open_socket(config, address)


def tcp(sock: socket.socket, name: str) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))


@linux
async def test_defaults(port: int) -> None:
    with contextlib.closing(await opened(port)) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert tcp(sock, "TCP_NODELAY") == 1
        assert tcp(sock, "TCP_KEEPIDLE") == 15
        assert tcp(sock, "TCP_KEEPINTVL") == 5
        assert tcp(sock, "TCP_KEEPCNT") == 3
        assert tcp(sock, "TCP_USER_TIMEOUT") == 30_000


@linux
async def test_given(port: int) -> None:
    with contextlib.closing(
        await opened(
            port,
            keepalives_idle=7,
            keepalives_interval="3",
            keepalives_count=2,
            tcp_user_timeout=4000,
        )
    ) as sock:
        assert tcp(sock, "TCP_KEEPIDLE") == 7
        assert tcp(sock, "TCP_KEEPINTVL") == 3
        assert tcp(sock, "TCP_KEEPCNT") == 2
        assert tcp(sock, "TCP_USER_TIMEOUT") == 4000


@linux
async def test_zero_is_the_value_of_the_system(port: int) -> None:
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    with contextlib.closing(socket.socket()) as plain:
        system = [tcp(plain, name) for name in names]
    with contextlib.closing(
        await opened(
            port,
            keepalives_idle=0,
            keepalives_interval=0,
            keepalives_count=0,
            tcp_user_timeout=0,
        )
    ) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert [tcp(sock, name) for name in names] == system


@linux
async def test_no_keepalives(port: int) -> None:
    with contextlib.closing(
        await opened(port, keepalives=0, keepalives_idle=9)
    ) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        assert tcp(sock, "TCP_KEEPIDLE") != 9
        assert tcp(sock, "TCP_USER_TIMEOUT") == 30_000


@linux
async def test_what_the_system_refuses(port: int) -> None:
    with pytest.raises(InterfaceError, match="keepalives_idle=40000 "):
        await opened(port, keepalives_idle=40_000)


async def test_name_of_macos(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP_KEEPALIVE is what TCP_KEEPIDLE is elsewhere."""
    if not IDLE:
        pytest.skip("no option for the idle time")
    monkeypatch.delattr(socket, "TCP_KEEPIDLE", raising=False)
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", IDLE, raising=False)
    with contextlib.closing(await opened(port, keepalives_idle=11)) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, IDLE) == 11


# ------------------------------------------------------------------- requirepeer


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    """A directory in which this process listens as a server would."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / ".s.PGSQL.5432"))
        listener.listen()
        yield tmp_path


async def unix(folder: Path, **keywords: Any) -> socket.socket:
    config = conninfo.parse(None, {"host": str(folder), "user": "u", **keywords}, {})
    host = config.hosts[0]
    address = sockets.Address(host, socket.AF_UNIX, host.socket_path)
    return await sockets.open_socket(config, address)


def own_name() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


async def test_requirepeer_ourselves(folder: Path) -> None:
    (await unix(folder, requirepeer=own_name())).close()


async def test_requirepeer_somebody_else(folder: Path) -> None:
    with pytest.raises(ConnectError, match=f"as user '{own_name()}', not as 'mallory'"):
        await unix(folder, requirepeer="mallory")


async def test_requirepeer_without_a_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(uid: int) -> Any:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(ConnectError, match=f"number {os.geteuid()}"):
        await unix(folder, requirepeer="mallory")


async def test_requirepeer_where_nobody_knows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "SO_PEERCRED", raising=False)
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(ConnectError, match="plan9 does not tell"):
        await unix(folder, requirepeer=own_name())


async def test_requirepeer_is_about_unix_sockets(port: int) -> None:
    (await opened(port, requirepeer="mallory")).close()
