"""Cells that are no values of their types."""

from __future__ import annotations

import asyncio
import struct
from typing import NamedTuple

import pytest

import pgasync
from hostile.scripts import LIMIT_S, connect
from pgmock import (
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
    NUMERIC,
    OID,
    TEXT,
    TEXT_ARRAY,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    UUID,
    MockServer,
    Peer,
    array,
    data_row,
    int4,
    one_value,
    serve,
)


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
