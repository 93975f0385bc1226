"""For workers that live in one event loop, such as ARQ's: one engine with a pool, made
when the worker starts and disposed of when it stops.

    arq arq_worker.WorkerSettings
"""

from typing import Any, ClassVar

import documents
from sqlalchemy.ext.asyncio import async_sessionmaker


async def startup(ctx: dict[str, Any]) -> None:
    ctx["engine"] = documents.make_engine()
    ctx["sessions"] = async_sessionmaker(ctx["engine"], expire_on_commit=False)


async def shutdown(ctx: dict[str, Any]) -> None:
    await ctx["engine"].dispose()


async def count_words(ctx: dict[str, Any], document_id: int) -> int:
    async with ctx["sessions"].begin() as session:
        return await documents.count_words(session, document_id)


class WorkerSettings:
    functions: ClassVar[list[Any]] = [count_words]
    on_startup = startup
    on_shutdown = shutdown
    max_jobs = 10  # at once: not more than pool_size + max_overflow, 15
    job_timeout = 60  # s, then the job is cancelled
