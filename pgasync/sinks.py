"""Where the data of a COPY … TO STDOUT go: a file by its path, an object with write(),
or a function. The event loop is not held up: files are written by a thread."""

import asyncio
import contextlib
import functools
import inspect
import io
import os
import stat
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from .errors import InterfaceError

Pieces = Sequence[bytes]

THREAD_BYTES = 256 * 1024


class Sink:
    """Takes pieces of bytes, one call after the other."""

    def begin(self) -> None:
        """The server has accepted the COPY."""

    async def write(self, pieces: Pieces) -> None:
        """Returns when there is room for more."""
        raise NotImplementedError

    async def finish(self) -> None:
        """All of it has been written."""

    def drop(self) -> None:
        """The COPY has failed. Does not raise, and waits for nothing."""


class _Threaded(Sink):
    """Written by a thread, so much at a time that it is worth the way there."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    async def write(self, pieces: Pieces) -> None:
        self._pieces += pieces
        self._size += sum(map(len, pieces))
        if self._size >= THREAD_BYTES:
            await self._flush()

    async def finish(self) -> None:
        await self._flush()

    async def _flush(self) -> None:
        pieces, self._pieces, self._size = self._pieces, [], 0
        if pieces:
            await self._put(pieces)

    async def _put(self, pieces: Pieces) -> None:
        raise NotImplementedError


class _Path(_Threaded):
    """A file that this opens. One that was not there before is removed when the COPY
    fails, one that was is emptied: half of the data could be taken for all of them."""

    def __init__(self, path: "str | bytes | os.PathLike[Any]") -> None:
        super().__init__()
        self._path = os.fspath(path)
        self._lock = threading.Lock()  # held while a thread uses the descriptor
        self._dropped = False
        self._begun = False
        # A pipe that nobody reads is an error, not a wait.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK
        try:
            self._fd = os.open(self._path, flags | os.O_EXCL, 0o666)
            self._created = True
        except FileExistsError:
            self._fd = os.open(self._path, flags, 0o666)
            self._created = False
        os.set_blocking(self._fd, True)
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)

    def begin(self) -> None:
        self._begun = True
        if self._regular:
            os.ftruncate(self._fd, 0)

    async def _put(self, pieces: Pieces) -> None:
        await _in_thread(self._write, pieces)

    async def finish(self) -> None:
        await super().finish()
        await _in_thread(self._finish)

    def drop(self) -> None:
        self._dropped = True
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()

    def _write(self, pieces: Pieces) -> None:
        try:
            with self._lock, self._named():
                for piece in pieces:
                    left = memoryview(piece)
                    while left and not self._dropped:
                        left = left[os.write(self._fd, left) :]
        finally:
            if self._dropped:
                self.drop()

    def _finish(self) -> None:
        with self._lock, self._named():
            fd, self._fd = self._fd, -1
            if fd >= 0:
                try:
                    os.close(fd)
                except OSError:
                    self._remove()
                    raise

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """With the path in the error, which the operating system leaves out."""
        try:
            yield
        except OSError as error:
            if error.filename is None:
                error.filename = self._path
            raise

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if self._regular and self._begun:
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, 0)
            with contextlib.suppress(OSError):
                os.close(fd)
            self._remove()

    def _remove(self) -> None:
        if self._regular and self._created:
            with contextlib.suppress(OSError):
                os.unlink(self._path)


class _Call(Sink):
    """A function, which may give an awaitable."""

    def __init__(self, function: Callable[[bytes], object]) -> None:
        self._function = function

    async def write(self, pieces: Pieces) -> None:
        for piece in pieces:
            result = self._function(piece)
            if inspect.isawaitable(result):
                await result


class _Stream(_Call):
    """An asyncio.StreamWriter, or what has the same two methods."""

    def __init__(self, output: Any) -> None:
        super().__init__(output.write)
        self._drain = output.drain

    async def write(self, pieces: Pieces) -> None:
        await super().write(pieces)
        await self._drain()


class _File(_Threaded):
    """An object whose write() may take its time, and take less than it is given."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self._output = output

    async def _put(self, pieces: Pieces) -> None:
        left = deque(pieces)
        while left:
            result = await _in_thread(self._write, left)
            if result is not None:
                self._advance(left, await result)

    def _write(self, left: deque[bytes]) -> Awaitable[object] | None:
        """Writes until nothing is left, or write() gives something to wait for."""
        while left:
            result = self._output.write(left[0])
            if inspect.isawaitable(result):
                return result
            self._advance(left, result)
        return None

    def _advance(self, left: deque[bytes], result: object) -> None:
        """The first piece has been written, or so many bytes of it."""
        if result is None and isinstance(self._output, io.RawIOBase):
            raise BlockingIOError(0, f"{self._output!r} takes nothing at the moment", 0)
        piece = left.popleft()
        if type(result) is int and 0 < result < len(piece):
            left.appendleft(piece[result:])


def sink_for(output: Any) -> Sink:
    """The sink for what copy_from_table() and copy_from_query() were given. Raises
    OSError when a file cannot be opened, InterfaceError for what is no output."""
    if isinstance(output, (str, bytes, os.PathLike)):
        return _Path(output)
    write = getattr(output, "write", None)
    if write is None:
        if callable(output):
            return _Call(output)
        raise InterfaceError(
            "output is a path, an object with write() or a function that takes bytes, "
            f"not {output!r} ({type(output).__name__})"
        )
    if isinstance(output, io.TextIOBase):
        raise InterfaceError(f"{output!r} takes text: open it in mode 'wb'")
    if inspect.iscoroutinefunction(getattr(output, "drain", None)):
        return _Stream(output)
    if isinstance(output, io.BytesIO) or inspect.iscoroutinefunction(write):
        return _Call(write)
    return _File(output)


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, functools.partial(function, *args))
