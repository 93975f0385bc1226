"""uuid: objects made without UUID's own __init__ must not differ from its own."""

from __future__ import annotations

import copy
import pickle
import uuid
from typing import Any

import pytest

from codec.checks import (
    Case,
    assert_both_ways,
    assert_refused,
    assert_sent_as,
    decode,
    encode,
    names,
)

ONE = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"

CASES: list[Case] = [
    ("uuid", uuid.UUID(ONE), f"'{ONE}'"),
    ("uuid", uuid.UUID(int=0), "'00000000-0000-0000-0000-000000000000'"),
    ("uuid", uuid.UUID(int=2**64 - 1), "'00000000-0000-0000-ffff-ffffffffffff'"),
    ("uuid", uuid.UUID(int=2**64), "'00000000-0000-0001-0000-000000000000'"),
    ("uuid", uuid.UUID(int=2**128 - 1), "'ffffffff-ffff-ffff-ffff-ffffffffffff'"),
]


class Sub(uuid.UUID):
    """A subclass, as libraries have."""


SENT: list[Case] = [
    ("uuid", Sub(ONE), f"'{ONE}'"),
    ("uuid", uuid.UUID(ONE).bytes, f"'{ONE}'"),
    ("uuid", ONE, f"'{ONE}'"),
    ("uuid", ONE.upper(), f"'{ONE}'"),
    ("uuid", ONE.replace("-", ""), f"'{ONE}'"),
    ("uuid", "{" + ONE + "}", f"'{ONE}'"),
]


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_both_ways(conn: Any, case: Case) -> None:
    await assert_both_ways(conn, case)


@pytest.mark.parametrize("case", SENT, ids=names)
async def test_sent_leniently(conn: Any, case: Case) -> None:
    await assert_sent_as(conn, case)


@pytest.mark.parametrize("value", [b"", b"x" * 15, b"x" * 17, 5, 2**127, [ONE]])
def test_refused(value: object) -> None:
    assert_refused("uuid", value, "16 bytes")


@pytest.mark.parametrize("case", CASES, ids=names)
def test_is_a_whole_uuid(case: Case) -> None:
    made, own = decode("uuid", case[1].bytes), case[1]
    assert type(made) is uuid.UUID
    assert made == own and hash(made) == hash(own)
    assert (str(made), made.int, made.bytes) == (str(own), own.int, own.bytes)
    assert made.is_safe is uuid.SafeUUID.unknown
    assert made.version == own.version and made.variant == own.variant
    assert pickle.loads(pickle.dumps(made)) == own
    assert copy.deepcopy(made) == own
    with pytest.raises(TypeError):
        made.int = 5


def test_odd_spellings_go_to_the_server() -> None:
    raw = uuid.UUID(ONE).bytes
    assert encode("uuid", ONE) == (1, raw)
    assert encode("uuid", ONE.replace("-", "")) == (1, raw)
    for text in (ONE[1:], ONE[:-1] + "g", ONE[:8] + "_" + ONE[9:], "x" * 32, "é" * 18):
        assert encode("uuid", text) == (0, text.encode())


def test_a_uuid_without_a_value() -> None:
    assert_refused_message = "without a value"
    empty = uuid.UUID.__new__(uuid.UUID)
    with pytest.raises(Exception, match=assert_refused_message) as caught:
        encode("uuid", empty)
    assert type(caught.value).__name__ == "DataError"
