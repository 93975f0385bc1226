"""Makes corpus/session/, corpus/backend/ and corpus/trace/: what fuzzing starts from.

Run it after a change: `python tests/wire/make_corpus.py`. It writes its own files
again and leaves others, such as former findings, alone.
"""

from __future__ import annotations

import struct
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

# fuzz_session.c: how the session starts, and its steps.
READY, PASSWORD, TLS, NEWER = 0x01, 0x20, 0x40, 0x80
# … and the bits above the number of steps.
PREFER, REQUIRE, UNBINDABLE, LEAST = 0x20, 0x40, 0x60, 0x80
ALLOW_ALL = 0x0F << 1
STEPS = {letter: index for index, letter in enumerate("PBSDECYQ")}
STEPS |= {"M": 0x40, "O": 0x60}  # one of many sets; the same, in front of an open SYNC
NONCE = b"A" * 24  # base64 of the target's nonce, 18 zero bytes


def message(tag: str, body: bytes = b"") -> bytes:
    return tag.encode() + struct.pack(">I", len(body) + 4) + body


def auth(code: int, data: bytes = b"") -> bytes:
    return message("R", struct.pack(">I", code) + data)


def error(severity: str = "ERROR", sqlstate: str = "42601") -> bytes:
    parts = [f"S{severity}", f"V{severity}", f"C{sqlstate}", "Mno", "P7", ""]
    return message("E", b"".join(part.encode() + b"\0" for part in parts))


def columns(*oids: int) -> bytes:
    body = struct.pack(">H", len(oids))
    for oid in oids:
        body += b"c\0" + struct.pack(">IhIhih", 1259, 1, oid, 4, -1, 1)
    return message("T", body)


def parameters(*oids: int) -> bytes:
    return message("t", struct.pack(f">H{len(oids)}I", len(oids), *oids))


def row(*cells: bytes | None) -> bytes:
    body = struct.pack(">H", len(cells))
    for cell in cells:
        body += b"\xff" * 4 if cell is None else struct.pack(">I", len(cell)) + cell
    return message("D", body)


def copy(tag: str, *formats: int) -> bytes:
    return message(tag, struct.pack(f">BH{len(formats)}H", 1, len(formats), *formats))


def complete(tag: str = "SELECT 1") -> bytes:
    return message("C", tag.encode() + b"\0")


def ready(status: str = "I") -> bytes:
    return message("Z", status.encode())


PARSED, BOUND, CLOSED = message("1"), message("2"), message("3")
NO_DATA, EMPTY, SUSPENDED = message("n"), message("I"), message("s")
NOTICE = message("N", b"SNOTICE\0C00000\0Mhi\0\0")
NOTIFICATION = message("A", struct.pack(">I", 42) + b"channel\0payload\0")
PARAMETER = message("S", b"TimeZone\0UTC\0")
KEY = message("K", struct.pack(">I", 42) + b"key!")
AUTH_OK = auth(0)
BOOT = PARAMETER + KEY + NOTICE + ready()
DATA, DONE = message("d", b"1\tone\n"), message("c")
SERVER_FIRST = b"r=" + NONCE + b"server,s=c2FsdA==,i=4096"


def session(start: int, steps: str, server: bytes, more: int = 0) -> bytes:
    chosen = bytes(
        STEPS[letter.upper()] | (0x80 if letter.islower() else 0) for letter in steps
    )
    return bytes([start, len(steps) | more]) + chosen + server


def running(steps: str, *server: bytes) -> bytes:
    return session(READY, steps, b"".join(server))


def starting(*server: bytes, steps: str = "", password: int = PASSWORD) -> bytes:
    return session(ALLOW_ALL | password, steps, b"".join(server))


def bound(more: int, *server: bytes, tls: int = TLS) -> bytes:
    """A startup with channel binding."""
    return session(ALLOW_ALL | PASSWORD | tls, "", b"".join(server), more)


def newer(*server: bytes, least: int = 0) -> bytes:
    """A startup that asks for protocol 3.2."""
    return session(ALLOW_ALL | NEWER, "", b"".join(server), least)


def binding_corpus() -> dict[str, bytes]:
    both = auth(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")
    plain = auth(10, b"SCRAM-SHA-256\0\0")
    rest = auth(11, SERVER_FIRST) + auth(12, b"v=" + b"A" * 43 + b"=") + AUTH_OK
    return {
        "plus": bound(PREFER, both, rest),
        "plus_required": bound(REQUIRE, both, rest),
        "plus_disabled": bound(0, both, rest),
        "plus_not_offered": bound(PREFER, plain, rest),
        "plus_not_offered_required": bound(REQUIRE, plain, rest),
        "plus_unbindable": bound(UNBINDABLE, both, rest),
        "plus_without_tls": bound(PREFER, both, rest, tls=0),
        "plus_only": bound(0, auth(10, b"SCRAM-SHA-256-PLUS\0\0")),
        "required_trust": bound(REQUIRE, AUTH_OK, BOOT),
        "required_password": bound(REQUIRE, auth(3), AUTH_OK, BOOT),
        "required_without_tls": bound(REQUIRE, plain, rest, tls=0),
    }


def version_corpus() -> dict[str, bytes]:
    older = message("v", struct.pack(">II", 0x30000, 0))
    long_key = message("K", struct.pack(">I", 42) + b"k" * 32)
    return {
        "version": newer(AUTH_OK, long_key, ready()),
        "version_older": newer(older, AUTH_OK, KEY, ready()),
        "version_older_long_key": newer(older, AUTH_OK, long_key, ready()),
        "version_too_old": newer(older, AUTH_OK, least=LEAST),
        "version_twice": newer(older, older, AUTH_OK),
        "version_late": newer(AUTH_OK, older),
        "version_newer": newer(message("v", struct.pack(">II", 0x30003, 0))),
        "version_3_1": newer(message("v", struct.pack(">II", 0x30001, 0))),
        "version_option": newer(
            message("v", struct.pack(">II", 0x30000, 1) + b"_pq_.x\0")
        ),
        "version_key_longest": newer(AUTH_OK, message("K", b"k" * 260), ready()),
        "version_key_too_long": newer(AUTH_OK, message("K", b"k" * 261), ready()),
    }


def session_corpus() -> dict[str, bytes]:
    return running_corpus() | binding_corpus() | version_corpus()


def running_corpus() -> dict[str, bytes]:
    first_rows = [columns(23, 25), row(b"\0\0\0\1", None), row(b"\0\0\0\2", b"x")]
    describe = [PARSED, parameters(23, 0), columns(23, 25)]
    return {
        "empty": b"",
        "trust": starting(AUTH_OK, BOOT, password=0),
        "trust_then_query": starting(
            AUTH_OK, BOOT, *first_rows, complete(), ready(), steps="Q"
        ),
        "password": starting(auth(3), AUTH_OK, BOOT),
        "password_twice": starting(auth(3), auth(3)),
        "password_none": starting(auth(3), password=0),
        "md5": starting(auth(5, b"salt"), AUTH_OK, BOOT),
        "md5_short_salt": starting(auth(5, b"sal")),
        "not_allowed": session(PASSWORD | 0x08 << 1, "", auth(3)),
        "scram": starting(
            auth(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
            auth(11, SERVER_FIRST),
            auth(12, b"v=" + b"A" * 43 + b"="),
            AUTH_OK,
        ),
        "scram_error": starting(
            auth(10, b"SCRAM-SHA-256\0\0"),
            auth(11, SERVER_FIRST),
            error("FATAL", "28P01"),
        ),
        "scram_skipped": starting(auth(10, b"SCRAM-SHA-256\0\0"), AUTH_OK, BOOT),
        "scram_final_first": starting(auth(12, b"v=AA==")),
        "scram_unknown": starting(auth(10, b"SCRAM-SHA-1\0\0")),
        "sasl_unterminated": starting(auth(10, b"SCRAM-SHA-256\0")),
        "gss": starting(auth(7)),
        "refused": starting(NOTICE, error("FATAL", "28000")),
        "refused_then_ok": starting(error("FATAL", "28000"), AUTH_OK, BOOT),
        "boot_error": starting(AUTH_OK, PARAMETER, error("FATAL", "53300")),
        "two_keys": starting(AUTH_OK, KEY, KEY),
        "negotiate": starting(
            message("v", struct.pack(">II", 0x30000, 1) + b"_pq_.x\0")
        ),
        "prepare": running("PSY", *describe, ready()),
        "execute": running("BEY", BOUND, *first_rows[1:], complete(), ready()),
        "no_data": running("PSY", PARSED, parameters(), NO_DATA, ready()),
        "portal": running(
            "BDEEY", BOUND, *first_rows, SUSPENDED, complete(), ready("T")
        ),
        "close": running("CCY", CLOSED, CLOSED, ready()),
        "nothing": running("EY", EMPTY, ready()),
        "pipeline": running("BEYBEYBEY", *[BOUND, complete("INSERT 0 1"), ready()] * 3),
        "pipeline_error": running(
            "PBEYBEYBEY",
            PARSED,
            error(),
            ready("E"),
            *[BOUND, complete(), ready("E")] * 2,
        ),
        "sets": running(
            "BEMMMY", *[BOUND, complete("INSERT 0 1")] * 3, BOUND, complete(), ready()
        ),
        "sets_rows": running("MMY", *[BOUND, *first_rows[1:], complete()] * 2, ready()),
        "sets_open": running("OMM", *[BOUND, complete()] * 2, NOTICE, BOUND, error()),
        "sets_open_ready": running("OM", *[BOUND, complete()] * 2, ready()),
        "segment": running(
            "PSBEBEY",
            PARSED,
            *describe[1:],
            *[BOUND, *first_rows[1:], complete()] * 2,
            ready(),
        ),
        "segment_flushed": running("BEBE", *[BOUND, complete("INSERT 0 1")] * 2),
        "segment_error": running("BEBEBE", BOUND, complete(), error(), NOTICE),
        "segment_ready": running("BEBE", BOUND, complete(), error(), ready()),
        "error_at_sync": running("BEYY", BOUND, complete(), error(), ready(), ready()),
        "riders": running(
            "pbecBEY",
            PARSED,
            BOUND,
            complete("BEGIN"),
            CLOSED,
            BOUND,
            complete(),
            ready("T"),
        ),
        "rider_error": running("pbeBEYBEY", PARSED, error(), ready("E"), BOUND),
        "rider_rows": running("eEY", row(b"x"), complete(), complete(), ready()),
        "query": running("Q", *first_rows, complete(), EMPTY, complete("SET"), ready()),
        "query_error": running("QQ", columns(23), error(), ready(), EMPTY, ready()),
        "copy_out": running(
            "EY", copy("H", 1, 1), DATA, DATA, DONE, complete("COPY 2"), ready()
        ),
        "copy_in": running("EY", copy("G", 0), complete("COPY 2"), ready()),
        "copy_in_error": running(
            "Q", copy("G", 0), error("ERROR", "57014"), ready("E")
        ),
        "copy_both": running("EY", copy("W")),
        "unsolicited": running(
            "", NOTICE, NOTIFICATION, PARAMETER, error("FATAL", "57P01")
        ),
        "asides": running(
            "BEY",
            NOTICE,
            BOUND,
            NOTIFICATION,
            row(b"x"),
            PARAMETER,
            complete(),
            ready(),
        ),
        "not_due": running("BEY", complete()),
        "unasked_row": running("", row(b"x")),
        "unknown_tag": running("EY", b"V\0\0\0\4"),
        "length_small": running("EY", b"D\0\0\0\3"),
        "length_huge": running("EY", b"D\x7f\xff\xff\xff"),
        "cut": running("EY", row(b"x" * 40)[:-7]),
        "cell_lies": running(
            "EY", message("D", b"\0\1\xff\xff\xff\xfe"), complete(), ready()
        ),
    }


def backend_corpus() -> dict[str, bytes]:
    """Streams of frames; and bodies on their own, which every parser reads."""
    frames = {
        "auth": AUTH_OK + auth(5, b"salt") + auth(10, b"SCRAM-SHA-256\0\0"),
        "boot": BOOT,
        "bare": PARSED + BOUND + CLOSED + NO_DATA + EMPTY + SUSPENDED + DONE,
        "description": parameters(23, 25) + columns(23, 25, 1700),
        "rows": row(b"x", None, b"") + row() + row(b"x" * 300),
        "complete": complete() + complete("INSERT 0 12") + complete("CREATE TABLE"),
        "copy": copy("G", 0, 0) + copy("H", 1) + copy("W") + DATA,
        "errors": error() + NOTICE + message("E", b"\0"),
        "notification": NOTIFICATION,
        "negotiation": message("v", struct.pack(">II", 0x30000, 2) + b"_pq_.a\0b\0"),
    }
    bodies = {
        "body_row_description": columns(23, 25)[5:],
        "body_parameters": parameters(20, 21, 23)[5:],
        "body_row": row(b"one", None, b"")[5:],
        "body_error": error()[5:],
        "body_error_unterminated": error()[5:-1],
        "body_key": KEY[5:],
        "body_parameter": PARAMETER[5:],
        "body_notification": NOTIFICATION[5:],
        "body_complete": complete("UPDATE 999999999999999999")[5:],
        "body_copy": copy("G", 0, 1, 1)[5:],
        "body_negotiation": struct.pack(">II", 0x30002, 0xFFFFFFFF) + b"a\0",
        "body_ready": b"T",
        "body_columns_max": struct.pack(">H", 0xFFFF) + b"c\0" * 20,
        "unknown": b"\0\0\0\0\4",
        "impossible": b"Z\0\0\0\3I",
        "endless": b"D\x3f\xff\xff\xff",
        "header_cut": b"T\0\0",
        "empty": b"",
    }
    return frames | bodies


def conversation(start: int, *pieces: tuple[int, bytes]) -> bytes:
    """For fuzz_trace.c; a piece has less than 128 bytes, and a side (0x80: ours)."""
    return bytes([start]) + b"".join(
        bytes([side | len(part)]) + part for side, part in pieces
    )


def trace_corpus() -> dict[str, bytes]:
    server, client = 0x00, 0x80
    untagged, regress = 1, 2
    ssl = struct.pack(">II", 8, 80877103)
    start = struct.pack(">II", 17, 0x30002) + b"user\0me\0\0"
    cancel = struct.pack(">IIi", 16, 80877102, 77) + b"key!"
    bind = message("B", b"\0s\0\0\1\0\1\0\2\0\0\0\2\0a" + b"\xff" * 4 + b"\0\1\0\1")
    requests = (
        message("P", b"s\0select $1\0" + struct.pack(">HI", 1, 23))
        + message("D", b"Ss\0")
        + message("E", b"\0" + struct.pack(">I", 0))
        + message("C", b"Ss\0")
        + message("S")
    )
    sasl = auth(10, b"SCRAM-SHA-256\0\0")
    initial = message("p", b"SCRAM-SHA-256\0" + struct.pack(">I", 3) + b"n,,")
    call = message("F", struct.pack(">IHHHI", 7, 1, 1, 1, 2) + b"hi\0\1")
    return {
        "encrypted": conversation(untagged, (client, ssl), (server, b"S")),
        "startup": conversation(untagged, (client, start), (server, AUTH_OK)),
        "cancel": conversation(untagged | regress, (client, cancel)),
        "password": conversation(
            0, (server, auth(5, b"salt")), (client, message("p", b"md5\0"))
        ),
        "scram": conversation(
            0,
            (server, sasl),
            (client, initial),
            (server, auth(11, b"r=x")),
            (client, message("p", b"c=biws")),
            (server, auth(12, b"v=x")),
        ),
        "gss": conversation(0, (server, auth(7)), (client, message("p", b"x"))),
        "requests": conversation(0, (client, requests), (client, bind)),
        "regress": conversation(regress, (client, requests), (server, error())),
        "function": conversation(0, (client, call), (server, message("V", call[5:]))),
        "copying": conversation(0, (server, copy("G", 0, 0)), (client, DATA)),
    } | {name: b"\0\0" + data for name, data in backend_corpus().items()}


def main() -> None:
    for name, files in (
        ("session", session_corpus()),
        ("backend", backend_corpus()),
        ("trace", trace_corpus()),
    ):
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        print(f"{name}: {len(files)} files")


if __name__ == "__main__":
    main()
