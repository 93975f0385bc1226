"""The text of a COPY: read as far as the client has to know it, and written.

PostgreSQL documentation, COPY.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .errors import InterfaceError, ProgrammingError
from .sql import (
    constant,
    identifier,
    quote_identifier,
    quote_literal,
    significant,
    split,
)

__all__ = ["CopyText", "copy_from", "copy_to", "parse", "qualified"]

Token = tuple[str, str]
NAMES = ("word", "quoted")
LEGACY = ("delimiter", "null", "quote", "escape")  # an optional AS behind them
VALUES = ("string", "word", "number")
NO_TOKEN = ("end", "")


@dataclass
class CopyText:
    """What a COPY says of itself."""

    inward: bool = True  # FROM
    table: str | None = None  # as it stands there; None: COPY (query)
    columns: tuple[str, ...] | None = None  # None: all of the table's
    options: dict[str, str] = field(default_factory=dict)  # by name in lower case

    @property
    def format(self) -> str:
        """ "text", "csv" or "binary"."""
        return self.options.get("format", "text").lower()

    def is_on(self, option: str) -> bool:
        """Whether an option that may stand alone is set."""
        value = self.options.get(option, "off").lower()
        return value not in ("off", "false", "0")


class _Reader:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.position = 0

    def peek(self) -> Token:
        if self.position < len(self.tokens):
            return self.tokens[self.position]
        return NO_TOKEN

    def take(self) -> Token:
        token = self.peek()
        self.position += 1
        return token

    def accept(self, *texts: str) -> bool:
        if self.peek()[1].lower() in texts and self.peek()[0] in ("word", "other"):
            self.position += 1
            return True
        return False

    def skip_brackets(self) -> list[Token]:
        """From behind an opening bracket to behind the one that closes it."""
        depth, inside = 1, []
        while depth and self.peek() is not NO_TOKEN:
            token = self.take()
            depth += (token[1] == "(") - (token[1] == ")")
            inside.append(token)
        return inside[:-1]


def parse(sql: str) -> CopyText:
    """Reads the text of a COPY between server and client. Raises ProgrammingError for
    anything else; what is wrong inside is the server's to say."""
    if not isinstance(sql, str):
        raise ProgrammingError(f"the SQL text must be a str, not {sql!r}")
    reader = _Reader(list(significant(sql)))
    if not reader.accept("copy"):
        raise ProgrammingError("copy() takes a COPY; everything else is for execute()")
    if len(split(sql)) != 1:
        raise ProgrammingError("copy() takes one COPY, and nothing behind it")
    if any(kind == "param" for kind, _ in reader.tokens):
        raise ProgrammingError(
            "COPY takes no parameters ($1 …), the server does not allow them: "
            "copy_from_query() takes a query with its parameters"
        )
    text = CopyText()
    _read_source(reader, text)
    _read_options(reader, text)
    return text


def _read_source(reader: _Reader, text: CopyText) -> None:
    if reader.accept("("):
        reader.skip_brackets()
    else:
        if reader.accept("binary"):
            text.options["format"] = "binary"
        text.table = _read_name(reader)
        if reader.accept("("):
            text.columns = _names(reader.skip_brackets())
    text.inward = reader.accept("from")
    if not text.inward and not reader.accept("to"):
        raise ProgrammingError("COPY … FROM STDIN or COPY … TO STDOUT is expected")
    if not reader.accept("stdin", "stdout"):
        raise ProgrammingError(
            "this COPY reads or writes at the server: use execute(), or "
            "FROM STDIN and TO STDOUT for data that go through this connection"
        )


def _read_name(reader: _Reader) -> str:
    name = reader.take()[1]
    while reader.accept("."):
        name += "." + reader.take()[1]
    return name


def _names(tokens: Iterable[Token]) -> tuple[str, ...]:
    return tuple(identifier(text) for kind, text in tokens if kind in NAMES)


def _read_options(reader: _Reader, text: CopyText) -> None:
    reader.accept("with")
    if reader.accept("("):
        listed = _Reader(reader.skip_brackets())
        while listed.peek() is not NO_TOKEN:
            _read_option(listed, text)
        return
    while reader.peek() is not NO_TOKEN and not reader.accept("where"):
        _read_old_option(reader, text)


def _read_option(reader: _Reader, text: CopyText) -> None:
    """One of those in brackets: a name, and most often a value."""
    name = identifier(reader.take()[1])
    if reader.peek()[0] in VALUES:
        text.options[name] = _value(reader.take())
    elif reader.accept("("):
        reader.skip_brackets()
    elif not reader.accept("*"):
        text.options[name] = "true"
    reader.accept(",")


def _read_old_option(reader: _Reader, text: CopyText) -> None:
    """Of the syntax before PostgreSQL 9.0."""
    name = identifier(reader.take()[1])
    if name in ("csv", "binary"):
        text.options["format"] = name
    elif name in LEGACY:
        reader.accept("as")
        text.options[name] = _value(reader.take())
    elif name == "encoding":
        text.options[name] = _value(reader.take())
    elif name in ("header", "freeze"):
        text.options[name] = "true"


def _value(token: Token) -> str:
    return constant(token[1]) if token[0] == "string" else token[1]


# Writing


def qualified(table: str, schema: str | None) -> str:
    """A table's name, quoted. Raises InterfaceError unless both are names."""
    for name in (table, schema):
        if name is not None and (not isinstance(name, str) or not name):
            raise InterfaceError(f"{name!r} is not the name of a table or schema")
    quoted = quote_identifier(table)
    return quoted if schema is None else f"{quote_identifier(schema)}.{quoted}"


def column_names(columns: Iterable[str]) -> list[str]:
    """The names as a list. Raises InterfaceError unless they are some."""
    if isinstance(columns, str) or not isinstance(columns, Iterable):
        raise InterfaceError(f"columns are a sequence of names, not {columns!r}")
    names = [*columns]
    for name in names:
        if not isinstance(name, str):
            raise InterfaceError(f"{name!r} is not the name of a column")
    return names


def _name_list(columns: Iterable[str]) -> str:
    return f"({', '.join(map(quote_identifier, column_names(columns)))})"


def copy_from(
    target: str,
    columns: Iterable[str] | None,
    options: Mapping[str, object],
    where: str | None,
) -> str:
    """COPY … FROM STDIN; `target` is quoted already. Options that are None are left
    out, True for a list of columns is all of them."""
    names = None if columns is None else column_names(columns)
    parts = ["COPY", target]
    if names:
        parts.append(_name_list(names))
    parts += ["FROM STDIN", *_with(options)]
    if where is not None:
        parts.append(f"WHERE {where}")
    return " ".join(parts)


def copy_to(source: str, options: Mapping[str, object]) -> str:
    """COPY … TO STDOUT of what from_table() or from_query() give; options as above."""
    return " ".join(["COPY", source, "TO STDOUT", *_with(options)])


def from_table(table: str, schema: str | None, columns: Iterable[str] | None) -> str:
    """A table to be copied, with the names of the columns that are wanted."""
    name = qualified(table, schema)
    return name if columns is None else f"{name} {_name_list(columns)}"


def from_query(sql: str) -> str:
    """One statement to be copied. Raises ProgrammingError for a text of several."""
    statements = split(sql)
    if len(statements) != 1:
        raise ProgrammingError(
            f"COPY copies the rows of one statement; the text holds {len(statements)}"
        )
    return f"({statements[0]}\n)"  # its last line may be a comment


def _with(options: Mapping[str, object]) -> list[str]:
    listed = [
        f"{name.upper()} {_option(name, value)}"
        for name, value in options.items()
        if value is not None
    ]
    return [f"WITH ({', '.join(listed)})"] if listed else []


def _option(name: str, value: object) -> str:
    if name.startswith("force_"):
        if value is True or value == "*":
            return "*"
        if isinstance(value, Iterable):
            return _name_list(value)
    elif isinstance(value, bool | int):
        return str(value).lower()
    elif isinstance(value, str):
        return quote_literal(value)
    raise InterfaceError(f"{name}={value!r} is not a value for this option of COPY")
