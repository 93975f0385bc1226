"""Authentication and the version of the protocol, with real servers: channel binding
with every kind of certificate, what libpq makes of the same settings, keys instead of
a password, password callables, no secret in any text."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import logging
import os
import ssl
import struct
import subprocess
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

import pgasync
import servers
from certificates import Certificates, Pair
from pgasync import conninfo, errors
from pgmock import (
    Answer,
    MockServer,
    Peer,
    Script,
    auth,
    auth_ok,
    auth_sasl,
    backend_key,
    cstr,
    message,
    ready,
    serve,
)
from tlsservers import MAJOR, MISSING, TlsServer

# Tests of SCRAM wait for the executor: time is generous, never what is measured.
HBA = """\
local all scram_user scram-sha-256
local all all trust
host all trust_user 127.0.0.1/32 trust
host all md5_user 127.0.0.1/32 md5
host all password_user 127.0.0.1/32 password
host all all 127.0.0.1/32 scram-sha-256
"""
PASSWORDS = {
    "scram_user": "scram secret",
    "md5_user": "md5 secret",
    "password_user": "plain secret",
    "trust_user": "no secret",
}
# Each kind of certificate; the digest of its signature is what the binding is made with
# (RFC 5929), and Ed25519 has none.
CERTIFICATES: dict[str, dict[str, Any]] = {
    "rsa": {"kind": "rsa"},
    "rsa-sha512": {"kind": "rsa", "algorithm": hashes.SHA512()},
    "rsa-pss": {"kind": "rsa", "algorithm": hashes.SHA384(), "pss": True},
    "ecdsa-sha256": {"kind": "p256"},
    "ecdsa-sha384": {"kind": "p384", "algorithm": hashes.SHA384()},
    "ed25519": {"kind": "ed25519"},
}


class AuthServer(TlsServer):
    """Has a role for each method; its certificate is of whatever kind."""

    def use(self, kind: str) -> Pair:
        """Shows a self-signed certificate of this kind from now on."""
        root, how = self.certificates.root, CERTIFICATES[kind]
        pair = root.issue(kind, self_signed=True, **how)
        self.show(pair, HBA)
        return pair

    def libpq(self, **settings: str) -> bool:
        """Whether psql, which is libpq, gets in."""
        words = " ".join(f"{key}='{value}'" for key, value in settings.items())
        done = subprocess.run(
            [self.tree / "bin" / "psql", "-XAtc", "SELECT 1", words],
            env={**self.environment(), "PGCONNECT_TIMEOUT": "10"},
            capture_output=True,
            cwd=self.base,
        )
        return done.returncode == 0


@pytest.fixture(scope="module")
def auth_server(certificates: Certificates) -> Iterator[AuthServer]:
    if not servers.installed(MAJOR):
        pytest.skip(MISSING)
    with AuthServer(certificates, HBA) as server:
        lines = []
        for role, password in PASSWORDS.items():
            method = "md5" if role == "md5_user" else "scram-sha-256"
            lines.append(f"SET password_encryption = '{method}';")
            lines.append(f"CREATE ROLE {role} LOGIN PASSWORD '{password}';")
        server.psql("\n".join(lines))
        server.use("rsa")
        yield server


@pytest.fixture(scope="module")
def servers_by_version(server: Any, auth_server: AuthServer) -> dict[int, Any]:
    return {18: server, 17: auth_server}


def way(server: servers.Server, user: str, transport: str) -> dict[str, str]:
    """Keywords to log in: over "tls", "tcp" or "unix"."""
    host = str(server.socket_dir) if transport == "unix" else "127.0.0.1"
    mode = "require" if transport == "tls" else "disable"
    return {
        "host": host,
        "port": str(server.port),
        "user": user,
        "dbname": "postgres",
        "password": PASSWORDS[user],
        "sslmode": mode,
    }


async def log_in(keywords: dict[str, str], **more: Any) -> pgasync.Connection:
    return await pgasync.connect(**keywords, **more, autocommit=True)


# ------------------------------------------------------------------ channel binding


@pytest.mark.parametrize("kind", CERTIFICATES)
async def test_certificates(auth_server: AuthServer, kind: str) -> None:
    auth_server.use(kind)
    keywords = way(auth_server, "scram_user", "tls")
    for binding in ("disable", "prefer", "require"):
        if kind == "ed25519" and binding != "disable":
            words = f"channel_binding={binding}.*Ed25519"
            with pytest.raises(pgasync.ConnectError, match=words):
                await log_in(keywords, channel_binding=binding)
            assert not auth_server.libpq(**keywords, channel_binding=binding)
            continue
        async with await log_in(keywords, channel_binding=binding) as conn:
            assert conn.info.ssl
            assert await conn.fetchval("select current_user") == "scram_user"
        assert auth_server.libpq(**keywords, channel_binding=binding)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa-sha384", "ed25519"])
async def test_verified_certificates(auth_server: AuthServer, kind: str) -> None:
    """One that nothing can be bound to will do once it is known for the server's; the
    certificate may be the business of an ssl.SSLContext, too."""
    root = str(auth_server.use(kind).cert)
    keywords: dict[str, Any] = way(auth_server, "scram_user", "tls")
    full = {"sslmode": "verify-full", "sslrootcert": root}
    context = ssl.create_default_context(cafile=root)
    loose = ssl.create_default_context(cafile=root)
    loose.check_hostname = False
    bindable = kind != "ed25519"
    for more, prefer in (
        (full, True),
        ({"ssl": context}, True),
        ({"ssl": loose}, bindable),
    ):
        for binding, good in (("prefer", prefer), ("require", bindable)):
            given = keywords | more | {"channel_binding": binding}
            if "ssl" in more:
                del given["sslmode"]
            if good:
                async with pgasync.connect(**given) as conn:
                    assert await conn.fetchval("select current_user") == "scram_user"
            else:
                with pytest.raises(pgasync.ConnectError, match="Ed25519"):
                    await pgasync.connect(**given)


@pytest.mark.parametrize("transport", ["tls", "tcp", "unix"])
@pytest.mark.parametrize("user", PASSWORDS)
async def test_outcomes_are_those_of_libpq(
    auth_server: AuthServer, user: str, transport: str
) -> None:
    """Every method that the server may ask for, with each channel_binding and some
    of require_auth."""
    auth_server.use("ecdsa-sha256")
    keywords = way(auth_server, user, transport)
    required = ["", "scram-sha-256", "!none", "password,md5", "!scram-sha-256", "none"]
    for binding, auths in itertools.product(("disable", "prefer", "require"), required):
        chosen = {"channel_binding": binding}
        if auths:  # "" is not the same as nothing to libpq
            chosen["require_auth"] = auths
        expected = auth_server.libpq(**keywords, **chosen)
        got = True
        try:
            conn = await log_in(keywords, **chosen)
            await conn.close()
        except pgasync.ConnectError as error:
            got = False
            assert "channel_binding" in str(error) or "require_auth" in str(error)
        assert got == expected, (binding, auths)


async def test_required_in_words(auth_server: AuthServer) -> None:
    auth_server.use("rsa")
    said = {
        ("scram_user", "tcp"): "no TLS",
        ("scram_user", "unix"): "no TLS",
        ("md5_user", "tls"): "asked for md5 authentication",
        ("password_user", "tls"): "asked for password authentication",
        ("trust_user", "tls"): "let us in without SCRAM-SHA-256-PLUS",
        ("trust_user", "tcp"): "let us in without SCRAM-SHA-256-PLUS",
        ("trust_user", "unix"): "let us in without SCRAM-SHA-256-PLUS",
    }
    for (user, transport), text in said.items():
        keywords = way(auth_server, user, transport)
        with pytest.raises(
            pgasync.ConnectError, match=f"channel_binding=require.*{text}"
        ):
            await log_in(keywords, channel_binding="require")


async def test_a_man_in_the_middle_is_noticed(auth_server: AuthServer) -> None:
    """The exchange is bound to another certificate than the server's: it refuses."""
    auth_server.use("rsa")
    keywords = way(auth_server, "scram_user", "tls")
    tried = []

    class Bent:
        """The transport as it would be in front of somebody else's certificate."""

        def __init__(self, transport: Any) -> None:
            self.transport = transport

        def __getattr__(self, name: str) -> Any:
            if name == "binding":
                tried.append(True)
                return hashlib.sha256(b"another certificate").digest()
            return getattr(self.transport, name)

    from pgasync import session, tls

    async def secure(*args: Any) -> Any:
        return Bent(await tls_secure(*args))

    tls_secure = tls.secure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session.tls, "secure", secure)
        for binding in ("prefer", "require"):
            with pytest.raises(pgasync.OperationalError) as caught:
                await log_in(keywords, channel_binding=binding)
            assert str(caught.value.sqlstate).startswith("28")
    assert tried


# -------------------------------------------------------- the version of the protocol


async def check_cancel(conn: pgasync.Connection) -> None:
    with pytest.raises(pgasync.QueryTimeout):
        await conn.execute("select pg_sleep(30)", timeout=0.1)
    assert await conn.fetchval("select 5") == 5


@pytest.mark.parametrize(
    ("major", "versions", "spoken"),
    [
        (18, {}, 30000),
        (18, {"max_protocol_version": "3.2"}, 30002),
        (18, {"max_protocol_version": "latest"}, 30002),
        (18, {"min_protocol_version": "3.2", "max_protocol_version": "3.2"}, 30002),
        (17, {}, 30000),
        (17, {"max_protocol_version": "3.2"}, 30000),  # NegotiateProtocolVersion
    ],
)
async def test_versions(
    servers_by_version: dict[int, Any],
    major: int,
    versions: dict[str, str],
    spoken: int,
) -> None:
    dsn = servers_by_version[major].dsn
    async with await pgasync.connect(dsn, autocommit=True, **versions) as conn:
        assert conn.info.protocol_version == spoken
        key = conn._core.backend_key
        assert len(key) == 4 if spoken == 30000 else 4 < len(key) <= 256
        await check_cancel(conn)


async def test_version_too_old(servers_by_version: dict[int, Any]) -> None:
    words = "only supports protocol version 3.0, but min_protocol_version is 3.2"
    with pytest.raises(pgasync.ConnectError, match=words):
        await pgasync.connect(
            servers_by_version[17].dsn,
            min_protocol_version="3.2",
            max_protocol_version="3.2",
        )


def negotiates(*data: bytes, key: bytes = b"key!") -> Script:
    """A server that answers a startup with 3.2 by `data`, and lets in."""

    def script(peer: Peer) -> None:
        code, _ = peer.first()
        if code != 0x30002:
            raise AssertionError(f"startup with code {code:#x}")
        peer.send(*data, auth_ok(), backend_key(4711, key), ready())
        serve(peer, {"select 1": Answer(execute=Peer.wait_closed)})

    return script


def version_message(version: int, *options: str) -> bytes:
    body = struct.pack("!II", version, len(options))
    return message(b"v", body + b"".join(map(cstr, options)))


@pytest.mark.parametrize("size", [4, 5, 256])
async def test_long_cancel_key(size: int) -> None:
    key = os.urandom(size)
    with MockServer(negotiates(key=key)) as server:
        conn = await pgasync.connect(
            server.dsn,
            sslmode="disable",
            max_protocol_version="3.2",
            cancel_timeout=0.5,
        )
        assert conn.info.protocol_version == 30002
        with pytest.raises(pgasync.QueryTimeout):
            await conn.execute("select 1", timeout=0.05)
        await conn.close()
    assert server.cancels
    assert {*server.cancels} == {(4711, key)}
    assert not server.failures


@pytest.mark.parametrize(
    ("data", "key", "words"),
    [
        ([version_message(0x30003)], b"key!", "newer version than was asked for"),
        ([version_message(0x30001)], b"key!", "does not exist"),
        ([version_message(0x20000)], b"key!", "does not exist"),
        ([version_message(0x30002)], b"key!", "changes nothing"),
        ([version_message(0x30000, "_pq_.x")], b"key!", "was not asked for"),
        ([version_message(0x30000)] * 2, b"key!", "was not due"),
        ([auth_ok(), version_message(0x30000)], b"key!", "not due"),
        ([version_message(0x30000)], b"longer key", "cancel key of 10 bytes"),
        ([], b"key", "malformed"),
        ([], b"k" * 257, "malformed"),
    ],
)
async def test_negotiation_refused(data: list[bytes], key: bytes, words: str) -> None:
    with (
        MockServer(negotiates(*data, key=key)) as server,
        pytest.raises(pgasync.ProtocolViolation, match=words),
    ):
        await pgasync.connect(server.dsn, sslmode="disable", max_protocol_version="3.2")
    assert not server.failures


# ------------------------------------------------------------------------- SCRAM


NO_KEY = base64.b64encode(bytes(32)).decode()


def keys_of(server: servers.Server, role: str) -> dict[str, str]:
    """The keywords for a role's keys, by what the server keeps about it."""
    stored = server.psql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")
    head, tail = stored.strip().removeprefix("SCRAM-SHA-256$").split("$")
    iterations, salt = head.split(":")
    salted = hashlib.pbkdf2_hmac(
        "sha256", PASSWORDS[role].encode(), base64.b64decode(salt), int(iterations)
    )
    client = hmac.digest(salted, b"Client Key", "sha256")
    key = tail.split(":")[1]
    assert base64.b64decode(key) == hmac.digest(salted, b"Server Key", "sha256")
    return {
        "scram_client_key": base64.b64encode(client).decode(),
        "scram_server_key": key,
    }


@pytest.mark.parametrize("transport", ["tls", "tcp"])
async def test_keys(auth_server: AuthServer, transport: str) -> None:
    both = keys_of(auth_server, "scram_user")
    keywords = way(auth_server, "scram_user", transport)
    right = keywords.pop("password")
    binding = "require" if transport == "tls" else "prefer"
    async with await log_in(keywords, **both, channel_binding=binding) as conn:
        assert await conn.fetchval("select current_user") == "scram_user"
    for name, key in both.items():  # the other one is made of the password
        one = {name: key}
        async with await log_in(keywords, password=right, **one) as conn:
            assert await conn.fetchval("select 1") == 1
        with pytest.raises(pgasync.ConnectError, match="none was given"):
            await log_in(keywords, **one)
    with pytest.raises(errors.InvalidPassword):
        await log_in(keywords, **both | {"scram_client_key": NO_KEY})
    with pytest.raises(pgasync.ConnectError, match="signature is wrong"):
        await log_in(keywords, **both | {"scram_server_key": NO_KEY})


async def test_iterations(auth_server: AuthServer) -> None:
    PASSWORDS["slow_user"] = "slow secret"
    try:
        auth_server.psql(
            "SET scram_iterations = 100001;\n"
            "CREATE ROLE slow_user LOGIN PASSWORD 'slow secret'"
        )
        keywords = way(auth_server, "slow_user", "tcp")
        with pytest.raises(pgasync.ConnectError, match="scram_max_iterations"):
            await log_in(keywords)
        async with await log_in(keywords, scram_max_iterations=100_001) as conn:
            assert await conn.fetchval("select 1") == 1
        fewer = way(auth_server, "scram_user", "tcp")
        with pytest.raises(pgasync.ConnectError, match="more than 4095 iterations"):
            await log_in(fewer, scram_max_iterations=4095)
    finally:
        auth_server.psql("DROP ROLE IF EXISTS slow_user")
        del PASSWORDS["slow_user"]


# ------------------------------------------------------ methods that pgasync has not


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (auth(7), "asked for GSSAPI authentication, which pgasync does not have"),
        (auth(9), "asked for SSPI authentication, which pgasync does not have"),
        (auth(2), "asked for Kerberos V5 authentication"),
        (auth_sasl("OAUTHBEARER"), "it has no OAuth"),
        (auth(77), "authentication method 77"),
    ],
)
async def test_methods_named(request_: bytes, words: str) -> None:
    def script(peer: Peer) -> None:
        peer.send(request_)
        peer.wait_closed()

    with (
        MockServer(script) as server,
        pytest.raises(pgasync.ConnectError, match=words),
    ):
        await pgasync.connect(server.dsn, password="secret", sslmode="disable")
    assert not server.failures


def test_cleartext_needs_a_private_way() -> None:
    """A machine's own addresses, TLS, or somebody who asks for it by name."""
    plain = conninfo.parse("host=db.example user=u")
    assert "password" in plain.allowed_auth(True)
    assert "password" not in plain.allowed_auth(False)
    named = conninfo.parse("host=db.example user=u require_auth=password")
    assert "password" in named.allowed_auth(False)


# -------------------------------------------------------------- password callables


class Refusal(Exception):
    pass


async def test_what_a_callable_raises_comes_through(auth_server: AuthServer) -> None:
    keywords: dict[str, Any] = way(auth_server, "scram_user", "tcp")
    for raised in (
        Refusal("no token today"),
        TimeoutError("the vault's own"),
        OSError(2, "no such file"),
        pgasync.OperationalError("out of another database"),
        pgasync.ConnectError("to another database"),
    ):

        def now(error: Exception = raised) -> str:
            raise error

        async def later(error: Exception = raised) -> str:
            await asyncio.sleep(0)
            raise error

        two = {"host": "127.0.0.1,127.0.0.1"}
        for ask, hosts in itertools.product((now, later), ({}, two)):
            with pytest.raises(type(raised)) as caught:
                await pgasync.connect(**keywords | hosts | {"password": ask})
            assert caught.value is raised
            assert raised.__cause__ is None


async def test_a_callable_is_asked_for_every_host(auth_server: AuthServer) -> None:
    asked = []

    async def ask() -> str:
        asked.append(len(asked))
        return PASSWORDS["scram_user"]

    port = auth_server.port
    dsn = f"host=127.0.0.1,127.0.0.1 port={servers.free_port()},{port} user=scram_user"
    for times in (2, 4):
        async with pgasync.connect(dsn, dbname="postgres", password=ask) as conn:
            assert await conn.fetchval("select 1") == 1
        assert len(asked) == times


async def test_a_slow_callable_ends_with_its_host() -> None:
    """Each host has its connect_timeout, and the callable is cancelled with it."""
    asked = []

    async def ask() -> str:
        asked.append("asked")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            asked.append("cancelled")
            raise
        return "too late"

    with pytest.raises(
        pgasync.ConnectError, match="waiting for the password"
    ) as caught:
        await pgasync.connect(
            "host=127.0.0.1,127.0.0.1 user=u", password=ask, connect_timeout=0.1
        )
    assert len(caught.value.failures) == 2
    assert asked == ["asked", "cancelled"] * 2


# ---------------------------------------------------------------- secrets in texts


def texts_of(error: BaseException | None) -> Iterator[str]:
    """Everything that an exception says, and those behind it."""
    while error is not None:
        yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
        yield from traceback.format_exception(error)
        error = error.__cause__ or error.__context__


async def test_no_secret_is_ever_said(
    auth_server: AuthServer,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "hunter2-sEcReT"
    key = b"0123456789abcdef0123456789abcdef"
    keys = dict.fromkeys(
        ("scram_client_key", "scram_server_key"), base64.b64encode(key).decode()
    )
    given: dict[str, Any] = {"password": secret, "sslpassword": secret}
    said: list[str] = []
    binds = ("disable", "prefer", "require")
    for user, transport, binding in itertools.product(
        PASSWORDS, ("tls", "tcp", "unix"), binds
    ):
        keywords = way(auth_server, user, transport)
        del keywords["password"]
        for more in (
            given,
            given | keys,
            given | {"require_auth": "none"},
            given | {"scram_max_iterations": 5},
            given | {"password": lambda: secret + "\0"},
            given | {"password": lambda: [secret]},
            given | {"scram_client_key": secret},
        ):
            try:
                conn = await log_in(keywords, channel_binding=binding, **more)
            except Exception as error:
                said += texts_of(error)
            else:
                core, link = conn._core, conn._link
                said += [repr(conn), repr(conn.info), repr(core), repr(link)]
                said += [repr(link.config), str(vars(link.transport))]
                await conn.close()
    for bad in (
        {"password": secret + "\0"},
        {"password": [secret]},
        {"sslpassword": secret + "\0"},
        {"sslpassword": [secret]},
        keys | {"scram_server_key": secret},
        {"scram_client_key": [secret]},
        {"dsn": f"postgresql://u:{secret}@@x/"},
        {"dsn": f"postgresql://u:a/{secret}@x/"},
        {"dsn": f"host=x password='{secret}"},
    ):
        with pytest.raises(pgasync.InterfaceError) as caught:
            await pgasync.connect(**bad)
        said += texts_of(caught.value)
    said += [record.getMessage() for record in caplog.records]
    said += [str(warning.message) for warning in recwarn.list]
    assert len(said) > 500
    everything = "\n".join(said)
    for hidden in (secret, repr(key), key.hex(), base64.b64encode(key).decode()):
        assert hidden not in everything
