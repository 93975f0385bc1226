"""pgvector's types: arrays of C floats, and numbers read from where they lie."""

from __future__ import annotations

import array
import copy
import pickle
import random
import struct
from collections import deque
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from codec.checks import Case, assert_both_ways, assert_sent_as, names, with_extension
from pgasync import _core
from pgasync.errors import DataError, Error
from pgasync.types import HalfVector, SparseVector, Vector

KINDS = ("vector", "halfvec", "sparsevec")
MADE = {kind: _core.Codec(kind, 90_200, kind) for kind in KINDS}
FLT_MAX = 3.4028234663852886e38
FLT_MIN = 1.401298464324817e-45
HALF_MAX = 65504.0
INF = float("inf")

EMBEDDING = [struct.unpack("f", struct.pack("f", i / 1536))[0] for i in range(1536)]

CASES: list[Case] = [
    ("vector", Vector([1.0]), "'[1]'"),
    ("vector", Vector([0.1, -2.5, 0.0, -0.0]), "'[0.1,-2.5,0,-0]'"),
    ("vector", Vector([FLT_MAX, -FLT_MAX]), "'[3.4028235e38,-3.4028235e38]'"),
    ("vector", Vector([FLT_MIN, -FLT_MIN]), "'[1e-45,-1e-45]'"),
    ("vector", Vector(EMBEDDING), f"'{EMBEDDING}'"),
    ("vector", Vector([1.5] * 16000), "array_fill(1.5, array[16000])"),
    ("halfvec", HalfVector([1.0]), "'[1]'"),
    ("halfvec", HalfVector([0.5, -2.5, 0.0, -0.0]), "'[0.5,-2.5,0,-0]'"),
    ("halfvec", HalfVector([HALF_MAX, -HALF_MAX]), "'[65504,-65504]'"),
    ("halfvec", HalfVector([2**-24, 2**-14]), "'[6e-8,6.1035156e-05]'"),
    ("halfvec", HalfVector([1023 * 2**-24]), "'[6.0975552e-05]'"),
    ("halfvec", HalfVector([1.5] * 16000), "array_fill(1.5, array[16000])"),
    ("sparsevec", SparseVector(5, [0, 3], [1.5, -2.0]), "'{1:1.5,4:-2}/5'"),
    ("sparsevec", SparseVector(1, [], []), "'{}/1'"),
    ("sparsevec", SparseVector(10**9, [0, 10**9 - 1], [FLT_MAX, FLT_MIN]),
     "'{1:3.4028235e38,1000000000:1e-45}/1000000000'"),
]  # fmt: skip

# One dimension of many kinds of numbers, and what they are to the server.
NUMBERS: list[tuple[Any, str]] = [
    ([1, 2.5, Decimal("0.5"), Fraction(1, 4)], "[1,2.5,0.5,0.25]"),
    ((1, 2), "[1,2]"),
    (range(3), "[0,1,2]"),
    (deque([1, 2]), "[1,2]"),
    ("[1, 2]", "[1,2]"),
    (Vector([1, 2]), "[1,2]"),
    (HalfVector([1, 2]), "[1,2]"),
    *((array.array(code, [1, 2, 100]), "[1,2,100]") for code in "bBhHiIlLqQfd"),
    *((array.array(code, [-1, -100]), "[-1,-100]") for code in "bhilqfd"),
    (memoryview(bytes([0, 255])), "[0,255]"),
    (memoryview(array.array("f", [1, 2, 3, 4]))[::-2], "[4,2]"),
    *((np.array([1, 2, 100], code), "[1,2,100]") for code in "bBhHiIlLqQefdgO"),
    *((np.array([-1, -100], code), "[-1,-100]") for code in "bhilqefdgO"),
    *((np.array([-1, 100], order + code), "[-1,100]") for order in "<>=" for code in
      ("i2", "i4", "i8", "f2", "f4", "f8")),
    (np.array([True, False]), "[1,0]"),
    (np.arange(10, dtype="f4")[1:8:3], "[1,4,7]"),
    (np.arange(4, dtype="f8")[::-1], "[3,2,1,0]"),
    (np.arange(6, dtype="f4").reshape(2, 3)[:, 1], "[1,4]"),
    ([np.float32(0.5), np.int8(3), np.float64(1)], "[0.5,3,1]"),
]  # fmt: skip


def encode(kind: str, value: object) -> tuple[int, bytes]:
    return _core.codec_encode(MADE[kind], value)


def decode(kind: str, data: bytes) -> Any:
    return _core.codec_decode(MADE[kind], data)


def dense(data: bytes, code: str) -> list[float]:
    """The numbers behind the header of four bytes."""
    count = (len(data) - 4) // struct.calcsize(code)
    assert data[:4] == struct.pack("!hh", count, 0)
    return list(struct.unpack(f"!{count}{code}", data[4:]))


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_both_ways(conn: Any, case: Case) -> None:
    await with_extension(conn, "vector")
    await assert_both_ways(conn, case)


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_bytes_are_the_servers(conn: Any, case: Case) -> None:
    kind, value, literal = case
    await with_extension(conn, "vector")
    data = await conn.fetchval(f"select {kind}_send({literal}::{kind})")
    assert decode(kind, data) == value
    assert encode(kind, value) == (1, data)


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_arrays(conn: Any, case: Case) -> None:
    kind, value, literal = case
    await with_extension(conn, "vector")
    element = f"{literal}::{kind}"
    for sent, made in [
        ([value, None], f"array[{element}, null]"),
        ([[[value]], [[None]]], f"array[array[array[{element}]],array[array[null]]]"),
    ]:
        await assert_both_ways(conn, (f"{kind}[]", sent, made))


@pytest.mark.parametrize("number", range(len(NUMBERS)))
@pytest.mark.parametrize("kind", ["vector", "halfvec"])
async def test_sent_leniently(conn: Any, kind: str, number: int) -> None:
    value, text = NUMBERS[number]
    await with_extension(conn, "vector")
    await assert_sent_as(conn, (kind, value, f"'{text}'"))


async def test_arrays_of_plain_numbers(conn: Any) -> None:
    await with_extension(conn, "vector")
    # A tuple or an array is a vector; a list is a dimension of the array.
    value = [(1, 2), np.array([3, 4]), Vector([5, 6])]
    text = '{"[1,2]","[3,4]","[5,6]"}'
    assert await conn.fetchval("select $1::vector[]::text", [value]) == text
    with pytest.raises(DataError, match="give a Vector"):
        await conn.fetchval("select $1::vector[]", [[[1, 2], [3, 4]]])


async def test_columns_of_a_size(conn: Any) -> None:
    await with_extension(conn, "vector")
    await conn.execute(
        "create temp table items (id int, v vector(3), h halfvec(3), s sparsevec(9))"
    )
    values = [Vector([1, 2, 3]), HalfVector([1, 2, 3]), SparseVector(9, [8], [1.0])]
    await conn.execute("insert into items values (1, $1, $2, $3)", values)
    assert list(await conn.fetchrow("select v, h, s from items")) == values
    sql = "select id from items order by v <-> $1 limit 1"
    assert await conn.fetchval(sql, [np.array([1.0, 1.0, 1.0])]) == 1
    with pytest.raises(Error) as caught:
        await conn.execute("insert into items (v) values ($1)", [[1, 2]])
    assert caught.value.sqlstate == "22000"
    assert await conn.fetchval("select count(*) from items") == 1


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("vector", []),
        ("vector", [float("nan")]),
        ("vector", [INF]),
        ("vector", [1.0] * 16001),
        ("halfvec", np.array([], "f4")),
        ("halfvec", [float("nan")]),
        ("halfvec", [-INF]),
        ("sparsevec", SparseVector(5, [3, 0], [1.0, 2.0])),
        ("sparsevec", SparseVector(5, [5], [1.0])),
        ("sparsevec", SparseVector(5, [0], [0.0])),
        ("sparsevec", SparseVector(0, [], [])),
        ("vector", "[1,"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_refused_by_the_server(conn: Any, kind: str, value: object) -> None:
    await with_extension(conn, "vector")
    with pytest.raises(Error) as caught:
        await conn.fetchval(f"select $1::{kind}", [value])
    assert caught.value.sqlstate in ("22000", "22003", "22P02", "22P03", "54000")
    assert await conn.fetchval("select 1") == 1


DENSE = "list, tuple or one-dimensional array of numbers"
SPARSE = "give a SparseVector, as from SparseVector.from_dict"


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("vector", 5, f"give a Vector, or a {DENSE}"),
        ("vector", ["1"], DENSE),
        ("vector", [None], DENSE),
        ("vector", [True], DENSE),
        ("vector", [[1.0]], DENSE),
        ("vector", {1: 2.0}, DENSE),
        ("vector", {1, 2}, DENSE),
        ("vector", b"\0\1", DENSE),
        ("vector", bytearray(b"\0\1"), DENSE),
        ("vector", np.zeros((2, 2)), DENSE),
        ("vector", np.zeros((2, 1)), DENSE),
        ("vector", np.array(5.0), DENSE),
        ("vector", np.array(["a"]), DENSE),
        ("vector", [1j], DENSE),
        ("vector", np.zeros(2, "datetime64[s]"), DENSE),
        ("vector", np.zeros(2, [("a", "f4")]), DENSE),
        ("vector", SparseVector(5, [0], [1.0]), DENSE),
        ("vector", [10**400], DENSE),
        ("vector", [1e39], "vector holds numbers up to 3.4e38"),
        ("vector", np.array([1.0, -1e39]), "vector holds numbers up to 3.4e38"),
        ("vector", [1.0] * 32768, "vector has at most 16000 numbers"),
        ("vector", np.zeros(32768), "vector has at most 16000 numbers"),
        ("halfvec", [65520], "halfvec holds numbers up to 65504"),
        ("halfvec", np.array([-1e5], "f4"), "halfvec holds numbers up to 65504"),
        ("halfvec", array.array("q", [70000]), "halfvec holds numbers up to 65504"),
        ("halfvec", 5, f"give a HalfVector, or a {DENSE}"),
        ("sparsevec", [1.0, 2.0], SPARSE),
        ("sparsevec", {1: 2.0}, SPARSE),
        ("sparsevec", (5, [0], [1.0]), SPARSE),
    ],
    ids=lambda value: repr(type(value))[:30],
)
def test_refused(kind: str, value: object, words: str) -> None:
    with pytest.raises(DataError) as caught:
        encode(kind, value)
    message = str(caught.value)
    assert message.startswith("$1: cannot send ")
    assert f"{type(value).__name__}) as {kind}: " in message
    assert words in message


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("dim", None, SPARSE),
        ("dim", -1, SPARSE),
        ("dim", 2**31, SPARSE),
        ("dim", 2**70, SPARSE),
        ("indices", 5, SPARSE),
        ("indices", [-1], SPARSE),
        ("indices", [0.0], SPARSE),
        ("indices", [0, 1], SPARSE),
        ("values", 5, SPARSE),
        ("values", ["1"], SPARSE),
        ("values", [1e39], "sparsevec holds numbers up to 3.4e38"),
    ],
)
def test_a_sparse_vector_of_anything(attribute: str, value: Any, words: str) -> None:
    vector = SparseVector(5, [0], [1.0])
    setattr(vector, attribute, value)
    with pytest.raises(DataError) as caught:
        encode("sparsevec", vector)
    assert words in str(caught.value)


def test_a_sparse_vector_without_values() -> None:
    with pytest.raises(DataError, match="give a SparseVector") as caught:
        encode("sparsevec", SparseVector.__new__(SparseVector))
    assert isinstance(caught.value.__cause__, AttributeError)


def test_interrupts_pass() -> None:
    class Interrupting:
        def __float__(self) -> float:
            raise KeyboardInterrupt

    for kind in ("vector", "halfvec"):
        with pytest.raises(KeyboardInterrupt):
            encode(kind, [Interrupting()])


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("vector", b"", "dimensions"),
        ("vector", b"\0\1\0\0", "dimensions"),
        ("vector", b"\0\1\0\0" + bytes(5), "dimensions"),
        ("vector", b"\xff\xff\0\0" + bytes(4), "dimensions"),
        ("vector", b"\0\1\0\1" + bytes(4), "header"),
        ("halfvec", b"\0\1\0", "dimensions"),
        ("halfvec", b"\0\1\0\0" + bytes(4), "dimensions"),
        ("halfvec", b"\0\1\1\0" + bytes(2), "header"),
        ("sparsevec", bytes(11), "number of elements"),
        ("sparsevec", struct.pack("!iii", 1, 1, 0) + bytes(7), "number of elements"),
        ("sparsevec", struct.pack("!iii", 1, -1, 0), "number of elements"),
        ("sparsevec", struct.pack("!iii", 1, 2**31 - 1, 0), "number of elements"),
        ("sparsevec", struct.pack("!iii", -1, 0, 0), "header"),
        ("sparsevec", struct.pack("!iii", 1, 0, 7), "header"),
    ],
)
def test_malformed(kind: str, data: bytes, words: str) -> None:
    with pytest.raises(DataError) as caught:
        decode(kind, data)
    assert f"cannot decode {kind}: " in str(caught.value)
    assert words in str(caught.value)


# binary16, against Python's own


def test_every_half_is_read() -> None:
    for start in range(0, 65536, 16384):
        bits = range(start, start + 16384)
        data = struct.pack("!hh16384H", 16384, 0, *bits)
        got = decode("halfvec", data).tobytes()
        expected = np.array(dense(data, "e"), "f4")
        both = np.frombuffer(got, "f4"), expected
        assert np.array_equal(*both, equal_nan=True)
        assert np.array_equal(np.signbit(both[0]), np.signbit(both[1]))


def half_cases() -> list[float]:
    """Halves, their neighbours among doubles and the middles between them."""
    dice = random.Random(16)
    cases = [0.0, 2**-25, 3 * 2**-26, 2**-26, 5e-324, 65519.999, 65504.0, 1e-30]
    for _ in range(4000):
        bits = dice.randrange(0x7BFF)
        low, high = struct.unpack("2e", struct.pack("2H", bits, bits + 1))
        middle = (low + high) / 2
        cases += [low, middle, np.nextafter(middle, low), np.nextafter(middle, high)]
        cases.append(dice.uniform(-HALF_MAX, HALF_MAX))
        cases.append(dice.uniform(-1, 1) * 2 ** dice.uniform(-26, -12))
    return [float(case) for case in cases]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_halves_are_rounded_to_even(sign: float) -> None:
    cases = [sign * case for case in half_cases()]
    for start in range(0, len(cases), 1000):
        part = cases[start : start + 1000]
        expected = struct.pack(f"!{len(part)}e", *part)
        assert encode("halfvec", part)[1][4:] == expected
        assert encode("halfvec", array.array("d", part))[1][4:] == expected


def test_what_is_beyond_a_half() -> None:
    largest = np.nextafter(65520.0, 0)
    assert dense(encode("halfvec", [largest])[1], "e") == [HALF_MAX]
    assert dense(encode("halfvec", [INF, -INF])[1], "e") == [INF, -INF]
    assert np.isnan(dense(encode("halfvec", [float("nan")])[1], "e"))
    for number in (65520.0, -65520.0, 1e300):
        with pytest.raises(DataError):
            encode("halfvec", [number])


def test_large_integers_in_memory() -> None:
    data = encode("vector", array.array("Q", [2**64 - 1, 2**63]))[1]
    assert dense(data, "f") == [2.0**64, 2.0**63]
    data = encode("vector", array.array("q", [-(2**63), 2**63 - 1]))[1]
    assert dense(data, "f") == [-(2.0**63), 2.0**63]


# The classes


@pytest.mark.parametrize("cls", [Vector, HalfVector])
def test_vector_class(cls: type[Vector]) -> None:
    kind = "vector" if cls is Vector else "halfvec"
    vector = decode(kind, encode(kind, [1.0, -2.5, 4.0])[1])
    assert type(vector) is cls and isinstance(vector, array.array)
    assert vector == cls([1.0, -2.5, 4.0]) == array.array("f", [1.0, -2.5, 4.0])
    assert vector != cls([1.0, -2.5]) and vector != [1.0, -2.5, 4.0]
    assert (len(vector), vector.dim, vector[1], vector[-1]) == (3, 3, -2.5, 4.0)
    assert list(vector) == vector.to_list() == [1.0, -2.5, 4.0]
    assert repr(vector) == f"{cls.__name__}([1.0, -2.5, 4.0])"
    view = memoryview(vector)
    assert (view.format, view.itemsize, view.shape) == ("f", 4, (3,))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        twin = pickle.loads(pickle.dumps(vector, protocol))
        assert twin == vector and type(twin) is cls
    for twin in (copy.copy(vector), copy.deepcopy(vector)):
        assert twin == vector and type(twin) is cls and twin is not vector
    with pytest.raises(TypeError):
        hash(vector)


def test_numpy_sees_the_same_memory() -> None:
    vector = decode("vector", encode("vector", [1.0, 2.0])[1])
    seen = np.asarray(vector)
    assert seen.dtype == np.float32 and seen.tolist() == [1.0, 2.0]
    seen[0] = 7
    assert vector[0] == 7
    assert Vector(np.array([1.5, 2])) == Vector([1.5, 2.0])


def test_sparse_vector_class() -> None:
    made = SparseVector.from_dict(5, {3: -2.0, 0: 1.5, 1: 0.0})
    assert made == SparseVector(5, [0, 3], [1.5, -2.0])
    got = decode("sparsevec", encode("sparsevec", made)[1])
    assert got == made and type(got) is SparseVector
    assert (got.dim, list(got.indices), list(got.values)) == (5, [0, 3], [1.5, -2.0])
    assert (got.indices.typecode, got.values.typecode) == ("i", "f")
    assert got.to_dict() == {0: 1.5, 3: -2.0}
    assert got.to_list() == [1.5, 0.0, 0.0, -2.0, 0.0]
    assert repr(got) == "SparseVector.from_dict(5, {0: 1.5, 3: -2.0})"
    assert got != SparseVector(6, [0, 3], [1.5, -2.0]) and got != 5
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(got, protocol)) == got
    assert copy.deepcopy(got) == got
    with pytest.raises(ValueError, match="as many"):
        SparseVector(5, [0], [])
    with pytest.raises(TypeError):
        hash(got)


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_str_is_the_text_form(conn: Any, case: Case) -> None:
    await with_extension(conn, "vector")
    await assert_sent_as(conn, (case[0], str(case[1]), case[2]))
