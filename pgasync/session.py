"""One session on one address: encryption, attaching the core, startup and
authentication."""

import asyncio
import os
import socket
from collections.abc import Callable

from . import _core, pooler, tls
from .connection import Connection
from .conninfo import Config, Host
from .errors import ConnectError, ConnectionLost, Error, ProtocolViolation, TLSError
from .link import Link
from .sockets import Address, open_socket
from .timeouts import Expired, until
from .trace import from_environment
from .transport import Transport

_ALLOW = {
    "none": _core.ALLOW_NONE,
    "password": _core.ALLOW_PASSWORD,
    "md5": _core.ALLOW_MD5,
    "scram-sha-256": _core.ALLOW_SCRAM_SHA_256,
}
_BINDING = {
    "disable": _core.BINDING_DISABLE,
    "prefer": _core.BINDING_PREFER,
    "require": _core.BINDING_REQUIRE,
}
# cannot_connect_now, and a wrong password, which need not travel unencrypted too.
_NO_OTHER_WAY = ("57P03", "28P01")


def timed_out(where: Host | Address, limit: float | None, doing: str) -> ConnectError:
    """The error of a host that did not answer in time."""
    error = ConnectError(f"{where}: timed out after {limit:g} s {doing}")
    error.__cause__ = Expired()
    return error


def ways(config: Config, address: Address) -> list[bool]:
    """With TLS or without, in the order in which libpq tries them for the sslmode."""
    if address.host.is_unix or config.sslmode == "disable":
        return [False]
    if config.sslmode == "allow":
        return [False, True]
    return [True, False] if config.sslmode == "prefer" else [True]


async def open_session(
    config: Config,
    sock: socket.socket,
    address: Address,
    password: bytes | None,
    deadline: float | None,
) -> Connection:
    """A session over `sock`, which it takes over and which is connected to `address`.

    `deadline` is a time of the loop's clock. Raises ConnectError, TLSError,
    ProtocolViolation or the class of the SQLSTATE with which the server refused.
    """
    left = ways(config, address)
    refused: Error | None = None
    while True:
        encrypt = left.pop(0)
        transport = await _transport(config, sock, address, encrypt, left, deadline)
        try:
            if isinstance(transport, TLSError):
                raise transport
            return await _session(config, sock, address, transport, password, deadline)
        except Error as error:
            sock.close()
            if refused is not None and error.__cause__ is None:
                error.__cause__ = refused
            if not left or not _other_way_may_help(error):
                raise
            refused = error
        sock = await _dial_again(config, address, deadline)


def _other_way_may_help(error: Error) -> bool:
    if isinstance(error, TLSError):
        return True
    return error.sqlstate is not None and error.sqlstate not in _NO_OTHER_WAY


async def _dial_again(
    config: Config, address: Address, deadline: float | None
) -> socket.socket:
    try:
        return await until(deadline, open_socket(config, address), socket.socket.close)
    except TimeoutError as error:
        limit = config.connect_timeout
        raise timed_out(address.host, limit, "connecting once more") from error
    except OSError as error:
        reason = error.strerror or error
        raise ConnectError(f"{address.host}: {reason}") from error


async def _transport(
    config: Config,
    sock: socket.socket,
    address: Address,
    encrypt: bool,
    left: list[bool],
    deadline: float | None,
) -> Transport | TLSError:
    """How the session is to travel over `sock`, which is closed when this raises. A
    server without TLS leaves one way only, if any, and that needs no new socket."""
    if not encrypt:
        return Transport()
    host = address.host
    try:
        return await until(deadline, _encrypted(config, host, sock, left))
    except TLSError as error:
        return error
    except Expired as error:
        sock.close()
        limit = config.connect_timeout
        raise timed_out(host, limit, "agreeing on TLS") from error
    except BaseException:
        sock.close()
        raise


async def _encrypted(
    config: Config, host: Host, sock: socket.socket, left: list[bool]
) -> Transport:
    if await tls.ask(config, host, sock):
        return await tls.secure(config, host, sock)
    if False in left:
        left.clear()
        return Transport()
    raise ConnectError(
        f"{host}: the server does not support TLS (sslmode={config.sslmode})"
    )


async def _session(
    config: Config,
    sock: socket.socket,
    address: Address,
    transport: Transport,
    password: bytes | None,
    deadline: float | None,
) -> Connection:
    loop = asyncio.get_running_loop()
    link = Link(config, address, loop, transport)
    core = _core.attach(
        sock.detach(),
        loop,
        link,
        config.autocommit,
        config.statement_cache_size,
        config.max_cached_statement_lifetime,
        transport.stream,
    )
    try:
        if (trace := from_environment()) is not None:
            link.traced(core, trace)
        await _start(core, link, password, deadline)
        _check_certificate(config, address.host, transport)
        link.started(core)
    except BaseException:
        core.terminate()
        link.ended(core)
        raise
    return Connection(core, link)


def _check_certificate(config: Config, host: Host, transport: Transport) -> None:
    if config.sslcertmode == "require" and not transport.cert_shown:
        raise ConnectError(
            f"{host}: the server let us in without having asked for a certificate, or "
            "there was none to show it (sslcertmode=require)"
        )


async def _start(
    core: _core.Connection, link: Link, password: bytes | None, deadline: float | None
) -> None:
    """Startup and authentication, ended by the deadline with the connection."""
    config, host = link.config, link.address.host
    timer: asyncio.TimerHandle | None = None
    if deadline is not None:
        late = timed_out(host, config.connect_timeout, "authenticating")
        expire: Callable[..., object] = core.terminate
        timer = link.loop.call_at(deadline, expire, late)
    link.password = password
    try:
        await core.startup(
            config.startup_parameters(),
            password,
            _allowed(config, link),
            os.urandom(18),
            _binding(link.transport),
            _channel_binding(config, link.transport),
            config.scram_max_iterations,
            config.min_protocol_version,
            config.max_protocol_version,
        )
    except ProtocolViolation:
        raise
    except ConnectionLost as error:
        refused = ConnectError(f"{host}: {error}")
        refused.sqlstate = error.sqlstate
        raise refused from error
    except Error as error:
        pooler.explain(error)
        raise
    finally:
        link.password = None
        if timer is not None:
            timer.cancel()


def _allowed(config: Config, link: Link) -> int:
    """The mask of the methods the server may ask for."""
    private = link.address.local or link.transport.encrypted
    allow = sum(_ALLOW[method] for method in config.allowed_auth(private))
    if config.scram_client_key is not None and config.scram_server_key is not None:
        allow |= _core.ALLOW_SCRAM_KEYS
    return allow


def _channel_binding(config: Config, transport: Transport) -> int:
    """Where nothing can be bound to the server's certificate (Ed25519), "prefer" does
    without only if that certificate is known to be the server's own: somebody in
    between would show such a one."""
    context = config.ssl_context
    full = context.check_hostname if context else config.sslmode == "verify-full"
    if full and transport.encrypted and not transport.binding:
        return _BINDING["require" if config.channel_binding == "require" else "disable"]
    return _BINDING[config.channel_binding]


def _binding(transport: Transport) -> bytes | None:
    """As the core takes it: b"" says that there is TLS, but nothing to bind to."""
    return (transport.binding or b"") if transport.encrypted else None
