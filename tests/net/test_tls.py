"""Sessions over TLS with a real server: our own TLS, and an ssl.SSLContext."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

import libpq
import pgasync
from certificates import Certificates
from pgasync import _core, errors
from pgmock import SSL_CODE, MockServer, Peer, Proxy
from tlsservers import TRUST, TlsServer

BIG = 16_000_000  # bytes, far more than the buffers between hold
SMALL_RECORDS = "select n, repeat('x', 100) from generate_series(1, 5000) n"


@pytest.fixture(autouse=True)
def good(tls_server: TlsServer, certificates: Certificates) -> None:
    if tls_server.shown != ("good", TRUST):
        tls_server.show(certificates.server["good"])
        tls_server.shown = ("good", TRUST)


@pytest.fixture(params=["own", "context"])
def secure(
    request: pytest.FixtureRequest, certificates: Certificates
) -> dict[str, Any]:
    """Keywords that verify the server fully."""
    root = str(certificates.root.file)
    if request.param == "own":
        return {"sslmode": "verify-full", "sslrootcert": root}
    return {"ssl": ssl.create_default_context(cafile=root)}


@pytest.fixture
def address(tls_server: TlsServer) -> dict[str, Any]:
    return {
        "host": "localhost",
        "hostaddr": "127.0.0.1",
        "port": tls_server.port,
        "user": "postgres",
        "dbname": "postgres",
        "autocommit": True,
    }


@pytest.fixture
async def conn(
    address: dict[str, Any], secure: dict[str, Any]
) -> AsyncIterator[pgasync.Connection]:
    async with await pgasync.connect(**address, **secure) as connection:
        yield connection


async def test_what_the_session_is(conn: pgasync.Connection) -> None:
    row = await conn.fetchrow(
        "select ssl, version, cipher from pg_stat_ssl where pid = pg_backend_pid()"
    )
    info = conn.info
    assert (info.ssl, info.ssl_version, info.ssl_cipher) == tuple(row)


async def test_big_values_both_ways_at_once(conn: pgasync.Connection) -> None:
    """Neither side waits for the other to read first."""
    value = os.urandom(BIG // 4).hex()
    found = await conn.fetch(
        "select $1::text || n from generate_series(1, 2) n", [value]
    )
    assert [row[0] for row in found] == [value + "1", value + "2"]
    sets = [[value] for _ in range(4)]
    await conn.execute("create temp table kept (v text)")
    await conn.executemany("insert into kept values ($1)", sets)
    assert await conn.fetchval("select sum(length(v)) from kept") == 4 * len(value)


async def test_many_small_rows(conn: pgasync.Connection) -> None:
    for _ in range(3):
        rows = await conn.fetch(SMALL_RECORDS)
        assert [row[0] for row in rows] == list(range(1, 5001))


async def test_concurrent_tasks(conn: pgasync.Connection) -> None:
    async def one(number: int) -> None:
        for step in range(20):
            wanted = number * 100 + step
            assert await conn.fetchval("select $1::int", [wanted]) == wanted

    await asyncio.gather(*(one(number) for number in range(30)))


async def test_bytes_that_epoll_does_not_see(conn: pgasync.Connection) -> None:
    """A notice rides in the record that ends an answer: it is read at once, not with
    the next thing that comes."""
    heard: list[str] = []
    conn.add_notice_listener(lambda _, notice: heard.append(notice.message))
    sql = "do $$ begin for n in 1..300 loop raise notice '%', n; end loop; end $$"
    await conn.execute(sql)
    await asyncio.sleep(0)
    assert heard == [str(n) for n in range(1, 301)]


async def test_idle_end_is_noticed(
    conn: pgasync.Connection, tls_server: TlsServer
) -> None:
    """The server's last words reach an idle connection."""
    tls_server.psql(f"select pg_terminate_backend({conn.info.backend_pid})")
    for _ in range(200):
        if conn.closed:
            break
        await asyncio.sleep(0.01)
    with pytest.raises(errors.ConnectionLost) as caught:
        await conn.fetchval("select 1")
    assert caught.value.sqlstate == "57P01" or "57P01" in repr(vars(caught.value))


async def test_cancellation(conn: pgasync.Connection) -> None:
    for _ in range(5):
        task = asyncio.ensure_future(conn.fetchval("select pg_sleep(30)"))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(conn.fetchval("select 1"), 10) == 1
    with pytest.raises(errors.QueryTimeout):
        await conn.fetchval("select pg_sleep(30)", timeout=0.05)
    assert await conn.fetchval("select 2") == 2


@pytest.mark.parametrize("chunk", [1, 7, 1000])
async def test_split_records(
    tls_server: TlsServer, address: dict[str, Any], secure: dict[str, Any], chunk: int
) -> None:
    with Proxy("127.0.0.1", tls_server.port, chunk=chunk) as proxy:
        where = address | {"port": proxy.port}
        async with await pgasync.connect(**where, **secure) as connection:
            rows = await connection.fetch(
                "select repeat('é', n) from generate_series(1, 40) n"
            )
            assert [row[0] for row in rows] == ["é" * n for n in range(1, 41)]
            with pytest.raises(errors.DivisionByZero):
                await connection.fetch("select 1/0")


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_cut(
    tls_server: TlsServer, address: dict[str, Any], secure: dict[str, Any], how: str
) -> None:
    with Proxy("127.0.0.1", tls_server.port) as proxy:
        where = address | {"port": proxy.port}
        connection = await pgasync.connect(**where, **secure)
        proxy.cut_how = how
        proxy.cut_after = proxy.down_bytes + 100_000
        with pytest.raises(errors.ConnectionLost):
            await connection.fetch("select repeat('x', 1000000)")
        assert connection.closed


async def test_cancel_request_is_encrypted(
    tls_server: TlsServer, address: dict[str, Any], secure: dict[str, Any]
) -> None:
    with Proxy("127.0.0.1", tls_server.port) as proxy:
        where = address | {"port": proxy.port}
        async with await pgasync.connect(**where, **secure) as connection:
            key = connection._core.backend_key
            proxy.record = []
            task = asyncio.ensure_future(connection.fetchval("select pg_sleep(30)"))
            await asyncio.sleep(0.1)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert await connection.fetchval("select 1") == 1
        said = b"".join(part for way, part in proxy.record if way == "up")
        assert len(key) == 4
        assert key not in said
        assert SSL_CODE.to_bytes(4, "big") in said


async def test_no_plain_cancel_request_when_tls_is_gone(
    tls_server: TlsServer, address: dict[str, Any], secure: dict[str, Any]
) -> None:
    """Whoever answers now has no TLS: it gets no key."""
    seen: list[int] = []

    def script(peer: Peer) -> None:
        length, code = 8, SSL_CODE
        first = peer._read(8)
        length = int.from_bytes(first[:4], "big")
        code = int.from_bytes(first[4:], "big")
        seen.append(code)
        assert length == 8
        peer.send(b"N")
        with contextlib.suppress(Exception):
            seen.extend(peer._read(1))

    connection = await pgasync.connect(**address, **secure, cancel_timeout=1)
    with MockServer(script) as other:
        connection._link.address = type(connection._link.address)(
            connection._link.address.host,
            connection._link.address.family,
            ("127.0.0.1", other.port),
        )
        task = asyncio.ensure_future(connection.fetchval("select pg_sleep(30)"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(errors.ConnectionLost):
            await connection.fetchval("select 1")
    assert seen
    assert set(seen) == {SSL_CODE}


@pytest.mark.parametrize("mode", ["prefer", "allow"])
async def test_wrong_password_travels_once(
    tls_server: TlsServer,
    certificates: Certificates,
    address: dict[str, Any],
    mode: str,
) -> None:
    """libpq tries it the other way, too: nobody's password gets better by that. Other
    refusals may concern one of the ways only."""
    hba = "local all all trust\nhost postgres all 127.0.0.1/32 scram-sha-256\n"
    tls_server.show(certificates.server["good"], hba)
    tls_server.shown = ("good", hba)
    with Proxy("127.0.0.1", tls_server.port) as proxy:
        where = address | {"port": proxy.port, "sslmode": mode}
        with pytest.raises(errors.InvalidPassword) as caught:
            await pgasync.connect(**where, password="wrong")
        assert caught.value.sqlstate == "28P01"
        assert proxy.connections == 1
        async with await pgasync.connect(
            **where, password=tls_server.password
        ) as found:
            assert found.info.ssl is (mode == "prefer")
        assert proxy.connections == 2
        with pytest.raises(errors.InvalidAuthorizationSpecification):
            await pgasync.connect(**where | {"dbname": "template1"})
        assert proxy.connections == 4
        del where["autocommit"]
        dsn = " ".join(f"{key}={value}" for key, value in where.items())
        loop = asyncio.get_running_loop()
        oracle = libpq.LibPQ(17)
        said = await loop.run_in_executor(None, oracle.connect, f"{dsn} password=wrong")
        assert "password authentication failed" in said[2]
        assert proxy.connections == 6


async def test_stall_in_the_middle(
    tls_server: TlsServer, address: dict[str, Any], secure: dict[str, Any]
) -> None:
    """Half of a record is there, and nobody sends the rest."""
    loop = asyncio.get_running_loop()
    with Proxy("127.0.0.1", tls_server.port, chunk=1000) as proxy:
        where = address | {"port": proxy.port, "cancel_timeout": 0.3}
        connection = await pgasync.connect(**where, **secure)
        task = asyncio.ensure_future(
            connection.fetch("select repeat('x', 50000000)", timeout=0.3)
        )
        await asyncio.sleep(0.05)
        proxy.stall()
        started = loop.time()
        with pytest.raises(errors.OperationalError):
            await task
        with pytest.raises(errors.ConnectionLost):
            await connection.fetchval("select 1")
        assert loop.time() - started < 5
        with pytest.raises(errors.ConnectError, match="timed out"):
            await pgasync.connect(**where, **secure, connect_timeout=0.3)


# ----------------------------------------------------- what goes to the server


class Listener:
    """A TLS server of Python's, which notes what it is told and then closes."""

    def __init__(self, certificates: Certificates, alpn: list[str]) -> None:
        self.names: list[str | None] = []
        self.protocols: list[str | None] = []
        self.first: list[bytes] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair = certificates.server["good"]
        self.context.load_cert_chain(pair.cert, pair.key)
        self.context.sni_callback = self._note
        if alpn:
            self.context.set_alpn_protocols(alpn)

    def _note(self, sock: Any, name: str | None, context: Any) -> None:
        self.names.append(name)

    def script(self, peer: Peer) -> None:
        start = peer.sock.recv(8, 2)  # MSG_PEEK
        self.first.append(start)
        if start[4:] == SSL_CODE.to_bytes(4, "big"):
            peer._read(8)
            peer.send(b"S")
        with contextlib.suppress(OSError):
            inside = self.context.wrap_socket(peer.sock, server_side=True)
            self.protocols.append(inside.selected_alpn_protocol())
            inside.close()


@pytest.mark.parametrize(
    ("host", "sni", "expected"),
    [
        ("localhost", "1", "localhost"),
        ("localhost", "0", None),
        ("127.0.0.1", "1", None),
        ("db.example.invalid", "1", "db.example.invalid"),
    ],
)
async def test_server_name(
    certificates: Certificates, host: str, sni: str, expected: str | None
) -> None:
    listener = Listener(certificates, [])
    with MockServer(listener.script) as server, pytest.raises(errors.ConnectError):
        await pgasync.connect(
            host=host,
            hostaddr="127.0.0.1",
            port=server.port,
            user="u",
            sslmode="require",
            sslsni=sni,
        )
    assert listener.names == [expected]


@pytest.mark.parametrize("host", ["a" * 300, "a" * 70 + ".invalid", ".a", "a..b"])
async def test_impossible_names(
    address: dict[str, Any], certificates: Certificates, host: str
) -> None:
    """hostaddr says where the server is, and no certificate is for such a name."""
    root = str(certificates.root.file)
    where = address | {"host": host}
    with pytest.raises(errors.TLSError):
        await pgasync.connect(**where, sslmode="verify-full", sslrootcert=root)
    with pytest.raises(errors.TLSError):
        await pgasync.connect(**where, ssl=ssl.create_default_context(cafile=root))
    dsn = f"host={host} hostaddr=127.0.0.1 port={address['port']} user=postgres"
    for mode in ("prefer", "require"):
        loop = asyncio.get_running_loop()
        oracle = libpq.LibPQ(17)
        said = await loop.run_in_executor(
            None, oracle.connect, f"{dsn} dbname=postgres sslmode={mode}"
        )
        try:
            async with await pgasync.connect(**where, sslmode=mode) as connection:
                assert said[:2] == (True, connection.info.ssl)
        except errors.TLSError:
            assert not said[0]


@pytest.mark.parametrize(
    ("alpn", "agreed"), [(["postgresql"], True), (["h2"], False), ([], False)]
)
@pytest.mark.parametrize("kind", ["own", "context"])
async def test_direct_tls_needs_alpn(
    certificates: Certificates, alpn: list[str], agreed: bool, kind: str
) -> None:
    """With sslnegotiation=direct there is no SSLRequest, and ALPN must agree."""
    listener = Listener(certificates, alpn)
    keywords: dict[str, Any] = {"sslmode": "require"}
    if kind == "context":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["postgresql"])
        keywords = {"ssl": context}
    with (
        MockServer(listener.script) as server,
        pytest.raises(errors.ConnectError) as caught,
    ):
        await pgasync.connect(
            host="localhost",
            hostaddr="127.0.0.1",
            port=server.port,
            user="u",
            sslnegotiation="direct",
            **keywords,
        )
    assert listener.first[0][:1] == b"\x16"  # a TLS handshake record
    assert agreed is not isinstance(caught.value, errors.TLSError)
    if agreed:
        assert listener.protocols == ["postgresql"]


async def test_direct_tls(address: dict[str, Any], certificates: Certificates) -> None:
    keywords = {"sslrootcert": str(certificates.root.file), "sslmode": "verify-full"}
    async with await pgasync.connect(
        **address, **keywords, sslnegotiation="direct"
    ) as connection:
        assert connection.info.ssl
        task = asyncio.ensure_future(connection.fetchval("select pg_sleep(30)"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await connection.fetchval("select 1") == 1


# --------------------------------------------------------------- the ssl keyword


def untrusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize(
    ("given", "encrypted"),
    [
        (False, False),
        ("disable", False),
        ("prefer", True),
        ("require", True),
        ("true", True),
        (None, True),
    ],
)
async def test_ssl_keyword(
    address: dict[str, Any], given: Any, encrypted: bool
) -> None:
    async with await pgasync.connect(**address, ssl=given) as connection:
        assert connection.info.ssl is encrypted


async def test_ssl_true_verifies(
    address: dict[str, Any], certificates: Certificates
) -> None:
    with pytest.raises(errors.TLSError, match="certificate verify failed"):
        await pgasync.connect(**address, ssl=True)
    root = str(certificates.root.file)
    async with await pgasync.connect(**address, ssl=True, sslrootcert=root) as found:
        assert found.info.ssl
    other = str(certificates.other.file)
    with pytest.raises(errors.TLSError, match="certificate verify failed"):
        await pgasync.connect(**address, ssl=True, sslrootcert=other)


async def test_context_is_obeyed(
    address: dict[str, Any], certificates: Certificates, tls_server: TlsServer
) -> None:
    async with await pgasync.connect(**address, ssl=untrusting()) as connection:
        assert connection.info.ssl
    with pytest.raises(errors.TLSError, match="CERTIFICATE_VERIFY_FAILED"):
        await pgasync.connect(**address, ssl=ssl.create_default_context())
    root = str(certificates.root.file)
    with pytest.raises(errors.TLSError, match="CERTIFICATE_VERIFY_FAILED"):
        context = ssl.create_default_context(cafile=root)
        await pgasync.connect(**(address | {"host": "else.invalid"}), ssl=context)
    old = ssl.create_default_context(cafile=root)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with await pgasync.connect(**address, ssl=old) as connection:
        assert connection.info.ssl_version == "TLSv1.2"


@pytest.mark.parametrize("kind", ["own", "context"])
async def test_client_certificate(
    address: dict[str, Any],
    certificates: Certificates,
    tls_server: TlsServer,
    kind: str,
) -> None:
    hba = "local all all trust\nhostssl all all 127.0.0.1/32 cert\n"
    tls_server.show(certificates.server["good"], hba)
    tls_server.shown = ("good", hba)
    root, pair = str(certificates.root.file), certificates.client["good"]
    keywords: dict[str, Any] = {"ssl": ssl.create_default_context(cafile=root)}
    if kind == "own":
        keywords = {"sslmode": "verify-full", "sslrootcert": root}
    with pytest.raises(errors.OperationalError):
        await pgasync.connect(**address, **keywords)
    if kind == "own":
        keywords |= {"sslcert": str(pair.cert), "sslkey": str(pair.key)}
    else:
        keywords["ssl"].load_cert_chain(pair.cert, pair.key)
    async with await pgasync.connect(**address, **keywords) as connection:
        row = await connection.fetchval(
            "select client_dn from pg_stat_ssl where pid = pg_backend_pid()"
        )
        assert row == "/CN=postgres"


@pytest.mark.parametrize(
    "query",
    ["sslmode=require", "ssl=require", "sslmode=verify-full&sslrootcert={root}"],
)
async def test_engine_url(
    address: dict[str, Any], certificates: Certificates, query: str
) -> None:
    query = query.format(root=quote(str(certificates.root.file), safe=""))
    url = f"postgresql+pgasync://postgres@localhost:{address['port']}/postgres?{query}"
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
        assert await connection.scalar(text(sql)) is True
    await engine.dispose()


async def test_engine_connect_args(
    address: dict[str, Any], certificates: Certificates
) -> None:
    context = ssl.create_default_context(cafile=str(certificates.root.file))
    url = f"postgresql+pgasync://postgres@localhost:{address['port']}/postgres"
    engine = create_async_engine(url, connect_args={"ssl": context})
    async with engine.connect() as connection:
        sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
        assert await connection.scalar(text(sql)) is True
    await engine.dispose()


# --------------------------------------------------------------- certificates


async def test_changed_root_is_read_again(
    address: dict[str, Any], certificates: Certificates, tmp_path: Any
) -> None:
    root = tmp_path / "root.crt"
    root.write_bytes(certificates.other.pem)
    keywords = {"sslmode": "verify-full", "sslrootcert": str(root)}
    with pytest.raises(errors.TLSError):
        await pgasync.connect(**address, **keywords)
    root.write_bytes(certificates.root.pem + b"\n")
    async with await pgasync.connect(**address, **keywords) as connection:
        assert connection.info.ssl


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"sslrootcert": "{empty}"}, "root certificate file .*: "),
        (
            {"sslcrl": "{missing}", "sslrootcert": "{root}"},
            "revocation list .*: No such",
        ),
        ({"sslcert": "{empty}", "sslkey": "{key}"}, "certificate file .*: no start"),
        ({"sslcert": "{cert}", "sslkey": "{missing}"}, "no private key file"),
        ({"sslcert": "{cert}", "sslkey": "{other}"}, "does not match"),
    ],
)
async def test_bad_files_are_named(
    address: dict[str, Any],
    certificates: Certificates,
    tmp_path: Any,
    keywords: dict[str, str],
    words: str,
) -> None:
    (tmp_path / "empty").touch(mode=0o600)
    places = {
        "empty": tmp_path / "empty",
        "missing": tmp_path / "missing",
        "root": certificates.root.file,
        "cert": certificates.client["good"].cert,
        "key": certificates.client["good"].key,
        "other": certificates.client["another user"].key,
    }
    given = {name: value.format(**places) for name, value in keywords.items()}
    with pytest.raises(errors.TLSError, match=words) as caught:
        await pgasync.connect(**address, **given, sslmode="require")
    assert any(path in str(caught.value) for path in given.values())


# ------------------------------------------------------- lives and deaths, leaks


async def test_moves_to_another_loop(
    address: dict[str, Any], secure: dict[str, Any]
) -> None:
    made: list[pgasync.Connection] = []
    answers: list[int] = []

    def thread() -> None:
        async def opened() -> None:
            made.append(await pgasync.connect(**address, **secure))
            answers.append(await made[0].fetchval("select 1"))

        asyncio.run(opened())

    runner = threading.Thread(target=thread)
    runner.start()
    while runner.is_alive():
        await asyncio.sleep(0.01)
    rows = await made[0].fetch(SMALL_RECORDS)
    assert (answers, len(rows)) == ([1], 5000)
    await made[0].close()


async def test_nothing_is_left(address: dict[str, Any], secure: dict[str, Any]) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self") else 0

    async def once() -> None:
        connection = await pgasync.connect(**address, **secure)
        await connection.fetchval("select 1")
        await connection.close()

    await once()
    gc.collect()
    files, objects = open_files(), _core.live_objects()
    for _ in range(20):
        await once()
    gc.collect()
    assert (open_files(), _core.live_objects()) == (files, objects)


@pytest.mark.no_leak_check
async def test_dropped_and_closed_in_the_middle(
    address: dict[str, Any], secure: dict[str, Any]
) -> None:
    connection = await pgasync.connect(**address, **secure)
    with pytest.warns(ResourceWarning):
        del connection
        gc.collect()
        await asyncio.sleep(0.05)
        gc.collect()
    connection = await pgasync.connect(**address, **secure)
    task = asyncio.ensure_future(connection.fetch("select repeat('x', 50000000)"))
    await asyncio.sleep(0.02)
    connection.terminate()
    with pytest.raises(errors.Error):
        await task


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork(address: dict[str, Any], certificates: Certificates) -> None:
    """The child's end says nothing on the parent's stream."""
    script = """
import asyncio, json, os, sys, warnings
import pgasync
keywords = json.loads(sys.argv[1])

async def main():
    connection = await pgasync.connect(**keywords)
    assert await connection.fetchval("select 1") == 1
    pid = os.fork()
    if pid == 0:
        warnings.simplefilter("ignore")
        try:
            connection._core.execute("select 1", None, 1, False)
        except pgasync.InterfaceError:
            connection.terminate()
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
    assert await connection.fetchval("select 2") == 2
    await connection.close()

asyncio.run(main())
"""
    keywords = address | {
        "sslmode": "verify-full",
        "sslrootcert": str(certificates.root.file),
    }
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(keywords)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


RSS_SCRIPT = """
import asyncio, gc, json, sys
import pgasync
keywords = json.loads(sys.argv[1])

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

async def once():
    connection = await pgasync.connect(**keywords)
    await connection.fetchval("select 1")
    await connection.close()

async def main():
    for _ in range(100):
        await once()
    gc.collect()
    before = resident()
    for _ in range(400):
        await once()
    gc.collect()
    print(resident() - before)

asyncio.run(main())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_memory_after_many_connects(
    address: dict[str, Any], certificates: Certificates
) -> None:
    keywords = address | {
        "sslmode": "verify-full",
        "sslrootcert": str(certificates.root.file),
    }
    done = subprocess.run(
        [sys.executable, "-c", RSS_SCRIPT, json.dumps(keywords)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    sanitized = "asan" in os.environ.get("LD_PRELOAD", "")
    assert sanitized or int(done.stdout) < 1_000_000, (
        f"{done.stdout} bytes for 400 connects"
    )


def test_import_order() -> None:
    """Python's ssl, our core and libpq in one process, in every order."""
    for first in ("import ssl; import pgasync", "import pgasync; import ssl"):
        script = f"{first}; ssl.create_default_context(); print(ssl.OPENSSL_VERSION)"
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    assert libpq.available(17)


@pytest.mark.parametrize("method", ["receive", "send"])
async def test_terminated_inside_of_the_context(
    address: dict[str, Any], certificates: Certificates, method: str
) -> None:
    """The TLS of a context is Python code, in which anything can happen."""
    context = ssl.create_default_context(cafile=str(certificates.root.file))
    connection = await pgasync.connect(**address, ssl=context)
    bridge: Any = connection._link.transport
    honest = getattr(bridge, method)

    def treacherous(data: bytes) -> Any:
        connection.terminate()
        return honest(data)

    setattr(bridge, method, treacherous)
    with pytest.raises(errors.Error):
        await connection.fetchval("select 1")
    assert connection.closed
