"""What PostgreSQL and the dialect can do, as SQLAlchemy's testing suite asks for it.

The suite closes most requirements until a dialect opens them. Here it is the other
way round: all are open, those of later versions too, but for the ones below. Their
reasons are what a skipped test says.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements

KEYS = "PostgreSQL gives generated keys back by RETURNING, not by lastrowid"
CLOSED = {
    "dbapi_lastrowid": KEYS,
    "emulated_lastrowid": KEYS,
    "emulated_lastrowid_even_with_sequences": KEYS,
    "supports_lastrowid": KEYS,
    "denormalized_names": "PostgreSQL folds names to lower case, as SQLAlchemy does",
    "fetch_percent": "PostgreSQL has no FETCH FIRST … PERCENT",
    "foreign_keys_reflect_as_index": "PostgreSQL makes no index for a foreign key",
    "json_deserializer_binary": "a json_deserializer is called with str",
    "materialized_views_reflect_pk": "a materialized view has no primary key",
    "non_updating_cascade": "PostgreSQL has ON UPDATE CASCADE",
    "nvarchar_types": "asks for NVARCHAR and NCHAR: PostgreSQL has only NCHAR",
    "order_by_label_with_expression": "PostgreSQL knows no label inside an expression"
    " of ORDER BY",
    "reflect_indexes_with_ascdesc_as_expression": "ASC and DESC are options of an"
    " index in PostgreSQL, not expressions",
    "repeated_remote_col_foreign_keys": "PostgreSQL refuses a foreign key to the same"
    " column twice",
    "unique_index_reflect_as_unique_constraints": "a unique index is no constraint in"
    " PostgreSQL",
}
NO_VIRTUAL = "virtual generated columns need PostgreSQL 18 and SQLAlchemy 2.1"
VIRTUAL_BY_DEFAULT = "generated columns are virtual unless told otherwise"
NO_TABLE_OPTIONS = "SQLAlchemy 2.0 reflects no table options of PostgreSQL"
REASONS = frozenset(
    (*CLOSED.values(), NO_VIRTUAL, VIRTUAL_BY_DEFAULT, NO_TABLE_OPTIONS)
)


def closed(reason: str) -> Any:
    return exclusions.skip_if(exclusions.BooleanPredicate(True, reason))


def has_virtual(config: Any) -> bool:
    dialect = config.db.dialect
    return bool(getattr(dialect, "supports_virtual_generated_columns", False))


class Requirements(SuiteRequirements):
    """Of `postgresql+pgasync`."""

    def get_isolation_levels(self, config: Any) -> dict[str, Any]:
        return {
            "default": "READ COMMITTED",
            "supported": [
                "AUTOCOMMIT",
                "READ COMMITTED",
                "READ UNCOMMITTED",
                "REPEATABLE READ",
                "SERIALIZABLE",
            ],
        }

    def get_order_by_collation(self, config: Any) -> str:
        return "POSIX"  # capitals: it works only when it is quoted

    @property
    def computed_columns(self) -> Any:
        """SQLAlchemy 2.1 warns that a server before 18 stores them."""
        return exclusions.warns_if(
            exclusions.NotPredicate(exclusions.LambdaPredicate(has_virtual)),
            ".*does not support VIRTUAL",
            assert_=False,
        )

    @property
    def computed_columns_virtual(self) -> Any:
        return exclusions.only_if(has_virtual, NO_VIRTUAL)

    @property
    def computed_columns_default_persisted(self) -> Any:
        return exclusions.skip_if(has_virtual, VIRTUAL_BY_DEFAULT)

    @property
    def reflect_table_options(self) -> Any:
        is_old = sqlalchemy.__version__.startswith("2.0.")
        return closed(NO_TABLE_OPTIONS) if is_old else exclusions.open()


def is_closed(rule: Any) -> bool:
    """Whether it is so whatever the database."""
    return isinstance(rule, exclusions.compound) and any(
        isinstance(skip, exclusions.BooleanPredicate) and skip.value
        for skip in rule.skips
    )


def opened(name: str, default: property) -> property:
    def requirement(self: Requirements) -> Any:
        if name in CLOSED:
            return closed(CLOSED[name])
        rule = default.fget(self) if default.fget else None
        return exclusions.open() if is_closed(rule) else rule

    return property(requirement)


for _name, _default in vars(SuiteRequirements).items():
    if isinstance(_default, property) and _name not in vars(Requirements):
        setattr(Requirements, _name, opened(_name, _default))
