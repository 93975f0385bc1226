"""The Configs that are in use, so that connecting once more parses nothing.

To parse is two thirds of what a connect costs. A Config is found again only while a
connection that was made with it is there: nothing, and no password, is kept for longer
than that. What decides it beside the arguments is compared: the PG* variables. Where a
file or this machine has a say (a service, the name of the user, the directory of the
Unix socket) there is nothing to find; the password file is read every time.
"""

import os
import weakref
from collections.abc import Mapping
from typing import Any

from . import conninfo
from .conninfo import Config
from .keywords import LIBPQ, SESSION_VARIABLES

_used: "weakref.WeakValueDictionary[Any, Config]" = weakref.WeakValueDictionary()

_VARIABLES = tuple(
    os.environ.encodekey(name)
    for name in (
        *(known.variable for known in LIBPQ.values() if known.variable is not None),
        *SESSION_VARIABLES,
        "PGREQUIRESSL",
        "HOME",
    )
)


def find(dsn: str | None, keywords: Mapping[str, Any]) -> Config:
    """As conninfo.parse(), whose errors it raises."""
    key = _key(dsn, keywords)
    if key is None:
        return conninfo.parse(dsn, keywords)
    found = _used.get(key)
    if found is not None:
        return conninfo.with_passwords(found)
    made = conninfo.parse(dsn, keywords)
    if made.given:
        _used[key] = made
    return made


def _key(dsn: str | None, keywords: Mapping[str, Any]) -> Any:
    """Equal only where the same comes out: 1 is not True. None: something cannot be
    compared."""
    variables = _variables()
    if variables is None:
        return None
    try:
        words = tuple((k, type(v), _frozen(v)) for k, v in keywords.items())
        key = (dsn, words, variables)
        hash(key)
    except TypeError:
        return None
    return key


def _frozen(value: Any) -> Any:
    """server_settings is a dict of texts."""
    return tuple(value.items()) if type(value) is dict else value


def _variables() -> tuple[Any, ...] | None:
    """Their values as the environment holds them. os.environ translates every name and
    value, which would take longer than all else here."""
    data = getattr(os.environ, "_data", None)
    if type(data) is not dict:
        return None
    return tuple(map(data.get, _VARIABLES))
