"""PEP 249's tree of exceptions, with what a PostgreSQL error carries.

Public as `pgasync.errors`, where the classes per SQLSTATE are too.
"""

# ruff: noqa: A001

import unicodedata
from typing import Any, NamedTuple

from pgasync._transient import FINAL, TRANSIENT

__all__ = [
    "ConnectError",
    "ConnectionLost",
    "DataError",
    "DatabaseError",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "InvalidCachedStatement",
    "NotSupportedError",
    "NotificationOverflow",
    "OperationalError",
    "PipelineAborted",
    "PoolClosed",
    "PoolTimeout",
    "ProgrammingError",
    "ProtocolViolation",
    "QueryTimeout",
    "TLSError",
    "TooManyWaiting",
    "TransactionRolledBack",
    "Warning",
]

_DROPPED = ("cache lookup failed for ", "could not open relation with OID ")
LINE_WIDTH_MAX = 100  # characters of an SQL line that are shown around the caret


class Warning(Exception):
    """PEP 249: an important warning, such as a truncation. Never raised here."""


class Diagnostics(NamedTuple):
    """The fields of an error as programs for psycopg ask for them."""

    severity: str | None
    sqlstate: str | None
    message_primary: str | None
    message_detail: str | None
    message_hint: str | None
    statement_position: str | None
    context: str | None
    schema_name: str | None
    table_name: str | None
    column_name: str | None
    datatype_name: str | None
    constraint_name: str | None


class Error(Exception):
    """PEP 249: the base of everything that is an error of the database or driver.

    The fields are those of an ErrorResponse (PostgreSQL documentation, "Error and
    Notice Message Fields"); None where the server did not send one.
    """

    sqlstate: str | None = None
    severity: str | None = None
    detail: str | None = None
    hint: str | None = None
    position: int | None = None
    """Place of the error in `query`: characters, the first is 1."""
    where: str | None = None
    schema_name: str | None = None
    table_name: str | None = None
    column_name: str | None = None
    data_type_name: str | None = None
    constraint_name: str | None = None
    query: str | None = None
    set_index: int | None = None
    """Which set of parameters of an executemany() it was, the first is 0."""
    outcome: str | None = None
    """What became of the statement: "not_sent" (it did not run), "failed" (the
    server refused it or rolled it back), "in_doubt" (it may have run and even been
    committed), or None where no statement is concerned."""

    _first = False  # nothing ran before it either, since the connection was acquired
    _unrun = False  # it failed, and the protocol's state proves that nothing ran

    @property
    def message(self) -> str:
        """The primary message, without anything else."""
        return str(self.args[0]) if self.args else ""

    @property
    def pgcode(self) -> str | None:
        """The same as `sqlstate`."""
        return self.sqlstate

    @property
    def diag(self) -> "Diagnostics":
        """The fields by psycopg's names."""
        return Diagnostics(
            severity=self.severity,
            sqlstate=self.sqlstate,
            message_primary=self.message or None,
            message_detail=self.detail,
            message_hint=self.hint,
            statement_position=None if self.position is None else str(self.position),
            context=self.where,
            schema_name=self.schema_name,
            table_name=self.table_name,
            column_name=self.column_name,
            datatype_name=self.data_type_name,
            constraint_name=self.constraint_name,
        )

    @property
    def transient(self) -> bool:
        """Whether the same may succeed some time later without any change: by the
        SQLSTATE, or by the class of an error that has none. It does not tell whether
        something has run: see `safe_to_retry` and `outcome`."""
        return self.sqlstate in TRANSIENT or self._met_a_change

    @property
    def safe_to_retry(self) -> bool:
        """Whether the protocol's state proves that the statement did not run. Whether
        it would succeed next time is another question: see `transient`."""
        return self.outcome == "not_sent" or self._unrun

    @property
    def retryable(self) -> bool:
        """Whether to run the whole transaction again is the remedy: a serialization
        failure (40001), a deadlock (40P01), an InvalidCachedStatement, or something
        that was dropped while the statement ran (an XX000 of few words)."""
        return self.sqlstate in ("40001", "40P01") or self._met_a_change

    @property
    def _met_a_change(self) -> bool:
        """Whether a type or table was dropped while the server looked at it, which has
        no SQLSTATE of its own. Internal errors are in English everywhere."""
        return self.sqlstate == "XX000" and self.message.startswith(_DROPPED)

    def __str__(self) -> str:
        lines = [self.message]
        if self.query is not None and self.position is not None:
            lines.extend(_excerpt(self.query, self.position))
        if self.detail:
            lines.append(f"DETAIL: {self.detail}")
        if self.hint:
            lines.append(f"HINT: {self.hint}")
        if self.set_index is not None:
            lines.append(f"SET: {self.set_index} (of executemany(), the first is 0)")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, dict(self.__dict__)


class InterfaceError(Error):
    """PEP 249: wrong use of the driver."""


class DatabaseError(Error):
    """PEP 249: an error of the database."""


class DataError(DatabaseError):
    """PEP 249: a value that cannot be sent, read or processed."""


class OperationalError(DatabaseError):
    """PEP 249: trouble not of the program's making, such as a lost connection."""


class IntegrityError(DatabaseError):
    """PEP 249: a violated constraint."""


class InternalError(DatabaseError):
    """PEP 249: the database's inner state, such as an aborted transaction."""


class ProgrammingError(DatabaseError):
    """PEP 249: a wrong statement, name or permission."""


class NotSupportedError(DatabaseError):
    """PEP 249: something that the database or the driver does not have."""


class ConnectError(OperationalError):
    """No connection came about: nothing was run."""

    outcome = "not_sent"
    failures: tuple[Error, ...] = ()
    """Of several hosts or addresses: why each of them failed, in the order tried."""

    @property
    def transient(self) -> bool:
        """Whether it may succeed later: nobody answers, or the SQLSTATE says so."""
        if self.sqlstate is not None:
            return super().transient
        if self.failures:
            return any(failure.transient for failure in self.failures)
        return isinstance(self.__cause__, (OSError, EOFError, ConnectionLost))


class TLSError(ConnectError):
    """The TLS handshake failed, or the server is not who it should be."""

    @property
    def transient(self) -> bool:
        """False: somebody has to do something about it."""
        return False


class ConnectionLost(OperationalError):
    """The connection broke; `outcome` says what became of the statement."""

    @property
    def transient(self) -> bool:
        """True, unless the next session would end in the same way."""
        return self.sqlstate not in FINAL


class ProtocolViolation(ConnectionLost):
    """The peer does not speak the protocol; the connection was closed."""

    @property
    def transient(self) -> bool:
        """False: somebody has to do something about it."""
        return False


class QueryTimeout(OperationalError, TimeoutError):
    """`timeout=` ran out and the server was told to cancel."""


class NotificationOverflow(OperationalError):
    """More notifications came than were read, and `dropped` of them were lost."""

    dropped: int = 0


class InvalidCachedStatement(OperationalError):
    """A prepared statement is not what it was: a table or type has changed, or the
    server has dropped it. It has not run. Raised only where preparing it again would be
    noticed: inside a transaction that has done something before."""

    @property
    def retryable(self) -> bool:
        return True

    @property
    def transient(self) -> bool:
        """True: it is prepared anew by the next use."""
        return True


class PipelineAborted(OperationalError):
    """A statement of a pipeline did not run, because one before it had failed:
    `__cause__` is that error. It is as if it had not been sent."""

    outcome = "not_sent"

    @property
    def transient(self) -> bool:
        """What its cause is."""
        return isinstance(self.__cause__, Error) and self.__cause__.transient


class PoolTimeout(OperationalError, TimeoutError):
    """No connection of the pool came free within acquire's `timeout`; `__cause__` says
    why none could be opened, if it was that."""

    outcome = "not_sent"

    @property
    def transient(self) -> bool:
        """True: connections come back."""
        return True


class TooManyWaiting(OperationalError):
    """More would wait for a connection than the pool's `max_waiting`."""

    outcome = "not_sent"

    @property
    def transient(self) -> bool:
        """True: connections come back."""
        return True


class PoolClosed(InterfaceError):
    """The pool gives no connections any more: close() or terminate() was called."""

    outcome = "not_sent"


class TransactionRolledBack(OperationalError):
    """COMMIT was answered by ROLLBACK: nothing of the transaction was kept."""

    outcome = "failed"


def _excerpt(query: str, position: int) -> list[str]:
    """The line of `query` that holds character `position` (from 1), and a line
    with a caret under it; nothing when the position is outside the query."""
    index = position - 1
    if not 0 <= index <= len(query):
        return []
    before = query[:index].replace("\r\n", "\n").replace("\r", "\n")
    number = before.count("\n") + 1
    start = index - (len(before) - before.rfind("\n") - 1)
    end = index + len(query[index:].replace("\r", "\n").partition("\n")[0])
    prefix = f"LINE {number}: "
    first = max(start, min(index - LINE_WIDTH_MAX // 2, end - LINE_WIDTH_MAX))
    last = min(end, first + LINE_WIDTH_MAX)
    if first > start:
        prefix += "..."
    shown = _printable(query[first:last])
    column = len(prefix) + _width(_printable(query[first:index]))
    return [prefix + shown + ("..." if last < end else ""), " " * column + "^"]


def _printable(text: str) -> str:
    """Tabs and control characters as spaces, so that columns stay countable."""
    return "".join(c if c.isprintable() else " " for c in text)


def _width(text: str) -> int:
    """Columns that a terminal gives to the text."""
    return sum(
        0
        if unicodedata.combining(c)
        else 2
        if unicodedata.east_asian_width(c) in "WF"
        else 1
        for c in text
    )
