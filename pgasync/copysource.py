"""What a COPY … TO STDOUT copies, so that the types of its columns can be asked for."""

from typing import NamedTuple

from . import sql as lexer


class Source(NamedTuple):
    """What a COPY … TO copies: the text of a query, or a table and its columns."""

    query: str | None
    table: str | None
    columns: str | None  # `(a, b)`; None: all of them
    binary: bool  # in the binary format


def source_of(sql: str) -> Source | None:
    """What COPY … TO STDOUT copies; None for a text that is none."""
    tokens = [
        (kind, sql[start:end], start, end)
        for kind, start, end in lexer.tokens(sql)
        if kind not in ("space", "comment")
    ]
    if not tokens or tokens[0][1].lower() != "copy":
        return None
    depth = 0
    opened: list[int] = []  # where the outermost parentheses open,
    closed: list[int] = []  # and where they close
    for at, (kind, text, _, _) in enumerate(tokens):
        if text == "(":
            depth += 1
            if depth == 1:
                opened.append(at)
        elif text == ")":
            depth -= 1
            if depth == 0:
                closed.append(at)
        elif depth == 0 and kind == "word" and text.lower() == "to":
            break
    else:
        return None
    ahead, behind = tokens[1:at], tokens[at + 1 :]
    if not ahead or not behind or behind[0][1].lower() != "stdout":
        return None
    binary = any(text.strip("'\"").lower() == "binary" for _, text, _, _ in behind)
    if opened[:1] == [1] and closed == [at - 1]:
        text = sql[tokens[1][3] : tokens[at - 1][2]].strip()
        return Source(text, None, None, binary)
    end = opened[0] if opened else at
    name = "".join(text for _, text, _, _ in tokens[1:end])
    columns = sql[tokens[end][2] : tokens[at - 1][3]] if opened else None
    return Source(None, name, columns, binary) if name else None
