"""Where the data of a COPY FROM come from, in the end as bytes or str."""

import asyncio
import contextlib
import inspect
import io
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from typing import Any, TypeVar

from .errors import InterfaceError

CHUNK_BYTES = 256 * 1024  # read from a file, or written, at a time
T = TypeVar("T")


@contextlib.asynccontextmanager
async def closing(source: Any) -> AsyncIterator[None]:
    """An asynchronous generator that is not read to its end is closed here and now."""
    try:
        yield
    finally:
        if inspect.isasyncgen(source):
            await source.aclose()


async def pieces(source: Any) -> AsyncGenerator[Any, None]:
    """The data of a source, in pieces of bytes or str; see copy_to_table()."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield source
    elif isinstance(source, str | os.PathLike):
        file = await _threaded(open, source, "rb")
        try:
            while data := await _threaded(file.read, CHUNK_BYTES):
                yield data
        finally:  # a read that was given up may still have it
            _threaded(file.close)
    elif callable(getattr(source, "read", None)):
        async for data in _read(source):
            yield data
    elif hasattr(source, "__aiter__"):
        async with closing(source):
            async for data in source:
                yield data
    elif isinstance(source, Iterable):
        for data in source:
            yield data
    else:
        raise InterfaceError(
            "the source of a COPY is a path, a file, bytes, or an iterable of bytes, "
            f"not {source!r} ({type(source).__name__})"
        )


async def _read(file: Any) -> AsyncIterator[Any]:
    """An open file's rest. What may wait for a disk is read in a thread."""
    waits = isinstance(file, io.IOBase) and not isinstance(
        file, io.BytesIO | io.StringIO
    )
    while True:
        if waits:
            data = await _threaded(file.read, CHUNK_BYTES)
        else:
            data = file.read(CHUNK_BYTES)
            if inspect.isawaitable(data):
                data = await data
        if not data:
            return
        yield data


def _threaded(call: Callable[..., T], *args: Any) -> Awaitable[T]:
    return asyncio.get_running_loop().run_in_executor(None, call, *args)


def checked(data: Any, encoding: str | None) -> Any:
    """What a source has given. InterfaceError for what is no bytes."""
    if isinstance(data, str):
        if encoding is not None and encoding.lower() not in ("utf8", "utf-8"):
            raise InterfaceError(
                f"a str cannot be sent with encoding={encoding!r}: give bytes"
            )
        return data
    if isinstance(data, bytes | bytearray | memoryview):
        return data
    raise InterfaceError(
        f"the source of a COPY gave {data!r} ({type(data).__name__}), not bytes; rows "
        "are for copy_records_to_table()"
    )
