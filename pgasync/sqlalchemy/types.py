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
    CIDR,
    CITEXT,
    DOMAIN,
    ENUM,
    HSTORE,
    INET,
    INTERVAL,
    JSON,
    JSONB,
    OID,
    REGCLASS,
    REGCONFIG,
)
from sqlalchemy.dialects.postgresql.json import JSONPathType
from sqlalchemy.engine import processors

from ..types import SparseVector, Vector

Processor = Callable[[Any], Any]

# Type OIDs, with those of their arrays.
FLOATS = frozenset((700, 701, 1021, 1022))
DECIMALS = frozenset((1700, 1231))
INTEGERS = frozenset((20, 21, 23, 26, 1005, 1007, 1016, 1028))


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

    def bind_processor(self, dialect: Any) -> Processor:
        """A datetime stands for its time, as in other dialects."""

        def process(value: Any) -> Any:
            if isinstance(value, datetime.datetime):
                return value.timetz() if self.timezone else value.time()
            return value

        return process


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


class PgDomain(DOMAIN):
    """Beside others in VALUES, a parameter without it is text to the server."""

    render_bind_cast = True


def as_text(value: Any) -> Any:
    """An object of ipaddress."""
    return value if value is None or isinstance(value, str) else str(value)


class PgInet(INET):
    """Without a cast, as what a CIDR is compared with may be an INET: as text, which
    the server takes for either."""

    def bind_processor(self, dialect: Any) -> Processor:
        return as_text


class PgCidr(CIDR):
    def bind_processor(self, dialect: Any) -> Processor:
        return as_text


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


class PgArray(ARRAY[Any]):
    """The driver takes and gives lists of any type."""

    render_bind_cast = True

    def bind_processor(self, dialect: Any) -> Processor:
        """A str that starts as an array does is one in text form; any other is a
        sequence of characters, as in other dialects."""
        process_item = self.item_type.dialect_impl(dialect).bind_processor(dialect)

        def process(value: Any) -> Any:
            if isinstance(value, str):
                if value.startswith(("{", "[")):
                    return value
            elif value is None or (process_item is None and isinstance(value, list)):
                return value
            return self._apply_item_processor(
                value, process_item, self.dimensions, list
            )

        return process

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        """None where the driver's list is what is wanted: no copy."""
        item = self.item_type.dialect_impl(dialect)
        if item.result_processor(dialect, coltype) is None and not self.as_tuple:
            return None
        return super().result_processor(dialect, coltype)


class _DecodedJson:
    """The driver has called the deserializer."""

    def result_processor(self, dialect: Any, coltype: Any) -> None:
        return None


class PgJson(_DecodedJson, JSON):
    render_bind_cast = True  # as SQLAlchemy's own has it, later than 2.0.26


class PgJsonb(_DecodedJson, JSONB):
    render_bind_cast = True


class PgHStore(HSTORE):
    """The driver takes and gives dicts."""

    render_bind_cast = True

    def bind_processor(self, dialect: Any) -> None:
        return None

    def result_processor(self, dialect: Any, coltype: Any) -> None:
        return None


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
            if value is None or isinstance(value, str):
                return value
            return [str(part) for part in value]

        return process


COLSPECS: dict[Any, Any] = {
    types.String: PgString,
    types.CHAR: PgChar,
    CITEXT: CITEXT,
    DOMAIN: PgDomain,
    INET: PgInet,
    CIDR: PgCidr,
    REGCONFIG: PgRegConfig,
    REGCLASS: PgRegClass,
    OID: PgOid,
    HSTORE: PgHStore,
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
