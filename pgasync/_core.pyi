"""The C core, as the Python layer sees it. Nothing here is public.

One `Connection` per socket. Every request gives an `Operation`: the request in
the connection's queue, the object a coroutine awaits, and, once it is done, the
result. Methods check at once that the caller is on the connection's event loop,
in its process, and that the connection is open (InterfaceError otherwise).
"""

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextvars import ContextVar
from types import CodeType, TracebackType
from typing import Any, Protocol, TypeVar, final

from .poolhandle import PoolConnection

_C = TypeVar("_C", bound="Cursor")
_S = TypeVar("_S", bound="Stream")

# What `await operation` gives.
MODE_RESULT: int  # the Operation itself, with .rows, .rowcount, …
MODE_ROWS: int  # list of rows ([] when the statement returns none)
MODE_ROW: int  # the first row or None
MODE_VALUE: int  # the first column of the first row, or None
MODE_NONE: int  # None

# How rows.compile_maker() wants its target called; see csrc/driver/factory.h.
ROW_SCALAR: int  # the first column
ROW_DICT: int  # a copy of the dict `target`, filled
ROW_STAR: int  # target(value, …)
ROW_KEYWORDS: int  # target(name=value, …)
ROW_CALL: int  # target((value, …))

class MultipleStatements(Exception):
    """Raised by execute() when `link.is_script(sql)` says that the text, not yet
    in the statement cache and without parameters, holds several statements."""

class Link(Protocol):
    """What the core calls out to. Each call comes from inside the core's pump:
    it must only store things and schedule (call_soon, create_task), never run
    user code, and never raise."""

    def resolve(self, sql: str, params: object) -> tuple[str, tuple[object, ...]]:
        """Parameters that are neither None, tuple nor list. Mapping: rewrites
        `:name`. A str, bytes or scalar: raises. May raise; called from execute."""
    def rewrite(self, sql: str) -> tuple[str, tuple[str, ...]]:
        """The text with `$n` for `:name`, and the names, in order of their numbers."""
    def is_script(self, sql: str) -> bool: ...
    def check_pipeline(self) -> None:
        """A request is made while `pipelines` is not 0. InterfaceError: it would wait
        for one of them, which waits for it."""
    def types(self, core: Connection, oids: Sequence[int]) -> str | None:
        """A statement or a value has types without a codec, or (an OID that has one)
        that are not what their codec says: puts what is known by put_codec(). Returns
        the query for the rest, whose rows go to types_found(), or None. May raise:
        the statement fails."""
    def types_found(self, core: Connection, rows: Sequence[Any]) -> bool:
        """The answer, every value as text. True: some types are gone, and a statement
        that was to have them is to be described again. May raise: the statement
        fails."""
    def types_doubted(self, oids: list[int]) -> None:
        """Values of some of these types were refused: they may have changed."""
    def types_changed(self) -> None:
        """A command may have changed types (ALTER TYPE, DROP EXTENSION, …)."""
    def infer(self, value: object) -> int:
        """The type OID for a value whose parameter's type the server cannot tell; 0:
        none."""
    def answered(self, core: Connection, pid: int) -> None:
        """pg_backend_pid() of the session that works for us: the answer to the
        question of core.asking."""
    def scram(self, core: Connection, salt: bytes, iterations: int) -> None:
        """Derive the salted password off the loop, then core.scram_key(key)."""
    def abandoned(self, core: Connection) -> None:
        """Every request in flight has been given up (cancelled or timed out):
        send CancelRequests until `drained` is called, bounded by a deadline, then
        call core.cancel_finished(). The core sends nothing new until then."""
    def drained(self, core: Connection) -> None:
        """The last abandoned request has seen its ReadyForQuery (or the
        connection is lost)."""
    def leave(self, loop: AbstractEventLoop, fd: int) -> None:
        """The connection moves away from a loop that runs in another thread: have that
        remove the reader of `fd`, and then close it."""
    def moved(self, loop: AbstractEventLoop) -> None:
        """An idle connection was used from this loop, and belongs to it now."""
    def notice(self, fields: dict[str, str]) -> None: ...
    def notification(self, pid: int, channel: str, payload: str) -> None: ...
    def parameter(self, name: str, value: str) -> None:
        """A ParameterStatus after the startup; core.parameters is updated already."""
    def lost(self, core: Connection, error: BaseException) -> None:
        """The connection is closed (fd gone), not by close() or terminate()."""
    def untraced(self, error: BaseException | None) -> None:
        """The trace could not be written, and has ended."""

class BlockLike(Protocol):
    """A transaction() block, to which the connection belongs while it is open."""

    def admits(self) -> bool:
        """Whether the running task, whose `blocks` do not hold the block, is inside
        nevertheless. Called when it makes a request. May raise."""

blocks: ContextVar[tuple[Any, ...]]  # those that the context has entered

class Row(tuple[Any, ...]):
    """A row: a tuple that also answers to names. Each distinct list of column
    names has its own subclass with `_fields`; duplicates: the first one wins."""

    _fields: tuple[str, ...]
    def __getitem__(self, key: Any) -> Any: ...  # int, slice or column name
    def __getattr__(self, name: str) -> Any: ...
    def _asdict(self) -> dict[str, Any]: ...

def row_type(fields: tuple[str, ...]) -> type[Row]:
    """The Row subclass for these names, one per process and list of names."""

@final
class Statement:
    """A prepared statement, in the cache or held by a user."""

    @property
    def sql(self) -> str: ...
    @property
    def name(self) -> str: ...  # on the server; "" = unnamed
    @property
    def parameters(self) -> tuple[int, ...]: ...  # type OIDs
    @property
    def description(
        self,
    ) -> (
        tuple[tuple[str, int, None, int | None, int | None, int | None, None], ...]
        | None
    ):
        """PEP 249's 7-tuples, built once; None when the statement returns no rows."""

@final
class Operation:
    """See the module. Awaitable once; also future-like for asyncio.Task."""

    def __await__(self) -> Generator[Any, None, Any]: ...
    def done(self) -> bool: ...
    def exception(self) -> BaseException | None: ...
    def get_loop(self) -> AbstractEventLoop: ...
    def cancel(self, msg: object = None) -> bool: ...
    def cancelled(self) -> bool: ...
    def add_done_callback(
        self, callback: Callable[[Operation], object], *, context: Any = None
    ) -> None:
        """One, in place of an await."""
    def expire(self, error: BaseException) -> bool:
        """Gives the request up as cancel() does, but the awaiting coroutine gets
        `error` (a QueryTimeout). False when it is done already."""
    @property
    def sent(self) -> bool: ...  # any of it; False: the server knows nothing of it
    # Valid once done:
    @property
    def rows(self) -> list[Any] | None: ...  # None when the statement returns no rows
    @property
    def statement(self) -> Statement | None: ...
    @property
    def description(self) -> tuple[tuple[Any, ...], ...] | None: ...
    @property
    def rowcount(self) -> int: ...  # -1 when the tag names none
    @property
    def runs(self) -> list[tuple[int, int, int]]: ...
    # Of executemany(): (rowcount, rows, n) for every n sets in a row with that outcome.
    @property
    def statusmessage(self) -> str | None: ...
    @property
    def suspended(self) -> bool: ...  # the portal has more rows
    # Of a copy(), once its server has answered:
    @property
    def copying(self) -> tuple[str, int, int] | None:
        """("in" or "out", format (1: binary), number of columns)."""
    @property
    def received(self) -> int: ...  # bytes of the rows; of streams and portals
    @property
    def pulled(self) -> bool: ...  # its rows may be taken before it is done

class Stream:
    """Rows for `async for`. A subclass has _more()."""

    def __aiter__(self: _S) -> _S: ...
    def __anext__(self) -> Coroutine[Any, Any, Any]: ...
    async def _more(self) -> list[Any]:
        """The next rows; an empty list, again and again, at the end."""
    def _pop(self, count: int, /) -> list[Any]:
        """Takes at most so many of the rows that have come."""
    def _push(self, rows: list[Any], /) -> None:
        """The rows that have come, in place of others."""

@final
class CopyReader:
    """Makes rows of the bytes of one binary COPY; by Connection.copy_reader()."""

    @property
    def description(self) -> tuple[tuple[Any, ...], ...] | None: ...
    @property
    def textual(self) -> list[int]:
        """The columns whose codecs read text alone, which COPY does not send."""
    def feed(self, data: Any, /) -> list[Any]:
        """The rows that these bytes complete. ProtocolViolation for what is no binary
        COPY, DataError for a value that cannot be decoded."""
    def end(self) -> None:
        """After the last bytes. ProtocolViolation when more should have come."""

class Cursor:
    """Rows that have all arrived; made by Connection.cursor() of a subclass."""

    arraysize: int
    description: tuple[tuple[Any, ...], ...] | None
    rowcount: int
    _rows: list[Any]  # set: the next rows
    @property
    def _adapted(self) -> Any: ...
    @property
    def _core(self) -> Connection: ...
    @property
    def _left(self) -> int: ...  # rows not yet fetched
    def execute(self, sql: str, params: Any = None, /) -> None:
        """Of several statements: self._run_script(sql)."""
    def _take(self, result: Operation, /) -> None: ...
    def fetchone(self) -> Any: ...
    def fetchmany(self, size: int | None = None, /) -> list[Any]: ...
    def fetchall(self) -> list[Any]: ...
    def close(self) -> None: ...
    def _async_soft_close(self) -> Cursor: ...
    def __iter__(self) -> Cursor: ...
    def __next__(self) -> Any: ...
    def __await__(self) -> Iterator[Any]: ...  # at once

@final
class CopyRows:
    """Rows of Python values as the data of a COPY; made by Connection.copy_rows().
    DataError names the row, counted from 0, and the column; the data stay what they
    were then."""

    def encode(self, rows: Iterator[Any], bytes_max: int, seconds: float, /) -> bool:
        """Takes rows until there are so many bytes or the time is over: True; False
        when there are no more."""
    def add(self, row: Any, /) -> int:
        """One row; the bytes that there are now."""
    def end(self) -> None:
        """What the format has at its end."""
    @property
    def rows(self) -> int: ...  # in all
    @property
    def size(self) -> int: ...  # bytes not yet taken by copy_write()
    @property
    def wants_text(self) -> bool: ...  # the last row failed for that in binary
    @property
    def has_binary(self) -> bool: ...  # every column's type

class PoolMember:
    """See poolstate.Member."""

    state: str
    resource: Any
    holder: Any
    where: Any
    reason: str
    born: float
    since: float
    idled: float
    expires: float
    generation: int
    uses: int
    learned: int

class PoolCounts:
    """See poolstate.PoolState."""

    idle: list[Any]
    waiters: deque[Any]
    acquired: int
    released: int
    surplus: int
    max_uses: int
    closing: bool

class PoolHandle:
    """See poolhandle.PoolConnection. Calls _collected() when it is collected and was
    not given back."""

    _core: Connection
    _link: Any
    _pool: Any
    _member: Any
    _timeout: float | None
    _row_factory: Any
    _engaged: bool  # its link knows it: it listens
    _left: bool

@final
class Acquiring:
    """What Pool.acquire() returns: to be awaited, or entered by `async with`."""

    handle: Any  # what `async with` has got
    @property
    def timeout(self) -> float | None: ...
    @property
    def committing(self) -> bool: ...
    @property
    def where(self) -> tuple[CodeType, int] | None: ...
    def __await__(self) -> Generator[Any, Any, PoolConnection]: ...
    async def __aenter__(self) -> PoolConnection: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

class PoolBase:
    """See poolkeeper.Keeper, whose attributes it reads and whose methods _lease(),
    _enter_lease() and _finish() it calls where something has to be waited for."""

    _loop: AbstractEventLoop | None
    _now: Callable[[], float]
    _handle_type: type[PoolConnection]
    _returned: Any
    _statement_timeout: float | None
    _row_factory: Any
    _monotonic: bool  # the loop's clock is CLOCK_MONOTONIC, read at once
    _hooked: bool
    _resets: bool
    _autocommit: bool
    def acquire(self, *, timeout: float | None = None) -> Acquiring:
        """A connection: `async with pool.acquire() as conn` (commits on a clean exit,
        rolls back on an exception), or `conn = await pool.acquire()`, after which
        `await pool.release(conn)` gives it back.

        First come, first served. PoolTimeout after `timeout` seconds (the pool's own
        unless told), TooManyWaiting, PoolClosed, and what connect() raises when the
        server refuses and nobody has a connection that could come back."""
    def _autocommitting(self, timeout: float | None, /) -> Acquiring:
        """acquire() of a connection whose statements are transactions."""
    def _take(self) -> Any:
        """An idle member that was used a moment ago; None: it has to be looked for."""
    def _give(self, member: PoolMember, /) -> bool:
        """Takes a used one back; False: something has to be done first."""

@final
class Connection:
    def cursor(
        self,
        kind: type[_C],
        adapted: object,
        wait: Callable[[Any], Any],
        current: Callable[[], Any] | None = None,
        /,
    ) -> _C: ...
    def startup(
        self,
        parameters: Sequence[tuple[str, str]],
        password: bytes | None,
        allow: int,
        nonce: bytes,
        binding: bytes | None,
        channel_binding: int,
        iterations_max: int,
        min_protocol: int,
        max_protocol: int,
        /,
    ) -> Operation:
        """`allow`: mask of ALLOW_*; `nonce`: 18 random bytes; `binding`: the data of
        tls-server-end-point, b"" over TLS when the certificate has none, None
        without TLS; `channel_binding`: BINDING_*; `iterations_max`: of SCRAM; the
        protocol versions as 0x30000, 0x30002. Result: None."""
    def scram_key(self, key: bytes) -> None:
        """Answers link.scram with the 32-byte salted password, or with ClientKey
        and ServerKey (RFC 5802) in a row."""
    def execute(
        self,
        sql: str | Statement,
        params: object = None,
        mode: int = ...,
        row_factory: Any = False,
        /,
    ) -> Operation:
        """One statement, extended protocol, through the statement cache; BEGIN
        rides in front when a transaction is due. `row_factory`: False or tuple, True
        or Row, or what rows.compile_maker() understands."""
    def executemany(
        self,
        sql: str | Statement,
        sets: Sequence[object],
        more: bool = ...,
        returning: bool = ...,
        row_factory: Any = ...,
        /,
    ) -> Operation:
        """Every set of parameters, with one Sync behind the last (atomic in
        autocommit), as fast as the server takes them; a list must not be changed
        meanwhile. `more`: others follow by feed(), from the task that runs now.
        `returning`: .rows are those of all sets in a row, and .runs tells them apart;
        else rows are dropped. MODE_RESULT with the summed rowcount."""
    def hungry(self, operation: Operation, /) -> Operation:
        """Waits until an executemany() with `more` can take more sets: True. False: it
        has ended, or failed."""
    def feed(self, operation: Operation, sets: list[object], more: bool, /) -> None:
        """The next sets of an executemany() that was hungry()."""
    def break_off(self, operation: Operation, error: BaseException, /) -> None:
        """There are no more sets, because of `error`: the server undoes what it has got
        so far, and the operation ends with the error."""
    def starve(self, error: BaseException, /) -> None:
        """The same for all that still wait for more sets. COPYs and streams, which wait
        for their program, too, are given up with the error."""
    def prepare(self, sql: str, /) -> Operation:
        """Result: Statement (the cache's own when it is there)."""
    def open_portal(
        self,
        portal: str,
        sql: str | Statement,
        params: object,
        rows_max: int,
        row_factory: Any,
        either: bool = False,
        /,
    ) -> Operation:
        """Binds to a named portal and executes it for `rows_max` rows; the portal
        lives to the end of the transaction. MODE_RESULT; .suspended tells. `either`:
        outside of a transaction without portal and limit. Its rows are for take() while
        they come then (.pulled): with more than 256 KiB of them there nothing is read
        from the socket, and nothing is sent until it has ended."""
    def fetch_portal(
        self, portal: str, statement: Statement, rows_max: int, row_factory: Any, /
    ) -> Operation: ...
    def close_portal(self, portal: str, /) -> Operation: ...
    def describe_portal(self, portal: str, sql: str, /) -> Operation:
        """The columns of a cursor that is open, as the .statement of the result, whose
        text `sql` becomes. Never BEGIN in front."""
    def fetch_cursor(
        self, sql: str, statement: Statement, row_factory: Any, /
    ) -> Operation:
        """FETCH of a cursor whose columns are those of `statement`, in one flight; the
        next one takes the .statement of the result. Never BEGIN in front.
        ProgrammingError when the columns are others by now. MODE_RESULT."""
    def query(self, sql: str, /) -> Operation:
        """Simple protocol, never BEGIN in front, rows are dropped: COMMIT,
        ROLLBACK, SAVEPOINT, a ping (""). MODE_RESULT."""
    def segment(self) -> Operation:
        """A pipeline's turn: when it is done, what other methods ask for waits for
        sync(). Result: None."""
    def foresee(
        self, statements: list[tuple[str, tuple[object, ...]]], /
    ) -> list[Operation]:
        """Has statements with their parameters described for pipe(), in one write where
        nothing else is described. Results: None."""
    def pipe(
        self, sql: str, params: object, mode: int, row_factory: Any, /
    ) -> Operation:
        """As execute(), without a Sync of its own; written with others, pipe_flush() or
        sync(). Raises PipelineAborted when a statement of the segment has failed."""
    def pipe_flush(self) -> None:
        """Sends what pipe() was given, and has the server send its answers."""
    def sync(self, undo: bool, /) -> Operation:
        """The segment's end. `undo`: what was sent of it is rolled back where it is an
        implicit transaction, which happens also when one of its statements could not be
        sent. Result: None; raises what the commit raises."""
    detects: bool  # that is found out: errors that a pooler explains have it asked
    asking: bool  # the next statement that can takes along the question for the process
    pipelines: int  # how many are open: requests ask link.check_pipeline() then
    @property
    def crowded(self) -> bool: ...  # so much waits to be written that drain() is due
    def drain(self) -> Operation:
        """Waits until most of what was written has gone out to the socket: for whoever
        makes bytes faster than the server takes them. No request. Result: None."""
    def copy(self, sql: str, /) -> Operation:
        """COPY … FROM STDIN or TO STDOUT, BEGIN in front when a transaction is due.
        Ends when all of it has ended (MODE_RESULT: statusmessage, rowcount); a text
        that is no COPY has run when it ends in ProgrammingError. Until then nothing
        else is sent; other statements of the task that called it raise InterfaceError,
        those of other tasks wait. Given up, a COPY FROM is failed, and the server told
        to stop."""
    def copy_rows(
        self,
        names: Sequence[str] | None,
        oids: Sequence[int],
        style: tuple[bool, str | None, str | None, str | None, str | None] | None,
        /,
    ) -> CopyRows:
        """For rows of columns with these types, which must be known (see
        missing_types()); `names` None: of any number and type. `style` None: binary,
        else (csv, delimiter, null, quote, escape), None for the format's default."""
    def missing_types(self, oids: Sequence[int], /) -> list[int]:
        """Those for which there is no codec here: link.types() knows what to do."""
    def copy_started(self, operation: Operation, /) -> Operation:
        """Waits for the answer to a copy(), after which `operation.copying` tells.
        Raises what the COPY failed with. No request. Result: None. Called once."""
    def copy_write(self, operation: Operation, data: Any, /) -> bool:
        """Takes bytes for a COPY FROM (copied), or what is in a CopyRows (taken out);
        sends them when there are many. False: drain() before the next. Raises the
        COPY's error if the server has refused it, InterfaceError where it takes no
        data."""
    def copy_done(self, operation: Operation, /) -> bool:
        """No more data: the COPY FROM ends with the await of `operation`."""
    def copy_fail(self, operation: Operation, reason: str, /) -> bool:
        """Has the server fail the COPY FROM: QueryCanceled (57014) with the reason."""
    def take(self, operation: Operation, /) -> Operation:
        """For an open_portal(), fetch_portal() or copy() that is not awaited. Waits
        until something has come, unless it is there. Result: the list of all that has
        come (rows; bytes of a COPY), which is the caller's; [] at the end. The
        operation's error comes when what came before it has been taken. Who gives this
        up (cancel(), expire()) gives the operation up."""
    def claim(self, text: str, /) -> Any:
        """Statements of this task raise InterfaceError(text) from now on: they would
        wait for ever. The task, for release(); None outside of a task."""
    def release(self, task: Any, /) -> None:
        """Undoes claim()."""
    def forget(self, statement: Statement, /) -> None:
        """Takes a statement of this connection out of its cache; its Close goes out
        with the next request."""
    def copy_reader(
        self, columns: Statement | list[tuple[str, int]], row_factory: Any, /
    ) -> CopyReader | str:
        """What makes rows of a binary COPY with a statement's columns, or with columns
        of these names and type OIDs. A str: the question that link.types has, because
        types are not known yet; ask it by look_up(), then call this again."""
    def begin(self, begin: str | tuple[str, str, tuple[str | None, ...]], /) -> None:
        """A transaction is due: BEGIN rides in front of the next statement (forgotten
        by commit() or rollback() if none comes). A tuple: behind it the statement that
        makes its settings, with parameters (name, value, …) that are sent as text."""
    def enter_block(self, block: BlockLike, /) -> Operation:
        """Ends when nothing else is under way and no other block is open: `block` is,
        from then on. Requests of those who are not in it wait until leave_block()."""
    def leave_block(self, block: BlockLike, /) -> None:
        """Does nothing when another block is open, or none."""
    def end_block(self) -> None:
        """The connection is about to be closed: no block is open any more, and whoever
        waits for one gets an InterfaceError."""
    def lend(self, autocommit: bool, /) -> None:
        """A new user has it from now on: what a loss says of its first request, by
        `_first` of the error, counts from here. Only while it is at rest."""
    def abandon_all(self, error: BaseException, /) -> None:
        """Gives up every request but reset_now() with `error`, as Operation.expire()
        does."""
    def admits(self) -> bool:
        """Whether requests of the running task do not wait for a block's end."""
    @property
    def block(self) -> BlockLike | None: ...  # the one that is open
    def configure(self, options: dict[str, Any], /) -> None:
        """Sets codec options by name (struct codec_options): "json_loads",
        "json_dumps", "zone", "range_type", "multirange_type", "beyond",
        "money_digits", "naive_utc", "json_exact", "json_null"."""
    def look_up(self, sql: str, /) -> Operation:
        """Rows of text in one flight, without the statement cache and without BEGIN:
        a question to the catalog. MODE_ROWS."""
    def put_codec(self, codec: Codec, /) -> None:
        """Statements use it from now on for its OID, in front of a built-in one."""
    def get_codec(self, oid: int, /) -> Codec | None: ...
    def drop_codecs(self) -> None:
        """Only the built-in ones are left; link.types is asked for others."""
    def trace(
        self,
        write: Callable[[bytes], object] | None,
        timestamps: bool,
        regress: bool,
        /,
    ) -> None:
        """Calls write(lines) for what is sent and received from now on, as
        csrc/wire/trace.h writes it; before the startup: from the first byte. None: no
        more."""
    def commit(self) -> Operation:
        """COMMIT if a transaction was begun, else nothing is sent. A ROLLBACK in
        answer raises TransactionRolledBack."""
    def rollback(self) -> Operation: ...
    tainted: int  # TAINT_*: what has been done to the session
    def reset_due(
        self, resets: tuple[tuple[str, tuple[str, ...]], ...] | None, /
    ) -> None:
        """These statements (text, parameters) ride in front of the next request, from
        BEGIN to COMMIT; what cannot take them waits for their answer. If one of them
        is refused, the connection closes, and the request has not run (`outcome`
        "not_sent"). Statements of PREPARE are closed as well; `tainted` is 0 then.
        None: what has been done, PREPARE included, is not to be undone."""
    def reset_now(self) -> Operation:
        """Sends what is due in a flight of its own, behind what is in flight; nothing
        is sent behind it before its answer. Result: None."""
    def watch_settings(
        self, log: list[tuple[str, tuple[object, ...] | None]] | None, /
    ) -> None:
        """Appends (text, parameters) of each statement that changes settings. None: no
        more."""
    def adopt(self) -> None:
        """Checks what every method checks; an idle connection of another loop moves to
        the caller's."""
    def cancel_finished(self) -> None: ...
    def terminate(self, error: BaseException | None = None) -> None:
        """Closes now: Terminate is sent if that does not block, the reader is
        removed, the fd closed, every waiting request fails (with `error`, or
        InterfaceError). Synchronous, never raises, safe without a loop, from
        another thread and in a forked child."""
    autocommit: bool  # settable when no transaction is open
    catalog: object  # whose descriptions of statements it shares; None: nobody's
    unnamed: bool
    """No statement has a name on the server: each flight carries its Parse, and nothing
    outlives it. Settable at any time; always so with a cache of size 0."""
    begin_sql: str  # what opens a transaction when autocommit is off: "BEGIN"
    @property
    def closed(self) -> bool: ...
    @property
    def at_rest(self) -> bool:
        """Open, and nothing is under way: no request, transaction or pipeline."""
    @property
    def spotless(self) -> bool:
        """At rest and not tainted: for the next user as it is."""
    @property
    def resets(self) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
        """Those that are due."""
    @property
    def at_home(self) -> bool:
        """Open, of this process, and watched by the loop that runs here."""
    @property
    def in_transaction(self) -> bool:
        """A BEGIN was sent or one is known open, and no end of it is on its way."""
    @property
    def settings_due(self) -> bool:
        """A transaction with settings is due: query() and copy() are refused."""
    @property
    def transaction_status(self) -> str: ...  # of the last ReadyForQuery: "I", "T", "E"
    @property
    def pending(self) -> int: ...  # requests not finished
    @property
    def paused(self) -> bool: ...  # nothing is read: a stream has enough
    @property
    def backend_pid(self) -> int: ...
    @property
    def backend_key(self) -> bytes: ...
    @property
    def protocol(self) -> int: ...  # the version spoken: 0x30000, 0x30002
    @property
    def parameters(self) -> dict[str, str]: ...  # ParameterStatus
    @property
    def loop(self) -> AbstractEventLoop: ...
    @property
    def link(self) -> Link: ...
    @property
    def lost_error(self) -> BaseException | None: ...  # why it is closed
    @property
    def cached_statements(self) -> int: ...

# Bits of Connection.tainted.
TAINT_SETTINGS: int  # SET, RESET, set_config(…, false)
TAINT_ROLE: int  # SET ROLE, SET SESSION AUTHORIZATION
TAINT_LISTEN: int
TAINT_TEMP: int  # temporary tables, views, sequences
TAINT_LOCKS: int  # advisory locks of the session
TAINT_CURSORS: int  # WITH HOLD
TAINT_PREPARED: int  # PREPARE as SQL
TAINT_OPAQUE: int  # DO, CALL: any of these
TAINT_REPORTED: int  # a ParameterStatus came
TAINT_DRIVER: int  # codecs were registered, a trace was begun: set by Python alone
ALLOW_NONE: int
ALLOW_PASSWORD: int
ALLOW_MD5: int
ALLOW_SCRAM_SHA_256: int
ALLOW_SCRAM_KEYS: int  # SCRAM without a password: link.scram has the keys

BINDING_DISABLE: int
BINDING_PREFER: int
BINDING_REQUIRE: int

def attach(
    fd: int,
    loop: AbstractEventLoop,
    link: Link,
    autocommit: bool,
    statement_cache_size: int,
    max_cached_statement_lifetime: float,
    transport: Tls | TlsBridge | None,
    /,
) -> Connection:
    """Takes over a connected socket's descriptor (owned from here on, closed even
    when this raises) and registers the reader with the loop."""

class TlsBridge(Protocol):
    """TLS done in Python, for a connection: the core reads and writes the socket."""

    def receive(self, data: bytes, /) -> bytes | None:
        """What `data` from the peer says; None: the peer has said good-bye."""
    def send(self, data: bytes, /) -> bytes:
        """`data` as the peer is to get it."""

@final
class TlsContext:
    """Certificates, keys and what is demanded of the server."""

    def wrap(self, fd: int, server_name: str | None, /) -> Tls:
        """A client's stream over a connected, non-blocking socket, which stays the
        caller's. `server_name` is sent to the server (SNI)."""

@final
class Tls:
    """A TLS stream before a connection takes it over; after that every use is a
    ValueError. OSError when it fails."""

    def handshake(self) -> int:
        """One step: 0 done, 1 wait until readable, 2 until writable. Other threads
        run meanwhile."""
    def send(self, data: bytes, /) -> int:
        """How many bytes went out; 0: wait until writable, then the same again."""
    def recv(self) -> bytes | None:
        """Some bytes, b"" at the end, None: wait until readable."""
    def is_host(self, host: str, /) -> bool:
        """Whether the server's certificate was made out to that name or address."""
    @property
    def peer_name(self) -> str: ...  # in the server's certificate, "" for none
    @property
    def cert_requested(self) -> bool: ...  # the server asked for ours
    @property
    def binding(self) -> bytes | None: ...  # tls-server-end-point (RFC 5929)
    @property
    def version(self) -> str: ...
    @property
    def cipher(self) -> str: ...
    @property
    def alpn(self) -> str: ...  # "" for none

def tls_context(
    *,
    root: str | None = None,
    root_system: bool = False,
    crl: str | None = None,
    crl_dir: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    password: str | None = None,
    min_version: str | None = None,
    max_version: str | None = None,
) -> TlsContext:
    """Reads the files, while other threads run. The server is verified when there is
    a root. Raises ValueError, with OpenSSL's reason and the file's name."""

def tls_binding(certificate: bytes, /) -> bytes | None:
    """tls-server-end-point of a certificate in DER; None: it has none."""

def cursor_execute(
    cursor: Any, statement: str, parameters: Any, context: object = None
) -> None: ...
def cancel_request(pid: int, key: bytes, /) -> bytes:
    """The 16 (or more) bytes of a CancelRequest."""

def trace_exchange(
    sent: bytes, received: bytes, timestamps: bool, regress: bool, /
) -> bytes:
    """The lines of messages that come before a StartupMessage or in place of it, which
    do not go through a Connection: SSLRequest and its answer, CancelRequest."""

def after_fork() -> None:
    """Called in a forked child: every connection of the parent turns unusable."""

def taints(sql: str, /) -> int:
    """TAINT_*: what the statements of a text do to their session, by its words."""

# For tests and tools: the codec table without a connection.
def codec_table() -> list[tuple[int, int, str, int]]:
    """(oid, array_oid, name, fixed_len) per row, arrays behind scalars."""

@final
class Codec:
    """A codec made at run time; csrc/codec/dynamic.h tells the kinds. `elem` and
    members: Codecs, or OIDs of built-in types."""

    def __new__(
        cls,
        kind: str,
        oid: int,
        name: str,
        elem: Codec | int | None = None,
        members: Sequence[tuple[str, Codec | int]] | None = None,
        arg: Any = None,
        /,
    ) -> Codec: ...
    @property
    def oid(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def is_text(self) -> bool: ...

def codec_elements() -> dict[int, int]:
    """The element type of each array of the table, the subtype of each range, the
    range of each multirange; 0 for the others."""

def codec_kinds() -> list[str]:
    """The kinds that Codec() makes."""

def codec_decode(
    codec: int | Codec, value: bytes, options: dict[str, Any] | None = None, /
) -> Any:
    """As a cell of a column of that type, by OID or Codec; an unknown OID decodes as
    text. `options` as for Connection.configure()."""

def codec_encode(
    codec: int | Codec, value: object, options: dict[str, Any] | None = None, /
) -> tuple[int, bytes]:
    """(format, bytes), as parameter $1."""

def live_objects() -> int:
    """Connections, operations and statements alive in this module; for leak tests."""
