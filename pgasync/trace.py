"""Where a connection's trace goes; csrc/wire/trace.h says what it looks like."""

import io
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from . import _core

log = logging.getLogger("pgasync")

VARIABLE = "PGASYNC_TRACE"
ACCESS = 0o600  # a trace holds data


class Trace:
    """Writes lines; after the first that cannot be written, none."""

    def __init__(
        self,
        write: Callable[[bytes], object],
        close: Callable[[], object],
        timestamps: bool = True,
        regress: bool = False,
    ) -> None:
        self.write = write
        self.timestamps = timestamps
        self.regress = regress
        self._close = close
        self._failed = False

    def start(self, core: _core.Connection) -> None:
        """Traces what goes through the core from now on."""
        core.trace(self.write, self.timestamps, self.regress)

    def exchange(self, sent: bytes, received: bytes = b"") -> None:
        """Traces what does not: an encryption request and its answer, a
        CancelRequest."""
        try:
            self.write(
                _core.trace_exchange(sent, received, self.timestamps, self.regress)
            )
        except Exception as error:
            self.failed(error)

    def close(self) -> None:
        """Flushes, and closes the file if it is the trace's own."""
        try:
            self._close()
        except Exception as error:
            self.failed(error)

    def failed(self, error: BaseException | None) -> None:
        """Says, once, that the trace has ended before its time."""
        if not self._failed:
            self._failed = True
            log.warning("a connection is not traced further: %s", error or "no memory")


def to_file(file: Any, timestamps: bool, regress: bool) -> Trace:
    """A trace into an open file of text (it has an `encoding`) or bytes."""
    flush = getattr(file, "flush", lambda: None)
    if hasattr(file, "encoding"):

        def write_text(lines: bytes) -> None:
            file.write(lines.decode("utf-8", "backslashreplace"))

        return Trace(write_text, flush, timestamps, regress)
    if isinstance(file, io.RawIOBase):

        def write_raw(lines: bytes) -> None:
            while lines:
                written = file.write(lines)
                if written is None:
                    raise BlockingIOError("the trace's file would block")
                lines = lines[written:]

        return Trace(write_raw, flush, timestamps, regress)
    return Trace(file.write, flush, timestamps, regress)


class _OwnFile(io.FileIO):
    """Unbuffered, so that a crash loses nothing; several connections may append to
    one file."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "a", opener=_open_private)

    def __del__(self) -> None:
        self.close()  # without a ResourceWarning: the connection has had its own


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, ACCESS)


def from_environment() -> Trace | None:
    """What PGASYNC_TRACE asks for: a path, in which %p becomes the process id, or "-"
    for stderr. A file that cannot be opened is a warning."""
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    if path == "-":
        return to_file(sys.stderr, True, False) if sys.stderr is not None else None
    try:
        file = _OwnFile(path.replace("%p", str(os.getpid())))
    except (OSError, ValueError) as error:
        log.warning("no trace (%s=%s): %s", VARIABLE, path, error)
        return None
    trace = to_file(file, True, False)
    return Trace(trace.write, file.close)


def note(sent: bytes, received: bytes) -> None:
    """What goes before a session, into the trace that PGASYNC_TRACE asks for."""
    trace = from_environment()
    if trace is not None:
        trace.exchange(sent, received)
        trace.close()
