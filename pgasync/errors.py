"""Every exception that pgasync raises: PEP 249's tree and one class per SQLSTATE.

`pgasync.errors.UniqueViolation` is the class of SQLSTATE 23505, and so on: the
names are PostgreSQL's condition names in CamelCase (PostgreSQL documentation,
appendix A). The functions build errors for the C core.
"""

from pgasync import _exceptions as tree
from pgasync._exceptions import *  # noqa: F403
from pgasync._sqlstates import *  # noqa: F403
from pgasync._sqlstates import BASES, SQLSTATES

SHOWN = 60  # characters of another statement's text

# Fields of an ErrorResponse that become attributes under another name.
_ATTRIBUTES = {
    "C": "sqlstate",
    "D": "detail",
    "H": "hint",
    "W": "where",
    "s": "schema_name",
    "t": "table_name",
    "c": "column_name",
    "d": "data_type_name",
    "n": "constraint_name",
}


def error_class(sqlstate: str, /) -> type[tree.DatabaseError]:
    """The class for a SQLSTATE: its own, that of its first two characters, or
    DatabaseError."""
    return SQLSTATES.get(sqlstate) or BASES.get(sqlstate[:2], tree.DatabaseError)


def from_fields(
    fields: dict[str, str], query: str | None, outcome: str, /
) -> tree.Error:
    """The exception for an ErrorResponse; `fields` by protocol field code."""
    message = fields.get("M", "the server reported an error without a message")
    error = error_class(fields.get("C", ""))(message)
    _fill(error, fields, query, outcome)
    return error


def not_begun(fields: dict[str, str], sql: str | None, /) -> tree.Error:
    """The exception for what rode in front of a statement, such as BEGIN (`sql`): the
    statement did not run."""
    error = from_fields(fields, sql, "failed")
    error._unrun = True
    if error.hint is None:
        error.hint = "this went in front of the statement, which did not run"
    return error


def stale(fields: dict[str, str], query: str | None, /) -> tree.InvalidCachedStatement:
    """The exception for a prepared statement that is not what it was, where it could
    not be prepared again unnoticed."""
    error = tree.InvalidCachedStatement(
        fields.get("M", "the prepared statement is not valid any more")
    )
    _fill(error, fields, query, "failed")
    error._unrun = True
    error.hint = (
        "since it was prepared, a table, type or setting has changed, or the server "
        "has dropped it; it has not run, and will be prepared anew: run the "
        "transaction again"
    )
    return error


def lost(
    message: str,
    fields: dict[str, str] | None,
    cause: BaseException | None,
    outcome: str,
    query: str | None,
    /,
) -> tree.ConnectionLost:
    """The exception for a broken connection; `fields` is the FATAL error that the
    server sent before it closed, if any, `cause` what the operating system said."""
    if isinstance(cause, OSError) and cause.strerror:
        message = f"{message}: {cause.strerror}"
    if fields and "M" in fields:
        severity = fields.get("V", fields.get("S", "FATAL"))
        message = f"{message} (the server's last words: {severity}: {fields['M']})"
    error = tree.ConnectionLost(message)
    _fill(error, fields or {}, query, outcome)
    error.__cause__ = cause
    return error


def violation(
    message: str, outcome: str, query: str | None, /
) -> tree.ProtocolViolation:
    """The exception for a peer that breaks the protocol."""
    error = tree.ProtocolViolation(message)
    _fill(error, {}, query, outcome)
    return error


def auth_failed(message: str, /) -> tree.ConnectError:
    """The exception for authentication that the driver gave up."""
    return tree.ConnectError(message)


def rolled_back(query: str | None, /) -> tree.TransactionRolledBack:
    """The exception for a COMMIT that the server answered with ROLLBACK."""
    error = tree.TransactionRolledBack(
        "the transaction had failed before: COMMIT was answered by ROLLBACK, "
        "and nothing of it was kept"
    )
    error.query = query
    return error


def aborted(query: str | None, cause: BaseException | None, /) -> tree.PipelineAborted:
    """The exception for a statement of a pipeline that did not run because of `cause`;
    None: because one before it was cancelled."""
    if cause is None:
        why = "a statement before it was cancelled"
    elif isinstance(cause, tree.Error) and cause.query is not None:
        why = (
            f"a statement before it failed: {cause.message} ({_shortened(cause.query)})"
        )
    else:
        why = f"a statement before it failed: {type(cause).__name__}: {cause}"
    error = tree.PipelineAborted(f"not run, as {why}")
    error.query = query
    error.__cause__ = cause
    return error


def _shortened(query: str) -> str:
    text = " ".join(query.split())
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _fill(
    error: tree.Error, fields: dict[str, str], query: str | None, outcome: str
) -> None:
    for code, name in _ATTRIBUTES.items():
        if code in fields:
            setattr(error, name, fields[code])
    error.severity = fields.get("V", fields.get("S"))  # V is never translated
    position = fields.get("P", "")
    if position.isascii() and position.isdigit() and len(position) < 11:
        error.position = int(position)
    error.query = query
    error.outcome = outcome


# Tracebacks and pickles name the classes by their public place.
for _class in (*vars(tree).values(), *SQLSTATES.values()):
    if isinstance(_class, type) and issubclass(_class, (tree.Error, tree.Warning)):
        _class.__module__ = __name__
