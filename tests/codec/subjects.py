"""Every codec there is, for the sweep and the fuzz target: the rows of the table, and
one of each kind that is made at run time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from pgasync import _core


class Subject(NamedTuple):
    """A codec under the sweep: a row of the table, or one made at run time."""

    codec: Any  # as codec_decode and codec_encode take it
    name: str
    fixed_len: int = -1


OIDS: dict[str, int] = {row[2]: row[0] for row in _core.codec_table()}
MADE_OID = 90_000
INT4, TEXT = 23, 25
# What kinds are made of: elem and members, the first pair that fits.
PARTS: list[tuple[Any, Any]] = [
    (None, None),
    (INT4, None),
    (None, [("number", INT4), ("text", TEXT)]),
]


def made(kind: str, make: Any = _core.Codec) -> Any:
    """A codec of that kind, from whatever parts it wants."""
    for elem, members in PARTS:
        with contextlib.suppress(TypeError):
            return make(kind, MADE_OID, kind, elem, members)
    raise AssertionError(f"add to PARTS what the kind {kind!r} is made of")


def nested(make: Any) -> Any:
    """A composite of containers, two levels deep."""
    pair = make("composite", MADE_OID, "pair", None, PARTS[2][1])
    pairs = make("array", MADE_OID + 1, "pair[]", pair)
    numbers = make("domain", MADE_OID + 2, "numbers", OIDS["int4[]"])
    members = [("a", numbers), ("b", OIDS["tsrange"]), ("c", pair), ("d", pairs)]
    return make("composite", MADE_OID + 3, "nested", None, members)


SPELLED = (
    "bool int2 int8 oid float4 float8 numeric bytea uuid date time timestamp"
    " timestamptz interval text jsonb int4[] numrange point"
    " inet cidr varbit tid xid8 pg_lsn pg_snapshot"
).split()


def in_text(make: Any) -> Iterator[Subject]:
    """Containers that travel as text, because of what is in them."""
    plain = make("text", MADE_OID, "plain")
    yield Subject(make("array", MADE_OID + 1, "plain[]", plain), "plain[]")
    span = make("range", MADE_OID + 2, "plainrange", plain)
    yield Subject(span, "plainrange")
    yield Subject(
        make("multirange", MADE_OID + 3, "plainmultirange", span), "plainmultirange"
    )
    members = [("p", plain), *((name, OIDS[name]) for name in SPELLED)]
    spelled = make("composite", MADE_OID + 4, "spelled", None, members)
    yield Subject(spelled, "spelled")
    yield Subject(make("array", MADE_OID + 5, "spelled[]", spelled), "spelled[]")


def made_subjects(make: Any = _core.Codec) -> Iterator[Subject]:
    """Every kind, and an array of it where there is one."""
    for kind in _core.codec_kinds():
        yield Subject(codec := made(kind, make), kind)
        if kind != "array" and not codec.is_text:
            array = f"{kind}[]"
            yield Subject(make("array", MADE_OID + 1, array, codec), array)
    yield Subject(nested(make), "nested")
    yield from in_text(make)


SUBJECTS = [
    *(Subject(oid, name, fixed_len) for oid, _, name, fixed_len in _core.codec_table()),
    *made_subjects(),
]
