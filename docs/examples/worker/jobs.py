"""For workers that call synchronous functions, such as Celery's: each job is an
asyncio.run(), which opens a connection and closes it.

    python jobs.py 1 2 3      # counts the words of these documents
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import documents
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.pool import NullPool

TIME_LIMIT = 60  # s for a job

Result = TypeVar("Result")

# Made once, by the worker's parent when it imports this. NullPool holds no connection,
# so that nothing is shared by the children that it forks.
engine = documents.make_engine(poolclass=NullPool)
sessions = async_sessionmaker(engine, expire_on_commit=False)


def run(job: Callable[..., Awaitable[Result]], *args: Any) -> Result:
    """Runs a job in a transaction of its own, to its end or to TIME_LIMIT."""

    async def transaction() -> Result:
        async with sessions.begin() as session:
            return await job(session, *args)

    async def limited() -> Result:
        return await asyncio.wait_for(transaction(), TIME_LIMIT)

    return asyncio.run(limited())


def count_words(document_id: int) -> int:
    return run(documents.count_words, document_id)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(argument, count_words(int(argument)))
