"""Sockets: where to dial, their options, who is at the other end."""

import asyncio
import contextlib
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any

from .conninfo import Config, Host, is_loopback
from .errors import ConnectError, InterfaceError

BACKLOG_AGAIN = 0.01  # s

# Keyword, the option's names (Linux, macOS), and our value when none is given. What was
# sent is to be acknowledged within 30 s. On Linux this user timeout counts for an idle
# peer, too, from the last that was heard of it: it is asked three times before that.
_TIMERS = (
    ("keepalives_idle", ("TCP_KEEPIDLE", "TCP_KEEPALIVE"), 15),
    ("keepalives_interval", ("TCP_KEEPINTVL",), 5),
    ("keepalives_count", ("TCP_KEEPCNT",), 3),
    ("tcp_user_timeout", ("TCP_USER_TIMEOUT",), 30_000),
)
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1  # macOS; the socket module does not name them


@dataclass(frozen=True)
class Address:
    """A place as the socket module dials it; `host` is where it came from."""

    host: Host
    family: int
    target: Any  # what connect() takes

    @property
    def local(self) -> bool:
        """Whether the bytes stay on this machine."""
        return self.host.is_unix or is_loopback(self.target[0])

    def __str__(self) -> str:
        if self.host.is_unix or self.target[0] == self.host.address:
            return str(self.host)
        return f"{self.host} ({self.target[0]})"


async def open_socket(config: Config, address: Address) -> socket.socket:
    """A connected non-blocking socket. OSError when there is none to be had,
    ConnectError when the peer is not who `requirepeer` says."""
    if address.host.is_unix:
        while (unix := open_unix(config, address)) is None:
            await asyncio.sleep(BACKLOG_AGAIN)
        return unix
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _set_timers(config, sock)
        await asyncio.get_running_loop().sock_connect(sock, address.target)
    except BaseException:
        sock.close()
        raise
    return sock


def open_unix(config: Config, address: Address) -> socket.socket | None:
    """A connected Unix socket at once, or None when the server's backlog is full.

    The loops' sock_connect takes the EAGAIN of a full backlog for a connect under
    way, and calls an unconnected socket connected.
    """
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(address.target)
        if config.requirepeer:
            _check_peer(sock, address, config.requirepeer)
    except BlockingIOError:
        sock.close()
        return None
    except BaseException:
        sock.close()
        raise
    return sock


def _set_timers(config: Config, sock: socket.socket) -> None:
    """libpq's keywords of these names; 0 leaves the system's value."""
    if config.keepalives:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for keyword, names, default in _TIMERS:
        if keyword.startswith("keepalives") and not config.keepalives:
            continue
        option = next((getattr(socket, n) for n in names if hasattr(socket, n)), None)
        if option is not None:
            _set_timer(sock, option, keyword, getattr(config, keyword), default)


def _set_timer(
    sock: socket.socket, option: int, keyword: str, given: int | None, default: int
) -> None:
    if given is None:
        with contextlib.suppress(OSError):  # nobody asked for it
            sock.setsockopt(socket.IPPROTO_TCP, option, default)
    elif given > 0:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, option, given)
        except OSError as error:
            raise InterfaceError(
                f"{keyword}={given} is not accepted by the operating system: {error}"
            ) from error


def _check_peer(sock: socket.socket, address: Address, wanted: str) -> None:
    """Whose process listens on the Unix socket, before anything is sent to it."""
    import pwd

    uid = _peer_uid(sock)
    if uid is None:
        raise ConnectError(
            f"{address}: requirepeer={wanted}: {sys.platform} does not tell who the "
            "peer is"
        )
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"number {uid}"
    if name != wanted:
        raise ConnectError(
            f"{address}: the server runs as user {name!r}, not as {wanted!r} "
            "(requirepeer)"
        )


def _peer_uid(sock: socket.socket) -> int | None:
    if hasattr(socket, "SO_PEERCRED"):  # struct ucred: pid, uid, gid
        found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        uid: int = struct.unpack("=iII", found)[1]
        return uid
    if sys.platform == "darwin":  # struct xucred: version, uid …
        found = sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 76)
        uid = struct.unpack_from("=II", found)[1]
        return uid
    return None
