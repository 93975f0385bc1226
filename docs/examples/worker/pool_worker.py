"""The same job without SQLAlchemy: a worker in one event loop, such as ARQ's, with
pgasync's own pool.

    arq pool_worker.WorkerSettings
"""

import os
from typing import Any, ClassVar

import pgasync

DEFAULT_DSN = "postgresql://localhost/documents"


async def startup(ctx: dict[str, Any]) -> None:
    ctx["pool"] = await pgasync.create_pool(
        os.environ.get("DATABASE_DSN", DEFAULT_DSN),
        max_size=WorkerSettings.max_jobs,
        timeout=5,  # s in the queue for a connection, and to connect
        command_timeout=30,  # s for a statement
        application_name="documents",
    )


async def shutdown(ctx: dict[str, Any]) -> None:
    await ctx["pool"].close()


async def count_words(ctx: dict[str, Any], document_id: int) -> int:
    """Again by itself after a deadlock or a serialization failure."""
    words: int = await ctx["pool"].run_transaction(count, document_id)
    return words


async def count(conn: pgasync.Connection, document_id: int) -> int:
    text = await conn.fetchval(
        "select text from documents where id = $1 for update", [document_id]
    )
    if text is None:
        raise LookupError(f"there is no document {document_id}")
    words = len(text.split())
    await conn.execute(
        "update documents set words = $1 where id = $2", [words, document_id]
    )
    return words


class WorkerSettings:
    functions: ClassVar[list[Any]] = [count_words]
    on_startup = startup
    on_shutdown = shutdown
    max_jobs = 10  # at once, each on a connection
    job_timeout = 60  # s, then the job is cancelled
