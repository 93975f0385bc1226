"""Waiting with an end, without asyncio.wait_for (it can swallow a cancellation
before Python 3.12) and without asyncio.timeout (new in 3.11)."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def helper_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]
) -> asyncio.Task[T]:
    """A task of the driver's own. A loop that is closed under it, as asyncio.run()
    does with what comes up while it ends, is no news to the program."""
    task = loop.create_task(work)
    with contextlib.suppress(AttributeError):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    return task


class Expired(TimeoutError):
    """The deadline has passed: no TimeoutError of the work itself."""


async def until(
    deadline: float | None,
    work: Coroutine[Any, Any, T],
    discard: Callable[[T], object] = lambda result: None,
) -> T:
    """The result of `work`, which runs in a task of its own.

    `deadline` is a time of the loop's clock; Expired when it passes. On that,
    and when the caller is cancelled, the work is cancelled and waited for, so that
    what it holds is released; should it have come to a result nevertheless,
    `discard` takes it.
    """
    loop = asyncio.get_running_loop()
    task = helper_task(loop, work)
    limit = None if deadline is None else max(0.0, deadline - loop.time())
    try:
        done, _ = await asyncio.wait({task}, timeout=limit)
    except GeneratorExit:  # the caller's coroutine is closed: it cannot wait
        _leave(task, discard)
        raise
    except BaseException:
        await _stop(task, discard)
        raise
    if not done:
        await _stop(task, discard)
        raise Expired
    return task.result()


def _leave(task: asyncio.Task[T], discard: Callable[[T], object]) -> None:
    def settle(done: asyncio.Task[T]) -> None:
        if not done.cancelled() and done.exception() is None:
            discard(done.result())

    with contextlib.suppress(RuntimeError):  # the loop is closed
        task.add_done_callback(settle)
        task.cancel()


async def _stop(task: asyncio.Task[T], discard: Callable[[T], object]) -> None:
    _leave(task, discard)
    await asyncio.wait({task}, timeout=1.0)
    await asyncio.sleep(0)  # settle is a callback: let it run


async def signalled(future: asyncio.Future[None], seconds: float) -> bool:
    """Waits until the future is done, at most so long; the future stays as it is."""
    if not future.done() and seconds > 0:
        await asyncio.wait({future}, timeout=seconds)
    return future.done()
