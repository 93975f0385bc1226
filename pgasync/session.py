"""One session on one address: attaching the core, startup and authentication."""

import asyncio
import os
import socket
from collections.abc import Callable

from . import _core
from .connection import Connection
from .conninfo import Config, Host
from .errors import ConnectError, ConnectionLost, ProtocolViolation
from .link import Address, Link
from .transport import Transport

_ALLOW = {
    "none": _core.ALLOW_NONE,
    "password": _core.ALLOW_PASSWORD,
    "md5": _core.ALLOW_MD5,
    "scram-sha-256": _core.ALLOW_SCRAM_SHA_256,
}


def timed_out(host: Host, limit: float | None, doing: str) -> ConnectError:
    """The error of a host that did not answer in time."""
    return ConnectError(f"{host}: timed out after {limit:g} s {doing}")


async def open_session(
    config: Config,
    sock: socket.socket,
    address: Address,
    password: bytes | None,
    deadline: float | None,
) -> Connection:
    """A session over `sock`, which it takes over and which is connected to `address`.

    `deadline` is a time of the loop's clock. Raises ConnectError, ProtocolViolation
    or the class of the SQLSTATE with which the server refused.
    """
    loop = asyncio.get_running_loop()
    link = Link(config, address, loop, Transport())
    core = _core.attach(
        sock.detach(),
        loop,
        link,
        config.autocommit,
        config.statement_cache_size,
        config.max_cached_statement_lifetime,
    )
    try:
        await _start(core, link, password, deadline)
        link.started(core)
    except BaseException:
        core.terminate()
        link.ended(core)
        raise
    return Connection(core, link)


async def _start(
    core: _core.Connection, link: Link, password: bytes | None, deadline: float | None
) -> None:
    """Startup and authentication, ended by the deadline with the connection."""
    config, host = link.config, link.address.host
    allow = 0
    for method in config.allowed_auth(link.address.local):
        allow |= _ALLOW[method]
    timer: asyncio.TimerHandle | None = None
    if deadline is not None:
        late = timed_out(host, config.connect_timeout, "authenticating")
        expire: Callable[..., object] = core.terminate
        timer = link.loop.call_at(deadline, expire, late)
    link.password = password
    try:
        await core.startup(config.startup_parameters(), password, allow, os.urandom(18))
    except ProtocolViolation:
        raise
    except ConnectionLost as error:
        refused = ConnectError(f"{host}: {error}")
        refused.sqlstate = error.sqlstate
        raise refused from error
    finally:
        link.password = None
        if timer is not None:
            timer.cancel()
