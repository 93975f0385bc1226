"""The table itself, and the sweep of bad bytes and odd values over every row."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import random
import struct
import sys
import uuid
from collections.abc import Iterator
from decimal import Decimal
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Any

import pytest

from codec.subjects import INT4, MADE_OID, SUBJECTS, Subject
from pgasync import _core
from pgasync.errors import DataError
from pgasync.types import (
    INFINITY,
    Array,
    Beyond,
    BitString,
    HalfVector,
    Interval,
    Lsn,
    Multirange,
    Range,
    Snapshot,
    SparseVector,
    Vector,
)

TABLE = _core.codec_table()
SCALARS = [row for row in TABLE if not row[2].endswith("[]")]
ARRAYS = [row for row in TABLE if row[2].endswith("[]")]
UTC = dt.timezone.utc


def test_order() -> None:
    assert TABLE == SCALARS + ARRAYS
    oids = [row[0] for row in SCALARS]
    assert oids == sorted(oids)
    assert len({row[0] for row in TABLE}) == len(TABLE)


def test_every_row_is_found_by_its_oid() -> None:
    for oid, _, name, _ in TABLE:
        with pytest.raises(DataError, match="cannot send"):
            _core.codec_encode(oid, "\ud800")
        try:
            _core.codec_encode(oid, "\ud800")
        except DataError as error:
            assert f" as {name}: " in str(error)


@pytest.mark.parametrize("oid", [0, 15, 13, 999, 3801, 3803, 2**32 - 1])
def test_other_oids_are_text(oid: int) -> None:
    assert _core.codec_decode(oid, b"abc") == "abc"


def test_arrays_stand_behind_their_scalars() -> None:
    assert [row[1] for row in SCALARS if row[1]] == [row[0] for row in ARRAYS]
    assert [f"{row[2]}[]" for row in SCALARS if row[1]] == [row[2] for row in ARRAYS]
    assert all(row[1] == 0 and row[3] == -1 for row in ARRAYS)


async def test_names_arrays_and_lengths_are_the_servers(conn: Any) -> None:
    rows = await conn.fetch("select oid, typarray, typlen, typelem from pg_type")
    types = {row[0]: row for row in rows}
    for oid, array_oid, name, fixed_len in TABLE:
        # Pseudo-types aside, the name is one that ::regtype takes.
        named = await conn.fetchval("select $1::text::regtype::oid", [name])
        assert named == oid
        if array_oid:
            assert types[oid][1] == array_oid
            assert types[array_oid][3] == oid
        if fixed_len >= 0:
            assert types[oid][2] == fixed_len


SAMPLES: dict[str, list[Any]] = {
    "bool": [True],
    "bytea": [b"", b"abc"],
    '"char"': ["a"],
    "int2": [5],
    "int4": [5],
    "int8": [5],
    "oid": [5],
    "float4": [1.5],
    "float8": [1.5],
    "numeric": [Decimal("-12345.678900"), Decimal("1E-100"), Decimal("NaN")],
    "date": [dt.date(2024, 2, 29)],
    "time": [dt.time(1, 2, 3)],
    "timetz": [dt.time(1, 2, 3, tzinfo=UTC)],
    "timestamp": [dt.datetime(2024, 2, 29)],
    "timestamptz": [dt.datetime(2024, 2, 29, tzinfo=UTC)],
    "interval": [dt.timedelta(5, 6, 7)],
    "uuid": [uuid.UUID(int=77)],
    "json": [{"a": [1, None]}],
    "jsonb": [{"a": [1, None]}],
    "int2vector": [Array([1, 2])],
    "oidvector": [Array([1, 2])],
    "record": [],  # it cannot be sent
    "int4range": [Range(1, 2), Range(None, 5)],
    "numrange": [Range(Decimal(1), None)],
    "tsrange": [Range(empty=True)],
    "tstzrange": [Range(None, dt.datetime(2024, 2, 29, tzinfo=UTC))],
    "daterange": [Range(dt.date(2024, 2, 29), None)],
    "int8range": [Range(1, 2)],
    "int4multirange": [Multirange([Range(1, 2), Range(5)])],
    "nummultirange": [Multirange([Range(Decimal(1), None)])],
    "tsmultirange": [Multirange([Range()])],
    "tstzmultirange": [Multirange()],
    "datemultirange": [Multirange([Range(dt.date(2024, 2, 29), None)])],
    "int8multirange": [Multirange([Range(1, 2)])],
    "cidr": [IPv4Network("10.0.0.0/8"), IPv6Network("2001:db8::/32")],
    "inet": [IPv4Interface("10.0.0.1/8"), IPv6Address("2001:db8::1")],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit": [BitString("1")],
    "varbit": [BitString(""), BitString("10110011101")],
    "money": [Decimal("-1234.56")],
    "tid": [(1, 2)],
    "xid": [5],
    "cid": [5],
    "xid8": [2**64 - 1],
    "pg_lsn": [Lsn(0x16B374D848)],
    "pg_snapshot": [Snapshot(10, 20, (12, 14))],
    "txid_snapshot": [Snapshot(10, 20, ())],
    "regclass": [1259],
    "point": [(1, -2.5)],
    "line": [(1, 2, 3)],
    "lseg": [((1, 2), (3, 4))],
    "box": [((1, 2), (3, 4))],
    "circle": [((1, 2), 3)],
    "path": [((1, 2), (3, 4))],
    "polygon": [((1, 2), (3, 4))],
    "array": [[1, None], [[2], [3]]],
    "domain": [5],
    "binary": [b"", b"abc"],
    "nested": [([1, None], Range(empty=True), (5, "x"), [None, (6, None)])],
    "plainrange": [Range("a", 'b"'), Range(empty=True)],
    "plainmultirange": [Multirange([Range("a", "b")])],
    "spelled": [
        (
            "x",
            True,
            5,
            5,
            5,
            1.5,
            1.5,
            Decimal("1.50"),
            b"abc",
            uuid.UUID(int=77),
            dt.date(2024, 2, 29),
            dt.time(1, 2, 3),
            dt.datetime(2024, 2, 29),
            dt.datetime(2024, 2, 29, tzinfo=UTC),
            dt.timedelta(5, 6, 7),
            'q"\\,)',
            {"a": [1, None]},
            [1, None],
            Range(Decimal(1), None),
            (1, -2.5),
            IPv4Interface("10.0.0.1/8"),
            IPv6Network("2001:db8::/32"),
            BitString("0101"),
            (1, 2),
            5,
            Lsn(0x16B374D848),
            Snapshot(10, 20, (12, 14)),
        ),
        ("", *[None] * 26),
    ],
    "hstore": [{}, {"a": "1", "é": None}],
    "cube": [(), (1, 2), ((1, 2), (3, 4))],
    "vector": [Vector([1, -2.5])],
    "halfvec": [HalfVector([1, -2.5])],
    "sparsevec": [SparseVector(5, [0, 3], [1, -2.5])],
}


ANYTHING = ("bytea", "binary", "binary[]")  # any bytes are a value


def samples(subject: Subject) -> list[Any]:
    name = subject.name.removesuffix("[]")
    scalars = SAMPLES.get(name, ["", "héllo"])
    if not subject.name.endswith("[]"):
        return scalars
    return [[], [None, *scalars], [scalars, scalars], [[[scalars]]]]


def bad_bytes(subject: Subject) -> Iterator[bytes]:
    """Random bytes, and good ones cut, extended and changed at every place."""
    oid = subject.codec if isinstance(subject.codec, int) else subject.codec.oid
    dice = random.Random(oid)
    for _ in range(200):
        yield dice.randbytes(dice.randrange(48))
    for elem in (oid, INT4, MADE_OID):
        for _ in range(40):
            yield struct.pack("!iiI", dice.randrange(7), 0, elem) + dice.randbytes(40)
    for value in samples(subject):
        good = _core.codec_encode(subject.codec, value)[1]
        yield good + b"\0"
        yield good + good
        for i in range(len(good)):
            yield good[:i]
            for byte in (0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)):
                yield good[:i] + bytes([byte]) + good[i + 1 :]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_any_bytes_give_a_value_or_data_error(subject: Subject) -> None:
    cases = refused = 0
    for data in bad_bytes(subject):
        cases += 1
        try:
            _core.codec_decode(subject.codec, data)
        except DataError as error:
            refused += 1
            assert str(error).startswith("cannot decode "), data
    assert cases >= 300
    assert refused > 0 or subject.name in ANYTHING


class Evil:
    """Everything a codec might ask of a value fails."""

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    __str__ = __index__ = __float__ = __int__ = __len__ = __iter__ = __repr__  # type: ignore[assignment]


class EvilZone(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        raise RuntimeError("utcoffset")


class EvilDecimal(Decimal):
    def adjusted(self) -> int:
        raise RuntimeError("adjusted")

    def __str__(self) -> str:
        raise RuntimeError("str")


def odd_values() -> list[Any]:
    circle: list[Any] = [1]
    circle[0] = circle
    return [
        object(), Evil(), Evil, len, ..., NotImplemented, 1, -1, 2**31, 2**70, True,
        1.5, float("nan"), float("-inf"), 1j, Decimal("NaN"), Decimal("sNaN"),
        Decimal("1E+99999999"), EvilDecimal(5), "", "x", "\ud800", "a\0", b"", b"x",
        b"x" * 16, bytearray(b"y"), memoryview(b"zz")[::-1], [], [[]], [None], [1, [2]],
        [[1], []], [[1], [2, 3]], ["x"], [Evil()], circle, (), ((1,),), {}, {"a": 1},
        {Evil(): 1}, set(), range(3), dt.date.min, dt.datetime.max, dt.datetime.min,
        dt.datetime.max.replace(tzinfo=UTC), dt.datetime(2024, 1, 1, tzinfo=EvilZone()),
        dt.time.max, dt.timedelta.max, dt.timedelta.min, uuid.UUID(int=1),
        uuid.UUID.__new__(uuid.UUID), IPv6Address.__new__(IPv6Address),
        IPv4Network.__new__(IPv4Network), IPv6Interface.__new__(IPv6Interface),
        Decimal("1E-999999999999999999"), Exception("x"), (i for i in range(3)),
        INFINITY, Beyond("date", b"\x7f\xff\xff\xff"), Beyond("interval", b""),
        Beyond.__new__(Beyond), Interval(months=-1), Interval(microseconds=2**63),
    ]  # fmt: skip


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_any_value_is_sent_or_data_error(subject: Subject) -> None:
    refused = 0
    for value in odd_values():
        try:
            form, data = _core.codec_encode(subject.codec, value)
        except DataError as error:
            refused += 1
            assert str(error).startswith("$1: cannot send ")
            assert " as " in str(error)
        else:
            assert form in (0, 1)
            assert isinstance(data, bytes)
            if form == 1 and subject.fixed_len >= 0:
                assert len(data) == subject.fixed_len
    assert refused > 5


def exercise(subject: Subject) -> None:
    """Good and bad calls, both directions, everything dropped again."""
    for value in [*samples(subject), *odd_values()]:
        with contextlib.suppress(DataError):
            form, data = _core.codec_encode(subject.codec, value)
            if form == 1:
                _core.codec_decode(subject.codec, data)
            _core.codec_decode(subject.codec, data[:-1])


def growth(subject: Subject, rounds: int) -> int:
    """Memory blocks that `rounds` of exercise leave behind."""
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(rounds):
        exercise(subject)
    gc.collect()
    return sys.getallocatedblocks() - before


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_nothing_is_leaked(subject: Subject) -> None:
    # A leak is at least a block a round, for ever; the interpreter's own free lists
    # and caches grow like that at first, and then settle.
    assert any(growth(subject, 40) < 20 for _ in range(50))
