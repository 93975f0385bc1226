"""The text of a DSN, read as libpq reads it: a URI or `key=value` pairs.

PostgreSQL documentation, "Connection Strings". Values are only taken out of the text
here; what they mean is conninfo's. No message shows a value: it may be a password.
"""

import re

from .errors import InterfaceError

SCHEMES = ("postgresql://", "postgres://")
_BLANK = " \t\n\r\v\f"


def parse_dsn(dsn: str) -> dict[str, str]:
    """The keywords of a URI or a `key=value` string, not yet checked."""
    if not isinstance(dsn, str):
        raise InterfaceError(f"the DSN is a str, not a {type(dsn).__name__}")
    if "\0" in dsn:
        raise InterfaceError("the DSN contains a NUL character")
    for scheme in SCHEMES:
        if dsn.startswith(scheme):
            return _parse_uri(dsn[len(scheme) :])
    other = re.match(r"([A-Za-z][\w+.-]*)://", dsn)
    if other:
        raise InterfaceError(
            f"the DSN begins with {other[0]!r}: write postgresql:// instead"
        )
    return _parse_pairs(dsn)


def is_dsn(text: str) -> bool:
    """Whether a database name is a connection string in truth."""
    return text.startswith(SCHEMES) or "=" in text


def shown(name: str) -> str:
    """A keyword for a message, when it is a plain word: any other thing may be a piece
    of a password."""
    return f" {name!r}" if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", name) else ""


def _store(found: dict[str, str], key: str, value: str) -> None:
    """The later value wins. requiressl is what sslmode was once."""
    if key == "requiressl":
        key, value = "sslmode", "require" if value.startswith("1") else "prefer"
    found[key] = value


# ---------------------------------------------------------------------- URI


def _parse_uri(rest: str) -> dict[str, str]:
    """What follows `postgresql://`: [user[:password]@][hosts][/dbname][?params]."""
    found: dict[str, str] = {}
    at = re.match(r"[^@/]*@", rest)
    if at:
        user, _, password = at.group()[:-1].partition(":")
        found |= {"user": user, "password": password}
        rest = rest[at.end() :]
    netlocs, rest = _netlocs(rest)
    found["host"] = ",".join(host for host, _ in netlocs)
    found["port"] = ",".join(port for _, port in netlocs)
    path, question, query = rest.partition("?")
    found["dbname"] = path[1:]
    found = {key: _unquote(value, key) for key, value in found.items() if value}
    if question:
        _uri_query(query, found)
    return found


def _netlocs(rest: str) -> tuple[list[tuple[str, str]], str]:
    """The host and port of each place, and what stands behind them."""
    found = []
    while True:
        match = re.match(r"\[([^\]]+)\](?=[:/?,]|\Z)|(?!\[)([^:/?,]*)", rest)
        if match is None:
            raise InterfaceError("a host of the URI cannot be understood")
        host, rest = match[1] or match[2] or "", rest[match.end() :]
        if "@" in host:  # part of a password, so it is not shown
            raise InterfaceError("the URI has a second @: write %40 in a password")
        port = ""
        if rest.startswith(":"):
            end = re.search(r"[/?,]|\Z", rest)
            assert end is not None
            port, rest = rest[1 : end.start()], rest[end.start() :]
        found.append((host, port))
        if not rest.startswith(","):
            return found, rest
        rest = rest[1:]


def _uri_query(query: str, found: dict[str, str]) -> None:
    for pair in query.removesuffix("&").split("&") if query else ():
        key, equals, value = pair.partition("=")
        if not equals or "=" in value:
            if "@" in query:
                raise InterfaceError(
                    "the URI has an @ in a parameter that is not key=value: write %2F "
                    "for / in a password"
                )
            raise InterfaceError(
                f"the URI's parameter{shown(key)} is not written as key=value"
            )
        key = _unquote(key, "a parameter's name")
        value = _unquote(value, f"parameter{shown(key)}")
        if (key, value) == ("ssl", "true"):  # as JDBC says it
            key, value = "sslmode", "require"
        _store(found, key, value)


def _unquote(text: str, what: str) -> str:
    """Percent-decodes: every % must be followed by two hex digits, and a space inside
    by nothing but spaces."""
    text = text.strip(" ")
    if " " in text:
        raise InterfaceError(f"the URI's {what} has a space in it: write %20")
    if "%" not in text:
        return text
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise InterfaceError(
            f"the URI's {what} has a % that no two hex digits follow: write %25"
        )
    raw = re.sub(
        rb"%(..)",
        lambda m: bytes([int(m[1], 16)]),
        text.encode("utf-8", "surrogatepass"),
        flags=re.S,
    )
    if b"\0" in raw:
        raise InterfaceError(f"the URI's {what} contains a NUL character")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InterfaceError(f"the URI's {what} is not UTF-8 when decoded") from None


# -------------------------------------------------------------------- pairs

_NAME = re.compile(rf"[{_BLANK}]*([^={_BLANK}]*)[{_BLANK}]*=[{_BLANK}]*")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)(?:'|\\\Z)", re.DOTALL)
_PLAIN = re.compile(rf"((?:[^{_BLANK}\\]|\\.|\\\Z)*)[{_BLANK}]?", re.DOTALL)


def _parse_pairs(text: str) -> dict[str, str]:
    """`key=value key='va lue'`, with backslashes before quotes and backslashes."""
    found: dict[str, str] = {}
    position = 0
    while text[position:].strip(_BLANK):
        name = _NAME.match(text, position)
        if name is None:
            raise InterfaceError(
                "the DSN is neither a postgresql:// URI nor key=value pairs "
                f"(at character {position})"
            )
        position = name.end()
        quoted = text.startswith("'", position)
        value = (_QUOTED if quoted else _PLAIN).match(text, position)
        if value is None or (quoted and not value.group().endswith("'")):
            raise InterfaceError(
                f"the quote at character {position} of the DSN has no end"
            )
        _store(found, name[1], re.sub(r"\\(.?)", r"\1", value[1], flags=re.DOTALL))
        position = value.end()
    return found
