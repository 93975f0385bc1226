"""What users say of types: codecs of their own, enum classes, composite classes."""

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import _core
from .errors import InterfaceError, ProgrammingError

Encoder = Callable[[Any], Any]
Decoder = Callable[[Any], Any]

# How SQL spells types that the catalog names otherwise.
_ALIASES = {
    "bigint": "int8",
    "bit varying": "varbit",
    "boolean": "bool",
    "char": "bpchar",
    "character": "bpchar",
    "character varying": "varchar",
    "dec": "numeric",
    "decimal": "numeric",
    "double precision": "float8",
    "float": "float8",
    "int": "int4",
    "integer": "int4",
    "real": "float4",
    "smallint": "int2",
    "time with time zone": "timetz",
    "time without time zone": "time",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
}
_BUILTIN = {row[2]: row[0] for row in _core.codec_table()}
# Types whose binary form is their text: a codec for text serves in both forms, and
# so inside arrays, ranges and composites, which come in binary.
_TEXTUAL = frozenset(
    ("text", "varchar", "bpchar", "name", "json", "xml", "refcursor", "unknown")
)
_TEXTUAL_EXTENSIONS = frozenset(("citextsend", "enum_send"))


@dataclass(frozen=True)
class Registration:
    """One type's: either functions, or an enum's class, or a composite's."""

    encoder: Encoder | None = None
    decoder: Decoder | None = None
    binary: bool = False
    labels: Mapping[str, Any] | None = None  # of an enum, where they were given
    members: type[enum.Enum] | None = None
    factory: Any = None  # of a composite

    def codec(
        self, oid: int, name: str, send: str = "", labels: Iterable[str] = ()
    ) -> _core.Codec:
        """The codec; `send` and `labels` as the catalog has them."""
        if self.members is not None:
            return _core.Codec("enum", oid, name, None, None, self._dicts(name, labels))
        functions = (self.encoder, self.decoder)
        if self.binary:
            return _core.Codec("binary", oid, name, None, None, functions)
        textual = name in _TEXTUAL or send in _TEXTUAL_EXTENSIONS
        kind = "string" if textual else "text"
        return _core.Codec(kind, oid, name, None, None, functions)

    def _dicts(
        self, name: str, labels: Iterable[str]
    ) -> tuple[dict[str, Any], dict[Any, str]]:
        assert self.members is not None
        if self.labels is not None:
            by_label = dict(self.labels)
        else:
            by_label = _match(self.members, name, set(labels))
        return by_label, {member: label for label, member in by_label.items()}


def _match(members: type[enum.Enum], name: str, labels: set[str]) -> dict[str, Any]:
    """Labels to members, by the members' names or by their values, whichever the
    type's labels are."""
    by_name = dict(members.__members__)
    by_value = {m.value: m for m in members if isinstance(m.value, str)}
    if not labels or labels <= by_name.keys():
        return by_name if labels or not by_value else by_value
    best = max((by_name, by_value), key=lambda found: len(labels & found.keys()))
    if not labels & best.keys():
        raise ProgrammingError(
            f"no label of {name} ({', '.join(sorted(labels))}) is the name or the "
            f"value of a member of {members.__name__}: give mapping={{member: label}}"
        )
    return best


class Registry:
    """Types that are registered, by name: for a connection, or, given to connect()
    or to an engine's connect_args as `types=`, for every connection made with it.

    A name without a schema stands for a built-in type, or for one that the search
    path shows. Arrays, ranges, domains and composites of the type follow.
    """

    def __init__(self) -> None:
        self.builtin: dict[str, Registration] = {}
        self._named: dict[tuple[str | None, str], Registration] = {}

    def copy(self) -> "Registry":
        """One of its own, with the same content."""
        made = Registry()
        made.builtin.update(self.builtin)
        made._named.update(self._named)
        return made

    def set_type_codec(
        self,
        typename: str,
        *,
        schema: str | None = None,
        encoder: Encoder | None = None,
        decoder: Decoder | None = None,
        format: str = "text",  # noqa: A002
    ) -> None:
        """Python functions for a type. `format` "text": `encoder(value) -> str`,
        `decoder(str) -> value`; "binary": bytes in place of str. None passes values
        through. NULL never reaches them. Raises InterfaceError for bad arguments."""
        if format not in ("text", "binary"):
            raise InterfaceError(f"format is 'text' or 'binary', not {format!r}")
        for role, function in (("encoder", encoder), ("decoder", decoder)):
            if function is not None and not callable(function):
                raise InterfaceError(f"the {role} is not callable: {function!r}")
        binary = format == "binary"
        self._add(schema, typename, Registration(encoder, decoder, binary))

    def register_enum(
        self,
        cls: type[enum.Enum],
        typename: str | None = None,
        *,
        schema: str | None = None,
        mapping: Mapping[Any, str] | None = None,
    ) -> None:
        """An Enum class for an enum type, named as the class in lower case unless
        told. The type's labels are the members' names or values; `mapping` {member:
        label} says otherwise."""
        if not (isinstance(cls, type) and issubclass(cls, enum.Enum)):
            raise InterfaceError(f"register_enum takes an Enum class, not {cls!r}")
        labels = None
        if mapping is not None:
            labels = {label: cls(member) for member, label in mapping.items()}
        name = cls.__name__.lower() if typename is None else typename
        self._add(schema, name, Registration(labels=labels, members=cls))

    def register_composite(
        self, cls: Any, typename: str | None = None, *, schema: str | None = None
    ) -> None:
        """A class for a composite type, named as the class in lower case unless told:
        a dataclass, NamedTuple, msgspec.Struct, pydantic model or anything that takes
        the attributes as keywords."""
        if not callable(cls):
            raise InterfaceError(f"register_composite takes a class, not {cls!r}")
        name = cls.__name__.lower() if typename is None else typename
        self._add(schema, name, Registration(factory=cls))

    def reset_type_codec(self, typename: str, *, schema: str | None = None) -> None:
        """Forgets a registration. Does nothing when there is none."""
        name = _ALIASES.get(typename, typename)
        if schema in (None, "pg_catalog"):
            self.builtin.pop(name, None)
        self._named.pop((schema, typename), None)

    def __contains__(self, typename: str) -> bool:
        """Whether a name, without a schema, is registered."""
        return (
            _ALIASES.get(typename, typename) in self.builtin
            or (None, typename) in self._named
        )

    @property
    def has_bare_names(self) -> bool:
        """Whether a name without a schema is registered, that of no built-in type."""
        return any(schema is None for schema, _ in self._named)

    def find(self, schema: str, name: str, visible: bool) -> Registration | None:
        """For a type that is not built in."""
        found = self._named.get((schema, name))
        if found is None and visible:
            found = self._named.get((None, name))
        return found

    def _add(
        self, schema: str | None, typename: str, registration: Registration
    ) -> None:
        if not isinstance(typename, str) or not typename:
            raise InterfaceError(f"the type's name is a str, not {typename!r}")
        if is_builtin(schema, typename):
            self.builtin[_ALIASES.get(typename, typename)] = registration
        else:
            self._named[schema, typename] = registration


def is_builtin(schema: str | None, typename: str) -> bool:
    """Whether a name is that of a built-in type, whose OID needs no lookup."""
    name = _ALIASES.get(typename, typename)
    return schema in (None, "pg_catalog") and name in _BUILTIN


def type_oid(
    kind: int | str, find: Callable[[str | None, str], Any] = lambda schema, name: None
) -> int:
    """The OID of a type given by OID or by name: a built-in one, its array (`int4[]`),
    or one that `find(schema, name)` knows. Raises InterfaceError."""
    if isinstance(kind, int) and 0 < kind < 2**32:
        return kind
    if isinstance(kind, str):
        element = kind.strip().removesuffix("[]")
        name = _ALIASES.get(element, element) + kind.strip()[len(element) :]
        if name in _BUILTIN:
            return _BUILTIN[name]
        schema, _, plain = name.rpartition(".")
        found = find(schema or None, plain)
        if found is not None:
            return int(found.oid)
    raise InterfaceError(
        f"{kind!r} is neither the OID nor the name of a type that is known here: give "
        "the OID, select 'name'::regtype::oid"
    )


def composite_arg(cls: Any, names: tuple[str, ...]) -> Any:
    """What a composite's codec calls for a value; see csrc/codec/record.c."""
    return (cls, names)
