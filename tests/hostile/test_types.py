"""A catalog that lies: what the server answers when it is asked about a type that
nobody has met. The statement ends in a value or a clean exception, and the connection
goes on."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any, NamedTuple

import pytest

import pgasync
from hostile.scripts import LIMIT_S, connect
from pgmock import (
    INT4,
    TEXT,
    Answer,
    MockServer,
    Peer,
    array,
    data_row,
    int4,
    serve,
)

OID = 70_000  # of the type of the value
NULL = None


def row(
    oid: int | str = OID,
    kind: str = "b",
    name: str = "t",
    *,
    elem: int | str = 0,
    base: int | str = 0,
    subtype: int | str = 0,
    multirange: int | str = 0,
    parts: Any = NULL,
) -> bytes:
    """What the catalog says of one type; see introspect.py."""
    more = parts if parts is None or isinstance(parts, str) else json.dumps(parts)
    cells = [oid, "public", name, kind, elem, base, 0, "tsend", "t", subtype]
    values = [str(cell).encode() for cell in [*cells, multirange]]
    return data_row(*values, None if more is None else more.encode())


def composite(oid: int, *members: int) -> bytes:
    return row(oid, "c", f"c{oid}", parts=[[f"m{n}", m] for n, m in enumerate(members)])


def cells(*pairs: tuple[int, bytes]) -> bytes:
    """The value of a composite."""
    body = int4(len(pairs))
    for oid, value in pairs:
        body += int4(oid) + int4(len(value)) + value
    return body


ONE_INT = cells((INT4, int4(1)))


class Lie(NamedTuple):
    name: str
    rows: tuple[bytes, ...]
    value: bytes = b"abcd"
    columns: int = 12


CHAIN = 3000

LIES = [
    Lie("nothing", ()),
    Lie("another_type", (row(OID + 1),)),
    Lie("same_type_twice", (row(), row(kind="e", parts=["a"]))),
    Lie("kind_empty", (row(kind=""),)),
    Lie("kind_unknown", (row(kind="?"),)),
    Lie("kind_long", (row(kind="composite"),)),
    Lie("oid_zero", (row(0),)),
    Lie("oid_words", (row("abc"),)),
    Lie("oid_negative", (row(-5),)),
    Lie("oid_2_64", (row(2**64),)),
    Lie("oid_of_int4", (row(INT4, "c", parts=[["a", INT4]]), row())),
    Lie("oid_fraction", (row("7.5"),)),
    Lie("11_columns", (data_row(*[b"1"] * 11),), columns=11),
    Lie("no_columns", (data_row(),), columns=0),
    Lie("13_columns", (data_row(*[b"1"] * 13),), columns=13),
    Lie("nulls", (data_row(*[None] * 12),)),
    Lie("not_utf8", (data_row(str(OID).encode(), b"\xff", *[b"0"] * 10),)),
    Lie("array_of_itself", (row(elem=OID),), array([b"x"], oid=OID)),
    Lie("array_of_nobody", (row(elem=OID + 1),)),
    Lie("array_of_words", (row(elem="int4"),)),
    Lie("array_of_2_64", (row(elem=2**64),)),
    Lie("array_of_a_negative", (row(elem=-1),)),
    Lie("domain_of_itself", (row(kind="d", base=OID),)),
    Lie("domain_of_nothing", (row(kind="d"),)),
    Lie(
        "domains_in_a_circle",
        (row(kind="d", base=OID + 1), row(OID + 1, "d", base=OID)),
    ),
    Lie(
        "domains_without_end",
        tuple(row(OID + n, "d", base=OID + n + 1) for n in range(CHAIN)),
    ),
    Lie(
        "domains_to_int4",
        (
            *(row(OID + n, "d", base=OID + n + 1) for n in range(CHAIN)),
            row(OID + CHAIN, "d", base=INT4),
        ),
    ),
    Lie("range_of_itself", (row(kind="r", subtype=OID),), b"\0"),
    Lie("range_of_nothing", (row(kind="r"),)),
    Lie("multirange_of_itself", (row(kind="m", multirange=OID),), int4(1)),
    Lie("multirange_of_int4", (row(kind="m", multirange=INT4),), int4(1)),
    Lie("composite_of_itself", (composite(OID, OID),), cells((OID, ONE_INT))),
    Lie(
        "composites_in_a_circle",
        (composite(OID, OID + 1), composite(OID + 1, OID)),
        cells((OID + 1, cells((OID, ONE_INT)))),
    ),
    Lie(
        "composites_without_end",
        tuple(composite(OID + n, OID + n + 1) for n in range(CHAIN)),
    ),
    Lie("composite_of_nobody", (composite(OID, OID + 1),), ONE_INT),
    Lie("composite_without_members", (row(kind="c"),), ONE_INT),
    Lie("composite_of_another_size", (composite(OID, *[INT4] * 9),), ONE_INT),
    Lie("composite_of_others", (composite(OID, TEXT),), ONE_INT),
    Lie("composite_of_20000", (composite(OID, *[INT4] * 20_000),), ONE_INT),
    Lie("composite_member_of_2_64", (row(kind="c", parts=[["a", 2**64]]),)),
    Lie("composite_member_negative", (row(kind="c", parts=[["a", -1]]),)),
    Lie("composite_member_in_words", (row(kind="c", parts=[["a", "int4"]]),)),
    Lie("composite_name_is_a_number", (row(kind="c", parts=[[1, INT4]]),), ONE_INT),
    Lie("composite_name_is_null", (row(kind="c", parts=[[None, INT4]]),), ONE_INT),
    Lie("composite_names_are_code", (row(kind="c", parts=[['"]; x', INT4]]),), ONE_INT),
    Lie(
        "composite_names_twice",
        (row(kind="c", parts=[["a", 23]] * 2),),
        cells(*[(23, int4(1))] * 2),
    ),
    Lie("members_broken", (row(kind="c", parts='[["a", 2'),)),
    Lie("members_a_number", (row(kind="c", parts="7"),)),
    Lie("members_an_object", (row(kind="c", parts='{"a": 23}'),)),
    Lie("members_of_one", (row(kind="c", parts=[["a"]]),)),
    Lie("members_of_three", (row(kind="c", parts=[["a", 23, 4]]),)),
    Lie("members_nested", (row(kind="c", parts="[" * 50_000),)),
    Lie("labels_a_number", (row(kind="e", parts="7"),), b"fine"),
    Lie("labels_of_numbers", (row(kind="e", parts=[1, 2]),), b"fine"),
    Lie("labels_broken", (row(kind="e", parts='["fi'),), b"fine"),
    Lie("labels_of_100000", (row(kind="e", parts=["x"] * 100_000),), b"x"),
    Lie("label_not_utf8", (row(kind="e", parts=["a"]),), b"\xff"),
    Lie("name_of_1mb", (row(name="n" * 2**20),)),
    Lie("many_types", tuple(row(OID + n) for n in range(20_000))),
]


@pytest.mark.parametrize("case", LIES, ids=lambda case: case.name)
async def test_catalog(case: Lie) -> None:
    columns = tuple((f"c{n}", TEXT) for n in range(case.columns))
    answers = {
        "with recursive": Answer(columns=columns, rows=case.rows),
        "select v": Answer(columns=(("v", OID),), rows=(data_row(case.value),)),
    }

    def script(peer: Peer) -> None:
        peer.startup()
        serve(peer, answers)

    with MockServer(script) as server:
        # A database of its own: what was learnt of it is kept for the process.
        conn = await connect(server, dbname=f"db_{secrets.token_hex(6)}")
        for _ in range(2):
            try:
                asked = conn.fetch(f"select v /* {case.name} */")
                rows = await asyncio.wait_for(asked, LIMIT_S)
            except pgasync.Error as error:
                assert len(str(error)) < 4000
            else:
                assert len(rows) == 1
                repr(rows)
        if not conn.closed:
            assert await asyncio.wait_for(conn.fetchval("select 7"), LIMIT_S) == 7
        await conn.close()
    assert not server.failures
