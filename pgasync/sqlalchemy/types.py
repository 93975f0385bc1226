"""SQLAlchemy types as this driver takes them.

`render_bind_cast` writes the type behind a parameter (`$1::INTEGER`), so that the
server does not have to guess it. Values that the driver delivers as they should be
have no processor in Python.
"""

import datetime
import functools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlalchemy import exc, types
from sqlalchemy.dialects.postgresql import (
    ARRAY,
    BYTEA,
    CITEXT,
    ENUM,
    HSTORE,
    INTERVAL,
    JSON,
    JSONB,
    OID,
    REGCLASS,
    REGCONFIG,
)
from sqlalchemy.dialects.postgresql.json import JSONPathType
from sqlalchemy.dialects.postgresql.pg_catalog import INT2VECTOR, OIDVECTOR
from sqlalchemy.engine import processors

from .. import _core
from ..types import SparseVector, Vector
from .arrays import from_text, to_text

Processor = Callable[[Any], Any]

# Type OIDs, with those of their arrays.
FLOATS = frozenset((700, 701, 1021, 1022))
DECIMALS = frozenset((1700, 1231))
INTEGERS = frozenset((20, 21, 23, 26, 1005, 1007, 1016, 1028))
# Arrays that come and go as lists; others as text.
LISTS = frozenset(row[1] for row in _core.codec_table()) - {0}


class PgString(types.String):
    render_bind_cast = True


class PgChar(types.CHAR):
    render_bind_cast = True


class PgRegConfig(REGCONFIG):
    render_bind_cast = True


class PgRegClass(REGCLASS):
    render_bind_cast = True


class PgOid(OID):
    render_bind_cast = True


class PgTime(types.Time):
    render_bind_cast = True


class PgDate(types.Date):
    render_bind_cast = True

    def bind_processor(self, dialect: Any) -> Processor:
        """SQLAlchemy lets a datetime stand for its date; the driver does not."""

        def process(value: Any) -> Any:
            return value.date() if isinstance(value, datetime.datetime) else value

        return process


class PgDateTime(types.DateTime):
    render_bind_cast = True


class PgBoolean(types.Boolean):
    render_bind_cast = True


class PgInteger(types.Integer):
    render_bind_cast = True


class PgSmallInteger(types.SmallInteger):
    render_bind_cast = True


class PgBigInteger(types.BigInteger):
    render_bind_cast = True


class PgEnum(ENUM):
    render_bind_cast = True


class PgInterval(INTERVAL):
    render_bind_cast = True

    @classmethod
    def adapt_emulated_to_native(  # type: ignore[override]  # the bases disagree
        cls, interval: types.Interval, **kw: Any
    ) -> "PgInterval":
        return cls(precision=interval.second_precision)


class PgBytea(BYTEA):
    render_bind_cast = True

    def bind_processor(self, dialect: Any) -> None:
        return None

    def result_processor(self, dialect: Any, coltype: Any) -> None:
        return None


class _Number:
    """numeric comes as Decimal, float8 as float: only the other way round needs a
    processor."""

    render_bind_cast = True
    asdecimal: bool
    _effective_decimal_return_scale: int

    def bind_processor(self, dialect: Any) -> None:
        return None

    def result_processor(self, dialect: Any, coltype: Any) -> Processor | None:
        exact = coltype in DECIMALS or coltype in INTEGERS
        if not exact and coltype not in FLOATS:
            raise exc.InvalidRequestError(f"unknown numeric type: OID {coltype}")
        if self.asdecimal and not exact:
            return processors.to_decimal_processor_factory(
                Decimal, self._effective_decimal_return_scale
            )
        to_float: Processor = processors.to_float
        return to_float if exact and not self.asdecimal else None


class PgNumeric(_Number, types.Numeric):  # type: ignore[type-arg]
    pass


class PgFloat(_Number, types.Float):  # type: ignore[type-arg]
    pass


# Types of which the core has arrays, with what derives from them and is not one.
_IN_LISTS = (
    types.Boolean,
    types.Date,
    types.DateTime,
    types.Float,
    types.Integer,
    types.Interval,
    types.JSON,
    types.LargeBinary,
    types.Numeric,
    types.String,
    types.Time,
    types.Uuid,
    INTERVAL,
)
_NOT_IN_LISTS = (CITEXT, types.Enum)


def _in_lists(item: Any) -> bool:
    """Whether the core encodes lists of this type (an implementation)."""
    if isinstance(item, types.Enum) and not item.native_enum:
        return True
    if isinstance(item, types.Time) and item.timezone:
        return False
    return isinstance(item, _IN_LISTS) and not isinstance(item, _NOT_IN_LISTS)


class PgArray(ARRAY[Any]):
    render_bind_cast = True

    def bind_processor(self, dialect: Any) -> Processor:
        """A str is the text form of an array."""
        item = self.item_type.dialect_impl(dialect)
        process_item = item.bind_processor(dialect)
        as_text = not _in_lists(item._unwrapped_dialect_impl(dialect))

        def process(value: Any) -> Any:
            if value is None or isinstance(value, str):
                return value
            if process_item is not None or not isinstance(value, (list, tuple)):
                value = self._apply_item_processor(
                    value, process_item, self.dimensions, list
                )
            return to_text(value) if as_text else value

        return process

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        """None where the driver's list is what is wanted: no copy."""
        item = self.item_type.dialect_impl(dialect)
        process_list: Any = super().result_processor(dialect, coltype)
        if coltype in LISTS:
            process_item = item.result_processor(dialect, coltype)
            plain = process_item is None and not self.as_tuple
            return None if plain else process_list

        def process(value: Any) -> Any:
            return process_list(from_text(value) if isinstance(value, str) else value)

        return process


class _Vector:
    """int2vector and oidvector, which only the catalogues have: `1 2 3`."""

    def result_processor(self, dialect: Any, coltype: Any) -> Processor:
        def process(value: Any) -> Any:
            if isinstance(value, str):
                return [int(number) for number in value.split()]
            return value

        return process


class PgInt2Vector(_Vector, INT2VECTOR):
    cache_ok = True


class PgOidVector(_Vector, OIDVECTOR):
    cache_ok = True


class _DecodedJson:
    """The driver has called the deserializer."""

    def result_processor(self, dialect: Any, coltype: Any) -> None:
        return None


class PgJson(_DecodedJson, JSON):
    pass


class PgJsonb(_DecodedJson, JSONB):
    pass


class PgHStore(HSTORE):
    """The driver makes dicts, but text in containers that travel as text."""

    def result_processor(self, dialect: Any, coltype: Any) -> Processor:
        parse: Any = super().result_processor(dialect, coltype)

        def process(value: Any) -> Any:
            return parse(value) if isinstance(value, str) else value

        return process


@functools.lru_cache(maxsize=64)
def with_text(base: Any) -> Any:
    """A subclass of a type of pgvector's own SQLAlchemy package, whose processors know
    a vector's text, not what this driver makes of it."""

    def result_processor(self: Any, dialect: Any, coltype: Any) -> Processor | None:
        read = base.result_processor(self, dialect, coltype)

        def process(value: Any) -> Any:
            is_ours = isinstance(value, (Vector, SparseVector))
            return read(str(value) if is_ours else value)

        return None if read is None else process

    return type(base.__name__, (base,), {"result_processor": result_processor})


class PgJsonIndex(types.JSON.JSONIndexType):
    pass


class PgJsonIntIndex(types.JSON.JSONIntIndexType):
    __visit_name__ = "json_int_index"
    render_bind_cast = True


class PgJsonStrIndex(types.JSON.JSONStrIndexType):
    __visit_name__ = "json_str_index"
    render_bind_cast = True


class PgJsonPath(JSONPathType):
    def bind_processor(self, dialect: Any) -> Processor:
        """A path goes as text[]; a str is a path already."""

        def process(value: Any) -> Any:
            if isinstance(value, str):
                return value
            return [str(part) for part in value or ()]

        return process


COLSPECS: dict[Any, Any] = {
    types.String: PgString,
    types.CHAR: PgChar,
    CITEXT: CITEXT,
    REGCONFIG: PgRegConfig,
    REGCLASS: PgRegClass,
    OID: PgOid,
    HSTORE: PgHStore,
    INT2VECTOR: PgInt2Vector,
    OIDVECTOR: PgOidVector,
    types.Time: PgTime,
    types.Date: PgDate,
    types.DateTime: PgDateTime,
    types.Boolean: PgBoolean,
    types.Integer: PgInteger,
    types.SmallInteger: PgSmallInteger,
    types.BigInteger: PgBigInteger,
    types.Numeric: PgNumeric,
    types.Float: PgFloat,
    types.Enum: PgEnum,
    types.Interval: PgInterval,
    INTERVAL: PgInterval,
    types.LargeBinary: PgBytea,
    types.ARRAY: PgArray,
    types.JSON: PgJson,
    JSON: PgJson,
    JSONB: PgJsonb,
    types.JSON.JSONIndexType: PgJsonIndex,
    types.JSON.JSONIntIndexType: PgJsonIntIndex,
    types.JSON.JSONStrIndexType: PgJsonStrIndex,
    types.JSON.JSONPathType: PgJsonPath,
}
