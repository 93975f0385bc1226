"""create_async_engine(…, reset_session=True): whoever gets a connection of the engine's
pool finds its session as the listeners of `connect` have left it."""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.util import await_only

from .. import _core, reset
from ..errors import Error
from .adapter import Connection

KEY = "pgasync_settings_log"  # in a record's info, until its first checkout


def install(engine: Engine) -> None:
    """By events alone, so that it works for every pool, and for one that a dispose()
    puts in its place."""
    event.listen(engine, "connect", _connected, insert=True)
    event.listen(engine, "checkout", _checked_out, insert=True)
    event.listen(engine, "checkin", _checked_in)


def _connected(connection: Connection, record: Any) -> None:
    settings_log: reset.SettingsLog = []
    record.info[KEY] = settings_log
    connection._core.watch_settings(settings_log)


def _checked_out(connection: Connection, record: Any, proxy: Any) -> None:
    settings_log = record.info.pop(KEY, None)
    if settings_log is None:
        return
    core = connection._core
    core.watch_settings(None)
    autocommit = core.autocommit
    if core.in_transaction:  # left open by a listener: the user's, from now on
        await_only(reset.remember(core, settings_log))
        return
    core.autocommit = True
    try:
        await_only(reset.remember(core, settings_log))
    finally:
        core.autocommit = autocommit


def _checked_in(connection: Connection | None, record: Any) -> None:
    """Behind the pool's rollback. What is in a transaction still, because the engine
    was told not to roll back, is left alone."""
    if connection is None:
        return
    core = connection._core
    tainted = core.tainted & ~_core.TAINT_DRIVER  # codecs are the engine's
    if tainted and core.at_rest:
        core.tainted = tainted
        try:
            reset.due(core)
        except Error:  # lost, or of a loop that is gone
            connection.terminate()
