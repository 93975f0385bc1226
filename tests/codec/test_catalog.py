"""The types of PostgreSQL's catalogs and functions: tid, xid8, pg_lsn, snapshots, the
reg* types, refcursor, name, and xml and jsonpath, which are text with rules."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from codec.checks import (
    Case,
    assert_both_ways,
    assert_not_decoded,
    assert_refused,
    assert_sent_as,
    decode,
    encode,
    names,
)
from pgasync.errors import AmbiguousFunction
from pgasync.types import Lsn, Snapshot

CASES: list[Case] = [
    ("tid", (0, 0), "'(0,0)'"),
    ("tid", (2**32 - 1, 2**16 - 1), "'(4294967295,65535)'"),
    ("xid", 0, "'0'"),
    ("xid", 2**32 - 1, "'4294967295'"),
    ("cid", 7, "'7'"),
    ("xid8", 0, "'0'"),
    ("xid8", 2**64 - 1, "'18446744073709551615'"),
    ("pg_lsn", Lsn(0), "'0/0'"),
    ("pg_lsn", Lsn(0x16_B374D848), "'16/B374D848'"),
    ("pg_lsn", Lsn(2**64 - 1), "'FFFFFFFF/FFFFFFFF'"),
    ("pg_snapshot", Snapshot(10, 20, (10, 14, 15)), "'10:20:10,14,15'"),
    ("pg_snapshot", Snapshot(1, 1, ()), "'1:1:'"),
    ("txid_snapshot", Snapshot(10, 20, (12,)), "'10:20:12'"),
    ("refcursor", "a cursor", "'a cursor'"),
    ("regproc", "now", "'now'"),
    ("regprocedure", "sum(integer)", "'sum(int4)'"),
    ("regoper", "||/", "'||/'"),
    ("regoperator", "+(integer,integer)", "'+(int4,int4)'"),
    ("regclass", "pg_class", "'pg_class'"),
    ("regclass", "-", "'-'"),
    ("regtype", "character varying", "'varchar'"),
    ("regrole", "postgres", "'postgres'"),
    ("regnamespace", "pg_catalog", "'pg_catalog'"),
    ("regconfig", "english", "'english'"),
    ("regdictionary", "simple", "'simple'"),
    ("regcollation", '"C"', "'\"C\"'"),
    ("aclitem", "postgres=r/postgres", "'postgres=r/postgres'"),
    ("name", "a name", "'a name'"),
    ("jsonpath", '$."a"[*]?(@ > 5)', "'$.a[*] ? (@ > 5)'"),
]

SENT: list[Case] = [
    ("tid", [1, 2], "'(1,2)'"),
    ("tid", "(1,2)", "'(1,2)'"),
    ("xid8", "77", "'77'"),
    ("pg_lsn", 5, "'0/5'"),
    ("pg_lsn", "16/B374D848", "'16/B374D848'"),
    ("pg_snapshot", (10, 20, [14]), "'10:20:14'"),
    ("pg_snapshot", "10:20:14", "'10:20:14'"),
    ("regclass", 1259, "'pg_class'"),
    ("regtype", "int", "'integer'"),
    ("jsonpath", "$.a", "'$.a'"),
    ("name", "x" * 63, "repeat('x', 63)"),
    ("name", "x" * 70, "repeat('x', 63)"),
    ("name", "x" * 62 + "é", "repeat('x', 62)"),
    ("name", "日" * 30, "repeat('日', 21)"),
    ("name", "😀" * 16, "repeat('😀', 15)"),
    ("name", 5, "'5'"),
    ("name", 10**70, "'1' || repeat('0', 62)"),
    ("name[]", ["x" * 70, None, "a"], "array[repeat('x', 63), null, 'a']"),
]

REFUSED: list[tuple[str, Any, str]] = [
    ("tid", (1,), "(block, offset)"),
    ("tid", (1, 2**16), "(block, offset)"),
    ("tid", (-1, 1), "(block, offset)"),
    ("tid", (1, True), "(block, offset)"),
    ("xid8", -1, "2**64"),
    ("xid8", 2**64, "2**64"),
    ("xid8", True, "2**64"),
    ("pg_lsn", 1.5, "Lsn"),
    ("pg_snapshot", (1, 2), "Snapshot"),
    ("pg_snapshot", (1, 2, 3), "Snapshot"),
    ("pg_snapshot", (1, 2, [-1]), "Snapshot"),
    ("regclass", [], "str"),
    ("jsonpath", 5, "str"),
    ("refcursor", b"x", "str"),
]


async def shown(conn: Any, case: Case) -> Case:
    """What the server's text of a jsonpath is, for the value's sake."""
    if case[0] != "jsonpath":
        return case
    text = await conn.fetchval(f"select ({case[2]}::jsonpath)::text")
    return (case[0], text, case[2])


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_both_ways(conn: Any, case: Case) -> None:
    await assert_both_ways(conn, await shown(conn, case))


@pytest.mark.parametrize("case", CASES, ids=names)
async def test_in_arrays(conn: Any, case: Case) -> None:
    pg_type, value, literal = await shown(conn, case)
    sql = f"select array[{literal}::{pg_type}, null]"
    array = await conn.fetchval(sql)
    assert array == [value, None]
    sent = await conn.fetchrow(
        f"select ($1::{pg_type}[])::text, (array[{literal}::{pg_type}, null])::text",
        [array],
    )
    assert sent[0] == sent[1]


@pytest.mark.parametrize("case", SENT, ids=names)
async def test_sent_leniently(conn: Any, case: Case) -> None:
    await assert_sent_as(conn, case)


@pytest.mark.parametrize("case", REFUSED, ids=names)
def test_refused(case: tuple[str, Any, str]) -> None:
    assert_refused(*case)


async def test_a_name_in_another_encoding(conn: Any, connect: Any) -> None:
    """63 bytes are the server's: 60 characters of LATIN1 fit, and 63 of 70."""
    await conn.execute("drop database if exists latin")
    await conn.execute(
        "create database latin encoding 'LATIN1' template template0 locale 'C'"
    )
    latin = await connect(database="latin", autocommit=True)
    for length, kept in ((60, 60), (63, 63), (70, 63)):
        for sql, value in (
            ("select $1::name", "é" * length),
            ("select ($1::name[])[1]", ["é" * length]),
        ):
            assert await latin.fetchval(sql, [value]) == "é" * kept
    await latin.close()
    await conn.execute("drop database latin")


def test_long_names_go_to_the_server() -> None:
    assert encode("name", "x" * 63) == (1, b"x" * 63)
    assert encode("name", "x" * 64) == (0, b"x" * 64)
    assert encode("name", "é" * 32) == (0, "é".encode() * 32)


@pytest.mark.parametrize(
    ("bare", "exact", "text"),
    [
        ("regproc", "regprocedure", "sum(integer)"),
        ("regoper", "regoperator", "+(integer,integer)"),
    ],
)
async def test_overloaded_names(conn: Any, bare: str, exact: str, text: str) -> None:
    """The server does not read its own text; the type with arguments has none such."""
    sql = f"select $1::{exact}::oid::{bare}, $1::{exact}, $1::{exact}::oid"
    value, shown, oid = await conn.fetchrow(sql, [text])
    with pytest.raises(AmbiguousFunction, match="more than one"):
        await conn.fetchval(f"select $1::{bare}", [value])
    for kept in (shown, oid):
        assert await conn.fetchval(f"select $1::{exact}::oid", [kept]) == oid
    assert await conn.fetchval(f"select $1::{bare}::oid", [oid]) == oid


async def test_acl_of_a_table(conn: Any) -> None:
    await conn.execute("create temp table shared (n int)")
    await conn.execute("grant select on shared to public")
    sql = "select relacl from pg_class where oid = 'shared'::regclass"
    acl = await conn.fetchval(sql)
    assert acl[1] == "=r/postgres"
    assert await conn.fetchval("select $1::aclitem[]", [acl]) == acl


async def test_xml(hba_server: Any, connect: Any) -> None:
    """On a server that has it."""
    conn = await connect(hba_server.dsn, autocommit=True)
    for text in ("<a>é &amp; b</a>", '<?xml version="1.1"?><a/>', "just text", ""):
        value = await conn.fetchval("select xmlparse(content $1)", [text])
        shown = await conn.fetchval("select xmlparse(content $1)::text", [text])
        assert value == shown
        assert await conn.fetchval("select ($1::xml)::text", [value]) == shown
        assert await conn.fetchval("select $1::xml[]", [[value, None]]) == [value, None]


def test_lsn() -> None:
    lsn = Lsn.parse("16/B374D848")
    assert lsn == 0x16B374D848 and str(lsn) == "16/B374D848"
    assert repr(lsn) == f"Lsn({0x16B374D848})"
    assert type(pickle.loads(pickle.dumps(lsn))) is Lsn
    assert Lsn(8) - Lsn(3) == 5 and hash(Lsn(5)) == hash(5)


def test_malformed() -> None:
    assert_not_decoded("pg_snapshot", b"", "does not fit")
    assert_not_decoded("pg_snapshot", b"\xff" * 20, "does not fit")
    assert_not_decoded("pg_snapshot", b"\0\0\0\1" + bytes(16), "does not fit")
    assert_not_decoded("jsonpath", b"\2$", "version")
    assert_not_decoded("jsonpath", b"", "version")
    assert decode("pg_snapshot", bytes(20)) == Snapshot(0, 0, ())
    assert encode("regclass", 1259) == (0, b"1259")
