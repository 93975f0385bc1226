"""Rows: a tuple that answers to the names of its columns too, or what a `row_factory`
makes of them.

`row_factory=` of connect(), of a cursor or of a call is one of

None          Row (for a cursor or a call: what the connection's is)
tuple, Row    a plain tuple, a Row
list, dict    a list; a dict by column names (the first of several with one name)
namedtuple    a collections.namedtuple; a name that cannot be a field is _0, _1 …
scalar        the first column alone
a class       dataclass, NamedTuple, TypedDict, attrs, msgspec.Struct, pydantic model,
              any class or function that takes keywords: columns by name to its fields

What the columns and the fields do not have in common is a ProgrammingError, raised
before the statement runs. Values are handed over as they are. What a class raises ends
the statement as it is, with the connection still in use.
"""

import collections
import functools
import inspect
import typing
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ._core import ROW_CALL, ROW_DICT, ROW_KEYWORDS, ROW_SCALAR, ROW_STAR, Row, row_type
from .errors import ProgrammingError

__all__ = ["Row", "namedtuple", "restore", "scalar"]

Names = tuple[str, ...]
Maker = tuple[Any, int, Any, Names]  # factory, one of ROW_…, target, names


def restore(fields: Names, values: tuple[Any, ...]) -> Row:
    """A Row again, from its pickle."""
    return row_type(fields)(values)


def scalar(*values: Any) -> Any:
    """A row factory: the first column of the row."""
    return values[0] if values else None


def namedtuple(**columns: Any) -> Any:
    """A row factory: a named tuple, of one class for each list of names."""
    return _namedtuple_class(tuple(columns))(*columns.values())


@functools.lru_cache(1024)
def _namedtuple_class(names: Names) -> type[tuple[Any, ...]]:
    made: type[tuple[Any, ...]] = collections.namedtuple("Row", names, rename=True)  # type: ignore[misc]
    return made


@dataclass(frozen=True)
class Fields:
    """What a factory takes by name: `taken` are the names of columns (a field may have
    several), `required` the fields that need one of theirs."""

    taken: frozenset[str]
    required: tuple[tuple[str, frozenset[str]], ...]
    any_name: bool = False  # **keywords
    positional: Names = ()  # the leading ones that may be given by position


def compile_maker(factory: Any, names: Names) -> Maker:
    """How rows of these columns are made by `factory`; called by the core, once for
    each statement and factory. Raises ProgrammingError when they do not fit."""
    kind = typing.get_origin(factory) or factory  # list[int] is list
    if factory is scalar:
        return factory, ROW_SCALAR, None, names
    if kind is list or kind is tuple:
        return factory, ROW_CALL, kind, names
    if kind is dict:
        return factory, ROW_DICT, dict.fromkeys(names), names
    _check_unique(factory, names)
    if factory is namedtuple:
        return factory, ROW_STAR, _namedtuple_class(names), names
    fields = _fields(kind)
    if fields is not None:
        _check_fields(factory, names, fields)
        if _is_typed_dict(factory):
            return factory, ROW_DICT, dict.fromkeys(names), names
        if fields.positional[: len(names)] == names:
            return factory, ROW_STAR, factory, names
    return factory, ROW_KEYWORDS, factory, names


# What a factory takes

_fields_of_classes: "weakref.WeakKeyDictionary[type, Fields | None]" = (
    weakref.WeakKeyDictionary()
)


def _fields(factory: Any) -> Fields | None:
    """Of a class looked up once; None when the factory does not tell."""
    if not isinstance(factory, type):
        return _signature_fields(factory)
    if factory not in _fields_of_classes:
        _fields_of_classes[factory] = _class_fields(factory)
    return _fields_of_classes[factory]


def _class_fields(cls: Any) -> Fields | None:
    if _is_typed_dict(cls):
        required = sorted(cls.__required_keys__)
        return Fields(
            cls.__required_keys__ | cls.__optional_keys__,
            tuple((name, frozenset((name,))) for name in required),
        )
    if getattr(cls.__init__, "__pydantic_base_init__", False):
        return _pydantic_fields(cls)
    return _signature_fields(cls)


def _is_typed_dict(cls: Any) -> bool:
    """Of typing or of typing_extensions."""
    return isinstance(cls, type) and hasattr(cls, "__required_keys__")


def _signature_fields(factory: Callable[..., Any]) -> Fields | None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # many built-in ones have none
        return None
    by_name = [
        one
        for one in parameters
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    ]
    # One without a name cannot be given, and is missing if it has no default.
    needed = [
        one
        for one in parameters
        if one.default is one.empty
        and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    positional: list[str] = []
    for one in parameters:
        if one.kind is not one.POSITIONAL_OR_KEYWORD:
            break
        positional.append(one.name)
    return Fields(
        frozenset(one.name for one in by_name),
        tuple(
            (one.name, frozenset((one.name,) if one in by_name else ()))
            for one in needed
        ),
        any(one.kind is one.VAR_KEYWORD for one in parameters),
        tuple(positional) if isinstance(factory, type) else (),
    )


def _pydantic_fields(cls: Any) -> Fields | None:
    """Of a model that has BaseModel's own __init__: its fields may go by aliases."""
    if getattr(cls, "__pydantic_root_model__", False):
        return None
    config: Mapping[str, Any] = cls.model_config
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    by_alias = config.get("validate_by_alias", True)
    taken: set[str] = set()
    required = []
    for name, field in cls.model_fields.items():
        aliases = _alias_names(field.validation_alias) if by_alias else set()
        if by_name or not aliases:
            aliases.add(name)
        taken |= aliases
        if field.is_required():
            required.append((name, frozenset(aliases)))
    any_name = config.get("extra") == "allow"
    return Fields(frozenset(taken), tuple(required), any_name)


def _alias_names(alias: Any) -> set[str]:
    """A str, an AliasPath (whose first step counts), AliasChoices of both, or None."""
    if alias is None:
        return set()
    if isinstance(alias, str):
        return {alias}
    if hasattr(alias, "choices"):
        return {name for choice in alias.choices for name in _alias_names(choice)}
    return {str(alias.path[0])}


# What does not fit


def _check_unique(factory: Any, names: Names) -> None:
    if len(set(names)) == len(names):
        return
    twice = [name for name, n in collections.Counter(names).items() if n > 1]
    raise ProgrammingError(
        f"row_factory {_name(factory)}: more than one column is named "
        f"{_listed(twice)}: give each a name of its own (… AS name)"
    )


def _check_fields(factory: Any, names: Names, fields: Fields) -> None:
    columns = frozenset(names)
    missing = [name for name, taken in fields.required if not taken & columns]
    unknown = [name for name in names if name not in fields.taken]
    if fields.any_name:
        unknown = []
    if not missing and not unknown:
        return
    faults, remedies = [], ["name columns after fields (… AS name)"]
    if missing:
        faults.append(f"no column for the required {_plural('field', missing)}")
        remedies.append(f"give the field{_s(missing)} a default")
    if unknown:
        faults.append(f"no field for the {_plural('column', unknown)}")
        remedies.append(f"leave the column{_s(unknown)} out")
    raise ProgrammingError(
        f"the columns do not fit row_factory {_name(factory)}: {', '.join(faults)}: "
        + ", or ".join(remedies)
    )


def _plural(word: str, names: list[str]) -> str:
    return f"{word}{_s(names)} {_listed(names)}"


def _s(names: list[str]) -> str:
    return "s" if len(names) > 1 else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _name(factory: Any) -> str:
    return getattr(factory, "__qualname__", None) or repr(factory)
