"""One process of test_faults.py: the same conversation again and again, each time with
another fault. `fault_runner.py WHAT DSN UNIX_DSN EVERY [--uvloop] [--only NAME]`;
the last line is JSON.

WHAT: "calls": recv and send fail (see faults.c); "mallocs": those of the core;
"allocations": CPython's on behalf of the core. EVERY: every how many faults one
is tried.
DSN: where the conversation is, over TCP; UNIX_DSN: the same server, for looking at it
from aside.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import errno
import faulthandler
import gc
import importlib
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pgasync
from pgasync import _core, errors

STEP_S = 0.002
LIMIT_S = 8  # a conversation that takes longer hangs
BURST_LIMIT_S = 0.7
SLOW_S = 2.5  # something has waited for nothing
SHORT = -1  # faults.c
ALWAYS = 1 << 40
BURST = 20  # allocations that fail one after the other
MANY, FEW = 200_000, 5_000  # bytes of the large values
PASSING = (errno.EAGAIN, errno.EINTR, SHORT)  # nobody must notice
LASTING = (errno.ECONNRESET, errno.EPIPE, errno.ENOMEM, errno.ETIMEDOUT)


@dataclass
class Report:
    runs: int = 0
    unharmed: int = 0  # all of the conversation took place
    failed: int = 0  # it ended with a pgasync error
    no_memory: int = 0  # or MemoryError
    given_up: int = 0  # there was none to wake the task either: it was cancelled
    points: int = 0  # how many places there are for a fault
    problems: list[str] = field(default_factory=list)


# The conversation


class Wrong(Exception):
    """A result that is not right."""


class Late(Exception):
    """A timeout that did not come."""


def check(got: object, expected: object) -> None:
    if got != expected:
        raise Wrong(f"{str(got)[:200]} in place of {str(expected)[:200]}")


class Conversation:
    """Ends at the first error of the connection. `size` is that of the large values."""

    def __init__(self, dsn: str, run: int, size: int) -> None:
        self.dsn = dsn
        self.run = run
        self.size = size
        self.conn: Any = None
        self.error: BaseException | None = None
        self.insert = "not_sent"  # or what became of it
        self.ended = False  # by close()

    async def hold(self) -> None:
        try:
            self.conn = await pgasync.connect(
                self.dsn,
                autocommit=True,
                connect_timeout=LIMIT_S / 2,
                cancel_timeout=0.4,
                application_name="faults",
            )
            for step in (
                self.values,
                self.refused,
                self.rows,
                self.parameter,
                self.many,
                self.portal,
                self.stream,
                self.cancelled,
                self.values,
            ):
                await step()
            self.ended = True
        except (errors.Error, MemoryError) as error:
            self.error = error
        finally:
            if self.conn is not None:
                await self.conn.close()
                check(self.conn.closed, True)

    async def values(self) -> None:
        sql = "select $1::int, $2::text, null, 1.50"
        row = await self.conn.fetchrow(sql, [self.run, "sieben ä"])
        check(tuple(map(str, row)), (str(self.run), "sieben ä", "None", "1.50"))

    async def refused(self) -> None:
        with contextlib.suppress(errors.UndefinedColumn):
            check(await self.conn.fetch("select nope"), "an error")

    async def rows(self) -> None:
        sql = "select i, repeat('x', 100) from generate_series(1, $1) i"
        rows = await self.conn.fetch(sql, [self.size // 100])
        check([row[0] for row in rows], [*range(1, self.size // 100 + 1)])
        check({row[1] for row in rows}, {"x" * 100})

    async def parameter(self) -> None:
        sql = "select md5($1::text) = md5(repeat('y', $2))"
        check(await self.conn.fetchval(sql, ["y" * self.size, self.size]), True)

    async def many(self) -> None:
        sets = [(self.run, n) for n in range(20)]
        self.insert = "in_doubt"  # until somebody says more
        try:
            await self.conn.executemany("insert into faults values ($1, $2)", sets)
            self.insert = "done"
        except errors.Error as error:
            self.insert = error.outcome or "failed"
            raise

    async def portal(self) -> None:
        core = self.conn._core
        async with self.conn.transaction():
            sql = "select generate_series(1, 30)"
            opened = await core.open_portal("p", sql, None, 10, False)
            rows = [*opened.rows]
            while opened.suspended:
                opened = await core.fetch_portal("p", opened.statement, 10, False)
                rows += opened.rows
            check([row[0] for row in rows], [*range(1, 31)])
            await core.close_portal("p")

    async def stream(self) -> None:
        sql = "select i, repeat('x', 100) from generate_series(1, $1) i"
        count = self.size // 100
        seen = [row[0] async for row in self.conn.stream(sql, [count])]
        check(seen, [*range(1, count + 1)])
        async for row in self.conn.stream(sql, [10 * count]):
            check(row[0], 1)
            break
        async with self.conn.transaction():
            seen = [row[0] async for row in self.conn.stream(sql, [100])]
            check(seen, [*range(1, 101)])

    async def cancelled(self) -> None:
        with contextlib.suppress(errors.QueryTimeout):
            await self.conn.fetchval("select pg_sleep(1)", timeout=0.02)
            raise Late("a statement was not cancelled")


async def settle(
    conversation: Conversation, error: BaseException | None, aside: Any
) -> None:
    """What became of the insert is what was said of it."""
    if conversation.insert == "not_sent" and error is None:
        raise Wrong("there was no insert")
    sql = "select count(*) from faults where run = $1"
    deadline = time.monotonic() + 2
    possible = {"done": {20}, "not_sent": {0}, "failed": {0}, "in_doubt": {0, 20}}
    found = await aside.fetchval(sql, [conversation.run])
    while found not in possible[conversation.insert] and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
        found = await aside.fetchval(sql, [conversation.run])
    if found not in possible[conversation.insert]:
        raise Wrong(f"{found} rows of an insert that is {conversation.insert}")


# Faults


class Shim:
    """The library in front of libc."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(None)
        for name in ("fault_calls", "fault_mallocs", "fault_allocations"):
            getattr(self.library, name).restype = ctypes.c_long

    def calls(self, port: int, kind: int, start: int, end: int) -> None:
        start_, end_ = ctypes.c_long(start), ctypes.c_long(end)
        self.library.fault_arm(port, kind, start_, end_)

    def mallocs(self, at: int) -> None:
        self.library.fault_arm_malloc(ctypes.c_long(at))

    def allocations(self, start: int, end: int) -> None:
        self.library.fault_arm_allocations(ctypes.c_long(start), ctypes.c_long(end))


@dataclass
class Fault:
    name: str
    arm: Callable[[], object]
    disarm: Callable[[], object]
    unnoticed: bool = False  # the conversation has to go well
    size: int = MANY
    memory: bool = False  # MemoryError may come from anywhere
    burst: bool = False  # and again when it is handled


def call_faults(shim: Shim, port: int, points: int, every: int) -> Iterator[Fault]:
    def fault(kind: int, start: int, end: int, size: int) -> Fault:
        what = "short" if kind == SHORT else errno.errorcode[kind]
        return Fault(
            f"{what} of calls {start} to {end}",
            lambda: shim.calls(port, kind, start, end),
            lambda: shim.calls(0, 0, 0, 0),
            unnoticed=kind in PASSING,
            size=size,
        )

    yield fault(SHORT, 0, ALWAYS, FEW)
    number = 0
    for start in range(points):
        for kind in (*PASSING, *LASTING):
            number += 1
            if number % every == 0:
                ends = {SHORT: start + 100, errno.EAGAIN: start + 3}
                yield fault(kind, start, ends.get(kind, start + 1), MANY)


def malloc_faults(shim: Shim, points: int, every: int) -> Iterator[Fault]:
    for at in range(0, points, every):
        yield Fault(
            f"malloc {at}",
            lambda at=at: shim.mallocs(at),
            lambda: shim.mallocs(-1),
        )


def allocation_faults(shim: Shim, points: int, every: int) -> Iterator[Fault]:
    number = 0
    for at in range(points):
        for length in (1, BURST):
            number += 1
            if number % every == 0:
                yield Fault(
                    f"{length} allocation(s) from {at}",
                    lambda at=at, length=length: shim.allocations(at, at + length),
                    lambda: shim.allocations(-1, 0),
                    size=FEW,
                    memory=True,
                    burst=length > 1,
                )


# Runs


class Watch:
    """What nobody is told by an exception."""

    def __init__(self) -> None:
        self.seen: list[BaseException | str] = []

    def unraisable(self, args: Any) -> None:
        self.seen.append(args.exc_value or str(args.exc_type))

    def loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.seen.append(context.get("exception") or context["message"])


def sockets() -> int:
    count = 0
    for entry in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{entry}").startswith("socket:")
        except OSError:
            continue
    return count


class Runner:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, dsn: str, aside: Any, report: Report
    ) -> None:
        self.event_loop = loop
        self.dsn = dsn
        self.aside = aside
        self.report = report
        self.watch = Watch()
        self.run_number = 0
        sys.unraisablehook = self.watch.unraisable
        loop.set_exception_handler(self.watch.loop)

    def run(self, fault: Fault) -> None:
        print("fault:", fault.name, flush=True)
        self.run_number += 1
        self.watch.seen.clear()
        before = sockets()
        conversation = Conversation(self.dsn, self.run_number, fault.size)
        faulthandler.dump_traceback_later(3 * LIMIT_S, exit=True)
        task = self.event_loop.create_task(conversation.hold())
        self.event_loop.call_soon(fault.arm)
        began = time.monotonic()
        try:
            self.finish(task, BURST_LIMIT_S if fault.burst else LIMIT_S)
        finally:
            fault.disarm()
        took = time.monotonic() - began
        slow = took > SLOW_S and not fault.burst
        problems = [f"it took {took:.1f} s"] if slow else []
        conn = conversation.conn
        if conn is not None and not conn.closed and fault.burst:
            conn.terminate()  # there was no memory for close()
        problems += self.judge(fault, task, conversation)
        del task
        problems += self.leaks(before)
        faulthandler.cancel_dump_traceback_later()
        self.report.runs += 1
        for problem in problems:
            print("problem:", problem, flush=True)
        self.report.problems += [f"{fault.name}: {problem}" for problem in problems]

    def finish(self, task: asyncio.Task[None], limit: float) -> None:
        """Runs the loop until the task is done or its time is over, in steps: where
        memory runs out, nobody may be told of the end."""
        over = time.monotonic() + limit
        while not task.done() and time.monotonic() < over:
            self.event_loop.run_until_complete(asyncio.sleep(STEP_S))

    def judge(
        self, fault: Fault, task: asyncio.Task[None], conversation: Conversation
    ) -> list[str]:
        problems: list[str] = []
        if not task.done():
            if conversation.conn is not None:
                conversation.conn.terminate()
            task.cancel()
            self.finish(task, LIMIT_S)
            if fault.burst:
                self.report.given_up += 1
                return []
            return ["it hangs"]
        error = task.exception() or conversation.error
        if error is None:
            self.report.unharmed += 1
        elif isinstance(error, errors.Error):
            self.report.failed += 1
        elif isinstance(error, MemoryError):
            self.report.no_memory += 1
        else:
            problems.append(f"{type(error).__name__}: {error}")
        if fault.unnoticed and error is not None:
            problems.append(f"it was noticed: {error!r}")
        for seen in self.watch.seen:
            if not (fault.memory and isinstance(seen, MemoryError)):
                problems.append(f"said aside: {seen!r}")
        try:
            self.event_loop.run_until_complete(settle(conversation, error, self.aside))
        except Wrong as wrong:
            problems.append(f"{wrong} ({error!r})")
        return problems

    def leaks(self, before: int) -> list[str]:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            tasks = asyncio.all_tasks(self.event_loop)
            if not tasks and sockets() == before:
                return []
            self.event_loop.run_until_complete(asyncio.sleep(0.01))
            gc.collect()
        return [f"left: {sockets() - before} socket(s), {tasks}"]


async def open_room(unix_dsn: str) -> Any:
    """A table for the conversations, and a connection that looks at it from aside."""
    aside = await pgasync.connect(unix_dsn, autocommit=True)
    await aside.execute("drop table if exists faults")
    await aside.execute("create table faults (run int, n int)")
    return aside


async def close_room(aside: Any) -> None:
    await aside.execute("drop table faults")
    await aside.close()


def chosen_faults(
    what: str, runner: Runner, none: Fault, port: int, every: int
) -> Iterator[Fault]:
    report, shim = runner.report, Shim()
    tasks = getattr(importlib.import_module("_asyncio"), "__file__", None)
    files = (_core.__file__.encode(), tasks and tasks.encode())
    assert shim.library.fault_libraries(*files)
    if what == "allocations":
        shim.library.fault_hook_allocators()
        none.arm = lambda: shim.allocations(ALWAYS, ALWAYS)
        runner.run(none)
        report.points = shim.library.fault_allocations()
        return allocation_faults(shim, report.points, every)
    if what == "calls":
        shim.calls(port, SHORT, ALWAYS, ALWAYS)
        runner.run(none)
        report.points = shim.library.fault_calls()
        return call_faults(shim, port, report.points + 3, every)
    shim.mallocs(-1)
    runner.run(none)
    report.points = shim.library.fault_mallocs()
    return malloc_faults(shim, report.points, every)


def main(options: argparse.Namespace) -> Report:
    module = importlib.import_module("uvloop") if options.uvloop else asyncio
    loop: asyncio.AbstractEventLoop = module.new_event_loop()
    aside = loop.run_until_complete(open_room(options.unix_dsn))
    report = Report()
    runner = Runner(loop, options.dsn, aside, report)
    none = Fault("none", lambda: None, lambda: None, unnoticed=True)
    if options.what == "allocations":
        none.size = FEW
    runner.run(none)  # what is imported and remembered once, is
    port = urlsplit(options.dsn).port or 0
    for fault in chosen_faults(options.what, runner, none, port, options.every):
        if not options.only or options.only in fault.name:
            runner.run(fault)
    loop.run_until_complete(close_room(aside))
    loop.close()
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["calls", "mallocs", "allocations"])
    parser.add_argument("dsn")
    parser.add_argument("unix_dsn")
    parser.add_argument("every", type=int)
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--only", help="the faults with this in their names")
    faulthandler.enable()
    logging.disable(logging.WARNING)  # no CancelRequest reached …
    warnings.simplefilter("error", ResourceWarning)
    print(json.dumps(vars(main(parser.parse_args()))))
