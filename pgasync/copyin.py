"""COPY … FROM STDIN: where the data come from, and how they go out.

PostgreSQL documentation, COPY.
"""

import asyncio
import contextlib
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
)
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from . import _core, copysql
from .copyfeed import CHUNK_BYTES, checked, closing, pieces
from .errors import Error, InterfaceError, QueryTimeout
from .settings import make_due
from .sql import quote_literal
from .timeouts import Expired, until

if TYPE_CHECKING:
    from .connection import Connection

SLICE_S = 0.002  # of work before others have their turn
PROGRESS_BYTES = 1 << 20  # between two calls of progress()
TRIAL_ROWS = 100  # that tell whether binary will do

Progress = Callable[[int, int | None], object]
Style = tuple[bool, str | None, str | None, str | None, str | None]
T = TypeVar("T")

TEXT: Style = (False, None, None, None, None)


# ------------------------------------------------------------- the request


class CopyIn:
    """One COPY FROM that has begun: takes data until it is ended, or given up."""

    def __init__(
        self,
        core: _core.Connection,
        operation: _core.Operation,
        progress: Progress | None = None,
    ) -> None:
        self._core = core
        self._operation = operation
        self._progress = progress
        self._told = 0  # bytes that progress() was told of
        self._turn = time.monotonic()
        self.bytes = 0  # of data

    async def write(self, data: Any) -> None:
        """Bytes, or text in UTF-8; returns when there is room for more."""
        if isinstance(data, str):
            data = data.encode()
        view = memoryview(data)
        if view.nbytes > CHUNK_BYTES:
            view = view.cast("B") if view.contiguous else memoryview(view.tobytes())
            for start in range(0, len(view), CHUNK_BYTES):
                await self.put(view[start : start + CHUNK_BYTES])
        elif view.nbytes:
            await self.put(view if view.contiguous else view.tobytes())

    async def put(self, data: Any, rows: int | None = None) -> None:
        """What copy_write() takes; `rows` for progress()."""
        if isinstance(data, _core.CopyRows):
            self.bytes += data.size
        else:
            self.bytes += memoryview(data).nbytes
        going = self._core.copy_write(self._operation, data)
        if self._progress is not None and self.bytes - self._told >= PROGRESS_BYTES:
            self._told = self.bytes
            self._progress(self.bytes, rows)
        if not going:
            await self._drain()
        elif time.monotonic() - self._turn > SLICE_S:
            await asyncio.sleep(0)
        else:
            return
        self._turn = time.monotonic()

    async def _drain(self) -> None:
        try:
            await self._core.drain()
        except Error:
            if self._operation.done():
                await self._operation  # it knows better what has become of it
            raise

    async def end(self) -> _core.Operation:
        """No more data: waits until the server has done with all."""
        if not self._operation.done():
            self._core.copy_done(self._operation)
        await self._operation
        if self._progress is not None:
            self._progress(self.bytes, self._operation.rowcount)
        return self._operation


@contextlib.asynccontextmanager
async def copying(
    core: _core.Connection, sql: str, progress: Progress | None = None
) -> AsyncIterator[CopyIn]:
    """A COPY FROM whose block has to call end(). Nothing of it stays when the block
    raises, and that is what the caller gets."""
    await make_due(core)
    operation = core.copy(sql)
    try:
        await core.copy_started(operation)
        yield CopyIn(core, operation, progress)
    except BaseException as error:
        await give_up(core, operation, error)
        raise


async def give_up(
    core: _core.Connection, operation: _core.Operation, error: BaseException
) -> None:
    """Has the server forget a COPY, because of `error`; whatever it answers."""
    if operation.done():
        return
    out = operation.copying is not None and operation.copying[0] == "out"
    if out or not isinstance(error, Exception):  # cancelled: there is no time to wait
        operation.cancel()
        return
    reason = f"{type(error).__name__}: {error}"[:1000]
    with contextlib.suppress(Error):
        core.copy_fail(operation, reason)
    with contextlib.suppress(Error):
        await operation


async def within(timeout: float | None, work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine; QueryTimeout when it takes longer (s)."""
    if timeout is None:
        return await work
    try:
        return await until(asyncio.get_running_loop().time() + timeout, work)
    except Expired:
        raise QueryTimeout(
            f"the COPY did not end within {timeout:g} s, and was given up"
        ) from None


# ----------------------------------------------------------------- columns


class Columns(NamedTuple):
    """Of a table, as far as they can be written."""

    names: tuple[str, ...]
    oids: tuple[int, ...]


COLUMNS = """\
select a.attname, a.atttypid, {generated}
from (select pg_catalog.to_regclass({target}) as oid) t
left join pg_catalog.pg_attribute a
on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
where t.oid is not null
order by a.attnum"""


async def columns_of(
    connection: "Connection", target: str, wanted: Iterable[str] | None
) -> Columns | None:
    """The columns of a table (quoted) that a COPY without a list of them fills, or
    those `wanted`. None when the table, or one of those, is not there: the server says
    that better. Their types are known to the connection then."""
    version = connection.info.server_version
    generated = "a.attgenerated" if version >= 120_000 else "''"
    query = COLUMNS.format(generated=generated, target=quote_literal(target))
    # Its rows are text, whatever codecs the program has registered.
    found = await connection._wait(connection._core.look_up(query))
    if not found:
        return None
    types = {name: int(oid) for name, oid, _ in found if name is not None}
    if wanted is None:
        names = tuple(n for n, _, made in found if n is not None and not made)
    else:
        names = tuple(wanted)
    if not types.keys() >= set(names):
        return None
    oids = tuple(types[name] for name in names)
    await know_types(connection, oids)
    return Columns(names, oids)


async def know_types(connection: "Connection", oids: Iterable[int]) -> None:
    """Looks up what the connection has no codec for."""
    core, link = connection._core, connection._link
    wanted = [*oids]
    while missing := core.missing_types(wanted):  # one that is gone is text in the end
        query = link.types(core, missing)
        if query is not None:
            link.types_found(core, await core.look_up(query))


# -------------------------------------------------------------------- rows


class Rows:
    """Rows of a table on their way into one COPY: the first of them tell whether the
    binary format will do, which has no place for a value that is given as text."""

    def __init__(self, core: _core.Connection, columns: Columns, format: str) -> None:  # noqa: A002
        self._core = core
        self._columns = columns
        self._first: list[Any] | None = [] if format == "auto" else None
        self._make(TEXT if format == "text" else None)
        if format == "auto" and not self.encoder.has_binary:
            self._make(TEXT)

    def _make(self, style: Style | None) -> None:
        self.format = "binary" if style is None else "text"
        self.encoder = self._core.copy_rows(*self._columns, style)

    @property
    def enough(self) -> bool:
        """Whether the first rows are: they are many, or large."""
        encoder = self.encoder
        return encoder.rows >= TRIAL_ROWS or encoder.size >= CHUNK_BYTES

    def add_first(self, row: Any) -> None:
        """A row before the COPY begins, whose format is not settled yet."""
        if self._first is not None:
            self._first.append(row)
        try:
            self.encoder.add(row)
        except Error:
            rows = self._first
            if rows is None or not self.encoder.wants_text:
                raise
            self._first = None
            self._make(TEXT)
            for again in rows:
                self.encoder.add(again)

    def settle(self) -> None:
        """The first rows are over."""
        self._first = None


async def send_records(
    core: _core.Connection,
    rows: Rows,
    records: Any,
    sql: Callable[[str], str],
    progress: Progress | None,
) -> str:
    """All records as the data of the COPY that sql(format) is; its status."""
    if hasattr(records, "__aiter__"):
        return await _send_async(core, rows, records, sql, progress)
    if isinstance(records, str | bytes) or not isinstance(records, Iterable):
        raise InterfaceError(
            "records are an iterable of rows, each a tuple, a list or a mapping, not "
            f"{records!r} ({type(records).__name__})"
        )
    iterator = iter(records)
    for row in iterator:
        rows.add_first(row)
        if rows.enough:
            break
    rows.settle()
    encoder = rows.encoder
    async with copying(core, sql(rows.format), progress) as copy:
        while encoder.encode(iterator, CHUNK_BYTES, SLICE_S):
            await copy.put(encoder, encoder.rows)
        return await _end(copy, encoder)


async def _send_async(
    core: _core.Connection,
    rows: Rows,
    records: Any,
    sql: Callable[[str], str],
    progress: Progress | None,
) -> str:
    async with closing(records):
        iterator = aiter(records)
        async for row in iterator:
            rows.add_first(row)
            if rows.enough:
                break
        rows.settle()
        encoder = rows.encoder
        async with copying(core, sql(rows.format), progress) as copy:
            async for row in iterator:
                if encoder.add(row) >= CHUNK_BYTES:
                    await copy.put(encoder, encoder.rows)
            return await _end(copy, encoder)


async def _end(copy: CopyIn, encoder: _core.CopyRows) -> str:
    encoder.end()
    await copy.put(encoder, encoder.rows)
    return (await copy.end()).statusmessage or ""


# ----------------------------------------------------------------- methods


class CopyingIn:
    """The methods of a Connection that write into a table."""

    async def copy_to_table(
        self,
        table_name: str,
        *,
        source: Any,
        columns: Iterable[str] | None = None,
        schema_name: str | None = None,
        timeout: float | None = None,
        format: str | None = None,  # noqa: A002
        oids: bool | None = None,
        freeze: bool | None = None,
        delimiter: str | None = None,
        null: str | None = None,
        header: bool | int | str | None = None,
        quote: str | None = None,
        escape: str | None = None,
        force_quote: bool | Iterable[str] | None = None,
        force_not_null: bool | Iterable[str] | None = None,
        force_null: bool | Iterable[str] | None = None,
        encoding: str | None = None,
        on_error: str | None = None,
        reject_limit: int | None = None,
        log_verbosity: str | None = None,
        where: str | None = None,
        progress: Progress | None = None,
    ) -> str:
        """Data in one of COPY's formats into a table; the server's status, as "COPY 3".

        `source`: a path (`str` or `os.PathLike`), an open file (of bytes or text, its
        read() may be a coroutine), bytes, or an iterable or asynchronous iterable of
        bytes or str. A `str` that comes out of it is sent in UTF-8. Names are taken
        as they are; `where` is a condition in SQL. The options are COPY's own, see
        PostgreSQL's documentation, also those that a server refuses here (`oids` since
        PostgreSQL 12, `force_quote`); True for `force_not_null` and `force_null` means
        all columns. `timeout` in seconds, for the whole of it.

        `progress(bytes, rows)` is called about every megabyte, with None for the rows
        that only the server can count, and at the end.

        What the source raises ends the COPY and comes out unchanged, and no row stays.
        InterfaceError for a source that is none of these, QueryTimeout, and what the
        server says of the data.
        """
        connection = _whole(self)
        options = {
            "format": format,
            "oids": oids,
            "freeze": freeze,
            "delimiter": delimiter,
            "null": null,
            "header": header,
            "quote": quote,
            "escape": escape,
            "force_quote": force_quote or None,
            "force_not_null": force_not_null or None,
            "force_null": force_null or None,
            "encoding": encoding,
            "on_error": on_error,
            "reject_limit": reject_limit,
            "log_verbosity": log_verbosity,
        }
        target = copysql.qualified(table_name, schema_name)
        sql = copysql.copy_from(target, columns, options, where)
        work = _send(connection._core, sql, source, encoding, progress)
        return await within(limit(connection, timeout), work)

    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        records: Any,
        columns: Iterable[str] | None = None,
        schema_name: str | None = None,
        timeout: float | None = None,
        where: str | None = None,
        format: str = "auto",  # noqa: A002
        progress: Progress | None = None,
    ) -> str:
        """Rows of Python values into a table; the server's status, as "COPY 3".

        `records`: an iterable or asynchronous iterable of tuples, lists, or mappings
        with a key for each column. `columns`: all but generated ones unless told. The
        values are what parameters of these types may be. They are sent in binary;
        where one of the first 100 rows has a value that can only be sent as text
        (a `str` for an `int4`), or a type has no binary form, all are sent as text.
        `format`: "binary" or "text" settles that. `where`: a condition in SQL;
        `timeout`: seconds, for the whole of it; `progress(bytes, rows)`: called about
        every megabyte, and at the end.

        DataError names the row, counted from 0, and the column of a value that cannot
        be sent. Then, and when the source raises, no row stays.
        PostgreSQL documentation, COPY.
        """
        if format not in ("auto", "binary", "text"):
            raise InterfaceError(
                f"format={format!r}: rows are sent in 'binary' or as 'text', or 'auto'"
            )
        connection = _whole(self)
        target = copysql.qualified(table_name, schema_name)
        names = None if columns is None else copysql.column_names(columns)
        work = _records(connection, target, names, records, where, format, progress)
        return await within(limit(connection, timeout), work)


def _whole(part: "CopyingIn") -> "Connection":
    return cast("Connection", part)


def limit(connection: "Connection", timeout: float | None) -> float | None:
    """A method's timeout, or else the connection's."""
    return connection._timeout if timeout is None else timeout


async def _send(
    core: _core.Connection,
    sql: str,
    source: Any,
    encoding: str | None,
    progress: Progress | None,
) -> str:
    async with copying(core, sql, progress) as copy:
        async with contextlib.aclosing(pieces(source)) as data:
            async for piece in data:
                await copy.write(checked(piece, encoding))
        return (await copy.end()).statusmessage or ""


async def _records(
    connection: "Connection",
    target: str,
    names: list[str] | None,
    records: Any,
    where: str | None,
    format: str,  # noqa: A002
    progress: Progress | None,
) -> str:
    core = connection._core
    columns = await columns_of(connection, target, names or None)

    def sql(format: str) -> str:  # noqa: A002
        listed = names if columns is None else columns.names
        return copysql.copy_from(target, listed, {"format": format}, where)

    if columns is None:
        async with copying(core, sql("binary")):
            raise InterfaceError(f"{target} has changed this moment: try again")
    return await send_records(core, Rows(core, columns, format), records, sql, progress)
