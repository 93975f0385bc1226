"""Several threads, each with a loop and connections of its own."""

from __future__ import annotations

import asyncio
import threading

import pgasync


def test_a_loop_in_each_thread(dsn: str) -> None:
    """Nothing is shared between connections of different threads but the module."""
    failures: list[BaseException] = []

    async def work(token: int) -> None:
        async with pgasync.connect(dsn, autocommit=True) as conn:
            for n in range(200):
                row = await conn.fetchrow(
                    "select $1::int as token, $2::int as n", [token, n]
                )
                assert (row["token"], row.n) == (token, n)
                if n % 50 == 0:
                    task = asyncio.ensure_future(conn.execute("select pg_sleep(5)"))
                    await asyncio.sleep(0.005)
                    task.cancel()
                    await asyncio.wait({task})
                    assert task.cancelled()

    def run(token: int) -> None:
        try:
            asyncio.run(work(token))
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(token,)) for token in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []
