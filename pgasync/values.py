"""One keyword's value, checked: what connect() was given may be text or not."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import InterfaceError

CHOICES = {
    "channel_binding": ("prefer", "disable", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "load_balance_hosts": ("disable", "random"),
    "sslcertmode": ("allow", "disable", "require"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": (
        "any",
        "read-write",
        "read-only",
        "primary",
        "standby",
        "prefer-standby",
    ),
}


def text(given: Mapping[str, Any], keyword: str) -> str | None:
    """None for an empty one, too."""
    value = given.get(keyword)
    if value is None or isinstance(value, str):
        return value or None
    raise InterfaceError(f"{keyword} is a str, not a {type(value).__name__}")


def items(value: object, keyword: str) -> list[str]:
    """A comma-separated list, or the sequence that SQLAlchemy's URLs give."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",")]
    if isinstance(value, int) and not isinstance(value, bool):
        return [str(value)]
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return ["" if item is None else str(item) for item in value]
    raise InterfaceError(f"{keyword} is a str, not a {type(value).__name__}")


def number(keyword: str, value: object) -> float:
    """Seconds, no NaN."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            found = float(value)
        except ValueError:
            found = float("nan")
        if found == found:
            return found
    raise InterfaceError(f"{keyword} is a number of seconds, not {value!r}")


def seconds(given: Mapping[str, Any], keyword: str, default: float) -> float:
    """Seconds from 0."""
    value = number(keyword, given.get(keyword, default))
    if value < 0:
        raise InterfaceError(f"{keyword} cannot be negative: {value:g}")
    return value


def limit(
    given: Mapping[str, Any], keyword: str, default: float | None
) -> float | None:
    """Seconds; 0, a negative number and infinity mean no limit, as in libpq."""
    if keyword not in given:
        return default
    value = number(keyword, given[keyword])
    return value if 0 < value < float("inf") else None


def flag(given: Mapping[str, Any], keyword: str, default: bool) -> bool:
    """True, False, or a word for it."""
    value = given.get(keyword, default)
    if isinstance(value, bool):
        return value
    known = {"true": True, "on": True, "yes": True, "1": True}
    known |= {"false": False, "off": False, "no": False, "0": False}
    if str(value).lower() in known:
        return known[str(value).lower()]
    raise InterfaceError(f"{keyword} is True or False, not {value!r}")


def choice(given: Mapping[str, Any], keyword: str) -> str:
    """One of its words, the first of which is the default."""
    words = CHOICES[keyword]
    value = given.get(keyword, words[0])
    if value not in words:
        raise InterfaceError(f"{keyword} {value!r} is not one of {', '.join(words)}")
    return str(value)


def integer(given: Mapping[str, Any], keyword: str) -> int | None:
    """Of 32 bits, as text or not; None when it was not given."""
    value = given.get(keyword)
    if value is None:
        return None
    if isinstance(value, bool):
        return int(value)
    text = re.fullmatch(r"\s*([+-]?[0-9]{1,10})\s*", str(value), re.ASCII)
    if text is None or not isinstance(value, (int, str)):
        raise InterfaceError(f"{keyword} is a whole number, not {value!r}")
    found = int(text[1])
    if not -(2**31) <= found < 2**31:
        raise InterfaceError(f"{keyword} does not fit into 32 bits: {found}")
    return found
