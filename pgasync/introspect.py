"""Types beyond the built-in ones: what the catalog says of them, and their codecs.

A type is looked up when a statement first meets it, together with everything it is
made of, in one query. What the catalog said is kept for the whole process and for
every connection to the same database, so that the second connection asks nothing.
It is forgotten when a type has changed.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from . import _core
from .errors import InternalError, ProgrammingError
from .registry import Registration, Registry, composite_arg

# How a type that an extension brings is known: by its name and its send function.
# A type of the same name that someone else made has another function.
EXTENSIONS = {
    ("citext", "citextsend"): "citext",
    ("cube", "cube_send"): "cube",
    ("halfvec", "halfvec_send"): "halfvec",
    ("hstore", "hstore_send"): "hstore",
    ("lquery", "lquery_send"): "lquery",
    ("ltree", "ltree_send"): "ltree",
    ("ltxtquery", "ltxtq_send"): "ltxtquery",
    ("sparsevec", "sparsevec_send"): "sparsevec",
    ("vector", "vector_send"): "vector",
}

# One row a type. The last column is JSON: a composite's members, [name, OID], or the
# labels of an enum. The planner takes a recursion for ten times as many rows at each
# level, and would compile the plan (JIT), for longer than it runs. A limit that it
# cannot see through counts for a tenth of the rows: two of them keep the estimate low.
_QUERY = """\
with recursive wanted(oid) as (
  (select * from (
    select * from ({roots}) as roots limit (select 1000000)
  ) as roots limit (select 1000000))
  union
  select m.oid from wanted w join pg_catalog.pg_type t on t.oid = w.oid
  cross join lateral (
    select t.typbasetype as oid
    union all
    select t.typelem where t.typlen = -1
    union all
    select r.rngsubtype from pg_catalog.pg_range r where r.rngtypid = t.oid
    {multirange_members}
    union all
    select a.atttypid from pg_catalog.pg_attribute a
    where t.typtype = 'c' and a.attrelid = t.typrelid
      and a.attnum > 0 and not a.attisdropped
  ) m where m.oid <> 0
)
select t.oid, n.nspname, t.typname, t.typtype,
  case when t.typlen = -1 and t.typtype = 'b' then t.typelem else 0 end,
  t.typbasetype, t.typarray, coalesce(s.proname, ''),
  pg_catalog.pg_type_is_visible(t.oid), coalesce(r.rngsubtype, 0), {multirange},
  case t.typtype when 'c' then (
    select pg_catalog.json_agg(
      pg_catalog.json_build_array(a.attname, a.atttypid::int8) order by a.attnum)
    from pg_catalog.pg_attribute a
    where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
  ) when 'e' then (
    select pg_catalog.json_agg(e.enumlabel order by e.enumsortorder)
    from pg_catalog.pg_enum e where e.enumtypid = t.oid
  ) end
from (
  select * from (
    select oid from wanted limit (select 1000000)
  ) as wanted limit (select 1000000)
) as w
join pg_catalog.pg_type t on t.oid = w.oid
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
left join pg_catalog.pg_proc s on s.oid = t.typsend
left join pg_catalog.pg_range r on r.rngtypid = t.oid
"""
_MULTIRANGE_MEMBERS = """\
    union all
    select r.rngtypid from pg_catalog.pg_range r where r.rngmultitypid = t.oid
"""
_MULTIRANGE = """\
coalesce((
    select m.rngtypid from pg_catalog.pg_range m where m.rngmultitypid = t.oid), 0)
"""


@dataclass(frozen=True)
class TypeInfo:
    """What the catalog says of one type; 0 stands for no type."""

    oid: int
    schema: str
    name: str
    kind: str  # pg_type.typtype: b, c, d, e, m, p, r
    elem: int  # of an array
    base: int  # of a domain
    array: int
    send: str  # its binary output function; "" when it has none
    visible: bool  # found without its schema, by the session that asked
    subtype: int  # of a range
    range: int  # of a multirange
    members: tuple[tuple[str, int], ...]  # of a composite
    labels: tuple[str, ...]  # of an enum

    @property
    def label(self) -> str:
        """As messages name it."""
        if self.elem:
            return self.name.removeprefix("_") + "[]"
        return self.name

    def parts(self) -> Iterable[int]:
        """The types it is made of."""
        yield from (self.elem, self.base, self.subtype, self.range)
        yield from (oid for _, oid in self.members)


class Catalog:
    """What is known of one database's types, for all connections of the process."""

    def __init__(self) -> None:
        self.types: dict[int, TypeInfo] = {}
        self._lock = threading.Lock()

    def add(self, found: Iterable[TypeInfo]) -> None:
        """Keeps what a lookup has found."""
        with self._lock:
            types = dict(self.types)
            types.update((info.oid, info) for info in found)
            self.types = types

    def forget(self, oids: Iterable[int] | None = None) -> None:
        """Drops some types, all that they are made of and all that are made of them;
        or everything."""
        with self._lock:
            gone = set(self.types if oids is None else oids)
            todo = [*gone]
            while todo:  # what they are made of
                info = self.types.get(todo.pop())
                todo += [] if info is None else {*info.parts()} - gone
                gone.update(todo)
            count = -1
            while len(gone) != count:  # what is made of any of these
                count = len(gone)
                gone.update(
                    info.oid
                    for info in self.types.values()
                    if not gone.isdisjoint({*info.parts()} - {0})
                )
            self.types = {o: i for o, i in self.types.items() if o not in gone}

    def find(self, schema: str | None, name: str) -> TypeInfo | None:
        """By name; without a schema, a type that the search path shows."""
        for info in self.types.values():
            if info.name == name and (
                info.visible if schema is None else info.schema == schema
            ):
                return info
        return None


# The least recently used go first, for programs that see thousands of databases.
_CATALOGS_MAX = 1024
_catalogs: OrderedDict[tuple[Any, ...], Catalog] = OrderedDict()
_catalogs_lock = threading.Lock()


def catalog_of(database: tuple[Any, ...]) -> Catalog:
    """The one Catalog of a database; the tuple names it (host, port, name …)."""
    with _catalogs_lock:
        catalog = _catalogs.setdefault(database, Catalog())
        _catalogs.move_to_end(database)
        while len(_catalogs) > _CATALOGS_MAX:
            _catalogs.popitem(last=False)
        return catalog


def query(roots: str, server_version: int) -> str:
    """The question for the types that `roots`, a select of OIDs, gives."""
    multirange = server_version >= 140000 or server_version == 0
    return _QUERY.format(
        roots=roots,
        multirange_members=_MULTIRANGE_MEMBERS if multirange else "",
        multirange=_MULTIRANGE if multirange else "0",
    )


def by_oid(oids: Iterable[int]) -> str:
    """Roots: these types."""
    numbers = ",".join(str(int(oid)) for oid in oids)
    return f"select pg_catalog.unnest('{{{numbers}}}'::pg_catalog.oid[])"


def by_name(schema: str | None, name: str) -> str:
    """Roots: the type of a name, as it is written in the catalog."""
    typname = _literal(name)
    if schema is not None:
        return (
            "select t.oid from pg_catalog.pg_type t join pg_catalog.pg_namespace n "
            f"on n.oid = t.typnamespace where t.typname = {typname} "
            f"and n.nspname = {_literal(schema)}"
        )
    return (
        "select t.oid from pg_catalog.pg_type t "
        f"where t.typname = {typname} and pg_catalog.pg_type_is_visible(t.oid)"
    )


def _literal(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def parse(rows: Sequence[Sequence[str | None]]) -> list[TypeInfo]:
    """The answer's rows, all text. InternalError when they make no sense."""
    try:
        return [_parse_row(row) for row in rows]
    except (ValueError, RecursionError) as error:
        raise InternalError(
            f"the server's answer about its types cannot be understood: {error}"
        ) from error


def _parse_row(row: Sequence[str | None]) -> TypeInfo:
    oid, schema, name, kind, elem, base, array, send, visible, sub, range_, parts = row
    listed = json.loads(parts) if parts else []
    return TypeInfo(
        oid=_oid(oid),
        schema=schema or "",
        name=name or "",
        kind=kind or "",
        elem=_oid(elem),
        base=_oid(base),
        array=_oid(array),
        send=send or "",
        visible=visible == "t",
        subtype=_oid(sub),
        range=_oid(range_),
        members=_members(listed) if kind == "c" else (),
        labels=_labels(listed) if kind == "e" else (),
    )


def _oid(value: str | int | None) -> int:
    oid = int(value or 0)
    if not 0 <= oid < 2**32:
        raise ValueError(f"{oid} is no OID")
    return oid


def _members(listed: Any) -> tuple[tuple[str, int], ...]:
    if not isinstance(listed, list) or not all(
        isinstance(member, list) and [*map(type, member)] == [str, int]
        for member in listed
    ):
        raise ValueError("the members of a composite are not [name, OID]")
    if len(listed) > MEMBERS_MAX:
        raise ValueError(f"a composite has {len(listed)} members")
    return tuple((name, _oid(oid)) for name, oid in listed)


def _labels(listed: Any) -> tuple[str, ...]:
    if not isinstance(listed, list) or not all(isinstance(x, str) for x in listed):
        raise ValueError("the labels of an enum are not strings")
    return tuple(listed)


BUILTIN = {row[0]: row for row in _core.codec_table()}
ELEMENTS = _core.codec_elements()  # the element of an array, the subtype of a range …


MEMBERS_MAX = 1600  # of a composite; MaxHeapAttributeNumber

# How deep types are made of types: what is deeper is made of itself.
NESTING_MAX = 64


class Unknown(LookupError):
    """A type is not in the catalog that was given."""


class Builder:
    """Makes the codecs of one connection from a catalog and the registry.

    `codecs` maps an OID to what Codec() takes for a part: a Codec, or the OID of a
    built-in type that stands as it is."""

    def __init__(self, catalog: Catalog, registry: Registry) -> None:
        self._types = catalog.types
        self._registry = registry
        self.made: dict[int, _core.Codec] = {}
        self._depth = 0

    def part(self, oid: int) -> "_core.Codec | int":
        """The codec of a type, made if need be. Raises Unknown; InternalError for a
        type that is made of itself."""
        if oid in self.made:
            return self.made[oid]
        if oid in BUILTIN:
            return self._builtin(oid)
        info = self._types.get(oid)
        if info is None:
            raise Unknown(oid)
        if self._depth >= NESTING_MAX:
            raise InternalError(
                f"by the catalog, type {info.label!r} is made of itself, or of types "
                f"more than {NESTING_MAX} deep"
            )
        self._depth += 1
        try:
            codec = self._make(info)
        finally:
            self._depth -= 1
        self.made[oid] = codec
        return codec

    # ------------------------------------------------------------- built-in types

    def _builtin(self, oid: int) -> "_core.Codec | int":
        """A built-in type, unless it or what it is made of is registered."""
        if not self._registry.builtin:
            return oid
        name = BUILTIN[oid][2]
        registration = self._registry.builtin.get(name)
        if registration is not None:
            codec = registration.codec(oid, name)
        else:
            made = self._container(oid, name)
            if made is None:
                return oid
            codec = made
        self.made[oid] = codec
        return codec

    def _container(self, oid: int, name: str) -> "_core.Codec | None":
        elem = ELEMENTS[oid]
        if not elem:
            return None
        part = self.part(elem)
        if isinstance(part, int):
            return None
        kind = "array"
        if name.endswith("multirange"):
            kind = "multirange"
        elif name.endswith("range"):
            kind = "range"
        return _core.Codec(kind, oid, name, part)

    # ---------------------------------------------------------------- other types

    def _make(self, info: TypeInfo) -> _core.Codec:
        oid, name = info.oid, info.label
        registration = self._registry.find(info.schema, info.name, info.visible)
        if registration is not None:
            return self._registered(info, registration)
        if info.elem:
            return _core.Codec("array", oid, name, self.part(info.elem))
        if info.kind == "d":
            return _core.Codec("domain", oid, name, self.part(info.base))
        if info.kind == "e":
            return _core.Codec("enum", oid, name)
        if info.kind == "r" and info.subtype:
            return _core.Codec("range", oid, name, self.part(info.subtype))
        if info.kind == "m" and info.range:
            return _core.Codec("multirange", oid, name, self.part(info.range))
        if info.kind == "c":
            return self._composite(info, None)
        extension = EXTENSIONS.get((info.name, info.send))
        return _core.Codec(extension or "unknown", oid, name)

    def _composite(self, info: TypeInfo, factory: Any) -> _core.Codec:
        parts = tuple((name, self.part(oid)) for name, oid in info.members)
        if factory is None:
            factory = _core.row_type(tuple(name for name, _ in info.members))
        return _core.Codec("composite", info.oid, info.label, None, parts, factory)

    def _registered(self, info: TypeInfo, registration: Registration) -> _core.Codec:
        if registration.factory is None:
            return registration.codec(info.oid, info.label, info.send, info.labels)
        if info.kind != "c":
            raise ProgrammingError(
                f"{info.schema}.{info.name} is not a composite type: "
                f"{registration.factory!r} cannot be registered for it"
            )
        names = tuple(name for name, _ in info.members)
        return self._composite(info, composite_arg(registration.factory, names))
