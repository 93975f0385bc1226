"""Parameters for statements that take none: their values are put into the text, as
literals that the server itself has quoted."""

from typing import TYPE_CHECKING, Any

from . import sql as lexer
from ._core import MODE_ROW, MODE_ROWS
from .errors import ProgrammingError
from .introspect import BUILTIN
from .rows import scalar

if TYPE_CHECKING:
    from .connection import Connection

_NAMES = """\
select pg_catalog.format_type(oid, null)
from unnest($1::pg_catalog.oid[]) with ordinality as wanted (oid, n) order by n
"""


async def interpolate(
    connection: "Connection", text: str, params: object, alone: bool = False
) -> str:
    """The statement with a literal of the parameter's type in each parameter's place.

    `alone`: a list may be the one value of a statement with one parameter, an array.

    The server tells the types ("prepare"), and what each value's literal is: the value
    itself goes there as a parameter. Raises DataError for a value that its type cannot
    have, ProgrammingError for parameters that do not fit the statement.
    """
    if params is None:
        return text
    if isinstance(params, (list, tuple)):
        values = tuple(params)
    else:
        text, values = lexer.resolve(text, params)
    core = connection._core
    statement = await connection._wait(core.prepare(text))
    if alone and _is_array(statement.parameters, values):
        values = (list(values),)
    if len(statement.parameters) != len(values):
        raise ProgrammingError(
            f"the statement takes {len(statement.parameters)} parameter(s), but "
            f"{len(values)} were given"
        )
    if not values:
        return text
    plain = core.parameters.get("standard_conforming_strings") == "off"
    names = await _type_names(connection, statement.parameters)
    asked = ", ".join(
        f"pg_catalog.format('%L', ${n}::{name})" for n, name in enumerate(names, 1)
    )
    literals = await connection._wait(
        core.execute(f"select {asked}", values, MODE_ROW, False)
    )
    typed = [f"({a}::{name})" for a, name in zip(literals, names, strict=True)]
    return lexer.replace_parameters(text, typed, backslashes=not plain)


def _is_array(types: tuple[int, ...], values: tuple[Any, ...]) -> bool:
    """Whether the values are the elements of the only parameter."""
    row = BUILTIN.get(types[0]) if len(types) == 1 else None
    if row is None or not row[2].endswith("[]"):
        return False
    return len(values) != 1 or not isinstance(values[0], (list, tuple))


async def _type_names(
    connection: "Connection", oids: "tuple[int, ...] | list[int]"
) -> list[str]:
    """As a cast writes them."""
    names = {oid: _builtin(BUILTIN[oid][2]) for oid in oids if oid in BUILTIN}
    others = [oid for oid in dict.fromkeys(oids) if oid not in names]
    if others:
        operation = connection._core.execute(_NAMES, (others,), MODE_ROWS, scalar)
        found = await connection._wait(operation)
        names.update(zip(others, found, strict=True))
    return [names[oid] for oid in oids]


def _builtin(name: str) -> str:
    """In quotes: bit and char without them are bit(1) and character(1)."""
    element = name.removesuffix("[]")
    quoted = '"' + element.strip('"') + '"'
    return f"pg_catalog.{quoted}{name[len(element) :]}"
