"""A peer that falls silent: its machine is gone, a cable is cut, a firewall forgets.

The scripted server listens in a network namespace behind a pair of virtual Ethernet
devices; taking its address away makes it silent, without a FIN or an RST. That needs
root on Linux. What is set on the socket is tested in test_sockets.py, anywhere.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pgasync
from pgasync import errors
from pgmock import Answer, MockServer, Peer, serve

CLONE_NEWNET = 0x40000000


class Wire:
    """A namespace of its own at the other end of a virtual cable."""

    def __init__(self) -> None:
        number = os.getpid() % 16000 * 4
        network = f"198.18.{number >> 8}"  # RFC 2544: for tests of networks
        self.space = f"pgasync{os.getpid()}"
        self.near, self.far = f"pga{os.getpid()}", f"pgb{os.getpid()}"
        self.here = f"{network}.{(number & 255) + 1}"
        self.address = f"{network}.{(number & 255) + 2}"

    def ip(self, *words: str) -> str:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def lay(self) -> None:
        far = ("-n", self.space)
        self.ip("netns", "add", self.space)
        self.ip(
            *("link", "add", self.near, "type", "veth"),
            *("peer", "name", self.far, "netns", self.space),
        )
        self.ip("addr", "add", f"{self.here}/30", "dev", self.near)
        self.ip("link", "set", self.near, "up")
        self.ip(*far, "addr", "add", f"{self.address}/30", "dev", self.far)
        self.ip(*far, "link", "set", self.far, "up")
        # Not to be asked for when it is silent: that would be an error of its own.
        hardware = self.ip(*far, "-br", "link", "show", self.far).split()[2]
        self.ip(
            *("neigh", "replace", self.address, "lladdr", hardware),
            *("dev", self.near, "nud", "permanent"),
        )

    def cut(self) -> None:
        """From now on what is sent to the other end is dropped there."""
        self.ip(
            *("-n", self.space, "addr", "del", f"{self.address}/30", "dev", self.far)
        )

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.space], capture_output=True)
        subprocess.run(["ip", "link", "del", self.near], capture_output=True)

    def listener(self) -> socket.socket:
        """Made by a thread that is in the namespace; any thread may use it."""
        made: list[Any] = []

        def listen() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{self.space}") as space:
                if libc.setns(space.fileno(), CLONE_NEWNET):
                    made.append(OSError(ctypes.get_errno(), "setns"))
                    return
            made.append(socket.create_server((self.address, 0)))

        thread = threading.Thread(target=listen)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        found: socket.socket = made[0]
        return found


@pytest.fixture
def wire() -> Iterator[Wire]:
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs Linux, root and the program ip: a network namespace")
    made = Wire()
    try:
        try:
            made.lay()
        except OSError as error:
            pytest.skip(f"no network namespace here: {error}")
        yield made
    finally:
        made.remove()


@pytest.fixture
def opened(wire: Wire) -> Iterator[Callable[..., Any]]:
    """`await opened(**keywords)`: a connection to a server behind the wire."""

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {"sleep": Answer(execute=Peer.wait_closed)})

    with MockServer(script, wire.listener()) as server:

        async def connect(**keywords: Any) -> Any:
            return await pgasync.connect(server.dsn, autocommit=True, **keywords)

        yield connect


def check_lost(error: BaseException, outcome: str) -> None:
    assert isinstance(error, errors.ConnectionLost)
    assert error.outcome == outcome
    cause = error.__cause__
    assert isinstance(cause, OSError)
    assert cause.errno in (errno.ETIMEDOUT, errno.EHOSTUNREACH)


async def test_silent_while_we_wait(opened: Callable[..., Any], wire: Wire) -> None:
    """Everything that we sent is acknowledged: the keepalive finds out."""
    conn = await opened(
        keepalives_idle=1, keepalives_interval=1, keepalives_count=2, tcp_user_timeout=0
    )
    running = asyncio.ensure_future(conn.execute("select sleep"))
    await asyncio.sleep(0.2)
    wire.cut()
    started = time.monotonic()
    with pytest.raises(pgasync.Error) as caught:
        await asyncio.wait_for(running, 10)
    assert 1.0 < time.monotonic() - started < 5.0
    check_lost(caught.value, "in_doubt")
    assert conn.closed
    await conn.close()


async def test_silent_when_we_send(opened: Callable[..., Any], wire: Wire) -> None:
    """Nobody acknowledges what we send: tcp_user_timeout."""
    conn = await opened(tcp_user_timeout=1000)
    assert await conn.fetchval("select 7") == 7
    wire.cut()
    started = time.monotonic()
    with pytest.raises(pgasync.Error) as caught:
        await asyncio.wait_for(conn.fetchval("select 7"), 10)
    assert 0.9 < time.monotonic() - started < 5.0
    check_lost(caught.value, "in_doubt")
    await conn.close()


async def test_silent_when_idle(opened: Callable[..., Any], wire: Wire) -> None:
    """Nobody waits: the connection closes by itself, and the next call tells why."""
    conn = await opened(keepalives_idle=1, keepalives_interval=1, tcp_user_timeout=1500)
    ended = asyncio.Event()
    conn.add_termination_listener(lambda _: ended.set())
    wire.cut()
    await asyncio.wait_for(ended.wait(), 6)
    assert conn.closed
    with pytest.raises(errors.ConnectionLost, match="timed out"):
        await conn.fetchval("select 7")
    await conn.close()


async def test_statement_timeout_of_ours(
    opened: Callable[..., Any], wire: Wire
) -> None:
    """`timeout=` does not wait for the network; what is left ends in its time."""
    conn = await opened(cancel_timeout=0.5)
    wire.cut()
    started = time.monotonic()
    with pytest.raises(pgasync.QueryTimeout):
        await conn.fetchval("select 7", timeout=0.2)
    assert time.monotonic() - started < 1.0
    with pytest.raises(errors.ConnectionLost):
        await conn.fetchval("select 7")
    assert time.monotonic() - started < 3.0
    assert conn.closed
    await conn.close()


async def test_connect_to_silence(opened: Callable[..., Any], wire: Wire) -> None:
    wire.cut()
    started = time.monotonic()
    with pytest.raises(
        pgasync.ConnectError, match=r"timed out after 0\.5 s connecting"
    ):
        await opened(connect_timeout=0.5)
    assert time.monotonic() - started < 2.0


async def test_close_does_not_wait(opened: Callable[..., Any], wire: Wire) -> None:
    conn = await opened()
    running = asyncio.ensure_future(conn.execute("select sleep"))
    await asyncio.sleep(0.1)
    wire.cut()
    started = time.monotonic()
    await conn.close(timeout=0.3)
    assert time.monotonic() - started < 2.0
    with pytest.raises(pgasync.Error):
        await running
