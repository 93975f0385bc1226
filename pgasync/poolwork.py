"""What a pool does by itself, without a connection in the program's hands."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from enum import Enum
from types import TracebackType
from typing import Any, TypeVar, overload

from . import many
from ._core import MODE_ROW, MODE_ROWS, MODE_VALUE, MultipleStatements
from .connect import open_connection
from .cursor import Cursor
from .errors import ConnectionLost, InterfaceError
from .listen import Listener
from .pipeline import Pipeline
from .poolhandle import PoolConnection
from .poolkeeper import Keeper
from .registry import Registry
from .stream import Stream

log = logging.getLogger("pgasync.pool")

R = TypeVar("R")


class Work(Keeper):
    """The methods of a Pool that run statements, each on some connection of it."""

    @overload
    async def fetch(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: None = None,
        timeout: float | None = None,
    ) -> list[Any]: ...
    @overload
    async def fetch(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: type[dict[str, Any]],
        timeout: float | None = None,
    ) -> list[dict[str, Any]]: ...
    @overload
    async def fetch(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Callable[..., R],
        timeout: float | None = None,
    ) -> list[R]: ...
    async def fetch(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """All rows of a statement, which runs in autocommit; see Connection.fetch().
        `timeout` (s), here and below, bounds the wait for a connection (PoolTimeout;
        the pool's own unless told) and then the statement (QueryTimeout)."""
        return await self._run_once(MODE_ROWS, sql, params, row_factory, timeout)

    @overload
    async def fetchrow(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: None = None,
        timeout: float | None = None,
    ) -> Any: ...
    @overload
    async def fetchrow(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: type[dict[str, Any]],
        timeout: float | None = None,
    ) -> dict[str, Any] | None: ...
    @overload
    async def fetchrow(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Callable[..., R],
        timeout: float | None = None,
    ) -> R | None: ...
    async def fetchrow(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """The first row of a statement, which runs in autocommit; None when it gives no
        rows."""
        return await self._run_once(MODE_ROW, sql, params, row_factory, timeout)

    async def fetchval(
        self, sql: str, params: object = None, *, timeout: float | None = None
    ) -> Any:
        """The first column of the first row, None when there are no rows; the statement
        runs in autocommit."""
        return await self._run_once(MODE_VALUE, sql, params, False, timeout)

    async def _run_once(
        self,
        mode: int,
        sql: str,
        params: object,
        row_factory: Any,
        timeout: float | None,
    ) -> Any:
        if timeout is not None or self._config.command_timeout is not None:
            return await self._run_in_handle(mode, sql, params, row_factory, timeout)
        if row_factory is None:
            row_factory = self._config.row_factory
        member = self._grab()
        if member is None:
            member, handle = await self._obtain(None, None)
            if handle is not None:
                handle._let_go()
        try:
            return await member.resource.execute(sql, params, mode, row_factory)
        except MultipleStatements:
            pass
        except ConnectionLost as error:
            if not error.safe_to_retry:
                raise
            log.info("a statement that has not run goes to another connection")
        finally:
            self._put(member)
        return await self._run_in_handle(mode, sql, params, row_factory, timeout)

    async def _run_in_handle(
        self,
        mode: int,
        sql: str,
        params: object,
        row_factory: Any,
        timeout: float | None,
    ) -> Any:
        async with self._autocommitting(timeout) as connection:
            if mode == MODE_VALUE:
                return await connection.fetchval(sql, params, timeout=timeout)
            call = connection.fetch if mode == MODE_ROWS else connection.fetchrow
            return await call(sql, params, row_factory=row_factory, timeout=timeout)

    async def execute(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Any = None,
        timeout: float | None = None,
    ) -> Cursor:
        """Runs a statement in autocommit; the cursor holds its result."""
        async with self._autocommitting(timeout) as connection:
            return await connection.execute(
                sql, params, row_factory=row_factory, timeout=timeout
            )

    async def executemany(
        self,
        sql: str,
        seq_of_params: many.Sets,
        *,
        returning: bool = False,
        row_factory: Any = None,
        timeout: float | None = None,
    ) -> Cursor:
        """Runs a statement for every set of parameters, as one transaction."""
        async with self._autocommitting(timeout) as connection:
            return await connection.executemany(
                sql,
                seq_of_params,
                returning=returning,
                row_factory=row_factory,
                timeout=timeout,
            )

    # ------------------------------------------- on a connection for their own time

    def stream(
        self,
        sql: str,
        params: object = None,
        *,
        row_factory: Callable[..., Any] | None = None,
        timeout: float | None = None,
    ) -> "PoolStream":
        """The rows of a statement, for `async for`, read as fast as they are taken; see
        Connection.stream(). Takes a connection when the first row is asked for, and
        gives it back behind the last one, or by aclose()."""
        return PoolStream(
            self,
            lambda c: c.stream(sql, params, row_factory=row_factory, timeout=timeout),
        )

    def pipeline(
        self, *, timeout: float | None = None
    ) -> AbstractAsyncContextManager[Pipeline]:
        """`async with pool.pipeline() as p`: a pipeline on a connection of the pool.
        Its statements are one transaction. See Connection.pipeline()."""
        return self._pipeline(timeout)

    @asynccontextmanager
    async def _pipeline(self, timeout: float | None) -> AsyncGenerator[Pipeline, None]:
        async with (
            self.acquire() as connection,
            connection.pipeline(timeout=timeout) as pipeline,
        ):
            yield pipeline

    async def copy_to_table(self, *args: Any, **keywords: Any) -> Any:
        """See Connection.copy_to_table(); one transaction."""
        async with self._autocommitting(None) as connection:
            return await connection.copy_to_table(*args, **keywords)

    async def copy_records_to_table(self, *args: Any, **keywords: Any) -> Any:
        """See Connection.copy_records_to_table(); one transaction."""
        async with self._autocommitting(None) as connection:
            return await connection.copy_records_to_table(*args, **keywords)

    async def copy_from_table(self, *args: Any, **keywords: Any) -> Any:
        """See Connection.copy_from_table()."""
        async with self._autocommitting(None) as connection:
            return await connection.copy_from_table(*args, **keywords)

    async def copy_from_query(self, *args: Any, **keywords: Any) -> Any:
        """See Connection.copy_from_query()."""
        async with self._autocommitting(None) as connection:
            return await connection.copy_from_query(*args, **keywords)

    # ------------------------------------------------------------- notifications

    def listen(self, *channels: str, **keywords: Any) -> Listener:
        """`async with pool.listen("jobs") as events`: a listener that survives, on a
        connection of its own, which is none of the pool's and not counted. `keywords`:
        those of pgasync.listen() that are not of connect()."""
        config = replace(self._config, autocommit=self._autocommit)
        if len(config.hosts) > 1 and config.target_session_attrs == "any":
            config = replace(config, target_session_attrs="primary")
        return Listener(lambda: open_connection(config), *channels, **keywords)

    async def notify(self, channel: str, payload: str = "") -> None:
        """Sends a notification at once; see Connection.notify()."""
        async with self._autocommitting(None) as connection:
            await connection.notify(channel, payload)

    # --------------------------------------------------------------------- types

    async def set_type_codec(self, typename: str, **keywords: Any) -> None:
        """Python functions for a type's values, on all connections of the pool; see
        Connection.set_type_codec()."""
        async with self._autocommitting(None) as connection:
            await connection.set_type_codec(typename, **keywords)
            self._teach(lambda registry: registry.set_type_codec(typename, **keywords))

    async def register_enum(
        self, cls: type[Enum], typename: str | None = None, **keywords: Any
    ) -> None:
        """An Enum class for an enum type, on all connections of the pool; see
        Connection.register_enum()."""
        async with self._autocommitting(None) as connection:
            await connection.register_enum(cls, typename, **keywords)
            self._teach(
                lambda registry: registry.register_enum(cls, typename, **keywords)
            )

    async def register_composite(
        self, cls: Any, typename: str | None = None, *, schema: str | None = None
    ) -> None:
        """A class for a composite type, on all connections of the pool; see
        Connection.register_composite()."""
        async with self._autocommitting(None) as connection:
            await connection.register_composite(cls, typename, schema=schema)
            self._teach(
                lambda registry: registry.register_composite(
                    cls, typename, schema=schema
                )
            )

    async def reset_type_codec(
        self, typename: str, *, schema: str | None = None
    ) -> None:
        """Forgets what was registered for a type, on all connections of the pool."""
        self._teach(lambda registry: registry.reset_type_codec(typename, schema=schema))

    def _teach(self, lesson: Callable[[Registry], None]) -> None:
        """Every connection, those to come too."""
        types = self._config.types
        types = Registry() if types is None else types.copy()
        lesson(types)
        self._config = replace(self._config, types=types)
        for member in self._state.members:
            if member.resource is not None:
                link = member.resource.link
                lesson(link.typelink.registry)
                link.typelink.reset()
                if link.baseline is not None and link.baseline.registry is not None:
                    lesson(link.baseline.registry)


class PoolStream:
    """Made by Pool.stream(): rows for `async for`, one after the other."""

    def __init__(
        self, keeper: Keeper, make: Callable[[PoolConnection], Stream]
    ) -> None:
        self._keeper = keeper
        self._make = make
        self._handle: PoolConnection | None = None
        self._stream: Stream | None = None
        self._ended = False

    def __aiter__(self) -> "PoolStream":
        return self

    async def __anext__(self) -> Any:
        if self._ended:
            raise StopAsyncIteration
        try:
            if self._stream is None:
                self._handle = await self._keeper.acquire()
                self._handle.autocommit = True
                self._stream = self._make(self._handle)
            return await self._stream.__anext__()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Ends the stream and gives its connection back. May be called again."""
        self._ended = True
        handle, self._handle = self._handle, None
        if self._stream is not None:
            await self._stream.aclose()
        if handle is not None:
            await self._keeper._finish(handle, None)

    async def __aenter__(self) -> "PoolStream":
        if self._ended:
            raise InterfaceError("the stream has ended")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._stream = None  # ends as any that is dropped
        handle = self._handle
        if handle is not None and handle._member is not None:
            self._keeper._forsaken(handle, handle._member)
