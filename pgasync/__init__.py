"""pgasync: an asyncio PostgreSQL driver with a C core (PEP 249 with `await`)."""

import datetime
import os
import time

from . import _core, errors
from .connect import connect
from .connection import Connection, ConnectionInfo, PreparedStatement
from .copy import Copy
from .cursor import Cursor
from .errors import (
    ConnectError,
    ConnectionLost,
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    InvalidCachedStatement,
    NotificationOverflow,
    NotSupportedError,
    OperationalError,
    PipelineAborted,
    PoolClosed,
    PoolTimeout,
    ProgrammingError,
    ProtocolViolation,
    QueryTimeout,
    TLSError,
    TooManyWaiting,
    TransactionRolledBack,
    Warning,  # noqa: A004
)
from .link import Notice
from .listen import Gap, Listener, listen
from .notifications import Notification, Notifications
from .pipeline import Pipeline, PipelineResult
from .pool import Pool, create_pool
from .poolhandle import PoolConnection
from .poolstats import PoolStats
from .registry import Registry as TypeRegistry
from .rows import Row
from .servercursor import ServerCursor
from .stream import Stream
from .transaction import Transaction

__version__ = "0.1.0"

apilevel = "2.0"
threadsafety = 1  # threads may share the module, but no connections
paramstyle = "numeric_dollar"  # $1; and :name when given a mapping


class TypeObject:
    """One of PEP 249's type objects: equals the type OIDs that are its kind.

    `cursor.description[0][1] == pgasync.NUMBER`
    """

    def __init__(self, name: str, *oids: int) -> None:
        self.name = name
        self.oids = frozenset(oids)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TypeObject):
            return self.oids == other.oids
        if isinstance(other, int):
            return other in self.oids
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.oids)

    def __repr__(self) -> str:
        return f"pgasync.{self.name}"


# "char" name text unknown bpchar varchar; bytea; int8 int2 int4 float4 float8 money
# numeric; date time timestamp timestamptz interval timetz; oid tid
STRING = TypeObject("STRING", 18, 19, 25, 705, 1042, 1043)
BINARY = TypeObject("BINARY", 17)
NUMBER = TypeObject("NUMBER", 20, 21, 23, 700, 701, 790, 1700)
DATETIME = TypeObject("DATETIME", 1082, 1083, 1114, 1184, 1186, 1266)
ROWID = TypeObject("ROWID", 26, 27)

Date = datetime.date
Time = datetime.time
Timestamp = datetime.datetime
Binary = bytes


def DateFromTicks(ticks: float) -> datetime.date:  # noqa: N802
    """The local date at `ticks` seconds since the epoch."""
    return Date(*time.localtime(ticks)[:3])


def TimeFromTicks(ticks: float) -> datetime.time:  # noqa: N802
    """The local time at `ticks` seconds since the epoch."""
    return Time(*time.localtime(ticks)[3:6])


def TimestampFromTicks(ticks: float) -> datetime.datetime:  # noqa: N802
    """The local date and time at `ticks` seconds since the epoch."""
    return Timestamp(*time.localtime(ticks)[:6])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_core.after_fork)

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "ConnectError",
    "Connection",
    "ConnectionInfo",
    "ConnectionLost",
    "Copy",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "Gap",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "InvalidCachedStatement",
    "Listener",
    "NotSupportedError",
    "Notice",
    "Notification",
    "NotificationOverflow",
    "Notifications",
    "OperationalError",
    "Pipeline",
    "PipelineAborted",
    "PipelineResult",
    "Pool",
    "PoolClosed",
    "PoolConnection",
    "PoolStats",
    "PoolTimeout",
    "PreparedStatement",
    "ProgrammingError",
    "ProtocolViolation",
    "QueryTimeout",
    "Row",
    "ServerCursor",
    "Stream",
    "TLSError",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "TooManyWaiting",
    "Transaction",
    "TransactionRolledBack",
    "TypeRegistry",
    "Warning",
    "apilevel",
    "connect",
    "create_pool",
    "errors",
    "listen",
    "paramstyle",
    "threadsafety",
]
