"""COPY … TO STDOUT: its data to a file, to a function, or to whoever iterates, and rows
of the binary format by the codecs that queries use."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from . import _core, copysql, literals
from .copyin import PROGRESS_BYTES, Progress, limit, within
from .copysource import source_of
from .errors import Error, InterfaceError, NotSupportedError, ProgrammingError
from .registry import type_oid
from .settings import make_due
from .sinks import sink_for

if TYPE_CHECKING:
    from .connection import Connection

# A COPY that is left early inside a transaction is read to its end, if that is not
# further away than this: to cancel it would fail the transaction.
LEAVE_BYTES = 1 << 20
LEAVE_S = 0.05

LOOKUPS_MAX = 3  # questions about the types of one COPY

# COPY table TO leaves out generated columns.
_COLUMNS = """\
select pg_catalog.string_agg(pg_catalog.quote_ident(attname), ', ' order by attnum)
from pg_catalog.pg_attribute
where attrelid = $1::pg_catalog.text::pg_catalog.regclass and attnum > 0
  and not attisdropped{generated}
"""

_numbers = itertools.count(1)

Columns = _core.Statement | list[tuple[str, int]]


class Reader:
    """The data of one COPY … TO STDOUT that the server has begun."""

    def __init__(
        self,
        connection: "Connection",
        operation: _core.Operation,
        columns: Columns | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._connection = connection
        self._core = connection._core
        self._operation = operation
        self._columns = columns
        self._pieces: deque[bytes] = deque()
        self._progress = progress
        self._begun = False  # something has been taken
        self._left = False
        self._told = 0  # bytes that progress() was told of
        self.bytes = 0  # of data

    async def take(self) -> list[bytes]:
        """What has come, waiting for something; [] at the end."""
        if self._left or self._operation.cancelled():
            raise InterfaceError(
                "the COPY was given up: its block has ended, or a wait for its data "
                "was cancelled"
            )
        self._begun = True
        pieces: list[bytes] = await self._core.take(self._operation)
        self.bytes += sum(map(len, pieces))
        if self._progress is not None:
            if not pieces:
                self._progress(self.bytes, self._operation.rowcount)
            elif self.bytes - self._told >= PROGRESS_BYTES:
                self._told = self.bytes
                self._progress(self.bytes, None)
        return pieces

    async def read(self) -> bytes:
        """The next piece, b"" at the end."""
        while not self._pieces:
            pieces = await self.take()
            if not pieces:
                return b""
            self._pieces.extend(pieces)
        return self._pieces.popleft()

    def set_types(self, types: Iterable[int | str]) -> None:
        """The type of each column, by OID or name."""
        catalog = self._connection._link.typelink.catalog
        oids = [type_oid(kind, catalog.find) for kind in types]
        self._columns = [(f"column{n}", oid) for n, oid in enumerate(oids, 1)]

    def decoder(self, row_factory: Callable[..., Any] | None) -> _core.CopyReader:
        """What makes rows of the data, from their beginning."""
        _, binary, columns = self._operation.copying or ("out", 0, 0)
        if not binary:
            raise NotSupportedError(
                "rows() reads the binary format: COPY … TO STDOUT (FORMAT binary)"
            )
        if self._begun:
            raise InterfaceError(
                "rows() begins with the COPY, of which something has been read already"
            )
        if self._columns is None:
            raise InterfaceError(
                "the types of the columns are not known, as the statement is not "
                "understood: call set_types() first"
            )
        if row_factory is None:
            row_factory = self._connection._row_factory
        made = self._core.copy_reader(self._columns, row_factory)
        if isinstance(made, str):
            raise InterfaceError(
                "types have changed, or are not known yet, and cannot be asked for "
                "while the COPY runs"
            )
        known = made.description or ()
        if len(known) != columns:
            raise ProgrammingError(
                f"the COPY has {columns} columns, and types were given for {len(known)}"
            )
        for index in made.textual:
            name = known[index][0]
            raise NotSupportedError(
                f"column {index + 1} ({name!r}) is of a type whose binary form is not "
                f"known (OID {known[index][1]}): copy a query, and in it {name}::text"
            )
        return made

    def rows(self, row_factory: Callable[..., Any] | None) -> "Rows":
        """The rows of the data, from their beginning."""
        return Rows(self, self.decoder(row_factory))

    async def leave(self) -> None:
        """Nothing more is wanted."""
        operation = self._operation
        self._pieces.clear()
        if not operation.done() and self._core.in_transaction:
            await self._read_on()
        operation.cancel()
        self._left = True

    async def _read_on(self) -> None:
        """Reads to the end, if that is near."""
        operation, left = self._operation, LEAVE_BYTES
        late = InterfaceError("the COPY was left")
        timer = operation.get_loop().call_later(LEAVE_S, operation.expire, late)
        try:
            while left > 0 and (pieces := await self.take()):
                left -= sum(map(len, pieces))
        except Error:
            pass  # late, or the COPY has failed; the block ends either way
        finally:
            timer.cancel()

    def give_up(self) -> None:
        """As leave(), without waiting for anything."""
        self._operation.cancel()
        self._left = True


class Rows(_core.Stream):
    """The rows of a binary COPY … TO STDOUT, for `async for`."""

    def __init__(self, reader: Reader, decoder: _core.CopyReader) -> None:
        self._reader = reader
        self._decoder = decoder

    async def _more(self) -> list[Any]:
        while piece := await self._reader.read():
            rows = self._decoder.feed(piece)
            if rows:
                return rows
        self._decoder.end()
        return []


async def discover(connection: "Connection", sql: str) -> Columns | None:
    """The columns of a COPY … TO STDOUT, before it begins; None where it is not binary,
    or nobody knows. Their types are known to the connection then."""
    source = source_of(sql)
    if source is None or not source.binary:
        return None
    core, query = connection._core, source.query
    if query is None:
        names = source.columns
        if names is None:
            names = await _column_names(connection, source.table or "")
        query = f"select {names.strip('()')} from {source.table}"
    # Never one that is in the cache: the columns may not be what they were, and nothing
    # in a COPY would tell.
    text = f"{query}\n-- copy {next(_numbers)}"
    statement = await connection._wait(core.prepare(text))
    core.forget(statement)
    for _ in range(LOOKUPS_MAX):
        question = core.copy_reader(statement, False)
        if not isinstance(question, str):
            break
        rows = await connection._wait(core.look_up(question))
        connection._link.types_found(core, rows)
    return statement  # type: ignore[no-any-return]


async def _column_names(connection: "Connection", table: str) -> str:
    version = connection.info.server_version
    generated = " and attgenerated = ''" if version >= 120000 else ""
    operation = connection._core.execute(
        _COLUMNS.format(generated=generated), (table,), _core.MODE_VALUE, False
    )
    return await connection._wait(operation) or ""


class CopyingOut:
    """The methods of a Connection that copy data out."""

    async def copy_from_table(
        self,
        table_name: str,
        *,
        output: Any,
        columns: Sequence[str] | None = None,
        schema_name: str | None = None,
        timeout: float | None = None,
        progress: Progress | None = None,
        format: str | None = None,  # noqa: A002
        delimiter: str | None = None,
        null: str | None = None,
        header: bool | str | None = None,
        quote: str | None = None,
        escape: str | None = None,
        force_quote: bool | str | Sequence[str] | None = None,
        encoding: str | None = None,
    ) -> str:
        """Copies a table (`COPY table TO STDOUT`). Returns the command's tag, "COPY 3".

        `output` takes the data as bytes: a path; an object with write(), which may be
        `async`; or a function, which may give an awaitable. A slow one slows the server
        down. Files are written in a thread. A file that is opened here (a path) is
        overwritten when the server has accepted the command; if it fails later, a new
        file is removed and an old one is left empty.

        `progress(bytes, rows)` is called about every megabyte, with None for the rows,
        and at the end. After `timeout` seconds the COPY is given up, with QueryTimeout.
        The other keywords are COPY's options. Names are taken as they stand in the
        catalog. What `output` raises is raised here, after the COPY was given up.
        (Documentation, "COPY".)
        """
        chosen = {
            "format": format,
            "delimiter": delimiter,
            "null": null,
            "header": header,
            "quote": quote,
            "escape": escape,
            "force_quote": force_quote or None,
            "encoding": encoding,
        }
        source = copysql.from_table(table_name, schema_name, columns)
        connection = cast("Connection", self)
        job = _Job(connection, output, chosen, progress)
        return await within(limit(connection, timeout), job.table(source))

    async def copy_from_query(
        self,
        query: str,
        *args: Any,
        params: object = None,
        output: Any,
        timeout: float | None = None,
        progress: Progress | None = None,
        format: str | None = None,  # noqa: A002
        delimiter: str | None = None,
        null: str | None = None,
        header: bool | str | None = None,
        quote: str | None = None,
        escape: str | None = None,
        force_quote: bool | str | Sequence[str] | None = None,
        encoding: str | None = None,
    ) -> str:
        """Copies the rows of a query (`COPY (query) TO STDOUT`). Returns the tag.

        `params` as everywhere: a sequence for `$1, $2 …`, a mapping for `:name`; the
        values of `$1, $2 …` may also be arguments of their own. COPY takes no
        parameters: they are put into the text as literals, by the server's own quoting
        and with their types. Everything else as in copy_from_table().
        """
        if args and params is not None:
            raise InterfaceError("parameters are given as arguments or as params=")
        alone = len(args) == 1 and isinstance(args[0], (list, tuple))
        named = len(args) == 1 and isinstance(args[0], Mapping)
        given = args[0] if alone or named else args or params
        chosen = {
            "format": format,
            "delimiter": delimiter,
            "null": null,
            "header": header,
            "quote": quote,
            "escape": escape,
            "force_quote": force_quote or None,
            "encoding": encoding,
        }
        connection = cast("Connection", self)
        job = _Job(connection, output, chosen, progress)
        work = job.query(query, given, alone)
        return await within(limit(connection, timeout), work)


class _Job(NamedTuple):
    """One copy_from_table() or copy_from_query()."""

    connection: "Connection"
    output: Any
    options: Mapping[str, object]
    progress: Progress | None

    async def table(self, source: str) -> str:
        """With an output that is open before the server is asked."""
        sink = sink_for(self.output)
        reader: Reader | None = None
        try:
            core = self.connection._core
            await make_due(core)
            operation = core.copy(copysql.copy_to(source, self.options))
            reader = Reader(self.connection, operation, None, self.progress)
            await core.copy_started(operation)
            sink.begin()
            while pieces := await reader.take():
                await sink.write(pieces)
            await sink.finish()
        except BaseException:
            if reader is not None:
                reader.give_up()
            sink.drop()
            raise
        return operation.statusmessage or ""

    async def query(self, text: str, params: object, alone: bool) -> str:
        """The same of a query, once its parameters are in its text."""
        text = await literals.interpolate(self.connection, text, params, alone)
        return await self.table(copysql.from_query(text))
