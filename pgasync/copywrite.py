"""What is written in a block of Connection.copy().

PostgreSQL documentation, COPY.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from . import _core
from .copyfeed import CHUNK_BYTES, checked
from .copyin import Columns, CopyIn, Style, columns_of
from .copysql import CopyText
from .errors import InterfaceError
from .registry import type_oid

if TYPE_CHECKING:
    from .connection import Connection


class Writer:
    """The data of one COPY FROM: bytes as they are, and rows in its format."""

    def __init__(
        self,
        connection: "Connection",
        copy: CopyIn,
        text: CopyText,
        columns: Columns | None,
    ) -> None:
        self._core = connection._core
        self._find = connection._link.typelink.catalog.find
        self._copy = copy
        self._text = text
        self._columns = columns
        self._encoder: _core.CopyRows | None = None
        self._written = False

    @classmethod
    async def look(cls, connection: "Connection", text: CopyText) -> Columns | None:
        """The columns that rows will be for, before the COPY begins."""
        if text.table is None:
            return None
        return await columns_of(connection, text.table, text.columns)

    def set_types(self, types: Iterable[int | str]) -> None:
        """Instead of those of the table's columns."""
        if self._encoder is not None:
            raise InterfaceError("set_types() comes before the first write_row()")
        oids = tuple(type_oid(kind, self._find) for kind in types)
        if unknown := self._core.missing_types(oids):
            raise InterfaceError(
                f"set_types(): type {unknown[0]} is not known to this connection, and "
                "cannot be asked for now: run a statement with it before the COPY"
            )
        names = None if self._columns is None else self._columns.names
        if names is None or len(names) != len(oids):
            names = tuple(f"${n}" for n in range(1, len(oids) + 1))
        self._columns = Columns(names, oids)

    async def write(self, data: Any) -> None:
        """Bytes or str."""
        if self._encoder is not None and self._text.format == "binary":
            raise InterfaceError("rows and bytes do not go together in a binary COPY")
        data = checked(data, self._text.options.get("encoding"))
        self._written = True
        await self._flush()
        await self._copy.write(data)

    async def write_row(self, row: Any) -> None:
        """A row of Python values."""
        encoder = self._encoder
        if encoder is None:
            encoder = self._encoder = await self._begin()
        if encoder.add(row) >= CHUNK_BYTES:
            await self._flush()

    async def _begin(self) -> _core.CopyRows:
        text, columns = self._text, self._columns
        checked("", text.options.get("encoding"))
        if text.format == "binary":
            return self._binary()
        style = self._style()
        if text.is_on("header") and not self._written:
            await self._put_header(style)
        if columns is None:
            return self._core.copy_rows(None, (), style)
        return self._core.copy_rows(*columns, style)

    async def _put_header(self, style: Style) -> None:
        """The server skips the first line, or compares it with the columns' names."""
        if self._columns is None:
            raise InterfaceError("the names for the header are not known: write() them")
        header = self._core.copy_rows(None, (), style)
        header.add(self._columns.names)
        await self._copy.put(header)

    def _binary(self) -> _core.CopyRows:
        if self._written:
            raise InterfaceError("rows and bytes do not go together in a binary COPY")
        if self._columns is None:
            raise InterfaceError("the types of the columns are not known: set_types()")
        return self._core.copy_rows(*self._columns, None)

    def _style(self) -> Style:
        options = self._text.options
        try:
            style = (
                self._text.format == "csv",
                options.get("delimiter"),
                options.get("null"),
                options.get("quote"),
                options.get("escape"),
            )
            self._core.copy_rows(None, (), style)
        except ValueError as error:
            raise InterfaceError(
                f"rows cannot be written for this COPY: {error}"
            ) from None
        return style

    async def _flush(self) -> None:
        encoder = self._encoder
        if encoder is not None and encoder.size:
            await self._copy.put(encoder, encoder.rows)

    async def end(self) -> None:
        """No more data."""
        binary = self._text.format == "binary"
        if binary and not self._written and self._columns is not None:
            self._encoder = self._encoder or self._binary()  # of no rows, it has a head
        if self._encoder is not None:
            self._encoder.end()
        await self._flush()
        await self._copy.end()
