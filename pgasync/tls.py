"""TLS as the settings say (PostgreSQL documentation, "SSL Support"): asking for it,
what is trusted and shown, the handshake."""

import asyncio
import errno
import ipaddress
import os
import socket
import stat
import struct
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from . import _core, trace
from .conninfo import Config, Host
from .errors import ConnectError, TLSError
from .transport import Bridge, Tls, Transport, ready

SSL_REQUEST = struct.pack("!II", 8, 80877103)
ALPN = "postgresql"
SERVER_NAME_MAX = 255  # bytes
SYSTEM_STORE = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # in place of OpenSSL's own places
SYSTEM_STORE_AGE = 3600  # s: then the system's certificates are read again


async def ask(config: Config, host: Host, sock: socket.socket) -> bool:
    """Whether the server is willing to speak TLS. Nothing but its answer is read, and
    nothing that comes with it is believed."""
    if config.sslnegotiation == "direct":
        return True
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(sock, SSL_REQUEST)
        answer = await loop.sock_recv(sock, 1)
    except OSError as error:
        raise ConnectError(
            f"{host}: {error.strerror or error} while asking for TLS"
        ) from error
    trace.note(SSL_REQUEST, answer)
    if answer == b"S":
        _check_silence(host, sock)
        return True
    if answer == b"N":
        return False
    if not answer:
        closed = ConnectError(f"{host}: the server closed when it was asked for TLS")
        raise closed from EOFError("end of file")
    if answer == b"E":
        # Nobody vouches for its text: it may come from the man in the middle.
        raise ConnectError(
            f"{host}: the server answered the request for TLS by an error"
        )
    raise ConnectError(
        f"{host}: the server answered the request for TLS by {answer!r}: "
        "no PostgreSQL server"
    )


def _check_silence(host: Host, sock: socket.socket) -> None:
    """What is there before the handshake did not come through TLS (CVE-2021-23222)."""
    try:
        early = sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return
    except OSError as error:
        raise ConnectError(f"{host}: {error.strerror or error}") from error
    if early:
        raise ConnectError(
            f"{host}: the server sent unencrypted data in front of the TLS handshake"
        )


async def secure(config: Config, host: Host, sock: socket.socket) -> Transport:
    """The handshake over a socket whose peer is willing. Raises TLSError when
    it fails or the server is not who it should be."""
    try:
        transport = await _shake(config, host, sock)
    except OSError as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TLSError(f"{host}: TLS: {reason}{_hint(reason)}") from error
    except ValueError as error:  # an ssl.SSLContext's for a name that none can have
        raise TLSError(f"{host}: TLS: {error}") from error
    if config.sslnegotiation == "direct" and transport.alpn != ALPN:
        raise TLSError(
            f"{host}: the server did not agree to the protocol {ALPN!r} by ALPN, which "
            "sslnegotiation=direct needs (an ssl.SSLContext must offer it)"
        )
    return transport


async def _shake(config: Config, host: Host, sock: socket.socket) -> Transport:
    given = config.ssl_context
    if given is not None:
        named = host.host if config.sslsni or given.check_hostname else None
        bridge = Bridge(given, named)
        await bridge.handshake(sock)
        return bridge
    files = trust(config)
    context = await _context(files, host)
    named = host.host if config.sslsni and not _is_address(host.host) else None
    if named is not None and len(named.encode()) > SERVER_NAME_MAX:
        raise TLSError(
            f"{host}: the name is too long for TLS ({SERVER_NAME_MAX} bytes); with "
            "sslsni=0 it is not sent"
        )
    stream = context.wrap(sock.fileno(), named)
    while want := stream.handshake():
        await ready(sock, want)
    if config.sslmode == "verify-full" and not stream.is_host(host.host):
        raise TLSError(
            f"{host}: the server's certificate is for {stream.peer_name!r}, not for "
            f"{host.host!r} (sslmode=verify-full)"
        )
    return Tls(stream, files.cert is not None)


def _hint(reason: str) -> str:
    if "self-signed" in reason or "self signed" in reason or "unable to get" in reason:
        return "; sslrootcert names the certificate of who signed the server's"
    return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


# ------------------------------------------------------- certificates and keys


class Trust(NamedTuple):
    """The arguments of _core.tls_context()."""

    root: str | None = None
    root_system: bool = False
    crl: str | None = None
    crl_dir: str | None = None
    cert: str | None = None
    key: str | None = None
    password: str | None = None
    min_version: str | None = None
    max_version: str | None = None


def trust(config: Config) -> Trust:
    """Which files the settings mean, libpq's defaults in ~/.postgresql among them.
    Raises TLSError for one that must be there and is not."""
    folder = Path("~/.postgresql").expanduser()
    found = Trust(
        min_version=config.ssl_min_protocol_version,
        max_version=config.ssl_max_protocol_version,
    )
    if config.sslrootcert == "system":
        found = found._replace(root_system=True)
    else:
        root = config.sslrootcert or str(folder / "root.crt")
        if os.path.exists(root):
            found = found._replace(root=root)
        elif config.sslmode in ("verify-ca", "verify-full"):
            raise TLSError(
                f"root certificate file {root!r} does not exist: provide it, use the "
                "system's with sslrootcert=system, or choose an sslmode that does not "
                "verify the server"
            )
    if found.root or found.root_system:
        found = _with_revoked(config, folder, found)
    if config.sslcertmode != "disable":
        found = _with_own(config, folder, found)
    return found


def _with_revoked(config: Config, folder: Path, found: Trust) -> Trust:
    crl = config.sslcrl
    if crl is None and config.sslcrldir is None:
        default = str(folder / "root.crl")
        crl = default if os.path.exists(default) else None
    return found._replace(crl=crl, crl_dir=config.sslcrldir)


def _with_own(config: Config, folder: Path, found: Trust) -> Trust:
    cert = config.sslcert or str(folder / "postgresql.crt")
    try:
        os.stat(cert)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return found  # the server may do without
        raise TLSError(
            f"could not open certificate file {cert!r}: {error.strerror}"
        ) from error
    key = config.sslkey or str(folder / "postgresql.key")
    _check_key(cert, key)
    return found._replace(cert=cert, key=key, password=config.sslpassword)


def _check_key(cert: str, key: str) -> None:
    """Nobody else may read a private key; libpq's rules."""
    try:
        status = os.stat(key)
    except OSError as error:
        raise TLSError(
            f"there is a certificate ({cert!r}), but no private key file {key!r}: "
            f"{error.strerror}"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise TLSError(f"private key file {key!r} is not a regular file")
    others = stat.S_IRWXG | stat.S_IRWXO
    if status.st_uid == 0:
        others = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
    if status.st_mode & others:
        raise TLSError(
            f"private key file {key!r} has group or world access; it must have "
            "permissions 0600 or less if owned by the current user, or 0640 or less if "
            "owned by root"
        )


class ContextCache:
    """Contexts by their settings and by what their files looked like: certificates are
    read again when they have changed."""

    SIZE = 32

    def __init__(self) -> None:
        self._contexts: OrderedDict[object, _core.TlsContext] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def key(files: Trust) -> object:
        paths = [files.root, files.crl, files.crl_dir, files.cert, files.key]
        age = 0.0
        if files.root_system:
            paths += [os.environ.get(name) for name in SYSTEM_STORE]
            age = time.monotonic() // SYSTEM_STORE_AGE
        return files, tuple((path, _look(path)) for path in paths if path), age

    def get(self, key: object) -> _core.TlsContext | None:
        with self._lock:
            return self._contexts.get(key)

    def put(self, key: object, context: _core.TlsContext) -> None:
        with self._lock:
            self._contexts[key] = context
            while len(self._contexts) > self.SIZE:
                self._contexts.popitem(last=False)


_contexts = ContextCache()


def _look(path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size


async def _context(files: Trust, host: Host) -> _core.TlsContext:
    key = _contexts.key(files)
    context = _contexts.get(key)
    if context is None:
        loop = asyncio.get_running_loop()
        try:
            context = await loop.run_in_executor(None, _load, files)
        except ValueError as error:
            raise TLSError(f"{host}: TLS: {error}") from error
        _contexts.put(key, context)
    return context


def _load(files: Trust) -> _core.TlsContext:
    return _core.tls_context(**files._asdict())
