"""Literals of every type, in PostgreSQL's text form: what the round trip tests run.

A Type is one row: its name in SQL, the Python classes that are its natural kind, and
the values. Everything else (arrays, a composite, a domain, a range over it) is made of
the row by tests/types/contexts.py.
"""
# ruff: noqa: E501 - rows of a table

from __future__ import annotations

import datetime as dt
import decimal
import ipaddress
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

from pgasync import types

NUL_FREE = "".join(map(chr, range(1, 128)))
ASTRAL = "\U0001f40d \U0010ffff \U00010000"
TEXTS = (
    "", " ", "a", "  padded  ", "NULL", "null", "{}", '{"a",b}', "(,)", '"', "''", "\\",
    "\\\\N", "a,b;c", "é€", ASTRAL, "\ufeffmark", "e\u0301", "\u202eabc", "\x7f",
    "line\nline\r\n\ttab", NUL_FREE, "x" * 9000,
)  # fmt: skip


class Type(NamedTuple):
    """One type of the server."""

    name: str  # as SQL spells it
    kinds: tuple[type, ...]  # what values are in Python; (str,) where that is natural
    literals: tuple[str, ...]
    group: str


def rows(group: str, *given: tuple[str, object, object]) -> Iterator[Type]:
    for name, kinds, literals in given:
        one_kind = kinds if isinstance(kinds, tuple) else (kinds,)
        texts = literals if isinstance(literals, tuple) else (literals,)
        yield Type(name, one_kind, texts, group)


def digits(count: int) -> str:
    return ("1234567890" * (count // 10 + 1))[:count]


def floats(least: str, most: str, *more: str) -> tuple[str, ...]:
    return (
        "0", "-0", "1", "-1", "0.1", "1e-7", "123456.789", "1e15", "1e16", "1e22",
        least, "-" + least, most, "-" + most, "NaN", "Infinity", "-Infinity", *more,
    )  # fmt: skip


NUMBERS = rows(
    "numbers",
    ("bool", bool, ("true", "false")),
    ("int2", int, ("0", "1", "-1", "255", "256", "-32768", "32767")),
    ("int4", int, ("0", "1", "-1", "65536", "-2147483648", "2147483647")),
    ("int8", int, ("0", "-1", "4294967296", "-9223372036854775808",
                   "9223372036854775807", "9007199254740993")),
    ("oid", int, ("0", "1", "2147483648", "4294967295")),
    ("float4", float, floats("1e-45", "3.4028235e+38", "1.17549435e-38", "16777216")),
    ("float8", float, floats("5e-324", "1.7976931348623157e308", "2.2250738585072014e-308",
                             "2.225073858507201e-308", "0.30000000000000004",
                             "9007199254740993")),
    ("numeric", decimal.Decimal, (
        "0", "0.00", "1", "-1", "1.10", "10000", "100000000", "0.0001", "-0.00010",
        "1e-16383", "1e131071", "-9.99e100", "NaN", "Infinity", "-Infinity",
        "12345678901234567890123456789012345678901234567890", "0." + "0" * 40 + "1",
        digits(1000), "-" + digits(500) + "." + digits(500), "1e400", "0.5000000000",
        "99999999999999999999.9999", "9999", "9999.9999", "10000.00001",
    )),
    ("money", decimal.Decimal, (
        "0", "1.10", "-1.10", "0.01", "-0.01", "1234567.89",
        "92233720368547758.07", "-92233720368547758.08",
    )),
)  # fmt: skip

STRINGS = rows(
    "strings",
    ("text", str, TEXTS),
    ("varchar", str, TEXTS),
    ("bpchar", str, ("", "a", "a  ", "é€", ASTRAL, "NULL", "{}", "a\\b", 'q"')),
    ("name", str, ("", "a", "public", 'with "quotes"', "é€", "\U0001f40d", "n" * 63,
                   "n" * 70, "é" * 40)),
    ('"char"', str, ("", "a", "\\", '"', ",", "\\200", "\\377", " ")),
    ("bytea", bytes, ("", "\\x00", "\\xff", "\\x" + bytes(range(256)).hex(),
                      "\\x" + "00ff" * 5000, "abc\\134\\000")),
    ("uuid", uuid.UUID, (
        "00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "ffffffff-ffff-ffff-ffff-ffffffffffff", "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}",
    )),
    ("xml", str, ("<a/>", "<a b=\"c\">é€ &amp; \U0001f40d</a>", "text", "<!-- c --><a/>",
                  "<a><![CDATA[<&>]]></a>")),
    ("refcursor", str, ("", "c", 'a "b"', "<unnamed portal 1>")),
)  # fmt: skip

DATES = (
    "2024-02-29", "2000-01-01", "1999-12-31", "1970-01-01", "0001-01-01", "9999-12-31",
    "0001-12-31 BC", "0044-03-15 BC", "4713-01-01 BC", "10000-01-01", "5874897-12-31",
    "infinity", "-infinity",
)  # fmt: skip
MOMENTS = (
    "2024-02-29 12:34:56.789012", "2000-01-01 00:00:00", "1999-12-31 23:59:59.999999",
    "1970-01-01 00:00:00.000001", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999",
    "0001-12-31 23:59:59.999999 BC", "0044-03-15 12:00:00 BC", "4713-11-24 00:00:00 BC",
    "10000-01-01 00:00:00", "294276-12-31 23:59:59.999999", "infinity", "-infinity",
)  # fmt: skip
CLOCKS = (
    "00:00:00",
    "12:34:56.789012",
    "23:59:59.999999",
    "24:00:00",
    "00:00:00.000001",
)
OFFSETS = ("+00", "-08", "+05:30", "+00:19:32", "-00:00:01", "+15:59:59", "-15:59:59")

TIMES = rows(
    "dates and times",
    ("date", (dt.date, types.Beyond), DATES),
    ("time", (dt.time, types.Beyond), CLOCKS),
    ("timetz", (dt.time, types.Beyond), tuple(
        clock + offset for clock in CLOCKS for offset in OFFSETS
    )),
    ("timestamp", (dt.datetime, types.Beyond), MOMENTS),
    ("timestamptz", (dt.datetime, types.Beyond), (
        *(moment.removesuffix(" BC") + "+00" + " BC" * moment.endswith("BC")
          if "infinity" not in moment else moment for moment in MOMENTS),
        "2024-07-01 12:00:00+05:30", "2024-07-01 12:00:00.5-03", "1890-01-01 00:00:00+00:19:32",
    )),
    ("interval", (dt.timedelta, types.Beyond), (
        "0", "1 day", "24 hours", "-1 day", "1 day -24 hours", "-1 day 1 microsecond",
        "1 month", "-1 month", "12 months", "1 year 2 months 3 days 04:05:06.789012",
        "-1 month 1 day", "1 month -1 day", "1 month -30 days", "-1 year 2 days -3 hours",
        "1 mon -1 day 00:00:01", "1000 hours", "25:00:00", "-00:00:00.000001",
        "178000000 years", "-178000000 years 5 days", "2147483647 days", "-2147483648 days",
        "2562047788 hours", "-2562047788 hours", "2147483647 months -2147483648 days",
        "9223372036854775807 microseconds", "-9223372036854775808 microseconds",
        "1000000000 days", "-999999999 days", "infinity", "-infinity",
    )),
)  # fmt: skip

SHAPES = rows(
    "geometric",
    ("point", types.Point, ("(0,0)", "(-0,0.1)", "(1e300,-1e-300)", "(NaN,Infinity)",
                            "(5e-324,-Infinity)")),
    ("line", types.Line, ("{1,0,0}", "{0,-1,3.5}", "{1e300,1e-300,-0}")),
    ("lseg", types.LineSegment, ("[(0,0),(1,1)]", "[(1,1),(1,1)]", "[(-0,NaN),(1e9,5)]")),
    ("box", types.Box, ("(1,1),(0,0)", "(0,0),(1,1)", "(0,1),(1,0)", "(2,2),(2,2)",
                        "(Infinity,1),(-Infinity,-1)")),
    ("path", types.Path, ("[(0,0)]", "((0,0))", "[(0,0),(1,1),(2,0)]",
                          "((0,0),(1,1),(2,0))", "[(1,1),(1,1)]")),
    ("polygon", types.Polygon, ("((0,0))", "((0,0),(1,1),(2,0))",
                                "((0,0),(0.1,0.2),(0,0))")),
    ("circle", types.Circle, ("<(0,0),0>", "<(1,-1),2.5>", "<(0,0),Infinity>",
                              "<(NaN,1),1>")),
)  # fmt: skip

IP = (ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Interface,
      ipaddress.IPv6Interface)  # fmt: skip
NETS = (ipaddress.IPv4Network, ipaddress.IPv6Network)

NETWORK = rows(
    "network",
    ("inet", IP, (
        "0.0.0.0", "127.0.0.1", "255.255.255.255", "192.168.1.5/24", "10.0.0.0/8",
        "1.2.3.4/0", "1.2.3.4/32", "::", "::1", "2001:db8::8a2e:370:7334",
        "2001:db8::1/64", "::ffff:1.2.3.4", "::ffff:1.2.3.4/96", "::/0",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/127",
    )),
    ("cidr", NETS, ("0.0.0.0/0", "10.0.0.0/8", "192.168.1.5/32", "192.168.1", "::/0",
                    "2001:db8::/32", "::1/128", "::ffff:1.2.3.0/120")),
    ("macaddr", str, ("00:00:00:00:00:00", "08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff",
                      "08-00-2B-01-02-03")),
    ("macaddr8", str, ("00:00:00:00:00:00:00:00", "08:00:2b:01:02:03:04:05",
                       "ff:ff:ff:ff:ff:ff:ff:ff", "08:00:2b:01:02:03")),
)  # fmt: skip

BITS = ("", "0", "1", "01", "10101010", "111111111", "0" * 8, "0" * 65, "1" * 1000)

MISC = rows(
    "bits, search, system",
    ('"bit"', types.BitString, BITS),
    ("varbit", types.BitString, BITS),
    ("tsvector", str, ("", "a", "a fat cat", "a:1A,2B,3C,4 b", "'it''s':1 'x y':2",
                       "'\\\\':3 é:16383", "a:1,2,3,4,5,6,7,8,9,10")),
    ("tsquery", str, ("", "a", "a & b", "a | !b", "(a | b) & !c", "a <-> b", "a <3> b",
                      "a:AB*", "'it''s' & 'x y'", "!!a", "a <-> (b | c) <-> d")),
    ("pg_lsn", types.Lsn, ("0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF", "0/1")),
    ("tid", tuple, ("(0,0)", "(0,1)", "(4294967295,65535)", "(42,7)")),
    ("xid", int, ("0", "3", "4294967295")),
    ("xid8", int, ("0", "3", "4294967296", "18446744073709551615")),
    ("cid", int, ("0", "3", "4294967295")),
    ("oidvector", (tuple, list), ("", "1", "23 25 4294967295", "0 0 0")),
    ("int2vector", (tuple, list), ("", "1", "1 -32768 32767", "0 0 0")),
    ("pg_snapshot", types.Snapshot, ("10:20:10,14,15", "1:1:", "1:9223372036854775807:")),
    ("txid_snapshot", types.Snapshot, ("10:20:10,14,15", "1:1:")),
    ("aclitem", str, ("=r/postgres", "postgres=arwdDxtm/postgres", "=/postgres")),
    ("regproc", str, ("-", "now", "pg_catalog.pg_typeof", "4000000000")),
    ("regprocedure", str, ("-", "abs(integer)", "lower(text)", "4000000000")),
    ("regoper", str, ("0", "pg_catalog.||/", "4000000000")),
    ("regoperator", str, ("0", "+(integer,integer)", "-(NONE,bigint)", "4000000000")),
    ("regclass", str, ("-", "pg_class", "pg_catalog.pg_type", "4000000000")),
    ("regtype", str, ("-", "integer", "timestamp with time zone", '"char"', "text[]",
                      "4000000000")),
    ("regrole", str, ("-", "postgres", "pg_monitor", "4000000000")),
    ("regnamespace", str, ("-", "pg_catalog", "public", "4000000000")),
    ("regconfig", str, ("-", "simple", "english", "4000000000")),
    ("regdictionary", str, ("-", "simple", "english_stem", "4000000000")),
    ("regcollation", str, ("-", '"C"', "ucs_basic", "4000000000")),
)  # fmt: skip

DOCUMENTS = (
    "null", "true", "false", '"text"', '""', "0", "-1", "1.5", "1.10", "1e400", "-0.0", "1E-400",
    "12345678901234567890", "-99999999999999999999.99999999", "[]", "{}", "[null]",
    "[[], [[]], {}]", '[1, 2.50, "x", null, true]', '{"a": 1}', '{"": {"": []}}',
    '{"a": [1, {"b": null}], "c": "d"}', '["\\u00e9", "\\ud83d\\udc0d", "\\n\\"\\\\"]',
    '[1.0, 1.00, 100000000000000000000000]',
)  # fmt: skip

JSON_KINDS = (types.Json, bool, str, int, float, decimal.Decimal, list, dict)

JSON = rows(
    "json",
    ("jsonb", JSON_KINDS, (*DOCUMENTS, '{"b": 1, "a": 2, "b": 3}', '[1e2, 0.1e-3]')),
    ("json", JSON_KINDS, DOCUMENTS),
    ("jsonpath", str, ("$", "$.a", "strict $.a[*] ? (@.x > 1)", '$."b c".size()',
                       "lax $.**{2 to 5}", '$ ? (@ like_regex "^a" flag "i")')),
)  # fmt: skip

NULLS = ("empty", "(,)")
INTS = ("[1,5)", "(1,5]", "[1,1]", "(1,2)", "(,5)", "[1,)", "[-5,)", *NULLS)

RANGES = rows(
    "ranges",
    ("int4range", types.Range, (*INTS, "[-2147483648,2147483647)")),
    ("int8range", types.Range, (*INTS, "[-9223372036854775808,9223372036854775807)")),
    ("numrange", types.Range, ("[1.10,1.2)", "(1,1.000]", "[1,1]", "(-Infinity,NaN]",
                               "[-Infinity,Infinity]", "(,1e400)", "[0.0,)", *NULLS)),
    ("daterange", types.Range, (
        "[2024-02-29,2024-03-01]", "(,2024-02-29)", "[0001-01-01,9999-12-31)",
        "[0044-03-15 BC,20000-01-01)", "[-infinity,infinity)", "[-infinity,infinity]",
        "(infinity,)", *NULLS,
    )),
    ("tsrange", types.Range, (
        "[2024-02-29 12:00:00,2024-02-29 12:00:00.000001)", "(2024-02-29 12:00:00,)",
        '["0044-03-15 12:00:00 BC","294276-12-31 23:59:59.999999"]',
        "[-infinity,infinity]", "(,infinity)", *NULLS,
    )),
    ("tstzrange", types.Range, (
        "[2024-02-29 12:00:00+00,2024-02-29 12:00:00.000001+00)",
        '["0044-03-15 12:00:00+00 BC","294276-12-31 23:59:59.999999+00"]',
        "(2024-02-29 12:00:00+05:30,)", "[-infinity,infinity]", "(-infinity,)", *NULLS,
    )),
    ("int4multirange", types.Multirange, ("{}", "{[1,5)}", "{(,1),[3,5),[7,)}", "{(,)}")),
    ("int8multirange", types.Multirange, ("{}", "{[1,4294967296)}", "{(,1),[3,)}")),
    ("nummultirange", types.Multirange, ("{}", "{[1.10,1.2]}", "{(,1),(3,NaN]}")),
    ("datemultirange", types.Multirange, (
        "{}", "{[2024-02-29,2024-03-01]}", "{[-infinity,0001-01-01 BC),[20000-01-01,infinity)}",
    )),
    ("tsmultirange", types.Multirange, (
        "{}", "{[2024-02-29 12:00:00,2024-02-29 13:00:00)}",
        '{[-infinity,"0044-03-15 12:00:00 BC"],[294276-01-01,infinity]}',
    )),
    ("tstzmultirange", types.Multirange, (
        "{}", "{[2024-02-29 12:00:00+00,)}", "{[-infinity,2024-01-01 00:00+00]}",
    )),
)  # fmt: skip

ARRAYS = rows(
    "arrays",
    ("int4[]", list, ("{}", "{1}", "{NULL}", "{1,NULL,3}", "[0:1]={1,2}",
                      "{{1,2},{3,NULL}}", "[-5:-5][2:3]={{1,2}}", "{{{{{{1}}}}}}",
                      "[2147483646:2147483646]={1}", "{" + ",".join("7" * 5000) + "}")),
    ("text[]", list, ("{}", '{""}', '{NULL,"NULL","null"}', '{"a,b","{}","\\"","\\\\"," "}',
                      "[5:6]={é,\U0001f40d}", '{{a,b},{"",NULL}}')),
    ("aclitem[]", list, ("{}", "{=r/postgres,NULL}", "[0:0]={postgres=r/postgres}")),
    ("path[]", list, ("{}", '{"[(0,0),(1,1)]","((0,0),(1,1))"}')),
    ("box[]", list, ("{}", "{(1,1),(0,0);(2,2),(1,1)}", "{{(1,1),(0,0)};{(2,2),(1,1)}}")),
    ("numrange[]", list, ("{}", '{"[1.10,2)",empty,NULL}')),
    ("int4multirange[]", list, ("{}", '{"{[1,2),[3,4)}","{}",NULL}')),
    ("jsonb[]", list, ("{}", '{"[1,2]","null",NULL,"{}"}', '{{"[1]"},{"[[2]]"}}')),
    ("int2vector[]", list, ("{}", '{"1 2",""}')),
    ("timestamptz[]", list, ('{infinity,"2024-02-29 12:00:00+00",NULL}',)),
    ("interval[]", list, ('{"1 mon","-1 mon 1 day",infinity,00:00:01}',)),
    ("regtype[]", list, ('{integer,-,"\\"char\\"",NULL}', '[3:3]={text}')),
)  # fmt: skip

# Types that users make: SETUP is run in a schema that is the first on the search path.
SETUP = """\
create type mood as enum ('sad', '', 'so so', 'with "quotes"', 'é€🐍', '{a,b}', 'NULL');
create type pair as (n int, t text);
create type nothing as ();
create type nested as (p pair, ps pair[], n nothing, r numrange, j jsonb);
create type granted as (a aclitem, n int, t text);
create type deep as (g granted, gs granted[], m mood, v oidvector);
create domain positive as int check (value > 0);
create domain code as text;
create domain moment as timestamptz;
create domain ints as int[];
create domain pairs as pair[];
create domain whole as pair;
create domain span as numrange;
create domain far as moment;
create domain labels as mood[];
create type floatrange as range (subtype = float8, subtype_diff = float8mi);
create type coderange as range (subtype = code);
create type positiverange as range (subtype = positive);
create type moodrange as range (subtype = mood);
create type momentrange as range (subtype = moment);
create type pairrange as range (subtype = pair);
"""
TEXT_PAIRS = (
    "(1,a)",
    "(,)",
    '(,"")',
    '(-5,"(a,""b"")\\\\")',
    '(0,"NULL")',
    '(1,"é🐍,")',
)

USER = rows(
    "user-defined",
    ("mood", str, ("sad", "", "so so", 'with "quotes"', "é€🐍", "{a,b}", "NULL")),
    ("pair", tuple, TEXT_PAIRS),
    ("nothing", tuple, "()"),
    ("nested", tuple, (
        '("(1,a)","{""(2,b)"",NULL,""(,)""}","()","[1.10,2)","{""a"": 1.10}")',
        '(,,,,)', '("(,)",{},"()",empty,"[1, [2]]")',
    )),
    ("granted", tuple, ("(=r/postgres,1,a)", "(,,)", '(postgres=r/postgres,-1,"a ""b"", ()")')),
    ("deep", tuple, (
        '("(=r/postgres,1,a)","{""(=r/postgres,1,a)"",NULL,""(,,\\\\""\\\\"")""}",sad,"1 2")',
        "(,,,)", '(,{},"with ""quotes""",)',
    )),
    ("positive", int, ("1", "2147483647")),
    ("code", str, TEXTS),
    ("moment", (dt.datetime, types.Beyond), ("2024-02-29 12:00:00+00", "infinity",
                                             "0044-03-15 12:00:00+00 BC")),
    ("far", (dt.datetime, types.Beyond), ("2024-02-29 12:00:00+00", "-infinity")),
    ("ints", list, ("{}", "{1,NULL}", "[0:1]={1,2}", "{{1},{2}}")),
    ("pairs", list, ("{}", '{"(1,a)",NULL,"(,)"}', '[0:0]={"(,\\"\\")"}')),
    ("labels", list, ("{}", '{sad,"",NULL,"NULL"}', "[2:3]={sad,\"so so\"}")),
    ("whole", tuple, TEXT_PAIRS),
    ("span", types.Range, ("[1.10,2)", *NULLS)),
    ("floatrange", types.Range, ("[0,1)", "(-0.5,1e300]", "[-Infinity,Infinity)", "[1,NaN]",
                                 *NULLS)),
    ("coderange", types.Range, ('["",z)', '["a,b","c\\"d"]', '(" ",)', *NULLS)),
    ("positiverange", types.Range, ("[1,5)", "(1,5]", "[1,)", *NULLS)),
    ("moodrange", types.Range, ('[sad,"so so"]', '["",)', '(sad,NULL]', *NULLS)),
    ("momentrange", types.Range, ('[-infinity,"2024-02-29 12:00:00+00"]', *NULLS)),
    ("pairrange", types.Range, ('["(1,a)","(2,)"]', '("(1,)",)', *NULLS)),
    ("floatmultirange", types.Multirange, ("{}", "{[0,1),(1,2]}", "{(,-Infinity],[NaN,)}")),
    ("codemultirange", types.Multirange, ("{}", '{["",a),[b,)}', '{["a,b","c\\"d"]}')),
    ("moodmultirange", types.Multirange, ("{}", '{[sad,sad],["so so","NULL"]}')),
    ("momentmultirange", types.Multirange, ('{[-infinity,infinity]}', "{}")),
    ("pairmultirange", types.Multirange, ('{["(1,a)","(2,)"]}', "{}")),
    ("mood[]", list, ("{}", '{sad,"",NULL,"NULL"}', "[0:0]={sad}")),
    ("pair[]", list, ("{}", '{"(1,a)",NULL,"(,\\"\\")"}', '{{"(1,a)"},{"(2,b)"}}')),
    ("nothing[]", list, ("{}", "{(),NULL}")),
    ("granted[]", list, ("{}", '{"(=r/postgres,1,\\"\\")",NULL,"(,,)"}', '[3:3]={"(,,)"}')),
    ("positive[]", list, ("{}", "{1,NULL}", "[0:1]={1,2}")),
    ("ints[]", list, ("{}", '{"{1,2}","{}",NULL,"{{1}}"}')),
    ("floatrange[]", list, ("{}", '{"[0,1)",empty,NULL}')),
    ("floatmultirange[]", list, ("{}", '{"{[0,1),(1,2]}","{}",NULL}')),
)  # fmt: skip

EXTENSIONS = ("citext", "cube", "hstore", "ltree", "vector")

EXTENDED = rows(
    "extensions",
    ("hstore", dict, ("", "a=>1", "a=>NULL", '""=>""', '"=>"=>"\\"", "null"=>"NULL"',
                      '"é🐍"=>"\\\\", b=>"x,y", c=>NULL')),
    ("citext", str, TEXTS),
    ("ltree", str, ("", "Top", "Top.Science.Astronomy_1", "a-b.c_1")),
    ("lquery", str, ("*", "Top.*{,2}.sport@*.!football|tennis.Russ*|Spain", "a.*.b")),
    ("ltxtquery", str, ("a", "Europe & Russia@* & !Transportation", "a | b & !(c | d)")),
    ("cube", types.Cube, ("()", "(0)", "(1,-2)", "(0,5),(3,-5)", "(-0)", "(-Infinity),(Infinity)",
                          "(5e-324),(1.7976931348623157e308)")),
    ("vector", types.Vector, ("[0]", "[-0,1,0.1]", "[1e-45,3.4028235e+38]",
                              "[" + ",".join(["0.5"] * 2000) + "]")),
    ("halfvec", types.HalfVector, ("[0]", "[-0,1,0.1]", "[65504,-65504,6e-8,6.104e-05]")),
    ("sparsevec", types.SparseVector, ("{}/1", "{1:0.5}/3", "{1:1,1000:-2.5}/1000000",
                                       "{2:1e-45}/2")),
)  # fmt: skip

TYPES: tuple[Type, ...] = (
    *NUMBERS, *STRINGS, *TIMES, *SHAPES, *NETWORK, *MISC, *JSON, *RANGES, *ARRAYS,
    *USER, *EXTENDED,
)  # fmt: skip

# Anonymous records, made by SQL, and what they are in Python.
RECORDS: list[tuple[str, Any]] = [
    ("row()", ()),
    ("row(1)", (1,)),
    ("row(1, 'unknown', null)", (1, "unknown", None)),
    ("row(row(row('a')))", ((("a",),),)),
    ("row(array[row(1, 'a'), row(2, null)])", ([(1, "a"), (2, None)],)),
    ("row('{}'::text[], '[0:1]={a,b}'::text[])", ([], ["a", "b"])),
    ("(select t from (select 1 as a, 'x' as b) as t)", (1, "x")),
    ("array[row(1), row(2)]", [(1,), (2,)]),
]
