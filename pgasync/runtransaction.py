"""Transactions that are run again when that is the remedy."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ConnectionLost, Error, InterfaceError, QueryTimeout
from .timeouts import Expired, until

if TYPE_CHECKING:
    from .connection import Connection
    from .transaction import Transaction

log = logging.getLogger("pgasync")

R = TypeVar("R")
Condition = str | type[BaseException]
On = Condition | Iterable[Condition] | Callable[[BaseException], object] | None

# s: before the n-th repetition a random time up to FIRST * 2**(n - 1), at most LONGEST.
FIRST = 0.02
LONGEST = 2.0
_DOUBLINGS_MAX = 20

IN_DOUBT = "in_doubt"
DEFAULT = ("40001", "40P01")


class Policy:
    """When a transaction is run again: `on` as in Pool.run_transaction()."""

    def __init__(self, retries: int, on: On) -> None:
        if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
            raise InterfaceError(f"retries={retries!r} is no number from 0 on")
        self.retries = retries
        self._asks: Callable[[BaseException], object] | None = None
        self._sqlstates: list[str] = []
        self._classes: tuple[type[BaseException], ...] = ()
        self._doubtful = False
        self._take(DEFAULT if on is None else on)

    def _take(self, on: Any) -> None:
        if callable(on) and not isinstance(on, type):
            self._asks = on
            return
        alone = isinstance(on, (str, type)) or not isinstance(on, Iterable)
        for condition in (on,) if alone else on:
            if isinstance(condition, type) and issubclass(condition, BaseException):
                self._classes += (condition,)
            elif condition == IN_DOUBT:
                self._doubtful = True
            elif isinstance(condition, str) and len(condition) in (2, 5):
                self._sqlstates.append(condition)
            else:
                raise InterfaceError(
                    f"on={condition!r} is no SQLSTATE, class of one (its first two "
                    "characters), exception class, 'in_doubt' or function"
                )

    def allows(self, error: Exception, committing: bool) -> bool:
        """Whether the transaction that has ended with this error is run again."""
        if self._asks is not None:
            return bool(self._asks(error))
        doubtful = isinstance(error, Error) and error.outcome == IN_DOUBT
        if doubtful and (committing or isinstance(error, ConnectionLost)):
            return self._doubtful
        if isinstance(error, self._classes):
            return True
        if not isinstance(error, Error):
            return False
        if any((error.sqlstate or "").startswith(state) for state in self._sqlstates):
            return True
        return is_proven(error)


def is_proven(error: Error) -> bool:
    """Whether nothing of the transaction is there, and the cause is a passing one."""
    lost = isinstance(error, ConnectionLost)
    undone = error.safe_to_retry or lost or error._met_a_change
    return error.transient and undone and error.outcome != IN_DOUBT


class Run:
    """One run_transaction(), attempt by attempt."""

    def __init__(
        self,
        lend: Callable[[], AbstractAsyncContextManager[Any]],
        begin: Callable[["Connection"], "Transaction"],
        call: Callable[["Connection"], Awaitable[R]],
        policy: Policy,
        usable: Callable[[], bool] = lambda: True,
    ) -> None:
        self._lend = lend
        self._begin = begin
        self._call = call
        self._policy = policy
        self._usable = usable
        self._attempts: list[str] = []
        self._judged = False  # the error is one of the transaction, not of acquire()
        self.committing = False

    async def run(self) -> Any:
        """The result of the attempt that was committed."""
        while True:
            try:
                return await self._attempt()
            except Exception as error:
                if not await self._again(error):
                    raise

    async def _attempt(self) -> Any:
        self._judged = self.committing = False
        async with self._lend() as connection:
            self._judged = True
            transaction = self._begin(connection)
            await transaction.start()
            try:
                result = await self._call(connection)
            except BaseException as error:
                await transaction.__aexit__(type(error), error, None)
                raise
            self.committing = True
            await transaction.commit()
            self.committing = False
            return result

    async def _again(self, error: Exception) -> bool:
        number = len(self._attempts)
        again = self._judged and self._policy.allows(error, self.committing)
        again = again and self._usable()
        if not again or number >= self._policy.retries:
            if self._attempts:
                _tell(error, self._attempts)
            return False
        longest = min(LONGEST, FIRST * 2 ** min(number, _DOUBLINGS_MAX))
        pause = random.uniform(0, longest)
        self._attempts.append(_named(error))
        log.info("a transaction is run again in %.3f s: %s", pause, self._attempts[-1])
        await asyncio.sleep(pause)
        return True


async def within(run: Run, timeout: float | None) -> Any:
    """All attempts together, in so many seconds; QueryTimeout then."""
    if timeout is None:
        return await run.run()
    deadline = asyncio.get_running_loop().time() + timeout
    try:
        return await until(deadline, run.run())
    except Expired:
        error = QueryTimeout(f"the transaction did not end within {timeout:g} s")
        error.outcome = IN_DOUBT if run.committing else "failed"
        _tell(error, run._attempts)
        raise error from None


def _named(error: Exception) -> str:
    sqlstate = getattr(error, "sqlstate", None)
    state = f" ({sqlstate})" if sqlstate else ""
    text = error.message if isinstance(error, Error) else str(error)
    return f"{type(error).__name__}{state}: {text}"


def _tell(error: BaseException, attempts: list[str]) -> None:
    """Notes, as Exception.add_note() makes them from Python 3.11 on."""
    notes = [
        f"attempt {number} of this transaction: {what}"
        for number, what in enumerate(attempts, 1)
    ]
    if notes:
        known = getattr(error, "__notes__", [])
        error.__notes__ = [*known, *notes]
