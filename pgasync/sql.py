"""What the client must know of SQL's lexical structure.

Two jobs: `:name` parameters become `$n`, and a text of several statements is
split. Both rest on one lexer that follows PostgreSQL's own (documentation,
"Lexical Structure") with standard_conforming_strings on, as it is by default.
Values never come near the text: they travel beside it in Bind.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from .errors import ProgrammingError

# A string that starts on E keeps its backslashes over a continuation line:
# two literals with a newline between them are one literal.
_GAP = r"(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*"
_ESCAPED = r"'[^'\\]*(?:(?:\\.|'')[^'\\]*)*(?:'|\Z|\\\Z)"
_TOKEN = re.compile(
    rf"""
    (?P<space>[ \t\n\r\f\v]+)
  | (?P<comment>--[^\n\r]*)
  | (?P<block>/\*)
  | (?P<string>[eE]{_ESCAPED}(?:{_GAP}{_ESCAPED})*
      | '[^']*(?:''[^']*)*(?:'|\Z))
  | (?P<quoted>"[^"]*(?:""[^"]*)*(?:"|\Z))
  | (?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)
  | (?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$)
  | (?P<param>\$[0-9]+)
  | (?P<number>[0-9]+(?:\.[0-9]+)?)
  | (?P<cast>::|:=)
  | (?P<name>:[^\W\d]\w*)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")

_SILENT = frozenset(("space", "comment"))
_OPERANDS = frozenset(("string", "quoted", "word", "param", "number", "name"))
# Words after which an expression starts: a colon behind one is not a slice's.
_BEFORE_OPERAND = frozenset(
    (
        "and",
        "as",
        "between",
        "by",
        "case",
        "distinct",
        "else",
        "from",
        "having",
        "ilike",
        "in",
        "is",
        "like",
        "limit",
        "not",
        "offset",
        "on",
        "or",
        "returning",
        "select",
        "then",
        "to",
        "using",
        "values",
        "when",
        "where",
    )
)
_MAPPED_MAX = 65_536  # longer texts are rewritten each time, not remembered


class _Token(NamedTuple):
    kind: str
    start: int
    end: int


def tokens(sql: str) -> Iterator[_Token]:
    """(kind, start, end) of everything in the text, white space included."""
    position, size = 0, len(sql)
    while position < size:
        match = _TOKEN.match(sql, position)
        if match is None:  # the last alternative takes anything
            raise AssertionError(position)
        kind, end = match.lastgroup or "other", match.end()
        if kind == "block":
            kind, end = "comment", _comment_end(sql, end)
        elif kind == "dollar":
            kind, end = "string", _dollar_end(sql, match.group(), end)
        yield _Token(kind, position, end)
        position = end


def _comment_end(sql: str, position: int) -> int:
    """The end of a block comment whose text starts at `position`; they nest."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, position):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)


def _dollar_end(sql: str, tag: str, position: int) -> int:
    found = sql.find(tag, position)
    return len(sql) if found < 0 else found + len(tag)


class _Brackets:
    """Tells, per token, whether a colon here separates the bounds of a slice."""

    def __init__(self) -> None:
        self.stack: list[str] = []
        self.after_operand = False

    def is_slice(self) -> bool:
        return self.after_operand and self.stack[-1:] == ["["]

    def advance(self, kind: str, text: str) -> None:
        if kind in _SILENT:
            return
        if text in ("(", "["):
            self.stack.append(text)
        elif text in (")", "]") and self.stack:
            self.stack.pop()
        self.after_operand = text in (")", "]") or (
            kind in _OPERANDS and text.lower() not in _BEFORE_OPERAND
        )


def rewrite(sql: str) -> tuple[str, tuple[str, ...]]:
    """`:name` becomes `$n`. Returns the new text and the names in order of $n.

    A colon is left alone inside literals, quoted identifiers and comments, in
    `::` and `:=`, and where it parts the bounds of a slice: `a[1:n]`. A name used
    twice is one parameter. Raises ProgrammingError for a text that has `$n` too.
    """
    if len(sql) > _MAPPED_MAX:
        return _rewrite(sql)
    return _rewrite_cached(sql)


def _rewrite(sql: str) -> tuple[str, tuple[str, ...]]:
    if ":" not in sql:
        return sql, ()
    pieces: list[str] = []
    numbers: dict[str, int] = {}
    brackets = _Brackets()
    mixed = False
    for kind, start, end in tokens(sql):
        text = sql[start:end]
        if kind == "name" and brackets.is_slice():
            pieces.append(text)
            brackets.advance("word", text[1:])
            continue
        brackets.advance(kind, text)
        mixed = mixed or kind == "param"
        if kind == "name":
            text = f"${numbers.setdefault(text[1:], len(numbers) + 1)}"
        pieces.append(text)
    if mixed and numbers:
        raise ProgrammingError(
            "the statement mixes $n and :name parameters: use one kind"
        )
    return ("".join(pieces), tuple(numbers)) if numbers else (sql, ())


_rewrite_cached = lru_cache(maxsize=512)(_rewrite)


def resolve(sql: str, params: object) -> tuple[str, tuple[object, ...]]:
    """Parameters that are neither None, a tuple nor a list, as `$n` and a tuple.

    Raises ProgrammingError for a missing or an extra name, and for something
    that is no collection of parameters: a str, bytes, a bare value, a generator.
    """
    if isinstance(params, Mapping):
        return _resolve_mapping(sql, params)
    if isinstance(params, Sequence) and not isinstance(
        params, (str, bytes, bytearray, memoryview)
    ):
        return sql, tuple(params)
    raise ProgrammingError(_not_parameters(params))


def _resolve_mapping(
    sql: str, params: Mapping[str, object]
) -> tuple[str, tuple[object, ...]]:
    text, names = rewrite(sql)
    missing = [name for name in names if name not in params]
    if missing:
        raise ProgrammingError(f"no value for the parameter {_listed(missing)}")
    if len(params) != len(names):
        extra = [str(name) for name in params if name not in names]
        raise ProgrammingError(
            f"the statement has no parameter {_listed(extra)}"
            + ("" if names else " (it has no :name parameters at all)")
        )
    return text, tuple([params[name] for name in names])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(":" + name for name in names)


def _not_parameters(params: object) -> str:
    kind = type(params).__name__
    if hasattr(params, "__next__") or hasattr(params, "__aiter__"):
        return f"parameters are a sequence, not a {kind}: pass list(…) or tuple(…)"
    if isinstance(params, (set, frozenset)):
        return f"parameters have an order, a {kind} has none: pass a list or a tuple"
    return (
        "parameters are a sequence for $1, $2 … or a mapping for :name, "
        f"not a {kind}: for one parameter write [value] or (value,)"
    )


def replace_parameters(
    sql: str, texts: Sequence[str], *, backslashes: bool = True
) -> str:
    """The text with texts[n - 1] in place of `$n`, where that is a parameter.

    `backslashes`: they are plain characters in a plain literal. Where they are not
    (standard_conforming_strings off) ProgrammingError is raised for a literal with one:
    the text would mean something else to the server.
    """
    pieces: list[str] = []
    for kind, start, end in tokens(sql):
        text = sql[start:end]
        if kind == "param":
            text = texts[int(text[1:]) - 1]
        elif kind == "string" and not backslashes and text[0] == "'" and "\\" in text:
            raise ProgrammingError(
                f"the literal {text} has a backslash, and standard_conforming_strings "
                "is off: write it as E'…', or turn the setting on"
            )
        pieces.append(text)
    return "".join(pieces)


class _Splitter:
    """Follows one text and says where a semicolon ends a statement."""

    def __init__(self) -> None:
        self.next_statement()

    def next_statement(self) -> None:
        self.depth = 0  # of parentheses: the commands of a CREATE RULE
        self.bodies = 0  # of BEGIN ATOMIC and CASE … END inside it
        self.words: list[str] = []  # the first ones
        self.empty = True

    def ends_at(self, kind: str, text: str) -> bool:
        """Takes the next token; True for the semicolon that ends the statement."""
        if kind in _SILENT:
            return False
        if text == ";" and kind == "other" and not self.depth and not self.bodies:
            return True
        self.empty = False
        if kind == "word":
            self._word(text.lower())
        elif text in ("(", "["):
            self.depth += 1
        elif text in (")", "]") and self.depth:
            self.depth -= 1
        return False

    def _word(self, word: str) -> None:
        if len(self.words) < 4:
            self.words.append(word)
        if self.depth or not self._is_routine():
            return
        if word == "begin" or (word == "case" and self.bodies):
            self.bodies += 1
        elif word == "end" and self.bodies:
            self.bodies -= 1

    def _is_routine(self) -> bool:
        head = self.words
        if head[:3] == ["create", "or", "replace"]:
            return head[3:4] in (["function"], ["procedure"])
        return head[:2] in (["create", "function"], ["create", "procedure"])


def _statements(sql: str) -> Iterator[str]:
    splitter, begin = _Splitter(), 0
    for kind, start, end in tokens(sql):
        if not splitter.ends_at(kind, sql[start:end]):
            continue
        if not splitter.empty:
            yield sql[begin:start].strip()
        begin = end
        splitter.next_statement()
    if not splitter.empty:
        yield sql[begin:].strip()


def split(sql: str) -> list[str]:
    """The statements of a text, without their semicolons; empty ones are left out.

    A semicolon inside parentheses (CREATE RULE) or in the BEGIN ATOMIC … END body
    of CREATE FUNCTION and CREATE PROCEDURE does not end a statement.
    """
    return list(_statements(sql))


def first_word(sql: str) -> str:
    """The word that a statement begins with, in lower case; "" for none."""
    for kind, start, end in tokens(sql):
        text = sql[start:end]
        if kind not in _SILENT and text != "(":
            return text.lower()
    return ""


def is_script(sql: str) -> bool:
    """Whether the text holds more than one statement."""
    first = sql.find(";")
    if first < 0 or not sql[first + 1 :].strip():
        return False
    statements = _statements(sql)
    return next(statements, None) is not None and next(statements, None) is not None


def quote_identifier(name: str) -> str:
    """A name as it stands in a text of SQL, whatever it is made of but NUL."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """A string constant, whatever standard_conforming_strings is."""
    quoted = "'" + text.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def significant(sql: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each token that is neither space nor a comment."""
    for kind, start, end in tokens(sql):
        if kind not in _SILENT:
            yield kind, sql[start:end]


def identifier(text: str) -> str:
    """What an identifier of a text is called: folded to lower case unless quoted."""
    if text.startswith('"'):
        return text[1:-1].replace('""', '"')
    return text.lower()


_ESCAPE = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))",
    re.DOTALL,
)
_ESCAPED_AS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _unescape(match: re.Match[str]) -> str:
    byte, octal, short, long, sign = match.groups()
    if sign is not None:
        return _ESCAPED_AS.get(sign, sign)
    return chr(int(octal, 8) & 255 if octal else int(byte or short or long, 16))


def constant(text: str) -> str:
    """What a string constant stands for: '…', E'…' or $…$."""
    if text.startswith("$"):
        tag = text[: text.index("$", 1) + 1]
        return text[len(tag) : -len(tag)]
    body = text[text.index("'") + 1 : -1].replace("''", "'")
    return _ESCAPE.sub(_unescape, body) if text[:1] in "eE" else body
