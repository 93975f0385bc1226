"""What one user of a session leaves to the next: nothing. csrc/driver/taint.h has what
is to be undone, docs/sessions.md what nobody can know."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from . import _core
from .errors import ConnectionLost
from .registry import Registry

if TYPE_CHECKING:
    from .connection import Connection
    from .link import Link
    from .trace import Trace

Rider = tuple[str, tuple[str, ...]]
SettingsLog = list[tuple[str, tuple[object, ...] | None]]

SETTINGS = _core.TAINT_SETTINGS
ROLE = _core.TAINT_ROLE
LISTEN = _core.TAINT_LISTEN
TEMP = _core.TAINT_TEMP
LOCKS = _core.TAINT_LOCKS
CURSORS = _core.TAINT_CURSORS
ALL = SETTINGS | ROLE | LISTEN | TEMP | LOCKS | CURSORS
URGENT = LISTEN | LOCKS | CURSORS  # others can feel it, and nobody may come for long

# Of whatever kind the transactions of the session are: this one must not wait for a
# snapshot, nor be refused as read only on a standby.
BEGIN: Rider = ("begin isolation level read committed", ())
COMMIT: Rider = ("commit", ())
# In this order: a setting may be one that only the user who logged in may set.
UNDO: tuple[tuple[int, str], ...] = (
    (ROLE, "reset session authorization"),
    (ROLE, "reset role"),
    (SETTINGS, "reset all"),
    (CURSORS, "close all"),
    (LISTEN, "unlisten *"),
    (LOCKS, "select pg_catalog.pg_advisory_unlock_all()"),
    (TEMP, "discard temp"),
)
# What PgBouncer keeps for each of its clients; RESET ALL would give them the server's.
KEPT_BY_POOLERS = (
    "DateStyle",
    "TimeZone",
    "standard_conforming_strings",
    "application_name",
)
PUT = "select pg_catalog.set_config($1, $2, false)"

# Those of the session, and, by their names, those that pg_settings does not show. The
# user and the role come last.
QUESTION = """
select name, pg_catalog.current_setting(name, true) as value
from (
    select 1 as place, name from pg_catalog.pg_settings
    where source = 'session' and name <> all ('{client_encoding,
        transaction_isolation,transaction_read_only,transaction_deferrable}')
    union
    select 2, name from pg_catalog.unnest($1::text[]) as name
    where pg_catalog.current_setting(name, true) <> ''
    union values (3, 'session_authorization'), (4, 'role')
) as settings
order by place, name
"""
DOTTED = re.compile(r"[^\W\d][\w$]*(?:\.[^\W\d][\w$]*)+")


@dataclass
class Baseline:
    """What a session is like for each of its users: as init= left it."""

    parameters: Mapping[str, str] = field(default_factory=dict)  # reported ones
    settings: tuple[Rider, ...] = ()  # put again after RESET ALL
    kept: int = 0  # TAINT_*: made by init, and never undone therefore
    registry: Registry | None = None
    trace: "Trace | None" = None
    due: int = 0  # TAINT_* of the resets that ride in front of the next request


async def remember(core: _core.Connection, settings_log: SettingsLog) -> None:
    """The session is, from now on, what its users find. `settings_log`: of
    watch_settings() since it was opened. Asks the server when settings were changed."""
    link = _link(core)
    flags, core.tainted = core.tainted, 0
    settings: tuple[Rider, ...] = ()
    if flags & (SETTINGS | ROLE | _core.TAINT_OPAQUE | _core.TAINT_REPORTED):
        names = [*dict.fromkeys(_names(settings_log))]
        rows = await core.execute(QUESTION, (names,), _core.MODE_ROWS, tuple)
        user = link.config.user
        settings = tuple(
            (PUT, (name, value))
            for name, value in rows
            if (name, value) not in (("session_authorization", user), ("role", "none"))
        )
    core.reset_due(None)
    link.baseline = Baseline(
        dict(core.parameters),
        settings,
        flags & (LISTEN | TEMP | LOCKS | CURSORS),
        link.typelink.registry.copy(),
        link.trace,
    )


def _names(settings_log: SettingsLog) -> Iterator[str]:
    """What may be the names of settings that extensions or programs have made up."""
    for sql, params in settings_log:
        yield from DOTTED.findall(sql)
        for value in params or ():
            for text in value if isinstance(value, list) else (value,):
                if isinstance(text, str) and DOTTED.fullmatch(text):
                    yield text


def due(core: _core.Connection) -> None:
    """Has undone what was done to the session since remember(): in front of the next
    request, or at once where others can feel it; nobody waits for that, but it has an
    end. Only when the session is at rest."""
    operation = _undo(core)
    if operation is None or operation.done():
        return
    limit = _link(core).config.cancel_timeout
    timer = core.loop.call_later(limit, _expire, core, operation, limit)
    operation.add_done_callback(lambda _: timer.cancel())


def _expire(core: _core.Connection, operation: _core.Operation, limit: float) -> None:
    if operation.done():
        return
    late = ConnectionLost(
        f"the reset of the session did not end within {limit:g} s; the connection is "
        "closed"
    )
    late.outcome = "not_sent"  # whatever waits behind it
    core.terminate(late)
    _link(core).ended(core)


def _undo(core: _core.Connection, everything: bool = False) -> _core.Operation | None:
    """The operation that is under way, if what is due could not wait."""
    link = _link(core)
    base = link.baseline or Baseline(dict(core.parameters))
    flags = ALL if everything else _flags(core, base)
    if core.tainted & _core.TAINT_DRIVER:
        _forget(core, link, base)
    flags &= ALL & ~base.kept
    if core.resets is not None:
        flags |= base.due
    base.due = flags
    settings = base.settings
    if core.unnamed:
        settings = (*_kept(base), *settings)
    core.reset_due(_riders(flags, settings) if flags else ())
    if flags & URGENT or _zone_matters(core, link, base):
        return core.reset_now()
    return None


def _flags(core: _core.Connection, base: Baseline) -> int:
    flags = core.tainted
    if flags & _core.TAINT_OPAQUE:
        flags |= ALL
    if flags & _core.TAINT_REPORTED and not flags & SETTINGS and _differ(core, base):
        flags |= SETTINGS | ROLE
    return flags


def _differ(core: _core.Connection, base: Baseline) -> bool:
    """Whether a setting that the server reports is another one, as after a function
    that has set it; not whether the server has become a primary, or, behind a pooler,
    is another one."""
    now, then = core.parameters, base.parameters
    if now == then:
        return False
    names = KEPT_BY_POOLERS if core.unnamed else now
    return any(now.get(n) != then.get(n) for n in names if n != "in_hot_standby")


def _kept(base: Baseline) -> Iterator[Rider]:
    for name in KEPT_BY_POOLERS:
        if name in base.parameters:
            yield PUT, (name, base.parameters[name])


def _zone_matters(core: _core.Connection, link: "Link", base: Baseline) -> bool:
    """Whether the next user's first timestamps would have the last one's time zone: the
    server reports the change behind their rows."""
    return link.config.session_zone and (
        core.parameters.get("TimeZone") != base.parameters.get("TimeZone")
    )


@lru_cache(maxsize=256)
def _riders(flags: int, settings: tuple[Rider, ...]) -> tuple[Rider, ...]:
    put = settings if flags & (SETTINGS | ROLE) else ()
    if put:
        flags |= SETTINGS | ROLE  # as in init, which began as the user who logged in
    undo = [(sql, ()) for kind, sql in UNDO if flags & kind]
    return (BEGIN, *undo, *put, COMMIT)


def _forget(core: _core.Connection, link: "Link", base: Baseline) -> None:
    """What the driver keeps for the session."""
    if link.trace is not base.trace and link.trace is not None:
        link.traced(core, None)
    if base.registry is not None:
        link.typelink.registry = base.registry.copy()
        link.typelink.reset()


def _link(core: _core.Connection) -> "Link":
    return cast("Link", core.link)


class Resetting:
    """The method of a Connection that makes its session what it was."""

    async def reset(self, *, timeout: float | None = None) -> None:
        """For programs that pool connections by other means than create_pool(): rolls
        back, ends streams and listeners, and undoes whatever the session may have: SET
        and SET ROLE, temporary tables, advisory locks, cursors WITH HOLD, LISTEN,
        PREPARE. Settings of connect() stay, and statements that the driver has
        prepared. Sent in one flight, within `timeout` seconds. InterfaceError inside a
        transaction() block, ConnectionLost when the server refuses: the connection is
        closed then. PostgreSQL documentation, DISCARD.
        """
        connection = cast("Connection", self)
        if connection.closed:
            connection._raise_closed()
        connection._check_no_block("reset")
        core = connection._core
        for stream in [*connection._link.streams]:
            stream._close()
        core.rollback()
        connection._server_cursors.clear()
        connection._notice_listeners.clear()
        if connection._channels is not None:
            connection._channels.end(None)
        operation = _undo(core, everything=True)
        assert operation is not None
        await connection._wait(operation, timeout)
