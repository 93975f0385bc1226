"""Opening a connection: hosts in turn, one deadline for each."""

import asyncio
import inspect
import socket
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any

from . import conninfo
from .connection import Connection
from .conninfo import Config, Host
from .errors import ConnectError, Error, InterfaceError
from .link import Address, open_socket, open_unix
from .session import open_session, timed_out
from .timeouts import Expired, until

# Another host would say the same: wrong password or role, no such database.
_FINAL_CLASSES = ("28", "3D")


def connect(dsn: str | None = None, **keywords: Any) -> "Connecting":
    """Connects to PostgreSQL.

    `await connect(…)` gives a Connection; `async with connect(…) as connection`
    commits on a clean exit, rolls back on an exception, then closes.

    `dsn`: a `postgresql://` URI or libpq's `key=value` string. Keywords win over
    it: host, hostaddr, port, user, password, dbname (database), connect_timeout
    (timeout; s, 60), application_name, options, sslmode (ssl), require_auth,
    server_settings, autocommit, row_factory (see pgasync.rows), command_timeout (s),
    cancel_timeout (s), statement_cache_size, max_cached_statement_lifetime (s),
    prepared_statements.

    About values: json_loads, json_dumps (functions; None: documents are text; a loads
    of orjson or msgspec is given bytes, every other one str),
    json_numbers ("float", "exact": Decimal), json_null ("none", "sentinel":
    types.JSON_NULL), out_of_range ("error", "clamp", "sentinel": types.Beyond; dates
    and times that Python cannot hold), timestamptz ("utc", "session": its zone),
    naive_datetimes ("error", "utc": naive and aware stand for each other), money_digits
    (2), types (a TypeRegistry).

    Raises InterfaceError for a keyword or value it does not understand,
    ConnectError when no host could be reached, and the class of the SQLSTATE
    (InvalidPassword, InvalidCatalogName …) when the server refused.
    """
    return Connecting(conninfo.parse(dsn, keywords))


class Connecting(Coroutine[Any, Any, Connection]):
    """What connect() returns: a coroutine that is an async context manager too."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._coroutine: Coroutine[Any, Any, Connection] | None = None
        self._connection: Connection | None = None

    def _started(self) -> Coroutine[Any, Any, Connection]:
        if self._coroutine is None:
            self._coroutine = open_connection(self._config)
        return self._coroutine

    def send(self, value: Any, /) -> Any:
        return self._started().send(value)

    def throw(self, *args: Any) -> Any:
        return self._started().throw(*args)

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Connection]:
        return self._started().__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._started()
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            await self._connection.__aexit__(kind, error, trace)


async def open_connection(config: Config) -> Connection:
    """The first host that takes us; see connect() for what it raises."""
    loop = asyncio.get_running_loop()
    _check_loop(loop)
    failures: list[Error] = []
    for host in config.hosts:
        try:
            return await _try_host(config, host, loop)
        except Error as error:
            if len(config.hosts) == 1 or _is_final(error):
                raise
            failures.append(error)
    raise ConnectError(
        "no host could be connected to:\n"
        + "\n".join(
            f"  {host}: {error}"
            for host, error in zip(config.hosts, failures, strict=True)
        )
    ) from failures[-1]


def _check_loop(loop: asyncio.AbstractEventLoop) -> None:
    """The core reads its own socket when the loop says that it is readable."""
    if getattr(type(loop), "add_reader", None) in (
        None,
        asyncio.AbstractEventLoop.add_reader,
    ):
        raise InterfaceError(
            f"{type(loop).__name__} has no add_reader: run the program with "
            "asyncio.SelectorEventLoop (on Windows: "
            "asyncio.WindowsSelectorEventLoopPolicy)"
        )


def _is_final(error: Error) -> bool:
    if isinstance(error, InterfaceError):
        return True
    return bool(error.sqlstate) and str(error.sqlstate)[:2] in _FINAL_CLASSES


async def _try_host(
    config: Config, host: Host, loop: asyncio.AbstractEventLoop
) -> Connection:
    limit = config.connect_timeout
    deadline = None if limit is None else loop.time() + limit
    addresses = await _addresses(host, deadline, limit)
    password = await _password(config, host, deadline)
    sock, address = await _dial(addresses, deadline, limit)
    return await open_session(config, sock, address, password, deadline)


async def _addresses(
    host: Host, deadline: float | None, limit: float | None
) -> list[Address]:
    if host.is_unix:
        return [Address(host, socket.AF_UNIX, host.socket_path)]
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.address)
        except (OSError, ValueError):
            continue
        return [Address(host, family, (host.address, host.port))]
    loop = asyncio.get_running_loop()
    lookup = loop.getaddrinfo(host.address, host.port, type=socket.SOCK_STREAM)
    try:
        found = await until(deadline, _awaited(lookup))
    except TimeoutError as error:
        raise timed_out(host, limit, "looking up its address") from error
    except (OSError, UnicodeError) as error:
        raise ConnectError(f"{host}: {_reason(error)}") from error
    return [Address(host, family, target) for family, _, _, _, target in found]


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


async def _password(config: Config, host: Host, deadline: float | None) -> bytes | None:
    """The password's bytes; a callable is asked at every connect."""
    value = host.password if config.password is None else config.password
    if callable(value):
        asked = value()
        if inspect.isawaitable(asked):
            try:
                asked = await until(deadline, _awaited(asked))
            except Expired as error:
                raise timed_out(
                    host, config.connect_timeout, "waiting for the password"
                ) from error
        if not isinstance(asked, (str, bytes)):
            raise InterfaceError(
                f"the password callable gave a {type(asked).__name__}, not a str"
            )
        value = asked
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    if value is not None and b"\0" in value:
        raise InterfaceError("password contains a NUL character")
    return value or None


async def _dial(
    addresses: list[Address], deadline: float | None, limit: float | None
) -> tuple[socket.socket, Address]:
    """The first address that answers. One that stays silent does not use up the
    time of those behind it: each gets its share of what is left."""
    loop = asyncio.get_running_loop()
    failure = ConnectError("the host has no address")
    for position, address in enumerate(addresses):
        until_when = deadline
        if deadline is not None:
            share = (deadline - loop.time()) / (len(addresses) - position)
            until_when = loop.time() + share
        try:
            sock = open_unix(address) if address.host.is_unix else None
            if sock is None:
                work = open_socket(address)
                sock = await until(until_when, work, socket.socket.close)
            return sock, address
        except TimeoutError as error:
            if isinstance(error, OSError) and error.errno is not None:  # ETIMEDOUT
                failure = _unreachable(address, error)
            else:
                failure = timed_out(address.host, limit, "connecting")
            failure.__cause__ = error
        except OSError as error:
            failure = _unreachable(address, error)
            failure.__cause__ = error
    raise failure


def _unreachable(address: Address, error: OSError) -> ConnectError:
    hint = ""
    if isinstance(error, ConnectionRefusedError):
        hint = "; nothing listens there (is the server running?)"
    elif isinstance(error, FileNotFoundError):
        hint = "; no such socket (is the server running?)"
    where = str(address.host)
    if not address.host.is_unix and address.target[0] != address.host.address:
        where += f" ({address.target[0]})"
    return ConnectError(f"{where}: {_reason(error)}{hint}")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
