"""One process of test_faults.py: the conversation of fault_runner.py in one forked
child after the other, in each of which another allocation of CPython fails, whoever
asks for it. `nomemory_runner.py DSN UNIX_DSN START EVERY`; the last line is JSON.
"""

from __future__ import annotations

import asyncio
import collections
import faulthandler
import importlib
import json
import logging
import os
import signal
import sys
import time
import traceback

from fault_runner import FEW, Conversation, Late, Wrong, close_room, open_room, settle

import pgasync
from pgasync import errors

LIMIT_S = 2  # of a child: memory may have run out where asyncio wakes a task
PAST = 600  # none of so many allocations in a row does harm: it takes fewer
OUTCOMES = ["unharmed", "failed", "no_memory", "given_up", "interpreter", "wrong"]


def talk(dsn: str, number: int, at: int) -> tuple[Conversation, BaseException | None]:
    """The conversation, and what ended it."""
    testcapi = importlib.import_module("_testcapi")
    loop = asyncio.new_event_loop()
    conversation = Conversation(dsn, number, FEW)
    task = loop.create_task(conversation.hold())
    loop.call_later(LIMIT_S, loop.stop)
    error: BaseException | None = None
    over = time.monotonic() + LIMIT_S
    testcapi.set_nomemory(at, at + 1)
    while not task.done() and time.monotonic() < over:
        try:
            loop.run_until_complete(task)
        except BaseException as raised:  # the conversation's, or the loop's own
            error = raised
            asyncio.events._set_running_loop(None)
    testcapi.remove_mem_hooks()
    if not task.done():
        error = TimeoutError()
    elif not task.cancelled():
        error = task.exception()
    return conversation, error or conversation.error


async def look(unix_dsn: str, conversation: Conversation, error: object) -> None:
    aside = await pgasync.connect(unix_dsn, autocommit=True)
    try:
        known = error if isinstance(error, BaseException) else None
        await settle(conversation, known, aside)
    finally:
        await aside.close()


def child(dsn: str, unix_dsn: str, number: int, at: int) -> str:
    conversation, error = talk(dsn, number, at)
    asyncio.events._set_running_loop(None)
    asyncio.new_event_loop().run_until_complete(look(unix_dsn, conversation, error))
    if error is None:
        return "unharmed"
    if isinstance(error, errors.Error):
        return "failed"
    if isinstance(error, MemoryError):
        return "no_memory"
    if isinstance(error, (TimeoutError, Late)):
        return "given_up"  # asyncio has lost a task or a timer
    if isinstance(error, Wrong):
        raise error
    # CPython's own: "error return without exception set", and the like.
    traceback.print_exception(error, file=sys.stdout)
    return "interpreter"


def wait(pid: int) -> str:
    """The outcome of a child, or what was wrong with it."""
    deadline = time.monotonic() + 4 * LIMIT_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            if os.WIFSIGNALED(status):
                return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
            return OUTCOMES[os.WEXITSTATUS(status)]
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "given_up"


def run(dsn: str, unix_dsn: str, number: int, at: int) -> str:
    sys.stdout.flush()
    pid = os.fork()
    if pid > 0:
        return wait(pid)
    outcome = "wrong"
    try:
        outcome = child(dsn, unix_dsn, number, at)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
    sys.stdout.flush()
    os._exit(OUTCOMES.index(outcome))


def main(dsn: str, unix_dsn: str, start: int, every: int) -> dict[str, object]:
    first = asyncio.new_event_loop()
    aside = first.run_until_complete(open_room(unix_dsn))
    first.run_until_complete(Conversation(dsn, 0, FEW).hold())  # imports, and the like
    first.run_until_complete(close_room(aside))
    aside = first.run_until_complete(open_room(unix_dsn))
    first.run_until_complete(aside.close())
    first.close()
    outcomes: collections.Counter[str] = collections.Counter()
    problems = []
    past, at = 0, start
    while past < max(PAST // every, 15):
        outcome = run(dsn, unix_dsn, 1 + at, at)
        outcomes[outcome] += 1
        past = past + 1 if outcome == "unharmed" else 0
        if outcome not in OUTCOMES[:-1]:
            problems.append(f"allocation {at}: {outcome}")
        at += every
    return {
        "runs": sum(outcomes.values()),
        **outcomes,
        "points": at,
        "problems": problems,
    }


if __name__ == "__main__":
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    dsn, unix_dsn, start, every = sys.argv[1:]
    print(json.dumps(main(dsn, unix_dsn, int(start), int(every))))
