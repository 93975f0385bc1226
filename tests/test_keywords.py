"""The table of keywords: complete, documented, and each value accepted or refused as
libpq does it, but for the differences listed here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import libpq
from dsns import SCRAM_KEY as KEY
from dsns import SHOWN
from pgasync.conninfo import Config, parse
from pgasync.errors import InterfaceError, NotSupportedError
from pgasync.keywords import ALIASES, KNOWN, LIBPQ, OWN, SESSION_VARIABLES

DOCUMENT = Path(__file__).parents[1] / "docs" / "connecting.md"
HERE = {"hostaddr": "127.0.0.1", "port": "1", "user": "u"}  # nothing listens there

VALUES = (
    *("", " ", "0", "1", "-1", " 7 ", "7 x", "0x10", "010", "+5", "1e3", "1.5"),
    *("2147483647", "2147483648", "-2147483648", "-2147483649", "99999999999"),
    *("yes", "true", "no", "False", "auto", "disable", "allow", "prefer", "require"),
    *("REQUIRE", "verify-ca", "verify-full", "any", "read-write", "read-only"),
    *("primary", "standby", "prefer-standby", "random", "postgres", "direct"),
    *("md5", "!md5", "md5,!none", "md5, none", "md5,", "!", "!!md5", "none", "gss"),
    *("!none,!none", "password", "scram-sha-256", "sspi", "gss,md5", "!gss,!sspi"),
    *("3.0", "3.1", "3.2", "3", "latest", "Latest", "TLSv1", "tlsv1.1", "TLSv1.2"),
    *("TLSv1.3", "SSLv3", "UTF8", "nonsense", "AAAA", KEY, KEY[:-1], f" {KEY}"),
    *("a,b", "system", "database", "localhost"),
)
# Of this machine alone, where nothing listens.
ADDRESSES = (
    *("", " ", "127.0.0.1", "127.1", "0x7f.1", "::1", "[::1]", "127.0.0.1,127.0.0.1"),
    *("localhost", "nonsense", "127.0.0.1%lo", "::1%lo", "a,b", "127.0.0.1 ", "é"),
)
BLANKS = (" ", "127.0.0.1 ", "md5, none")


def differs_on_purpose(keyword: str, value: str) -> str:
    """Why we accept what libpq refuses, or the other way around; "": we must not."""
    if LIBPQ[keyword].refused:
        return "not supported"
    if keyword == "client_encoding":
        return "UTF8 only"
    if keyword == "sslsni" and value not in ("0", "1"):
        return "libpq takes every word for 0 or 1, we those that are one"
    if keyword == "connect_timeout" and re.fullmatch(r"[-0-9.e]+", value):
        return "fractions of a second, and more seconds than an int has"
    if keyword in ("hostaddr", "port", "require_auth") and value in BLANKS:
        return "blanks around the items of a list do not count"
    if keyword == "require_auth" and value in ("gss", "sspi"):
        return "we have none of these methods"
    if keyword == "hostaddr" and value.endswith("%lo"):
        return "whether an interface exists is found out when it is dialled"
    return ""


@pytest.fixture(scope="module", params=[18, 17])
def oracle(request: pytest.FixtureRequest) -> libpq.LibPQ:
    if not libpq.available(request.param):
        pytest.skip(f"needs the libpq of PostgreSQL {request.param}")
    return libpq.LibPQ(request.param)


@pytest.fixture(scope="module")
def counted(summary: list[str]) -> Iterator[Counter[str]]:
    counter: Counter[str] = Counter()
    yield counter
    equal = counter.pop("", 0)
    reasons = ", ".join(f"{reason} ({n})" for reason, n in counter.items())
    summary.append(
        f"Keywords with a value that libpq accepts or refuses, and so do we: {equal}; "
        f"not compared: {reasons}"
    )


def accepted(text: str) -> bool:
    try:
        parse(text, {}, {"HOME": "/"})
    except (InterfaceError, NotSupportedError):
        return False
    return True


@pytest.mark.parametrize("keyword", [k for k in LIBPQ if k not in ("host", "service")])
def test_values(oracle: libpq.LibPQ, keyword: str, counted: Counter[str]) -> None:
    if keyword not in oracle.known:
        pytest.skip("older than the keyword")
    if not oracle.has_tls and keyword in ("sslmode", "sslcertmode", "sslrootcert"):
        pytest.skip("built without OpenSSL, it knows other values")
    for value in ADDRESSES if keyword == "hostaddr" else VALUES:
        reason = differs_on_purpose(keyword, value)
        counted[reason] += 1
        if reason:
            continue
        keywords = {**HERE, keyword: value}
        text = " ".join(f"{name}='{given}'" for name, given in keywords.items())
        with libpq.environment({"HOME": "/"}):
            theirs = oracle.effective(text)
        assert accepted(text) == (not isinstance(theirs, str)), (text, theirs)


def test_complete() -> None:
    if not libpq.available(18):
        pytest.skip("needs the libpq of PostgreSQL 18")
    theirs = {name: variable for name, (variable, _) in libpq.LibPQ(18).known.items()}
    assert theirs == {k.name: k.variable for k in LIBPQ.values()}


def test_names_are_used_once() -> None:
    assert len(set(KNOWN)) == len(KNOWN) == len(LIBPQ) + len(ALIASES) + len(OWN)
    variables = [k.variable for k in LIBPQ.values() if k.variable]
    assert len({*variables, *SESSION_VARIABLES}) == len(variables) + 3


def test_documented() -> None:
    """docs/connecting.md has the table as it is, and a word about all others."""
    text = DOCUMENT.read_text()
    rows = []
    for keyword in LIBPQ.values():
        variable = f"`{keyword.variable}`" if keyword.variable else ""
        note = f"refused: {keyword.refused}" if keyword.refused else keyword.note
        rows.append(f"| `{keyword.name}` | {variable} | {note} |")
    table = text.partition("## Keywords of libpq 18")[2].partition("\n## ")[0]
    assert [line for line in table.splitlines() if line.startswith("| `")] == rows
    for name in (*ALIASES, *OWN, *SESSION_VARIABLES):
        assert f"`{name}`" in text, name


# Files: test_sources.py, test_passfile.py.
ELSEWHERE = {"service", "passfile"}


def changed(dsn: str, environ: dict[str, str]) -> set[str]:
    """The fields of Config that are not as they would be without."""
    environ = {"HOME": "/", **environ}
    mode = "sslmode=require" if "direct" in f"{dsn}{environ}" else ""
    plain = parse(f"user=u {mode}", {}, environ={"HOME": "/"})
    given = parse(dsn, {"user": "u", "sslmode": "require"} if mode else {}, environ)
    names = {n for n, field in Config.__dataclass_fields__.items() if field.compare}
    return {n for n in names if getattr(plain, n) != getattr(given, n)}


@pytest.mark.parametrize("name", LIBPQ)
def test_has_its_effect(name: str) -> None:
    """In a DSN of either kind and by its variable."""
    if name in ELSEWHERE:
        return
    if LIBPQ[name].refused is not None:
        with pytest.raises(NotSupportedError, match=name):
            parse(None, {name: "x"}, {})
        assert name not in SHOWN
        return
    value, fields = SHOWN[name]
    wanted = set(fields.split())
    user = "" if name == "user" else "user=u"
    assert changed(f"{user} {name}='{value}'", {}) == wanted
    quoted = value.replace("=", "%3d").replace(" ", "%20")
    assert changed(f"postgresql://?{name}={quoted}&{user}".rstrip("&"), {}) == wanted
    variable = LIBPQ[name].variable
    if variable is not None:
        assert changed(user, {variable: value}) == wanted


def test_replication() -> None:
    for value in ("false", "off", "no", "0", "", False):
        assert parse(None, {"replication": value}, {})
    for value in ("database", "on", "true", True, "1"):
        with pytest.raises(NotSupportedError, match="replication"):
            parse(None, {"replication": value}, {})


def test_numbers_that_are_not_texts() -> None:
    found = parse(None, {"keepalives": False, "keepalives_idle": 7, "port": 7}, {})
    assert (found.keepalives, found.keepalives_idle) == (False, 7)
    for value in (7.0, 2**31, "2147483648", "٣"):
        with pytest.raises(InterfaceError, match="keepalives_idle"):
            parse(None, {"keepalives_idle": value}, {})
