"""What hostile, broken or merely odd servers send, one behaviour per case.

Every case ends within a time limit and with bounded memory in a clean exception
of the right class. A broken protocol closes the connection; a value that cannot
be decoded is a DataError and leaves it usable, which the next query proves.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import faulthandler
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import pgasync
from pgasync import errors
from pgmock import (
    BIND_COMPLETE,
    BOOL,
    BYTEA,
    DATE,
    FLOAT8,
    INT2,
    INT4,
    INT4_ARRAY,
    INT8,
    INTERVAL,
    JSON,
    JSONB,
    NO_DATA,
    NUMERIC,
    OID,
    PARSE_COMPLETE,
    SUSPENDED,
    TEXT,
    TEXT_ARRAY,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    UUID,
    Answer,
    MockServer,
    Peer,
    Scram,
    Script,
    array,
    auth,
    auth_ok,
    auth_sasl,
    backend_key,
    complete,
    cstr,
    data_row,
    error,
    fields,
    int4,
    message,
    notice,
    notification,
    one_value,
    parameter,
    parameter_description,
    ready,
    row_description,
    serve,
)

LIMIT_S = 5.0
MEMORY_LIMIT = 64 * 2**20
SANITIZED = (
    "libasan" in Path("/proc/self/maps").read_text()
    if (sys.platform == "linux")
    else False
)

NO_SESSION = (errors.ConnectError, errors.ConnectionLost)


def memory(field: str) -> int:
    """VmRSS or VmHWM (the peak) of this process, in bytes; 0 where unknown."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Ends a process that hangs in C, and fails a test whose memory balloons."""
    faulthandler.dump_traceback_later(60, exit=True)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    before = memory("VmRSS")
    yield
    faulthandler.cancel_dump_traceback_later()
    if not SANITIZED:
        assert memory("VmHWM") - before <= MEMORY_LIMIT


async def connect(server: MockServer, **keywords: Any) -> Any:
    keywords.setdefault("connect_timeout", 4)
    return await asyncio.wait_for(
        pgasync.connect(server.dsn, autocommit=True, **keywords), LIMIT_S
    )


# --- until the session is there ----------------------------------------------


class Startup(NamedTuple):
    """`script` runs after the StartupMessage has been read."""

    name: str
    script: Script
    keywords: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    error: Any = NO_SESSION


def sends(*data: bytes) -> Script:
    """Sends this and waits for the client to leave."""

    def script(peer: Peer) -> None:
        peer.send(*data)
        peer.wait_closed()

    return script


def then_close(*data: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.send(*data)

    return script


def booted(*data: bytes) -> Script:
    """AuthenticationOk, then this in place of the rest."""
    return sends(auth_ok(), *data)


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


def scram(bend: Callable[[Scram, Peer], None]) -> Script:
    """Offers SCRAM and reads the client's first message, then `bend`."""

    def script(peer: Peer) -> None:
        server = Scram()
        server.read_first(peer)
        bend(server, peer)
        peer.wait_closed()

    return script


def first_is(**how: str) -> Script:
    """A bad server-first-message: parts of Scram.first, or `raw`."""

    def bend(server: Scram, peer: Peer) -> None:
        raw = how.get("raw")
        text = (
            server.first(**how)
            if raw is None
            else raw.replace("NONCE", server.client_nonce)
        )
        peer.send(auth(11, text.encode()))

    return scram(bend)


def final_is(final: str, *more: bytes) -> Script:
    def bend(server: Scram, peer: Peer) -> None:
        first = server.first()
        peer.send(auth(11, first.encode()))
        right = server.final(peer, first)
        peer.send(auth(12, final.replace("RIGHT", right).encode()), *more)

    return scram(bend)


def no_final(peer: Peer) -> None:
    """AuthenticationOk instead of the proof that the server knows the password."""
    server = Scram()
    server.read_first(peer)
    first = server.first()
    peer.send(auth(11, first.encode()))
    server.final(peer, first)
    peer.send(auth_ok())
    peer.boot()
    peer.wait_closed()


def extends_but_drops_last(server: Scram, peer: Peer) -> None:
    """A nonce one character short of the client's."""
    peer.send(auth(11, server.first(nonce=server.client_nonce[:-1]).encode()))


def after_password(*data: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.send(auth(3))
        peer.expect(b"p")
        peer.send(*data)
        peer.wait_closed()

    return script


def eof(peer: Peer) -> None:
    peer.close()


def rst(peer: Peer) -> None:
    peer.reset()


def stall(peer: Peer) -> None:
    peer.wait_closed()


SECRET = {"password": "secret", "require_auth": "scram-sha-256"}
MD5 = {"password": "secret", "require_auth": "md5"}
PLAIN = {"password": "secret", "require_auth": "password"}
SHORT = {"connect_timeout": 2}
BODY_70K = fields(S="FATAL", C="28000", M="x" * 70_000)
SALT = base64.b64encode(b"0123456789abcdef").decode()

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
    Startup("auth_message_too_long", sends(auth(10, cstr("A" * 3000) + b"\0"))),
    Startup("auth_empty", sends(message(b"R"))),
    Startup("auth_3_bytes", sends(message(b"R", b"\0\0\0"))),
    Startup("auth_ok_with_tail", sends(auth(0, b"x"))),
    Startup("auth_unknown_code", sends(auth(99))),
    Startup("auth_negative_code", sends(auth(-1))),
    Startup("auth_kerberos_5", sends(auth(2))),
    Startup("auth_gss", sends(auth(7))),
    Startup("auth_gss_continue", sends(auth(8, b"abc"))),
    Startup("auth_sspi", sends(auth(9))),
    Startup("auth_cleartext_with_tail", sends(auth(3, b"x")), PLAIN),
    Startup("auth_cleartext_twice", after_password(auth(3)), PLAIN),
    Startup("auth_cleartext_then_md5", after_password(auth(5, b"salt")), PLAIN),
    Startup("auth_ok_twice", booted(auth_ok())),
    Startup("auth_none_refused", sends(auth_ok()), SECRET),
    Startup("auth_downgrade_to_cleartext", sends(auth(3)), SECRET),
    Startup("auth_downgrade_to_md5", sends(auth(5, b"salt")), SECRET),
    Startup("auth_password_missing", sends(auth(3)), {"require_auth": "password"}),
    Startup("md5_salt_3_bytes", sends(auth(5, b"abc")), MD5),
    Startup("md5_salt_5_bytes", sends(auth(5, b"abcde")), MD5),
    Startup("md5_no_salt", sends(auth(5)), MD5),
    Startup("sasl_no_mechanism", sends(auth_sasl()), SECRET),
    Startup("sasl_unknown_mechanism", sends(auth_sasl("SCRAM-SHA-1", "X")), SECRET),
    Startup("sasl_plus_only", sends(auth_sasl("SCRAM-SHA-256-PLUS")), SECRET),
    Startup("sasl_unterminated", sends(auth(10, b"SCRAM-SHA-256")), SECRET),
    Startup("sasl_list_without_end", sends(auth(10, b"SCRAM-SHA-256\0")), SECRET),
    Startup("sasl_continue_first", sends(auth(11, b"r=x,s=eA==,i=1")), SECRET),
    Startup("sasl_final_first", sends(auth(12, b"v=eA==")), SECRET),
    Startup("sasl_ok_at_once", scram(lambda s, p: p.send(auth_ok())), SECRET),
    Startup(
        "sasl_final_skips_first",
        scram(lambda s, p: p.send(auth(12, b"v=eA=="))),
        SECRET,
    ),
    Startup(
        "sasl_twice", scram(lambda s, p: p.send(auth_sasl("SCRAM-SHA-256"))), SECRET
    ),
    Startup("sasl_final_missing", no_final, SECRET),
    Startup(
        "scram_wrong_signature",
        final_is("v=" + base64.b64encode(b"x" * 32).decode()),
        SECRET,
    ),
    Startup("scram_short_signature", final_is("v=eA=="), SECRET),
    Startup("scram_long_signature", final_is("RIGHT" + "A" * 1200), SECRET),
    Startup("scram_signature_not_base64", final_is("v=!!!!"), SECRET),
    Startup("scram_final_empty", final_is(""), SECRET),
    Startup("scram_final_error", final_is("e=other-error"), SECRET),
    Startup("scram_final_twice", final_is("RIGHT", auth(12, b"v=eA==")), SECRET),
    Startup("scram_first_empty", first_is(raw=""), SECRET),
    Startup("scram_nonce_not_ours", first_is(nonce="A" * 48), SECRET),
    Startup(
        "scram_nonce_not_extended", first_is(raw=f"r=NONCE,s={SALT},i=4096"), SECRET
    ),
    Startup("scram_nonce_cut", scram(extends_but_drops_last), SECRET),
    Startup(
        "scram_nonce_unprintable",
        first_is(raw=f"r=NONCE\x01\x02,s={SALT},i=4096"),
        SECRET,
    ),
    Startup("scram_iterations_0", first_is(iterations="0"), SECRET),
    Startup("scram_iterations_negative", first_is(iterations="-1"), SECRET),
    Startup("scram_iterations_2_31", first_is(iterations="2147483648"), SECRET),
    Startup(
        "scram_iterations_2_64", first_is(iterations="18446744073709551617"), SECRET
    ),
    Startup("scram_iterations_over_cap", first_is(iterations="100001"), SECRET),
    Startup("scram_iterations_words", first_is(iterations="many"), SECRET),
    Startup("scram_iterations_missing", first_is(raw=f"r=NONCEx,s={SALT}"), SECRET),
    Startup("scram_salt_missing", first_is(raw="r=NONCEx,i=4096"), SECRET),
    Startup("scram_salt_empty", first_is(salt=""), SECRET),
    Startup(
        "scram_salt_too_long",
        first_is(salt=base64.b64encode(b"x" * 1300).decode()),
        SECRET,
    ),
    Startup("scram_salt_not_base64", first_is(salt="%%%%"), SECRET),
    Startup(
        "scram_mandatory_extension",
        first_is(raw=f"m=x,r=NONCEx,s={SALT},i=4096"),
        SECRET,
    ),
    Startup("scram_nul_inside", first_is(raw=f"r=NONCEx,s={SALT}\0,i=4096"), SECRET),
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
    def script(peer: Peer) -> None:
        peer.read_startup()
        case.script(peer)

    with MockServer(script) as server:
        started = time.monotonic()
        with pytest.raises(case.error) as caught:
            conn = await connect(server, **case.keywords)
            await conn.close()
        assert time.monotonic() - started < LIMIT_S
        assert "secret" not in str(caught.value)
    assert not server.failures


async def test_honest_scram() -> None:
    """The script itself is right: unbent, it lets the client in."""

    def script(peer: Peer) -> None:
        peer.read_startup()
        Scram().honest(peer)
        peer.send(auth_ok())
        peer.boot()
        serve(peer)

    with MockServer(script) as server:
        conn = await connect(server, **SECRET)
        assert await conn.fetchval("select 5") == 5
        await conn.close()
    assert not server.failures


# --- broken answers to a query -----------------------------------------------


class Query(NamedTuple):
    """The answer to `select v`; the connection must be closed after it."""

    name: str
    answer: Answer
    error: Any = errors.ProtocolViolation


def at_execute(*data: bytes) -> Answer:
    return Answer(execute=b"".join(data))


def waits(*data: bytes) -> Answer:
    """At Execute sends this and nothing more: the client must not wait for more."""

    def script(peer: Peer) -> None:
        peer.send(*data)
        peer.wait_closed()

    return Answer(execute=script)


def leaves(*data: bytes) -> Answer:
    def script(peer: Peer) -> None:
        peer.send(*data)
        peer.close()

    return Answer(execute=script)


ONE = data_row(int4(1))
TAG = complete("SELECT 1")
FEW = 100_000

QUERY = [
    Query("unknown_tag", waits(message(b"!", b"abcd"))),
    Query("type_zero", waits(message(b"\0"))),
    Query("zeros", waits(b"\0" * 65536)),
    Query("length_zero", waits(message(b"D", length=0))),
    Query("length_3", waits(message(b"D", length=3))),
    Query("length_negative", waits(message(b"D", length=-1))),
    Query("length_2gb", waits(message(b"D", b"x", length=0x7FFFFFFF))),
    Query("length_over_1gb", waits(message(b"D", b"x", length=0x40000000))),
    Query(
        "length_1gb_then_eof",
        leaves(message(b"D", b"x" * 1000, length=0x3FFFFFF0)),
        errors.ConnectionLost,
    ),
    Query("complete_too_long", waits(message(b"C", b"x" * 10, length=40_000))),
    Query("ready_too_long", waits(message(b"Z", b"I", length=1_000_000))),
    Query("complete_without_nul", waits(message(b"C", b"SELECT 1"))),
    Query("complete_two_strings", waits(message(b"C", b"SELECT\0001\0"))),
    Query("complete_empty", waits(message(b"C"))),
    Query("complete_twice", waits(ONE, TAG, TAG)),
    Query("complete_missing", Answer(execute=ONE)),
    Query("complete_missing_no_row", Answer(execute=b"")),
    Query("ready_twice_at_once", Answer(execute=ready(), sync=ready() * 2)),
    Query("ready_twice", Answer(execute=ONE + TAG, sync=ready() * 2)),
    Query("ready_bad_status", Answer(execute=ONE + TAG, sync=ready(b"X"))),
    Query("ready_empty", Answer(execute=ONE + TAG, sync=message(b"Z"))),
    Query("ready_two_bytes", Answer(execute=ONE + TAG, sync=message(b"Z", b"II"))),
    Query("row_more_fields", waits(data_row(int4(1), int4(2)))),
    Query(
        "row_fewer_fields",
        Answer(columns=(("a", INT4), ("b", INT4)), execute=ONE + TAG),
    ),
    Query("row_no_fields", waits(data_row())),
    Query("row_65535_fields_short", waits(message(b"D", b"\xff\xff"))),
    Query("row_empty_body", waits(message(b"D"))),
    Query(
        "row_length_minus_2", waits(message(b"D", struct.pack("!Hi", 1, -2) + b"abcd"))
    ),
    Query("row_length_min", waits(message(b"D", struct.pack("!Hi", 1, -(2**31))))),
    Query(
        "row_length_past_end",
        waits(message(b"D", struct.pack("!Hi", 1, 100) + b"abcd")),
    ),
    Query(
        "row_length_2gb",
        waits(message(b"D", struct.pack("!Hi", 1, 2**31 - 1) + b"abcd")),
    ),
    Query("row_length_cut", waits(message(b"D", struct.pack("!Hh", 1, 4)))),
    Query(
        "row_tail", waits(message(b"D", struct.pack("!Hi", 1, 4) + int4(1) + b"tail"))
    ),
    Query("row_before_bind_complete", Answer(bind=ONE)),
    Query("row_before_description", Answer(parse=ONE)),
    Query(
        "row_without_description",
        Answer(describe=parameter_description() + NO_DATA, execute=ONE + TAG),
    ),
    Query("row_after_complete", waits(ONE, TAG, ONE)),
    Query("bind_before_parse", Answer(parse=BIND_COMPLETE)),
    Query("parse_twice", Answer(parse=PARSE_COMPLETE * 2)),
    Query("parse_with_body", Answer(parse=message(b"1", b"x"))),
    Query("parse_for_bind", Answer(bind=PARSE_COMPLETE)),
    Query("bind_twice", Answer(bind=BIND_COMPLETE * 2)),
    Query("bind_with_body", Answer(bind=message(b"2", b"x"))),
    Query("close_complete", waits(message(b"3"))),
    Query("portal_suspended", waits(ONE, SUSPENDED)),
    Query("description_missing", Answer(describe=parameter_description())),
    Query("parameters_missing", Answer(describe=row_description(("v", INT4)))),
    Query(
        "parameters_twice",
        Answer(describe=parameter_description() * 2 + row_description(("v", INT4))),
    ),
    Query(
        "parameters_short",
        Answer(describe=message(b"t", struct.pack("!HI", 2, INT4)) + NO_DATA),
    ),
    Query(
        "parameters_65535_short", Answer(describe=message(b"t", b"\xff\xff") + NO_DATA)
    ),
    Query(
        "parameters_tail",
        Answer(describe=message(b"t", struct.pack("!HI", 0, INT4)) + NO_DATA),
    ),
    Query(
        "description_twice",
        Answer(describe=parameter_description() + row_description(("v", INT4)) * 2),
    ),
    Query(
        "description_65535_short",
        Answer(describe=parameter_description() + message(b"T", b"\xff\xff")),
    ),
    Query(
        "description_1665_columns",
        Answer(
            describe=parameter_description() + row_description(*[("c", INT4)] * 1665)
        ),
    ),
    Query(
        "description_unterminated_name",
        Answer(describe=parameter_description() + message(b"T", b"\0\1name")),
    ),
    Query(
        "description_short_field",
        Answer(
            describe=parameter_description() + message(b"T", b"\0\1v\0" + b"\0" * 17)
        ),
    ),
    Query(
        "description_tail",
        Answer(
            describe=parameter_description()
            + message(b"T", row_description(("v", INT4))[5:] + b"x")
        ),
    ),
    Query(
        "description_format_7",
        Answer(
            describe=parameter_description() + row_description(("v", INT4))[:-1] + b"\7"
        ),
    ),
    Query(
        "no_data_with_body",
        Answer(describe=parameter_description() + message(b"n", b"x")),
    ),
    Query(
        "function_call_response", waits(message(b"V", struct.pack("!i", 4) + int4(1)))
    ),
    Query("copy_both", waits(message(b"W", b"\0\0\0"))),
    Query("copy_data", waits(message(b"d", b"1\n"))),
    Query("copy_done", waits(message(b"c"))),
    Query("authentication", waits(auth_ok())),
    Query("authentication_cleartext", waits(auth(3))),
    Query("backend_key", waits(backend_key())),
    Query("negotiate", waits(message(b"v", struct.pack("!ii", 0x00030000, 0)))),
    Query("frontend_query", waits(message(b"Q", cstr("select 1")))),
    Query("error_empty", waits(message(b"E"))),
    Query("error_unterminated", waits(message(b"E", b"SERROR\0Mno"))),
    Query("notice_unterminated", waits(message(b"N", b"SNOTICE\0Mno"))),
    Query("notification_short", waits(message(b"A", b"\0\0"))),
    Query("notification_without_payload", waits(message(b"A", int4(1) + b"x\0"))),
    Query("parameter_without_value", waits(message(b"S", b"x\0"))),
    Query("encoding_changes", waits(parameter("client_encoding", "LATIN1"))),
    Query("http", waits(b"HTTP/1.1 200 OK\r\n\r\n" * 100)),
    Query("eof_inside_row", leaves(ONE[:-2]), errors.ConnectionLost),
    Query("eof_after_rows", leaves(ONE * 10), errors.ConnectionLost),
    Query("eof_after_complete", leaves(ONE, TAG), errors.ConnectionLost),
    Query(
        "fatal",
        leaves(error("57P01", "terminating", "FATAL")),
        pgasync.OperationalError,
    ),
]


@pytest.mark.parametrize("case", QUERY, ids=lambda case: case.name)
async def test_query(case: Query) -> None:
    sql = f"select v /* {case.name} */"

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {sql: case.answer})

    with MockServer(script) as server:
        conn = await connect(server)
        assert await conn.fetchval("select 3") == 3
        started = time.monotonic()
        with pytest.raises(case.error) as caught:
            await asyncio.wait_for(conn.fetch(sql), LIMIT_S)
            # What came behind the answer is seen by the next one.
            await asyncio.wait_for(conn.fetch("select 4"), LIMIT_S)
        assert time.monotonic() - started < LIMIT_S
        assert conn.closed
        assert caught.value.outcome in ("not_sent", "failed", "in_doubt")
        with pytest.raises(pgasync.Error):
            await conn.fetchval("select 5")
        await conn.close()


# --- while nothing was asked -------------------------------------------------

IDLE = {
    "row": ONE,
    "complete": TAG,
    "ready": ready(),
    "description": row_description(("v", INT4)),
    "parse_complete": PARSE_COMPLETE,
    "unknown_tag": message(b"!"),
    "copy_in": message(b"G", b"\0\0\0"),
    "authentication": auth_ok(),
}


@pytest.mark.parametrize("name", IDLE)
async def test_idle(name: str) -> None:
    """Unasked answers close the connection as soon as they come."""

    def script(peer: Peer) -> None:
        peer.startup()
        peer.send(IDLE[name])
        peer.wait_closed()

    with MockServer(script) as server:
        conn = await connect(server)
        deadline = time.monotonic() + LIMIT_S
        while not conn.closed and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        assert conn.closed
        with pytest.raises(pgasync.Error):
            await conn.fetchval("select 1")
        await conn.close()


FLOODS = {
    "notices": notice() * FEW,
    "long_notices": notice("x" * 20_000) * 500,
    "notifications": notification("c", "payload") * FEW,
    "parameters": parameter("application_name", "x") * 1000,
}


@pytest.mark.parametrize("name", FLOODS)
async def test_flood(name: str) -> None:
    """Asynchronous messages are allowed at any time, and none of them piles up."""
    sql = f"select 8 /* {name} */"
    answer = at_execute(FLOODS[name], data_row(int4(8)), TAG)

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {sql: answer})

    with MockServer(script) as server:
        conn = await connect(server)
        assert await asyncio.wait_for(conn.fetchval(sql), 3 * LIMIT_S) == 8
        assert await conn.fetchval("select 9") == 9
        await conn.close()


async def test_endless_errors() -> None:
    """ErrorResponses without end instead of ReadyForQuery: no more than one is
    allowed for a statement."""

    def flood(peer: Peer) -> None:
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            peer.send(error("XX000", "again") * 50)

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {"select v": Answer(execute=flood)})

    with MockServer(script) as server:
        conn = await connect(server)
        with pytest.raises(pgasync.Error):
            await asyncio.wait_for(conn.fetch("select v /* errors */"), LIMIT_S)
        conn.terminate()


@pytest.mark.parametrize("kind", ["in", "out"])
async def test_unexpected_copy(kind: str) -> None:
    """A COPY that nobody asked for ends in an error, not in a wait."""

    def copy(peer: Peer) -> None:
        if kind == "out":
            peer.send(message(b"H", b"\0\0\0"), message(b"d", b"1\n") * 3)
            peer.send(message(b"c"), complete("COPY 3"))
            return
        peer.send(message(b"G", b"\0\0\0"))
        while True:
            tag, _ = peer.recv()
            if tag == b"f":
                peer.send(error("57014", "COPY from stdin failed"))
                return

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, {"select v": Answer(execute=copy)})

    with MockServer(script) as server:
        conn = await connect(server)
        with pytest.raises(pgasync.Error):
            await asyncio.wait_for(conn.fetch(f"select v /* copy {kind} */"), LIMIT_S)
        conn.terminate()


# --- values ------------------------------------------------------------------


class Value(NamedTuple):
    """A cell that is no value of its type. `maybe`: some value is fine as well."""

    name: str
    oid: int
    cell: bytes
    maybe: bool = False


def numeric(
    digits: list[int],
    weight: int = 0,
    sign: int = 0,
    scale: int = 0,
    count: int | None = None,
) -> bytes:
    count = len(digits) if count is None else count
    return struct.pack(f"!hhHH{len(digits)}h", count, weight, sign, scale, *digits)


def header(ndim: int, flags: int = 0, oid: int = INT4) -> bytes:
    return struct.pack("!iiI", ndim, flags, oid)


def dims(*pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("!ii", *pair) for pair in pairs)


def element(value: bytes) -> bytes:
    return struct.pack("!i", len(value)) + value


BIG = 2**31 - 1

VALUES = [
    Value("bool_2_bytes", BOOL, b"\1\0"),
    Value("bool_empty", BOOL, b""),
    Value("int2_empty", INT2, b""),
    Value("int2_4_bytes", INT2, int4(1)),
    Value("int4_3_bytes", INT4, b"\0\0\1"),
    Value("int4_5_bytes", INT4, b"\0\0\0\0\1"),
    Value("int8_4_bytes", INT8, int4(1)),
    Value("oid_8_bytes", OID, b"\0" * 8),
    Value("float8_7_bytes", FLOAT8, b"\0" * 7),
    Value("text_not_utf8", TEXT, b"ab\xff\xfe"),
    Value("text_cut_utf8", TEXT, "\u20ac".encode()[:2]),
    Value("text_surrogate", TEXT, b"\xed\xa0\x80"),
    Value("text_overlong", TEXT, b"\xc0\x80"),
    Value("uuid_15_bytes", UUID, b"\1" * 15),
    Value("uuid_17_bytes", UUID, b"\1" * 17),
    Value("json_broken", JSON, b'{"a": '),
    Value("json_not_utf8", JSON, b'"\xff"'),
    Value("json_deep", JSON, b"[" * 100_000),
    Value("jsonb_version_9", JSONB, b"\x09{}"),
    Value("jsonb_empty", JSONB, b""),
    Value("jsonb_version_only", JSONB, b"\1"),
    Value("date_3_bytes", DATE, b"\0\0\1"),
    Value("date_8_bytes", DATE, b"\0" * 8),
    Value("date_infinity", DATE, int4(BIG), maybe=True),
    Value("date_minus_infinity", DATE, int4(-(2**31)), maybe=True),
    Value("date_year_294276", DATE, int4(106_751_991), maybe=True),
    Value("time_negative", TIME, struct.pack("!q", -1)),
    Value("time_25_hours", TIME, struct.pack("!q", 25 * 3_600_000_000)),
    Value("timestamp_4_bytes", TIMESTAMP, int4(1)),
    Value("timestamp_max", TIMESTAMP, struct.pack("!q", 2**63 - 1), maybe=True),
    Value("timestamp_min", TIMESTAMP, struct.pack("!q", -(2**63)), maybe=True),
    Value(
        "timestamptz_near_max", TIMESTAMPTZ, struct.pack("!q", 2**63 - 2), maybe=True
    ),
    Value("interval_15_bytes", INTERVAL, b"\0" * 15),
    Value(
        "interval_extreme",
        INTERVAL,
        struct.pack("!qii", 2**63 - 1, BIG, BIG),
        maybe=True,
    ),
    Value("numeric_empty", NUMERIC, b""),
    Value("numeric_short_header", NUMERIC, b"\0" * 7),
    Value("numeric_ndigits_32767", NUMERIC, numeric([], count=32767)),
    Value("numeric_ndigits_negative", NUMERIC, numeric([], count=-1)),
    Value("numeric_digit_missing", NUMERIC, numeric([1, 2], count=3)),
    Value("numeric_digit_extra", NUMERIC, numeric([1, 2], count=1)),
    Value("numeric_digit_10001", NUMERIC, numeric([10001])),
    Value("numeric_digit_negative", NUMERIC, numeric([-1])),
    Value("numeric_weight_min", NUMERIC, numeric([1], weight=-32768), maybe=True),
    Value("numeric_weight_max", NUMERIC, numeric([1], weight=32767), maybe=True),
    Value("numeric_zero_weight_max", NUMERIC, numeric([], weight=32767), maybe=True),
    Value("numeric_sign_unknown", NUMERIC, numeric([1], sign=0x1234)),
    Value("numeric_scale_65535", NUMERIC, numeric([1], scale=0xFFFF)),
    Value("numeric_nan_with_digits", NUMERIC, numeric([1], sign=0xC000), maybe=True),
    Value("array_empty_body", INT4_ARRAY, b""),
    Value("array_short_header", INT4_ARRAY, header(1)[:11]),
    Value(
        "array_ndim_7", INT4_ARRAY, header(7) + dims(*[(1, 1)] * 7) + element(int4(1))
    ),
    Value("array_ndim_negative", INT4_ARRAY, header(-1)),
    Value("array_ndim_max", INT4_ARRAY, header(BIG)),
    Value(
        "array_flags_5",
        INT4_ARRAY,
        header(1, 5) + dims((1, 1)) + element(int4(1)),
        maybe=True,
    ),
    Value("array_dims_missing", INT4_ARRAY, header(2) + dims((1, 1))),
    Value("array_dim_negative", INT4_ARRAY, header(1) + dims((-1, 1))),
    Value("array_dim_max", INT4_ARRAY, header(1) + dims((BIG, 1))),
    Value(
        "array_dims_overflow_32", INT4_ARRAY, header(2) + dims((65536, 1), (65536, 1))
    ),
    Value("array_dims_overflow_64", INT4_ARRAY, header(6) + dims(*[(BIG, 1)] * 6)),
    Value(
        "array_dims_zero_times_max",
        INT4_ARRAY,
        header(2) + dims((0, 1), (BIG, 1)),
        maybe=True,
    ),
    Value(
        "array_dims_max_times_zero",
        INT4_ARRAY,
        header(3) + dims((BIG, 1), (BIG, 1), (0, 1)),
        maybe=True,
    ),
    Value(
        "array_million_empty_rows",
        INT4_ARRAY,
        header(2) + dims((10_000_000, 1), (0, 1)),
        maybe=True,
    ),
    Value(
        "array_lower_bound_overflow",
        INT4_ARRAY,
        header(1) + dims((1, BIG)) + element(int4(1)),
        maybe=True,
    ),
    Value(
        "array_elements_missing",
        INT4_ARRAY,
        header(1) + dims((3, 1)) + element(int4(1)),
    ),
    Value("array_element_cut", INT4_ARRAY, header(1) + dims((1, 1)) + b"\0\0"),
    Value(
        "array_element_minus_2",
        INT4_ARRAY,
        header(1) + dims((1, 1)) + struct.pack("!i", -2) + int4(1),
    ),
    Value(
        "array_element_past_end",
        INT4_ARRAY,
        header(1) + dims((1, 1)) + struct.pack("!i", 100) + int4(1),
    ),
    Value(
        "array_element_2gb",
        INT4_ARRAY,
        header(1) + dims((1, 1)) + struct.pack("!i", BIG) + int4(1),
    ),
    Value(
        "array_element_short", INT4_ARRAY, header(1) + dims((1, 1)) + element(b"\0\1")
    ),
    Value("array_element_oid", INT4_ARRAY, array([b"\0" * 8], oid=INT8)),
    Value("array_element_oid_text", INT4_ARRAY, array([b"abcd"], oid=TEXT)),
    Value("array_element_oid_itself", INT4_ARRAY, array([b"abcd"], oid=INT4_ARRAY)),
    Value("array_tail", INT4_ARRAY, array([int4(1)]) + b"tail"),
    Value("array_empty_with_tail", INT4_ARRAY, header(0) + b"tail"),
    Value(
        "array_null_without_flag",
        INT4_ARRAY,
        header(1) + dims((1, 1)) + struct.pack("!i", -1),
        maybe=True,
    ),
    Value("array_text_not_utf8", TEXT_ARRAY, array([b"ok", b"\xff"], oid=TEXT)),
    Value("bytea_any", BYTEA, bytes(range(256)), maybe=True),
]


@pytest.mark.parametrize("case", VALUES, ids=lambda case: case.name)
async def test_value(case: Value) -> None:
    sql = f"select v /* {case.name} */"

    def script(peer: Peer) -> None:
        peer.startup()
        # Good rows around the bad one: the rest of the answer is skipped.
        row = data_row(None) + data_row(case.cell) + data_row(None)
        serve(peer, {sql: one_value(case.oid, None)._replace(rows=(row,))})

    with MockServer(script) as server:
        conn = await connect(server)
        failure = None
        try:
            await asyncio.wait_for(conn.fetch(sql), LIMIT_S)
        except pgasync.DataError as exc:
            failure = exc
        if failure is None:
            assert case.maybe
        else:
            assert len(str(failure)) < 2000
        assert not conn.closed
        assert await conn.fetchval("select 7") == 7
        await conn.close()
    assert not server.failures


def test_count(capsys: pytest.CaptureFixture[str]) -> None:
    """How many behaviours there are."""
    count = len(STARTUP) + len(QUERY) + len(IDLE) + len(FLOODS) + len(VALUES) + 3
    with capsys.disabled():
        print(f"\nhostile server: {count} behaviours ", end="")
    assert count >= 60
    names = [case.name for table in (STARTUP, QUERY, VALUES) for case in table]
    assert len(set(names)) >= 200
