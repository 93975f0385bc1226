"""A queue of jobs in PostgreSQL: any number of workers, each job done once.

    python work_queue.py create          # the table and its trigger, once
    python work_queue.py put 'some text' # a job
    python work_queue.py work            # a worker, until it is interrupted

A job is a row, taken with FOR UPDATE SKIP LOCKED and deleted in the transaction that
does its work. The notification only says that there may be something to do: who is told
looks at the table, and looks as well after a gap, when it may not have been told.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Awaitable, Callable

import pgasync

DEFAULT_URL = "postgresql://localhost/queue"
PAUSE = 1.0  # s, before a job is tried again

SCHEMA = """
create table job (
    id bigint generated always as identity primary key, text text not null
);
create function job_added() returns trigger language plpgsql as $$
    begin notify job; return null; end $$;
create trigger job_added after insert on job execute function job_added();
create table done (id bigint primary key, words int not null)
"""
TAKE = "select id, text from job order by id for update skip locked limit 1"

log = logging.getLogger(__name__)
Work = Callable[[pgasync.Connection, int, str], Awaitable[None]]


async def count_words(conn: pgasync.Connection, job: int, text: str) -> None:
    """The work; what it writes is committed with the job's end, or not at all."""
    await conn.execute("insert into done values ($1, $2)", [job, len(text.split())])


class Worker:
    """Works off jobs, one after the other."""

    def __init__(self, url: str, work: Work = count_words) -> None:
        self.url = url
        self.work = work
        self.gaps = 0

    async def run(self) -> None:
        """Until it is cancelled. Of the notifications that come while it works one is
        enough: it looks at the table until that is empty."""
        listen = pgasync.listen(self.url, "job", queue_size=1, overflow="drop_newest")
        async with listen as events:
            while True:
                await self.work_off()
                event = await events.get()
                if event.is_gap:
                    self.gaps += 1
                    log.warning("notifications may have been missed: %s", event)

    async def work_off(self) -> None:
        """All that there is, whatever becomes of the connection meanwhile."""
        while True:
            try:
                async with pgasync.connect(self.url, autocommit=True) as conn:
                    while await self.work_one(conn):
                        pass
                return
            except pgasync.OperationalError as error:
                log.warning("%s", error)
                await asyncio.sleep(PAUSE)

    async def work_one(self, conn: pgasync.Connection) -> bool:
        """False: there is nothing to do that nobody else is doing."""
        async with conn.transaction():
            job = await conn.fetchrow(TAKE)
            if job is None:
                return False
            await self.work(conn, job.id, job.text)
            await conn.execute("delete from job where id = $1", [job.id])
        return True


async def main(what: str, *texts: str) -> None:
    url = os.environ.get("DATABASE_URL", DEFAULT_URL)
    if what == "work":
        await Worker(url).run()
    async with pgasync.connect(url) as conn:
        if what == "create":
            await conn.execute(SCHEMA)
        for text in texts:
            await conn.execute("insert into job (text) values ($1)", [text])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
