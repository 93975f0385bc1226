"""Talks to a server through libpq, in every way that has messages of its own, and has
PQtrace write it down: `libpq_calls.py LIBRARY CONNINFO FILE FLAGS`."""

from __future__ import annotations

import ctypes
import select
import sys
from ctypes import c_char_p, c_int, c_uint, c_void_p

READING, WRITING, OK, FAILED = 1, 2, 3, 0  # PostgresPollingStatusType
INT4, TEXT, BYTEA = 23, 25, 17


class Libpq:
    def __init__(self, library: str) -> None:
        self.library = ctypes.CDLL(library)
        self.libc = ctypes.CDLL(None)
        self.libc.fopen.restype = c_void_p
        for name in ("PQconnectStart", "PQgetResult"):
            getattr(self.library, name).restype = c_void_p
        self.library.PQerrorMessage.restype = c_char_p

    def connect(self, conninfo: str, path: str, flags: int) -> None:
        """Traces from the first byte on."""
        lib = self.library
        self.conn = c_void_p(lib.PQconnectStart(conninfo.encode()))
        self.file = c_void_p(self.libc.fopen(path.encode(), b"w"))
        lib.PQtrace(self.conn, self.file)
        lib.PQsetTraceFlags(self.conn, flags)
        state = WRITING
        while state not in (OK, FAILED):
            sock = [lib.PQsocket(self.conn)]
            reading, writing = (sock, []) if state == READING else ([], sock)
            select.select(reading, writing, [], 10)
            state = lib.PQconnectPoll(self.conn)
        if state == FAILED:
            raise SystemExit(self.error())

    def error(self) -> str:
        return str(self.library.PQerrorMessage(self.conn).decode())

    def results(self, sent: int) -> None:
        """Waits for all that a PQsend… has asked for."""
        if not sent:
            raise SystemExit(self.error())
        while (result := c_void_p(self.library.PQgetResult(self.conn))).value:
            self.library.PQclear(result)

    def query(self, sql: str) -> None:
        self.results(self.library.PQsendQuery(self.conn, sql.encode()))

    def arrays(self, values: list[bytes | None]) -> tuple[object, object, object]:
        count = len(values)
        lengths = [0 if value is None else len(value) for value in values]
        formats = [1] * count
        return (
            (c_char_p * count)(*values),
            (c_int * count)(*lengths),
            (c_int * count)(*formats),
        )

    def params(self, sql: str, types: list[int], values: list[bytes | None]) -> None:
        texts, lengths, formats = self.arrays(values)
        oids = (c_uint * len(types))(*types)
        self.results(
            self.library.PQsendQueryParams(
                self.conn,
                sql.encode(),
                len(values),
                oids,
                texts,
                lengths,
                formats,
                c_int(1),
            )
        )

    def prepared(self, sql: str, values: list[bytes | None]) -> None:
        lib, name = self.library, b"a name"
        self.results(lib.PQsendPrepare(self.conn, name, sql.encode(), 0, None))
        self.results(lib.PQsendDescribePrepared(self.conn, name))
        texts, lengths, formats = self.arrays(values)
        self.results(
            lib.PQsendQueryPrepared(
                self.conn, name, len(values), texts, lengths, formats, c_int(0)
            )
        )
        if hasattr(lib, "PQsendClosePrepared"):
            self.results(lib.PQsendClosePrepared(self.conn, name))

    def pipeline(self) -> None:
        lib = self.library
        lib.PQenterPipelineMode(self.conn)
        for sql in ("select 1", "select 1/0", "select 3"):
            lib.PQsendQueryParams(
                self.conn, sql.encode(), 0, None, None, None, None, c_int(0)
            )
        lib.PQsendFlushRequest(self.conn)
        lib.PQpipelineSync(self.conn)
        for _ in range(3):
            self.results(1)
        self.results(1)  # PGRES_PIPELINE_SYNC
        lib.PQexitPipelineMode(self.conn)

    def copy(self) -> None:
        lib = self.library
        self.query_only("copy traced from stdin")
        lib.PQputCopyData(self.conn, b"1\tone\n", 6)
        lib.PQputCopyEnd(self.conn, None)
        self.results(1)
        self.query_only("copy traced from stdin")
        lib.PQputCopyEnd(self.conn, b"no more")
        self.results(1)
        self.query_only("copy traced to stdout")
        line = c_char_p()
        while lib.PQgetCopyData(self.conn, ctypes.byref(line), 0) > 0:
            pass
        self.results(1)

    def query_only(self, sql: str) -> None:
        """A query and the first of its results."""
        self.library.PQsendQuery(self.conn, sql.encode())
        self.library.PQclear(c_void_p(self.library.PQgetResult(self.conn)))

    def function(self) -> None:
        """int4pl(1, 2) by the FunctionCall message."""

        class Argument(ctypes.Structure):
            _fields_ = (("len", c_int), ("isint", c_int), ("integer", c_int * 2))

        arguments = (Argument * 2)(Argument(4, 1, (1, 0)), Argument(4, 1, (2, 0)))
        result, length = c_int(), c_int()
        call = self.library.PQfn
        call.restype = c_void_p
        self.library.PQclear(
            c_void_p(
                call(
                    self.conn,
                    177,
                    ctypes.byref(result),
                    ctypes.byref(length),
                    1,
                    arguments,
                    2,
                )
            )
        )
        assert result.value == 3, result.value

    def finish(self) -> None:
        self.library.PQfinish(self.conn)
        self.libc.fclose(self.file)


def main() -> None:
    library, conninfo, path, flags = sys.argv[1:]
    pq = Libpq(library)
    pq.connect(conninfo, path, int(flags))
    pq.query("select 1 as one, 'a\\\\b''c' as two, null, E'\\u00e9\\n\\001'")
    pq.query("")
    pq.query("select 1; select 2 where false; select 3")
    pq.query("select nope")
    pq.query("do $$ begin raise notice 'hello\nyou'; end $$")
    pq.query("listen here")
    pq.query("notify here, 'payload'")
    pq.query("set application_name = 'traced'")
    pq.query("create temporary table traced (a int, b text)")
    pq.params(
        "select $1::bytea, $2::int4, $3::text",
        [BYTEA, INT4, TEXT],
        [b"\x00'\\\xff", None, b""],
    )
    pq.params("select generate_series(1, 3)", [], [])
    pq.params("select $1", [99_999_999], [b"x"])
    pq.prepared("insert into traced values ($1, $2)", [b"\0\0\0\x07", b"seven"])
    pq.query("begin; declare hand cursor for select * from pg_type")
    pq.results(pq.library.PQsendDescribePortal(pq.conn, b"hand"))
    pq.query("commit")
    pq.copy()
    if pq.library.PQlibVersion() >= 180000:  # before, not all of it is traced
        pq.function()
    pq.pipeline()
    pq.finish()


if __name__ == "__main__":
    main()
