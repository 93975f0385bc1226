"""Broken answers to a query: lengths, counts, order, encodings."""

from __future__ import annotations

import struct

import pytest

import pgasync
from hostile.scripts import ONE, TAG, Query, broken_answer, leaves, waits
from pgasync import errors
from pgmock import (
    BIND_COMPLETE,
    INT4,
    NO_DATA,
    PARSE_COMPLETE,
    SUSPENDED,
    Answer,
    auth,
    auth_ok,
    backend_key,
    cstr,
    data_row,
    error,
    int4,
    message,
    parameter,
    parameter_description,
    ready,
    row_description,
)

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
    Query("description_missing", Answer(describe=parameter_description() + ready())),
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
    await broken_answer(case)
