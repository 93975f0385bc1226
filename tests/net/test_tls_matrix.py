"""sslmode, certificates and what the server wants: libpq 17 has the same outcome."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import libpq
import pgasync
from certificates import Certificates, Pair
from pgasync import errors
from tlsservers import TRUST, TlsServer

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
ONLY_TLS = "local all all trust\nhostssl all all 127.0.0.1/32 trust\n"
ONLY_PLAIN = "local all all trust\nhostnossl all all 127.0.0.1/32 trust\n"
NOBODY = "local all all trust\nhost all all 127.0.0.1/32 reject\n"
CLIENT_CERT = "local all all trust\nhostssl all all 127.0.0.1/32 cert\n"
VERIFY_CA = """\
local all all trust
hostssl all all 127.0.0.1/32 trust clientcert=verify-ca
"""
Settings = dict[str, str]

cells = 0


class Outcome(NamedTuple):
    """Connected, and encrypted."""

    connected: bool
    encrypted: bool


@pytest.fixture(scope="module")
def oracle() -> libpq.LibPQ:
    return libpq.LibPQ(17)


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home without files of libpq's."""
    folder = tmp_path_factory.mktemp("home")
    with libpq.environment({"HOME": str(folder)}):
        yield folder


def dsn_of(server: TlsServer, settings: Settings) -> str:
    given = {
        "host": "localhost",
        "hostaddr": "127.0.0.1",
        "port": str(server.port),
        "user": "postgres",
        "dbname": "postgres",
        "connect_timeout": "20",
    } | settings
    if given["host"] == "127.0.0.1":
        del given["hostaddr"]
    return " ".join(f"{key}='{value}'" for key, value in given.items())


async def ours(dsn: str) -> tuple[Outcome, str]:
    try:
        connection = await pgasync.connect(dsn)
    except (errors.OperationalError, errors.InterfaceError) as error:
        return Outcome(False, False), f"{type(error).__name__}: {error}"
    async with connection:
        assert connection.info.ssl is await connection.fetchval(
            "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
        )
        return Outcome(True, connection.info.ssl), ""


# What libpq says of a failure, and what we say of it.
WORDS = {
    "certificate verify failed": "certificate verify failed",
    "does not match host name": "the server's certificate is for",
    "server does not support SSL": "the server does not support TLS",
    r"root certificate file .* does not exist": "root certificate file .* not exist",
    "no pg_hba.conf entry": "InvalidAuthorizationSpecification: .*no pg_hba.conf entry",
    "pg_hba.conf rejects": "InvalidAuthorizationSpecification: .*pg_hba.conf rejects",
    "requires a valid client cert": "InvalidAuth.* requires a valid client cert",
    "certificate authentication failed": "certificate authentication failed",
    "has group or world access": "private key file .* has group or world access",
    "but not private key file": "but no private key file",
    "does not match private key file": "does not match private key file",
    "could not load private key file": "(load|not match) private key file",
    "private key file .* is not a regular": "private key file .* is not a regular",
    r"could not (read|open) certificate file": "could not (read|open) certificate file",
    "did not request an SSL cert": "sslcertmode=require",
    "without a valid SSL certificate": "sslcertmode=require",
    "weak sslmode": "InterfaceError: .* needs sslmode",
    "password authentication failed": "InvalidPassword: .*password auth",
    "tlsv1 alert|sslv3 alert": " alert ",
    "unsupported protocol": "unsupported protocol",
    "wrong version number": "wrong version number",
    "(?i)unexpected eof|SSL connection has been closed|SSL SYSCALL": "clos|reset|ended",
}


def same_reason(theirs: str, mine: str) -> bool:
    """Whether we say what libpq says of its last attempt."""
    last = theirs.strip().rpartition("connection to server")[2]
    found = [said for word, said in WORDS.items() if re.search(word, last, re.DOTALL)]
    return bool(found) and any(re.search(said, mine, re.DOTALL) for said in found)


class Different(NamedTuple):
    """A cell in which we mean to differ: the server's certificate, the settings (with
    {} for the folder of the certificates), whether libpq connects, and our reason."""

    kind: str
    settings: Settings
    libpq_connects: bool
    reason: str


DIFFERENT = [
    Different(
        "name only",
        {"host": "127.0.0.1"},
        True,
        "a common name beside alternative names does not count for an address",
    ),
    Different(
        "wildcard address",
        {"host": "127.0.0.1"},
        True,
        "a wildcard is for names: *.0.0.1 is no set of machines",
    ),
    Different(
        "good",
        {"host": "127.1"},
        True,
        "short forms of addresses are names like others",
    ),
    Different(
        "good",
        {"sslcrl": "{}/missing.crl"},
        True,
        "a list of the revoked that was named and cannot be read is an error",
    ),
    Different(
        "revoked",
        {"sslrootcert": "system", "sslcrl": "{}/root.crl"},
        True,
        "the list counts beside the system's certificates, too",
    ),
    Different(
        "good",
        {"host": ""},
        False,
        "a server without a name is verified by its address, as with host=<address>",
    ),
]


def meant(kind: str, settings: Settings) -> bool:
    return any((cell.kind, cell.settings) == (kind, settings) for cell in DIFFERENT)


def compare(oracle: libpq.LibPQ, server: TlsServer, every: Iterable[Settings]) -> None:
    """Tries every cell with libpq and with us."""
    global cells
    different = []
    for settings in every:
        dsn = dsn_of(server, settings)
        connected, encrypted, message = oracle.connect(dsn)
        theirs = Outcome(connected, connected and encrypted)
        mine, text = asyncio.run(ours(dsn))
        cells += 1
        alike = theirs.connected or same_reason(message, text)
        if mine != theirs or not alike:
            different.append(f"{settings}\n  {theirs} {message}\n  {mine} {text}")
    assert not different, "\n".join(different)


def roots(certificates: Certificates) -> list[Settings]:
    return [
        {},
        {"sslrootcert": str(certificates.root.file)},
        {"sslrootcert": str(certificates.other.file)},
        {"sslrootcert": str(certificates.folder / "missing.crt")},
    ]


def modes(*names: str) -> list[Settings]:
    return [{"sslmode": mode} for mode in names or MODES]


def product(*groups: Iterable[Settings]) -> Iterator[Settings]:
    for parts in itertools.product(*groups):
        yield {key: value for part in parts for key, value in part.items()}


CERTIFICATES = (
    "good|self-signed|other authority|wrong host|common name only|wrong common name|"
    "address only|common name beside an address|address as a name|wildcard address|"
    "name only|several|wildcard|expired|not yet valid|by an intermediate|"
    "revoked|rsa|p384|ed25519"
).split("|")


@pytest.mark.parametrize("kind", CERTIFICATES)
def test_server_certificate(
    oracle: libpq.LibPQ, tls_server: TlsServer, certificates: Certificates, kind: str
) -> None:
    tls_server.show(certificates.server[kind])
    compare(oracle, tls_server, product(modes(), roots(certificates)))
    root = [{"sslrootcert": str(certificates.root.file)}]
    # By its address, by a name that is no one's, and with the list of the revoked.
    others = [
        *([] if meant(kind, {"host": "127.0.0.1"}) else [{"host": "127.0.0.1"}]),
        {"host": "b.invalid"},
        {"host": "a.localhost"},
        {"host": "LOCALHOST"},
        {"host": "localhost."},
        {"sslcrl": str(certificates.crl)},
        {"sslcrldir": str(certificates.crl_dir)},
        {"sslcrldir": str(certificates.folder / "missing")},
        {"sslsni": "0"},
    ]
    compare(
        oracle,
        tls_server,
        product(modes("prefer", "verify-ca", "verify-full"), root, others),
    )


def system_of(root: str) -> dict[str, str]:
    """The environment in which that file is the system's certificates."""
    return {"HOME": os.environ["HOME"], "SSL_CERT_FILE": root}


@pytest.mark.parametrize("cell", DIFFERENT, ids=lambda cell: cell.reason)
def test_different(
    oracle: libpq.LibPQ,
    tls_server: TlsServer,
    certificates: Certificates,
    cell: Different,
) -> None:
    """On purpose; each cell fails when the difference is gone."""
    tls_server.show(certificates.server[cell.kind])
    root = str(certificates.root.file)
    given = {k: v.format(certificates.folder) for k, v in cell.settings.items()}
    dsn = dsn_of(tls_server, {"sslmode": "verify-full", "sslrootcert": root} | given)
    with libpq.environment(system_of(root)):
        assert oracle.connect(dsn)[0] is cell.libpq_connects
        assert asyncio.run(ours(dsn))[0].connected is not cell.libpq_connects


@pytest.mark.parametrize("kind", ["good", "self-signed", "expired", "wrong host"])
def test_system_certificates(
    oracle: libpq.LibPQ, tls_server: TlsServer, certificates: Certificates, kind: str
) -> None:
    """sslrootcert=system, with OpenSSL's variables for what the system has. Each is
    read again when the variable changes."""
    tls_server.show(certificates.server[kind])
    system = [{"sslrootcert": "system"}]
    hosts: list[Settings] = [{}, {"host": "b.invalid"}, {"host": "127.0.0.1"}]
    for file in (certificates.root.file, certificates.other.file):
        with libpq.environment(system_of(str(file))):
            compare(oracle, tls_server, product(system, hosts))
            compare(oracle, tls_server, product(system, modes()))


@pytest.mark.parametrize("secret", [{}, {"sslpassword": "no"}])
def test_encrypted_key_without_its_password(
    tls_server: TlsServer, certificates: Certificates, secret: Settings
) -> None:
    """An error that says so, and no question at the terminal."""
    tls_server.show(certificates.server["good"])
    pair = certificates.client["encrypted"]
    own = {"sslcert": str(pair.cert), "sslkey": str(pair.key)} | secret
    outcome, text = asyncio.run(ours(dsn_of(tls_server, own | {"sslmode": "require"})))
    assert not outcome.connected
    assert "sslpassword" in text and str(pair.key) in text
    outcome, _ = asyncio.run(ours(dsn_of(tls_server, own | {"sslmode": "prefer"})))
    assert outcome == Outcome(True, False)


def test_chain_without_its_root(
    oracle: libpq.LibPQ, tls_server: TlsServer, certificates: Certificates
) -> None:
    """Who trusts the one in between only, does not trust what it signed."""
    tls_server.show(certificates.server["by an intermediate"])
    root = [{"sslrootcert": str(certificates.between.file)}]
    compare(oracle, tls_server, product(modes(), root))


def test_server_without_tls(
    oracle: libpq.LibPQ, tls_server: TlsServer, certificates: Certificates
) -> None:
    tls_server.show(None)
    compare(oracle, tls_server, product(modes(), roots(certificates)))
    direct = [{"sslnegotiation": "direct"}]
    compare(oracle, tls_server, product(modes(), direct))


def test_direct_negotiation(
    oracle: libpq.LibPQ, tls_server: TlsServer, certificates: Certificates
) -> None:
    direct = [{"sslnegotiation": "direct"}]
    for kind in ("good", "wrong host", "self-signed"):
        tls_server.show(certificates.server[kind])
        compare(oracle, tls_server, product(modes(), roots(certificates), direct))


@pytest.mark.parametrize("hba", [ONLY_TLS, ONLY_PLAIN, TRUST])
@pytest.mark.parametrize("tls", [True, False])
def test_what_the_server_admits(
    oracle: libpq.LibPQ,
    tls_server: TlsServer,
    certificates: Certificates,
    hba: str,
    tls: bool,
) -> None:
    if not tls and hba == ONLY_TLS:
        hba = NOBODY  # a line for hostssl would keep the file from being read
    tls_server.show(certificates.server["good"] if tls else None, hba)
    compare(oracle, tls_server, product(modes(), roots(certificates)))


@pytest.mark.parametrize("hba", [TRUST, CLIENT_CERT, VERIFY_CA])
def test_client_certificate(
    oracle: libpq.LibPQ, tls_server: TlsServer, certificates: Certificates, hba: str
) -> None:
    tls_server.show(certificates.server["good"], hba)
    clients: list[Settings] = [{}]
    for kind, pair in certificates.client.items():
        # Without the password libpq would ask for it at the terminal.
        secret = {"sslpassword": "open"} if kind == "encrypted" else {}
        clients.append({"sslcert": str(pair.cert), "sslkey": str(pair.key)} | secret)
    good, another = certificates.client["good"], certificates.client["another user"]
    missing = str(certificates.folder / "missing")
    clients += [
        {"sslcert": missing, "sslkey": missing},
        {"sslcert": str(good.cert), "sslkey": str(another.key)},
        {"sslcert": str(good.key), "sslkey": str(good.key)},
        {"sslcert": str(certificates.folder), "sslkey": str(good.key)},
        {"sslcert": str(good.cert), "sslkey": str(certificates.folder)},
        {"sslcert": str(good.cert)},
        {"sslcertmode": "disable"},
        {"sslcertmode": "require"},
        {
            "sslcertmode": "disable",
            "sslcert": str(good.cert),
            "sslkey": str(good.key),
        },
        {
            "sslcertmode": "require",
            "sslcert": str(good.cert),
            "sslkey": str(good.key),
        },
    ]
    compare(
        oracle,
        tls_server,
        product(modes("disable", "allow", "prefer", "require"), clients),
    )


def key_forms(certificates: Certificates) -> Iterator[tuple[str, Pair]]:
    """Client certificates with each kind of key, in each kind of file."""
    issue = certificates.root.issue
    for kind in ("rsa", "p384", "ed25519"):
        yield kind, issue(f"key-{kind}", "postgres", (), kind=kind)
    yield (
        "secret RSA",
        issue("key-secret", "postgres", (), kind="rsa", password=b"open"),
    )
    yield "secret DER", issue("key-der", "postgres", (), der=True, password=b"open")
    for mode in (0o400, 0o600, 0o640, 0o660, 0o604):
        pair = issue(f"key-{mode:o}", "postgres", ())
        pair.key.chmod(mode)
        yield f"mode {mode:o}", pair
    pair = issue("key-behind", "postgres", ())
    pair.key.write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
    yield "behind a certificate", pair
    pair = issue("key-link", "postgres", ())
    target = pair.key.rename(pair.key.with_suffix(".target"))
    pair.key.symlink_to(target)
    yield "link", pair
    pair = issue("key-fifo", "postgres", ())
    pair.key.unlink()
    os.mkfifo(pair.key, 0o600)
    yield "no file", pair
    pair = issue("key-crlf", "postgres", ())
    for path in pair:
        path.write_bytes(b"words\n" + path.read_bytes().replace(b"\n", b"\r\n"))
    yield "CR and words", pair
    pair = issue("cert-der", "postgres", ())
    pair.cert.write_bytes(ssl.PEM_cert_to_DER_cert(pair.cert.read_text()))
    yield "DER certificate", pair


def test_forms_of_keys(
    oracle: libpq.LibPQ, tls_server: TlsServer, certificates: Certificates
) -> None:
    tls_server.show(certificates.server["good"], CLIENT_CERT)
    every: list[Settings] = []
    for name, pair in key_forms(certificates):
        secret = {"sslpassword": "open"} if name.startswith("secret") else {}
        every.append({"sslcert": str(pair.cert), "sslkey": str(pair.key)} | secret)
    compare(oracle, tls_server, product(modes("prefer", "require"), every))


def test_no_request_for_a_client_certificate(
    oracle: libpq.LibPQ, tls_server: TlsServer, certificates: Certificates
) -> None:
    """sslcertmode=require, and a server that has no authority to check one by."""
    tls_server.show(certificates.server["good"])
    tls_server.psql("ALTER SYSTEM SET ssl_ca_file = ''")
    tls_server.psql("SELECT pg_reload_conf()")
    pair = certificates.client["good"]
    own = {"sslcert": str(pair.cert), "sslkey": str(pair.key)}
    required = [{"sslcertmode": "require"} | own, {"sslcertmode": "allow"} | own]
    compare(oracle, tls_server, product(modes(), required))


@pytest.mark.parametrize("forced", ["TLSv1.2", "TLSv1.3"])
def test_versions(
    oracle: libpq.LibPQ, tls_server: TlsServer, certificates: Certificates, forced: str
) -> None:
    tls_server.show(
        certificates.server["good"],
        ssl_min_protocol_version=forced,
        ssl_max_protocol_version=forced,
    )
    try:
        limits: list[Settings] = [
            {},
            {"ssl_min_protocol_version": "TLSv1.3"},
            {"ssl_max_protocol_version": "TLSv1.2"},
            {"ssl_min_protocol_version": ""},
            {
                "ssl_min_protocol_version": "TLSv1.2",
                "ssl_max_protocol_version": "TLSv1.3",
            },
        ]
        compare(oracle, tls_server, product(modes(), limits))
    finally:
        tls_server.show(
            certificates.server["good"],
            ssl_min_protocol_version="TLSv1.2",
            ssl_max_protocol_version="",
        )


def test_files_in_the_home(
    oracle: libpq.LibPQ,
    tls_server: TlsServer,
    certificates: Certificates,
    home: Path,
) -> None:
    """~/.postgresql: root.crt, root.crl, postgresql.crt and .key, as they appear."""
    folder = home / ".postgresql"
    folder.mkdir()
    try:
        tls_server.show(certificates.server["good"], CLIENT_CERT)
        compare(oracle, tls_server, modes())
        pair = certificates.client["good"]
        (folder / "postgresql.crt").write_bytes(pair.cert.read_bytes())
        compare(oracle, tls_server, modes())
        (folder / "postgresql.key").touch(mode=0o600)
        (folder / "postgresql.key").write_bytes(pair.key.read_bytes())
        compare(oracle, tls_server, modes())
        (folder / "root.crt").write_bytes(certificates.other.pem)
        compare(oracle, tls_server, modes())
        (folder / "root.crt").write_bytes(certificates.root.pem)
        compare(oracle, tls_server, modes())
        (folder / "root.crl").write_bytes(certificates.crl.read_bytes())
        compare(oracle, tls_server, modes())
        tls_server.show(certificates.server["revoked"])
        compare(oracle, tls_server, modes())
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_count(summary: list[str]) -> None:
    """Last: how many cells there were."""
    assert cells > 500
    summary.append(f"TLS matrix: {cells} cells, each with libpq's outcome")
