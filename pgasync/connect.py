"""Opening a connection: hosts and their addresses in turn, by libpq's rules (PostgreSQL
documentation, "Specifying Multiple Hosts")."""

import asyncio
import inspect
import os
import socket
from collections.abc import Coroutine, Generator, Sequence
from random import shuffle
from types import TracebackType
from typing import Any, TypeVar

from . import configs
from .connection import Connection
from .conninfo import Config, Host
from .errors import ConnectError, ConnectionLost, Error, InterfaceError, TLSError
from .session import open_session, timed_out
from .sockets import Address, open_socket, open_unix
from .target import mismatch
from .timeouts import Expired, until

T = TypeVar("T")

# It starts, stops, has just crashed, or is full: after every other refusal by the
# server itself no further host is asked.
_NOT_NOW = ("57P01", "57P02", "57P03", "53300")


def connect(dsn: str | None = None, **keywords: Any) -> "Connecting":
    """Connects to PostgreSQL.

    `await connect(…)` gives a Connection; `async with connect(…) as connection`
    commits on a clean exit, rolls back on an exception, then closes.

    `dsn`: a `postgresql://` URI or libpq's `key=value` string. Keywords win over it,
    the service file, the PG* environment variables and the password file come after
    it. All of libpq 18's are known (docs/connecting.md): host, hostaddr, port, user,
    password (also a callable), dbname (database), connect_timeout (timeout; s, 60),
    sslmode, target_session_attrs, passfile, service … Our own: ssl (True, False, an
    sslmode, an ssl.SSLContext), server_settings (dict), autocommit, row_factory (see
    pgasync.rows), command_timeout (s), cancel_timeout (s), statement_cache_size,
    max_cached_statement_lifetime (s), prepared_statements, scram_max_iterations.

    About values: json_loads, json_dumps (functions; None: documents are text; a loads
    of orjson or msgspec is given bytes, every other one str),
    json_numbers ("float", "exact": Decimal), json_null ("none", "sentinel":
    types.JSON_NULL), out_of_range ("error", "clamp", "sentinel": types.Beyond; dates
    and times that Python cannot hold), timestamptz ("utc", "session": its zone),
    naive_datetimes ("error", "utc": naive and aware stand for each other, "local":
    naive ones are local time where a timestamptz is wanted), money_digits
    (2), types (a TypeRegistry).

    Raises InterfaceError for a keyword or value it does not understand and
    NotSupportedError for one it does not support, both at once; ConnectError when no
    host could be reached or none gives the session that target_session_attrs asks
    for, and the class of the SQLSTATE (InvalidPassword, InvalidCatalogName …) when
    the server refused.
    """
    return Connecting(configs.find(dsn, keywords))


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
    search = _Search(config, loop)
    try:
        return await search.run()
    finally:
        search.failures.clear()  # they hold its frames


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


class _Search:
    """One connect(): the hosts in turn, and why each of them failed."""

    def __init__(self, config: Config, loop: asyncio.AbstractEventLoop) -> None:
        self.failures: list[tuple[Host | Address, Error]] = []
        self._config = config
        self._loop = loop
        self._others: list[Host] = []  # would give a session, of another kind

    async def run(self) -> Connection:
        try:
            found = await self._by_kind()
        except Error as error:
            if self.failures and error.__cause__ is None:
                error.__cause__ = _summary(self.failures)
            raise
        if found is None:
            raise _summary(self.failures)
        return found

    async def _by_kind(self) -> Connection | None:
        wanted = self._config.target_session_attrs
        found = await self._first(self._in_turn(self._config.hosts), wanted)
        if found is None and wanted == "prefer-standby":
            found = await self._first([*self._others], "any")
        return found

    async def _first(self, hosts: list[Host], wanted: str) -> Connection | None:
        for host in hosts:
            found = await self._try_host(host, wanted)
            if found is not None:
                return found
        return None

    async def _try_host(self, host: Host, wanted: str) -> Connection | None:
        """None, and a reason in `failures`, when the next host is to be tried. The
        first address's time includes that for looking it up."""
        config, deadline = self._config, self._deadline()
        try:
            addresses = await _addresses(config, host, deadline)
        except ConnectError as error:
            self.failures.append((host, error))
            return None
        try:
            password = await _password(config, host, deadline)
        except Expired as expired:
            late = timed_out(host, config.connect_timeout, "waiting for the password")
            late.__cause__ = expired
            self.failures.append((host, late))
            return None
        for address in self._in_turn(addresses):
            try:
                found = await _open(config, address, password, deadline)
                kind = await _kind(config, found, wanted, deadline)
            except Error as error:
                if not _goes_on(error):
                    raise
                self.failures.append((address, error))
                if error.sqlstate is not None:
                    return None  # the other addresses lead to the same server
            else:
                if kind is None:
                    return found
                self._refuse(address, f"{kind} (target_session_attrs={wanted})")
                return None
            deadline = self._deadline()
        return None

    def _refuse(self, address: Address, reason: str) -> None:
        self.failures.append((address, ConnectError(f"{address}: {reason}")))
        self._others.append(address.host)

    def _in_turn(self, places: Sequence[T]) -> list[T]:
        order = [*places]
        if self._config.load_balance_hosts == "random":
            shuffle(order)
        return order

    def _deadline(self) -> float | None:
        limit = self._config.connect_timeout
        return None if limit is None else self._loop.time() + limit


def _goes_on(error: Error) -> bool:
    """Whether another address or host is tried: the connection failed. When the server
    refused, or is not who it should be, the next one does not get the password."""
    if error.sqlstate is not None:
        return error.sqlstate in _NOT_NOW
    if isinstance(error, TLSError) or not isinstance(error, ConnectError):
        return False
    return isinstance(error.__cause__, (OSError, EOFError, ConnectionLost))


def _summary(failures: list[tuple[Host | Address, Error]]) -> Error:
    """The only failure, or one error that tells all of them."""
    errors = tuple(error for _, error in failures)
    if len(errors) == 1:
        return errors[0]
    lines = (_line(where, error) for where, error in failures)
    summary = ConnectError("\n  ".join(("no host could be connected to:", *lines)))
    summary.failures = errors
    states = [error.sqlstate for error in errors if error.sqlstate]
    summary.sqlstate = states[-1] if states else None
    summary.__cause__ = errors[-1]
    return summary


def _line(where: Host | Address, error: Error) -> str:
    text = str(error).replace("\n", "\n    ")
    host = where.host if isinstance(where, Address) else where
    return f"{where}: {text.removeprefix(f'{where}: ').removeprefix(f'{host}: ')}"


async def _addresses(
    config: Config, host: Host, deadline: float | None
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
    except Expired as error:
        limit = config.connect_timeout
        raise timed_out(host, limit, "looking up its address") from error
    except (OSError, UnicodeError) as error:
        raise ConnectError(f"{host}: {_reason(error)}") from error
    return [Address(host, family, target) for family, _, _, _, target in found]


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


async def _password(config: Config, host: Host, deadline: float | None) -> bytes | None:
    """The password's bytes; a callable is asked for every host, and what it raises is
    the caller's business. Expired when it does not answer in time."""
    value = host.password if config.password is None else config.password
    if callable(value):
        asked = value()
        if inspect.isawaitable(asked):
            asked = await until(deadline, _awaited(asked))
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


async def _open(
    config: Config, address: Address, password: bytes | None, deadline: float | None
) -> Connection:
    sock = await _dial(config, address, deadline)
    return await open_session(config, sock, address, password, deadline)


async def _dial(
    config: Config, address: Address, deadline: float | None
) -> socket.socket:
    try:
        unix = open_unix(config, address) if address.host.is_unix else None
        if unix is not None:
            return unix
        work = open_socket(config, address)
        return await until(deadline, work, socket.socket.close)
    except Expired as error:
        raise timed_out(address, config.connect_timeout, "connecting") from error
    except OSError as error:
        raise _unreachable(address, error) from error


async def _kind(
    config: Config, connection: Connection, wanted: str, deadline: float | None
) -> str | None:
    """What the session is, when that is not `wanted`: then the connection is closed."""
    if wanted == "any":
        return None
    found: str | None = ""
    try:
        found = await until(deadline, mismatch(connection._core, wanted))
    except Expired as error:
        limit = config.connect_timeout
        raise timed_out(connection._link.address, limit, "asking its kind") from error
    except ConnectionLost as error:
        raise ConnectError(f"{connection._link.address}: {error}") from error
    except Error as error:
        found = f"the server does not tell its kind: {error.message}"
    finally:
        if found is not None:
            connection.terminate()
    return found


def _unreachable(address: Address, error: OSError) -> ConnectError:
    hint = ""
    if isinstance(error, ConnectionRefusedError):
        hint = "; nothing listens there (is the server running?)"
    elif isinstance(error, FileNotFoundError):
        hint = "; no such socket (is the server running?)"
    # Not its strerror: asyncio puts words of its own there.
    reason = os.strerror(error.errno) if error.errno else _reason(error)
    return ConnectError(f"{address}: {reason}{hint}")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
