"""Records that are no data: new keys, tickets, the wish to shake hands once more. By a
TLS server of OpenSSL's own functions, which Python's ssl does not all have, in front of
a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import ctypes.util
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import pgasync
from certificates import Certificates
from pgasync import errors
from tlsservers import TRUST, TlsServer

TLS1_2, TLS1_3 = 0x0303, 0x0304
CTRL_MODE, CTRL_MIN_VERSION, CTRL_MAX_VERSION = 33, 123, 124
PARTIAL_WRITES, MOVING_BUFFERS = 1, 2
FILE_PEM = 1
WANT_READ, WANT_WRITE = 2, 3
KEYS_ONE_WAY, KEYS_BOTH_WAYS = 0, 1
ROOM = 256 * 1024  # bytes on their way through
EVERY = 100_000  # bytes to the client between two extra records
LIMIT_S = 20.0

BIG_ROWS = "select repeat('x', 20000) || n from generate_series(1, 500) n"


def libssl() -> Any:
    name = ctypes.util.find_library("ssl")
    if name is None:
        pytest.skip("needs libssl")
    lib = ctypes.CDLL(name)
    if not hasattr(lib, "SSL_new_session_ticket"):
        pytest.skip("needs OpenSSL 3")
    for function in (lib.TLS_server_method, lib.SSL_CTX_new, lib.SSL_new):
        function.restype = ctypes.c_void_p
    pointer, number = ctypes.c_void_p, ctypes.c_int
    lib.SSL_CTX_new.argtypes = [pointer]
    lib.SSL_CTX_ctrl.argtypes = [pointer, number, ctypes.c_long, pointer]
    lib.SSL_CTX_use_certificate_chain_file.argtypes = [pointer, ctypes.c_char_p]
    lib.SSL_CTX_use_PrivateKey_file.argtypes = [pointer, ctypes.c_char_p, number]
    lib.SSL_new.argtypes = lib.SSL_free.argtypes = lib.SSL_CTX_free.argtypes = [pointer]
    lib.SSL_set_fd.argtypes = lib.SSL_get_error.argtypes = [pointer, number]
    lib.SSL_accept.argtypes = lib.SSL_do_handshake.argtypes = [pointer]
    lib.SSL_renegotiate.argtypes = lib.SSL_new_session_ticket.argtypes = [pointer]
    lib.SSL_key_update.argtypes = [pointer, number]
    lib.SSL_read.argtypes = [pointer, pointer, number]
    lib.SSL_write.argtypes = [pointer, ctypes.c_char_p, number]
    return lib


class Terminator:
    """Takes one TLS connection after the other and passes each on, unencrypted.

    `extra`: "keys" (new ones for both), "own keys" (new ones for what it sends),
    "ticket" or "renegotiate", every EVERY bytes and when `now` is set.
    """

    def __init__(
        self, target: int, certificates: Certificates, extra: str, version: int
    ) -> None:
        self.target, self.extra = target, extra
        self.now = threading.Event()
        self.done = 0  # extra records
        self.lib = lib = libssl()
        self.context = lib.SSL_CTX_new(lib.TLS_server_method())
        pair = certificates.server["good"]
        assert lib.SSL_CTX_use_certificate_chain_file(
            self.context, str(pair.cert).encode()
        )
        assert lib.SSL_CTX_use_PrivateKey_file(
            self.context, str(pair.key).encode(), FILE_PEM
        )
        lib.SSL_CTX_ctrl(self.context, CTRL_MIN_VERSION, version, None)
        lib.SSL_CTX_ctrl(self.context, CTRL_MAX_VERSION, version, None)
        modes = PARTIAL_WRITES | MOVING_BUFFERS
        lib.SSL_CTX_ctrl(self.context, CTRL_MODE, modes, None)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.over = False
        self.thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Terminator:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.over = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.lib.SSL_CTX_free(self.context)

    def _accept(self) -> None:
        while not self.over:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            tls = self.lib.SSL_new(self.context)
            with client, socket.create_connection(("127.0.0.1", self.target)) as server:
                client.settimeout(LIMIT_S)
                client.recv(8, socket.MSG_WAITALL)  # the SSLRequest
                client.sendall(b"S")
                client.setblocking(True)
                self.lib.SSL_set_fd(tls, client.fileno())
                if self.lib.SSL_accept(tls) == 1:
                    client.setblocking(False)
                    server.setblocking(False)
                    with contextlib.suppress(OSError):
                        self._pass(tls, client, server)
            self.lib.SSL_free(tls)

    def _extra(self, tls: int) -> None:
        self.done += 1
        if self.extra == "ticket":
            assert self.lib.SSL_new_session_ticket(tls) == 1
        elif self.extra == "renegotiate":
            assert self.lib.SSL_renegotiate(tls) == 1
        else:
            kind = KEYS_BOTH_WAYS if self.extra == "keys" else KEYS_ONE_WAY
            assert self.lib.SSL_key_update(tls, kind) == 1

    def _pass(self, tls: int, client: socket.socket, server: socket.socket) -> None:
        up, down = bytearray(), bytearray()
        room = ctypes.create_string_buffer(65536)
        since, stuck = 0, False  # bytes since the last extra; a write is to be repeated
        while not self.over:
            reads = [s for s, q in ((client, up), (server, down)) if len(q) < ROOM]
            writes = [s for s, q in ((client, down), (server, up)) if q]
            ready, _, _ = select.select(reads, [], [], 0 if up or down else 0.02)
            if not ready:
                select.select(reads, writes, [], 0.02)
            if server in ready:
                data = server.recv(65536)
                if not data and not down:
                    return
                down += data
            while len(up) < ROOM:
                got = self.lib.SSL_read(tls, room, len(room))
                if got <= 0:
                    if self._failed(tls, got):
                        return
                    break
                up += room.raw[:got]
            if up:
                with contextlib.suppress(BlockingIOError):
                    del up[: server.send(up)]
            if not stuck and (since >= EVERY or self.now.is_set()):
                since = 0
                self._extra(tls)
                self.lib.SSL_do_handshake(tls)
                self.now.clear()
            while down:
                sent = self.lib.SSL_write(
                    tls, bytes(down[:16384]), min(16384, len(down))
                )
                stuck = sent <= 0
                if stuck:
                    if self._failed(tls, sent):
                        return
                    break
                since += sent
                del down[:sent]
                if since >= EVERY:
                    break

    def _failed(self, tls: int, result: int) -> bool:
        return self.lib.SSL_get_error(tls, result) not in (WANT_READ, WANT_WRITE)


@pytest.fixture(autouse=True)
def good(tls_server: TlsServer, certificates: Certificates) -> None:
    if tls_server.shown != ("good", TRUST):
        tls_server.show(certificates.server["good"])
        tls_server.shown = ("good", TRUST)


@pytest.fixture
def extra() -> str:
    return "keys"


@pytest.fixture
def version(extra: str) -> int:
    return TLS1_2 if extra == "renegotiate" else TLS1_3


@pytest.fixture
def terminator(
    tls_server: TlsServer, certificates: Certificates, extra: str, version: int
) -> Iterator[Terminator]:
    with Terminator(tls_server.port, certificates, extra, version) as found:
        yield found


@pytest.fixture(params=["own", "context"])
async def conn(
    request: pytest.FixtureRequest, terminator: Terminator, certificates: Certificates
) -> AsyncIterator[pgasync.Connection]:
    root = str(certificates.root.file)
    secure: dict[str, Any] = {"sslmode": "verify-full", "sslrootcert": root}
    if request.param == "context":
        secure = {"ssl": ssl.create_default_context(cafile=root)}
    connection = await pgasync.connect(
        host="localhost",
        hostaddr="127.0.0.1",
        port=terminator.port,
        user="postgres",
        dbname="postgres",
        autocommit=True,
        cancel_timeout=1,
        **secure,
    )
    yield connection
    connection.terminate()


CALM = pytest.mark.parametrize("extra", ["keys", "own keys", "ticket"])


@CALM
async def test_among_rows(conn: pgasync.Connection, terminator: Terminator) -> None:
    rows = await asyncio.wait_for(conn.fetch(BIG_ROWS), LIMIT_S)
    assert [row[0][20000:] for row in rows] == [str(n) for n in range(1, 501)]
    assert terminator.done > 20


@CALM
async def test_both_ways_at_once(
    conn: pgasync.Connection, terminator: Terminator
) -> None:
    """New keys are answered while the other direction is full."""
    value = os.urandom(1_000_000).hex()
    sql = "select $1::text || n from generate_series(1, 2) n"
    for _ in range(4):
        rows = await asyncio.wait_for(conn.fetch(sql, [value]), LIMIT_S)
        assert [row[0] for row in rows] == [value + "1", value + "2"]
    assert terminator.done > 20


@CALM
async def test_while_idle(conn: pgasync.Connection, terminator: Terminator) -> None:
    """Nothing to read for us: no data, no end, and nothing that spins."""
    busy = time.process_time()
    for _ in range(5):
        terminator.now.set()
        await asyncio.sleep(0.1)
    assert time.process_time() - busy < 0.4
    assert terminator.done == 5
    assert not conn.closed
    assert await asyncio.wait_for(conn.fetchval("select 1"), LIMIT_S) == 1


@CALM
async def test_while_waiting(conn: pgasync.Connection, terminator: Terminator) -> None:
    """Between a query and its answer; the connection can still be cancelled."""
    task = asyncio.ensure_future(conn.fetchval("select 1 from pg_sleep(0.5)"))
    for _ in range(3):
        await asyncio.sleep(0.1)
        terminator.now.set()
    assert await asyncio.wait_for(task, LIMIT_S) == 1
    assert terminator.done == 3


@pytest.mark.parametrize("extra", ["renegotiate"])
@pytest.mark.parametrize("idle", [True, False])
async def test_renegotiation(
    conn: pgasync.Connection, terminator: Terminator, idle: bool
) -> None:
    """TLS 1.2 only. Whoever asks for it is refused and leaves, or is left; nothing
    waits for ever."""
    assert conn.info.ssl_version == "TLSv1.2"
    cipher = conn.info.ssl_cipher
    if idle:
        terminator.now.set()
        await asyncio.sleep(0.3)
        assert terminator.done == 1
    started = time.monotonic()
    with pytest.raises(errors.ConnectionLost):
        await asyncio.wait_for(conn.fetch(BIG_ROWS), LIMIT_S)
    assert time.monotonic() - started < 5
    assert conn.closed
    assert conn.info.ssl_cipher == cipher
