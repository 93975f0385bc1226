"""What comes in place of a startup."""

from __future__ import annotations

import struct
import time

import pytest

import pgasync
from hostile.scripts import (
    LIMIT_S,
    Startup,
    booted,
    eof,
    no_session,
    rst,
    sends,
    stall,
    then_close,
)
from pgmock import (
    PARSE_COMPLETE,
    Peer,
    Script,
    backend_key,
    complete,
    cstr,
    data_row,
    error,
    fields,
    message,
    notice,
    parameter,
    ready,
)

SHORT = {"connect_timeout": 2}
BODY_70K = fields(S="FATAL", C="28000", M="x" * 70_000)


def drips(*data: bytes) -> Script:
    """One byte in 0.2 s, so that no single read ever waits long."""

    def script(peer: Peer) -> None:
        peer.drip(b"".join(data) * 1000, 0.2)

    return script


def endless_notices(peer: Peer) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        peer.send(notice() * 10)
        time.sleep(0.01)


STARTUP = [
    Startup("eof", eof),
    Startup("rst", rst),
    Startup("eof_inside_header", then_close(b"R\0\0")),
    Startup("eof_inside_body", then_close(b"R\0\0\0\x08\0\0")),
    Startup("stall", stall, SHORT),
    Startup("drip", drips(notice("x" * 200)), SHORT),
    Startup("notices_for_ever", endless_notices, SHORT),
    Startup("unknown_tag", sends(message(b"!", b"abcd"))),
    Startup("type_zero", sends(message(b"\0", b"abcd"))),
    Startup("type_zero_for_ever", sends(b"\0" * 4096)),
    Startup("http", sends(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n")),
    Startup("tls_record", sends(b"\x15\x03\x01\x00\x02\x02\x28")),
    Startup("length_zero", sends(message(b"R", length=0))),
    Startup("length_3", sends(message(b"R", length=3))),
    Startup("length_negative", sends(message(b"R", length=-5))),
    Startup("length_2gb", sends(message(b"E", b"SFATAL", length=0x7FFFFFFF))),
    Startup("length_1gb", sends(message(b"E", b"SFATAL", length=0x3FFFFFF0))),
    Startup("over_limit_before_auth", sends(message(b"E", BODY_70K))),
    Startup("notice_over_limit_before_auth", sends(message(b"N", BODY_70K))),
    Startup("error_empty", sends(message(b"E"))),
    Startup("error_no_fields", sends(message(b"E", b"\0")), {}, pgasync.Error),
    Startup(
        "error_without_sqlstate",
        sends(message(b"E", fields(S="FATAL", M="no"))),
        {},
        pgasync.Error,
    ),
    Startup("error_unterminated_field", sends(message(b"E", b"SFATAL\0C28000\0Mno"))),
    Startup("error_unterminated_list", sends(message(b"E", b"SFATAL\0C28000\0"))),
    Startup("error_tail", sends(message(b"E", fields(S="FATAL", M="no") + b"x"))),
    Startup(
        "error_not_utf8",
        then_close(message(b"E", b"SFATAL\0C28000\0M\xff\xfe\0\0")),
        {},
        pgasync.Error,
    ),
    Startup(
        "error_protocol_2", then_close(b"EFATAL:  unsupported frontend protocol\n\0")
    ),
    Startup(
        "negotiate_higher", sends(message(b"v", struct.pack("!ii", 0x0003270F, 0)))
    ),
    Startup(
        "negotiate_major_2", sends(message(b"v", struct.pack("!ii", 0x00020000, 0)))
    ),
    Startup(
        "negotiate_negative_options",
        sends(message(b"v", struct.pack("!ii", 0x00030000, -1))),
    ),
    Startup(
        "negotiate_missing_options",
        sends(message(b"v", struct.pack("!ii", 0x00030000, 5))),
    ),
    Startup("negotiate_short", sends(message(b"v", b"\0\3"))),
    Startup("key_before_auth", sends(backend_key())),
    Startup("key_twice", booted(backend_key(), backend_key(), ready())),
    Startup("key_2_bytes", booted(message(b"K", b"\0\1"), ready())),
    Startup("key_without_secret", booted(backend_key(1, b""), ready())),
    Startup("key_300_bytes", booted(backend_key(1, b"k" * 300), ready())),
    Startup("ready_before_auth", sends(ready())),
    Startup("parameter_before_auth", sends(parameter("client_encoding", "UTF8"))),
    Startup("row_before_auth", sends(data_row(b"x"))),
    Startup("row_at_boot", booted(data_row(b"x"))),
    Startup("complete_at_boot", booted(complete("SELECT 1"))),
    Startup("parse_complete_at_boot", booted(PARSE_COMPLETE)),
    Startup("ready_bad_status", booted(ready(b"Q"))),
    Startup("ready_empty", booted(message(b"Z"))),
    Startup("ready_long", booted(message(b"Z", b"II"))),
    Startup("parameter_without_nul", booted(message(b"S", b"client_encoding"))),
    Startup("parameter_one_string", booted(message(b"S", cstr("TimeZone")))),
    Startup("parameter_three_strings", booted(message(b"S", b"a\0b\0c\0"))),
    Startup("parameter_flood", booted(parameter("x", "y") * 200_000)),
    Startup(
        "parameter_names_flood",
        booted(*(parameter(f"p{i}", "v" * 100) for i in range(50_000))),
    ),
    Startup("encoding_latin1", booted(parameter("client_encoding", "LATIN1"), ready())),
    Startup(
        "fatal_while_booting",
        booted(error("57P03", "starting up", "FATAL")),
        {},
        pgasync.OperationalError,
    ),
]


@pytest.mark.parametrize("case", STARTUP, ids=lambda case: case.name)
async def test_startup(case: Startup) -> None:
    await no_session(case)
