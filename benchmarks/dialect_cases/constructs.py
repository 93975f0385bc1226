"""Statements made of SQLAlchemy's constructs."""

# ruff: noqa: E501 - constructs, a line each

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import func, literal, select, text
from sqlalchemy.dialects import postgresql as pg

from . import reasons as why
from .case import add, group
from .statements import plain

METADATA = sa.MetaData()
ITEM = sa.Table(
    "item",
    METADATA,
    sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("price", sa.Numeric(10, 2)),
    sa.Column("tags", pg.ARRAY(sa.Text)),
    sa.Column("at", sa.DateTime(timezone=True)),
)
KEEP = sa.Table(
    "keep",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("t", sa.Text),
)
COUNTED = sa.Table(
    "counted",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("n", sa.Integer),
    sa.Column("twice", sa.Integer, sa.Computed("n * 2", persisted=True)),
)


X = sa.bindparam("x", type_=sa.Integer)
INSERT = pg.insert(ITEM)
CONSTRUCTS: list[tuple[str, Any, Any]] = [
    ("select", select(ITEM).order_by(ITEM.c.id), None),
    ("columns", select(ITEM.c.name, ITEM.c.price).order_by(ITEM.c.id), None),
    ("where", select(ITEM.c.name).where(ITEM.c.id == 1), None),
    ("bindparam", select(ITEM.c.name).where(ITEM.c.id == X), {"x": 2}),
    ("in list", select(ITEM.c.name).where(ITEM.c.id.in_([1, 2])).order_by(ITEM.c.id), None),
    ("empty in", select(ITEM.c.name).where(ITEM.c.id.in_([])), None),
    ("not in empty", select(func.count()).where(ITEM.c.id.not_in([])), None),
    ("in of 10,000", select(ITEM.c.name).where(ITEM.c.id.in_(range(10_000))).order_by(ITEM.c.id), None),
    ("in of 32,767", select(func.count()).where(ITEM.c.id.in_(range(32_767))), None),
    ("in of 40,000", select(func.count()).where(ITEM.c.id.in_(range(40_000))), None),
    ("in of 70,000", select(func.count()).where(ITEM.c.id.in_(range(70_000))), None),
    ("in of tuples", select(ITEM.c.id).where(sa.tuple_(ITEM.c.id, ITEM.c.name).in_([(1, "a"), (2, "x")])), None),
    ("expanding text", text("select name from item where id in :ids order by 1").bindparams(sa.bindparam("ids", expanding=True)), {"ids": [1, 3]}),
    ("any_", select(ITEM.c.id).where(literal("x") == sa.any_(ITEM.c.tags)), None),
    ("any of a list", select(ITEM.c.id).where(ITEM.c.id == sa.any_(literal([1, 2], pg.ARRAY(sa.Integer)))).order_by(ITEM.c.id), None),
    ("contains", select(ITEM.c.id).where(ITEM.c.tags.contains(["x"])), None),
    ("overlap", select(ITEM.c.id).where(ITEM.c.tags.overlap(["x", "z"])), None),
    ("array index", select(ITEM.c.tags[1], ITEM.c.tags[1:2]).where(ITEM.c.id == 1), None),
    ("array literal", select(pg.array([1, 2, 3]), pg.array(["a"]) + pg.array(["b"])), None),
    ("array_agg", select(func.array_agg(ITEM.c.name)), None),
    ("array_agg ordered", select(func.array_agg(pg.aggregate_order_by(ITEM.c.name, ITEM.c.name.desc()))), None),
    ("string_agg", select(func.string_agg(ITEM.c.name, ",")), None),
    ("json_agg", select(func.json_agg(ITEM.c.name)), None),
    ("filter", select(func.count().filter(ITEM.c.price > 0)), None),
    ("case", select(sa.case((ITEM.c.id == 1, "one"), else_="more")).order_by(ITEM.c.id), None),
    ("cast", select(sa.cast("5", sa.Integer), sa.cast(5, sa.Text), sa.cast(1.5, sa.Numeric)), None),
    ("type_coerce", select(sa.type_coerce("5", sa.Text)), None),
    ("window", select(func.row_number().over(order_by=ITEM.c.id)), None),
    ("lag", select(func.lag(ITEM.c.name, 1, "none").over(order_by=ITEM.c.id)), None),
    ("cte", select(select(ITEM.c.id).cte("c")), None),
    ("recursive", (lambda c: select(c.union_all(select(c.c.n + 1).where(c.c.n < 3))))(select(literal(1).label("n")).cte("r", recursive=True)), None),
    ("lateral", select(ITEM.c.id, func.unnest(ITEM.c.tags).table_valued("t").lateral("u").c.t), None),
    ("exists", select(sa.exists().where(ITEM.c.id == 1)), None),
    ("union", select(literal(1)).union_all(select(literal(2))), None),
    ("values", select(sa.values(sa.column("a", sa.Integer), sa.column("b", sa.Text), name="v").data([(1, "x"), (2, None)])), None),
    ("distinct on", select(ITEM.c.name).distinct(ITEM.c.price.is_(None)).order_by(ITEM.c.price.is_(None), ITEM.c.name), None),
    ("for update", select(ITEM.c.id).with_for_update(skip_locked=True, of=ITEM).order_by(ITEM.c.id), None),
    ("tablesample", select(func.count()).select_from(sa.tablesample(ITEM, 100)), None),
    ("limit", select(ITEM.c.id).order_by(ITEM.c.id).limit(1).offset(1), None),
    ("fetch", select(ITEM.c.id).order_by(ITEM.c.id).fetch(2, with_ties=True), None),
    ("like", select(ITEM.c.id).where(ITEM.c.name.like("a%")), None),
    ("startswith", select(ITEM.c.id).where(ITEM.c.name.startswith("a%", autoescape=True)), None),
    ("ilike", select(ITEM.c.id).where(ITEM.c.name.ilike("A")), None),
    ("regexp", select(ITEM.c.id).where(ITEM.c.name.regexp_match("^a")), None),
    ("modulo", select(ITEM.c.id % 2).order_by(ITEM.c.id), None),
    ("concat", select(ITEM.c.name + "!").order_by(ITEM.c.id), None),
    ("arithmetic", select(ITEM.c.price * 2 + 1, ITEM.c.price / 3, ITEM.c.id // 2).order_by(ITEM.c.id), None),
    ("sum", select(func.sum(ITEM.c.price), func.avg(ITEM.c.price), func.max(ITEM.c.id), func.sum(ITEM.c.id)), None),
    ("coalesce", select(func.coalesce(ITEM.c.price, 0)).order_by(ITEM.c.id), None),
    ("extract", select(sa.extract("year", literal("2024-02-29", sa.Date))), None),
    ("date arithmetic", select(sa.cast("2024-02-29", sa.Date) + 1, sa.cast("2024-02-29", sa.DateTime) - sa.cast("2024-02-28", sa.DateTime)), None),
    ("now", select(func.now() == func.current_timestamp()), None),
    ("json access", select(sa.cast({"a": [1, {"b": "c"}]}, pg.JSONB)["a"][1]["b"].as_string(), sa.cast({"a": 5}, pg.JSONB)["a"].as_integer()), None),
    ("json path", select(sa.cast({"a": [1, 2]}, pg.JSONB)[("a", 1)], sa.cast({"a": 1}, pg.JSON)["a"]), None),
    ("json contains", select(sa.cast({"a": 1, "b": 2}, pg.JSONB).contains({"a": 1}), sa.cast({"a": 1}, pg.JSONB).has_key("a"), sa.cast({"a": 1}, pg.JSONB).has_any(pg.array(["a", "z"]))), None),
    ("jsonb path", select(func.jsonb_path_query(sa.cast({"a": [1, 2]}, pg.JSONB), sa.cast("$.a[*]", pg.JSONPATH))), None),
    ("jsonb_set", select(func.jsonb_set(sa.cast({"a": 1}, pg.JSONB), "{a}", sa.cast(2, pg.JSONB))), None),
    ("tsvector", select(func.to_tsvector("english", "cats").op("@@")(func.to_tsquery("english", "cat"))), None),
    ("match", select(ITEM.c.id).where(ITEM.c.name.match("a")), None),
    ("range operators", select(sa.cast("[1,5)", pg.INT4RANGE).contains(3), literal(pg.Range(1, 5), pg.INT4RANGE).overlaps(pg.Range(4, 9))), None),
    ("generate_series", select(func.generate_series(1, 3).column_valued("n")), None),
    ("unnest", select(func.unnest(pg.array([1, 2])).column_valued("n")), None),
    ("label", select((ITEM.c.id + 1).label("A label: %")).order_by(ITEM.c.id).limit(1), None),
    ("null", select(sa.null(), sa.true(), sa.false(), literal(None)), None),
    ("literal values", select(literal("a"), literal(1), literal(1.5), literal(True), literal(b"x")), None),
    ("literal_execute", select(ITEM.c.name).where(ITEM.c.id == sa.bindparam("x", 1, literal_execute=True)), None),
    ("is distinct", select(ITEM.c.id).where(ITEM.c.price.is_distinct_from(None)).order_by(ITEM.c.id), None),
    ("collate", select(ITEM.c.name.collate("C")).order_by(ITEM.c.id).limit(1), None),
    ("insert", ITEM.insert(), {"id": 50, "name": "n"}),
    ("insert of a default", COUNTED.insert().returning(COUNTED.c.twice), {"n": 4}),
    ("insert many", KEEP.insert(), [{"id": n, "t": "x"} for n in range(5)]),
    ("insert many values", KEEP.insert().values([{"id": 1, "t": "a"}, {"id": 2, "t": "b"}]), None),
    ("insert returning many", ITEM.insert().returning(ITEM.c.id, ITEM.c.name, sort_by_parameter_order=True), [{"id": 60 + n, "name": f"n{n}"} for n in range(3)]),
    ("insertmanyvalues of 2,500", COUNTED.insert().returning(COUNTED.c.n, COUNTED.c.twice), [{"n": n} for n in range(2_500)]),
    ("insert from select", KEEP.insert().from_select(["id", "t"], select(ITEM.c.id, ITEM.c.name)), None),
    ("on conflict nothing", INSERT.values(name="a").on_conflict_do_nothing(), None),
    ("on conflict nothing returning", INSERT.values(name="a").on_conflict_do_nothing().returning(ITEM.c.id), None),
    ("upsert", INSERT.values(id=70, name="a").on_conflict_do_update(index_elements=["name"], set_={"price": INSERT.excluded.id}).returning(ITEM.c.price), None),
    ("upsert by constraint", INSERT.values(id=70, name="a").on_conflict_do_update(constraint="item_name", set_={"tags": ["z"]}, where=ITEM.c.id > 0).returning(ITEM.c.tags), None),
    ("upsert many", INSERT.on_conflict_do_update(index_elements=["name"], set_={"price": INSERT.excluded.price}), [{"id": 80 + n, "name": name, "price": 3} for n, name in enumerate("ab")]),
    ("update", ITEM.update().where(ITEM.c.id == 1).values(price=ITEM.c.price + 1), None),
    ("update returning", ITEM.update().values(tags=["q"]).where(ITEM.c.id < 3).returning(ITEM.c.id, ITEM.c.tags), None),
    ("update many", ITEM.update().where(ITEM.c.id == sa.bindparam("key")), [{"key": 1, "name": "x"}, {"key": 2, "name": "y"}, {"key": 999, "name": "z"}]),
    ("update from", ITEM.update().values(name=ITEM.c.name + "2").where(ITEM.c.id == sa.select(sa.func.min(KEEP.c.id)).scalar_subquery()), None),
    ("delete", ITEM.delete().where(ITEM.c.id == 2), None),
    ("delete returning", ITEM.delete().where(ITEM.c.id == 2).returning(ITEM), None),
    ("delete many", ITEM.delete().where(ITEM.c.id == sa.bindparam("key")), [{"key": 2}, {"key": 3}]),
    ("cte of insert", (lambda c: select(c.c.id))(KEEP.insert().values(id=5).returning(KEEP.c.id).cte("c")), None),
    ("sequence", sa.Sequence("seq"), None),
    ("function", func.current_schema(), None),
    ("returning of an expression", KEEP.insert().values(id=1, t="x").returning((KEEP.c.t + "!").label("e"), literal(5)), None),
]  # fmt: skip
DIFFERING_CONSTRUCTS: dict[str, tuple[str, str]] = {
    "in of 40,000": (why.MANY, "Row(3)"),
    "in of 70,000": (why.MANY, "ProgrammingError"),
    "cast": (why.LENIENT, "Row(5, '5', Decimal Decimal('1.5'))"),
    "extract": (why.LENIENT, "2024"),
    "date arithmetic": (why.LENIENT, "2024, 3, 1"),
    "range operators": (why.LENIENT, "Row(True, True)"),
    "insert many": (why.COUNTS, "None, None, 5"),
    "upsert many": (why.COUNTS, "None, None, 2"),
    "update many": (why.COUNTS, "None, None, 2"),
    "delete many": (why.COUNTS, "None, None, 2"),
}

with group("construct"):
    for name, construct, given in CONSTRUCTS:
        reason, ours = DIFFERING_CONSTRUCTS.get(name, ("", ""))
        add(name, plain(construct, given), reason, ours)
