"""executemany(): where the sets of parameters come from."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from itertools import islice
from sys import getsizeof
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import ProgrammingError, QueryTimeout
from .timeouts import Expired, until

if TYPE_CHECKING:
    from .connection import Connection

Sets = Iterable[object] | AsyncIterable[object]

FIRST_SETS = 1024  # taken from an iterator before anything is sent …
FIRST_BYTES = 1 << 20  # … unless they take so much memory
BATCH_SETS = 1024
BATCH_BYTES = 256 << 10
TURN_S = 0.002  # then others have theirs


async def execute(
    connection: "Connection",
    sql: str,
    sets: Sets,
    returning: bool,
    row_factory: Any,
    timeout: float | None,
) -> _core.Operation:
    """The finished operation."""
    if isinstance(sets, (list, tuple)):
        core = connection._core
        operation = core.executemany(sql, sets, False, returning, row_factory)
        await connection._wait(operation, timeout)
        return operation
    work = _feed(connection._core, sql, _source(sets), returning, row_factory)
    if timeout is None:
        timeout = connection._timeout
        if timeout is None:
            return await work
    try:
        return await until(asyncio.get_running_loop().time() + timeout, work)
    except Expired:
        raise QueryTimeout(f"executemany() did not end within {timeout:g} s") from None


async def _feed(
    core: _core.Connection,
    sql: str,
    source: "_Source",
    returning: bool,
    row_factory: Any,
) -> _core.Operation:
    """Takes sets from the source as fast as the server takes them."""
    first = await source.first()
    operation = core.executemany(sql, first, not source.ended, returning, row_factory)
    try:
        while not source.ended and await core.hungry(operation):
            batch = await source.batch()
            core.feed(operation, batch, not source.ended)
            await source.turn()
    except Exception as error:
        core.break_off(operation, error)
    except BaseException:
        operation.cancel()
        raise
    await operation
    return operation


def _source(sets: Sets) -> "_Source":
    if isinstance(sets, (str, bytes, bytearray, Mapping)):
        raise ProgrammingError(
            f"executemany() takes a sequence of sets of parameters, not {sets!r} "
            f"({type(sets).__name__}): for one set use execute(), or put it into a list"
        )
    if isinstance(sets, AsyncIterable):
        return _Asynchronous(sets)
    if isinstance(sets, Iterable):
        return _Synchronous(sets)
    raise ProgrammingError(
        "executemany() takes an iterable or async iterable of sets of parameters, "
        f"not {sets!r} ({type(sets).__name__})"
    )


def _weight(parameters: object) -> int:
    """About how many bytes of memory a set takes."""
    if isinstance(parameters, Mapping):
        parameters = parameters.values()
    if isinstance(parameters, Iterable):
        return sum(map(getsizeof, parameters))
    return 0


class _Source:
    """Gives sets in pieces that take little time and memory."""

    def __init__(self) -> None:
        self.ended = False
        self._size = 16
        self._began = time.perf_counter()

    async def take(self, size: int) -> list[object]:
        """The next sets, at most `size`; none when it has ended."""
        raise NotImplementedError

    async def first(self) -> list[object]:
        """The sets to begin with: all of them, when they are few."""
        sets: list[object] = []
        weight = 0
        while not self.ended and len(sets) < FIRST_SETS and weight < FIRST_BYTES:
            batch = await self.batch(FIRST_SETS - len(sets))
            weight += sum(map(_weight, batch))
            sets += batch
            await self.turn()
        return sets

    async def batch(self, most: int = BATCH_SETS) -> list[object]:
        """The next sets, as many as fit."""
        began = time.perf_counter()
        size = min(self._size, most)
        sets = await self.take(size)
        spent = time.perf_counter() - began
        if sets:
            fitting = BATCH_BYTES // max(1, _weight(sets[-1]))
            wanted = 2 * size if spent < TURN_S / 4 else size
            wanted = size // 2 if spent > TURN_S else wanted
            self._size = max(1, min(wanted, fitting, BATCH_SETS))
        return sets

    async def turn(self) -> None:
        """Lets others run when it has been long since the last time."""
        if time.perf_counter() - self._began > TURN_S:
            await asyncio.sleep(0)
            self._began = time.perf_counter()


class _Synchronous(_Source):
    def __init__(self, sets: Iterable[object]) -> None:
        super().__init__()
        self._sets: Iterator[object] = iter(sets)

    async def take(self, size: int) -> list[object]:
        sets = list(islice(self._sets, size))
        self.ended = len(sets) < size
        return sets


class _Asynchronous(_Source):
    def __init__(self, sets: AsyncIterable[object]) -> None:
        super().__init__()
        self._sets: AsyncIterator[object] = aiter(sets)

    async def take(self, size: int) -> list[object]:
        sets: list[object] = []
        late = time.perf_counter() + TURN_S
        try:
            while len(sets) < size:
                sets.append(await anext(self._sets))
                if time.perf_counter() > late:
                    break
        except StopAsyncIteration:
            self.ended = True
        return sets
