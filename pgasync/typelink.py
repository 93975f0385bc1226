"""The types of one connection: between the core, which meets OIDs that it knows no
codec for, and what the process knows of the database's catalog."""

import datetime
import logging
import weakref
import zoneinfo
from collections.abc import Sequence
from typing import Any

from . import _core, introspect
from .errors import InterfaceError, InternalError
from .introspect import Builder, Catalog, TypeInfo, Unknown
from .registry import Registry, is_builtin

log = logging.getLogger("pgasync")

# Lookups of a type that is not there. The rows of one that is dropped are gone
# a moment before other sessions no longer parse its name.
GONE_MAX = 8

# Connections that use a catalog, to be told when a type has changed.
_users: "weakref.WeakKeyDictionary[Catalog, weakref.WeakSet[TypeLink]]" = (
    weakref.WeakKeyDictionary()
)


class TypeLink:
    """Gives a connection's core the codecs it asks for."""

    def __init__(self, database: tuple[Any, ...], registry: Registry | None) -> None:
        self._database = database
        self.catalog = introspect.catalog_of(database)
        self.registry = Registry() if registry is None else registry.copy()
        self.core: _core.Connection | None = None
        self._asked: Sequence[int] = ()
        self._doubted: dict[int, TypeInfo] = {}  # what they were
        self._gone: dict[int, int] = {}  # how often lookups in a row have not found it
        self._used: dict[int, TypeInfo | None] = {}  # what the codecs were made of

    def start(self, core: _core.Connection) -> None:
        """With the core, before the first statement."""
        self.core = core
        self._share(core.parameters.get("search_path"))
        self._put_registered()

    def end(self) -> None:
        """The connection is closed."""
        self.core = None

    def follow(self, path: str) -> None:
        """The session has another search_path, as PostgreSQL 18 reports: the same names
        may stand for other types."""
        if self.core is not None:
            self._share(path)
            if self.registry.has_bare_names:
                self.reset()

    def _share(self, path: str | None) -> None:
        """A catalog is for connections with the same search_path, whether connect() was
        given one, or the role or the database has one. None: the server tells none."""
        database = self._database if path is None else (*self._database, path)
        self.catalog = introspect.catalog_of(database)
        if self.core is not None:
            self.core.catalog = database
        _users.setdefault(self.catalog, weakref.WeakSet()).add(self)

    # ---------------------------------------------------------- for the core

    def types(self, core: _core.Connection, oids: Sequence[int]) -> str | None:
        """Puts the codecs of these types into the core. Returns the query for those
        that are not known yet, None when there are none. An OID that the core has a
        codec of is one that turned out to have changed."""
        for oid in oids:
            if oid in self._used and self._used[oid] is self.catalog.types.get(oid):
                self.catalog.forget([oid])
                self._tell_others()
        if any(oid in self._used for oid in oids):
            self.reset()
        if self._put(oids):
            return None
        self._asked = oids
        return introspect.query(introspect.by_oid(oids), _version(core))

    def found(self, core: _core.Connection, rows: Sequence[Any], /) -> bool:
        """The query's answer. True: the catalog does not know some of the types, which
        were dropped since the statement was described, most likely. Those that it
        still has when it has been described again, and again, are text from now on."""
        self.catalog.add(introspect.parse(rows))
        missing = [oid for oid in self._asked if not self._put([oid])]
        if self._doubted:
            self._learn()
        self._asked = ()
        self._gone = {oid: self._gone.get(oid, 0) + 1 for oid in missing}
        for oid, times in self._gone.items():
            if times > GONE_MAX:
                core.put_codec(_core.Codec("unknown", oid, f"type {oid}"))
        return any(times <= GONE_MAX for times in self._gone.values())

    def doubt(self, oids: Sequence[int], /) -> None:
        """Values of these types were refused: they are asked for anew when they are
        needed next, and if they are not what they were, other connections are told."""
        before = self.catalog.types
        self.catalog.forget(oids)
        gone = before.keys() - self.catalog.types.keys()
        if gone:
            self._doubted = {oid: before[oid] for oid in gone}
            self.reset()

    def _learn(self) -> None:
        doubted, self._doubted = self._doubted, {}
        known = self.catalog.types
        if any(known.get(oid, info) != info for oid, info in doubted.items()):
            self._tell_others()

    def changed(self) -> None:
        """A command of this connection may have changed types."""
        if self.catalog.types:
            self.catalog.forget()
            self.reset()
            self._tell_others()

    # ------------------------------------------------------- for registration

    def reset(self) -> None:
        """Makes all codecs anew, when they are needed next."""
        if self.core is not None:
            self._used.clear()
            self.core.drop_codecs()
            self._put_registered()

    def known(self, schema: str | None, name: str) -> bool:
        """Whether a type's OID is known without a question."""
        return is_builtin(schema, name) or self.catalog.find(schema, name) is not None

    def query(self, schema: str | None, name: str) -> str:
        """The question for a type by its name."""
        assert self.core is not None
        return introspect.query(introspect.by_name(schema, name), _version(self.core))

    def check(self, schema: str | None, name: str) -> None:
        """Makes the codec of a type that was registered, to raise now what is wrong
        with it. Raises ProgrammingError."""
        info = self.catalog.find(schema, name)
        if info is not None:
            self._put([info.oid])

    # --------------------------------------------------------------- inside

    def _put(self, oids: Sequence[int]) -> bool:
        """False when a type is missing in the catalog; then nothing is put."""
        builder = Builder(self.catalog, self.registry)
        try:
            for oid in oids:
                builder.part(oid)
        except Unknown:
            return False
        except InternalError:
            self.catalog.forget(oids)
            raise
        self._put_made(builder)
        return True

    def _put_made(self, builder: Builder) -> None:
        assert self.core is not None
        for oid, codec in builder.made.items():
            if oid not in self._used:
                self._used[oid] = self.catalog.types.get(oid)
                self.core.put_codec(codec)

    def _put_registered(self) -> None:
        """Built-in types that are registered stand in front of the core's own, with
        everything that is made of them."""
        if not self.registry.builtin:
            return
        builder = Builder(self.catalog, self.registry)
        for oid in introspect.BUILTIN:
            builder.part(oid)
        self._put_made(builder)

    def _tell_others(self) -> None:
        for link in [*_users.get(self.catalog, ())]:
            if link is not self:
                link.reset()


def _version(core: _core.Connection) -> int:
    """As ConnectionInfo.server_version, the major part; 0 when it is not known."""
    digits = core.parameters.get("server_version", "").partition(".")[0]
    return int(digits) * 10_000 if digits.isdecimal() else 0


def zone_of(name: str) -> datetime.tzinfo:
    """The tzinfo of a TimeZone setting. Raises InterfaceError where Python's time zone
    database has none of that name (POSIX specifications like `<+03>-03`)."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise InterfaceError(
            f"timestamptz='session': Python has no time zone {name!r}, the session's "
            "TimeZone; set it to a name of the IANA database, or install tzdata"
        ) from None
