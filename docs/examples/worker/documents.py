"""What the jobs work on, and one job; which worker runs it is not its business."""

import asyncio
import os

from sqlalchemy import exc, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import Pool

DEFAULT_URL = "postgresql+pgasync://localhost/documents"


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "documents"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    words: Mapped[int | None]


def make_engine(poolclass: type[Pool] | None = None) -> AsyncEngine:
    """An engine for the process that calls; connects with its first statement."""
    return create_async_engine(
        os.environ.get("DATABASE_URL", DEFAULT_URL),
        poolclass=poolclass,
        connect_args={
            "timeout": 5,  # s to connect
            "command_timeout": 30,  # s for a statement
            "server_settings": {
                "application_name": "documents",
                # A worker that is killed leaves no statement behind that runs on.
                "client_connection_check_interval": "1s",
            },
        },
    )


async def count_words(session: AsyncSession, document_id: int) -> int:
    """May run twice: a worker that dies behind the COMMIT is given the job again."""
    document = await session.scalar(
        select(Document).where(Document.id == document_id).with_for_update()
    )
    if document is None:
        raise LookupError(f"there is no document {document_id}")
    document.words = len(document.text.split())
    return document.words


def is_transient(error: BaseException) -> bool:
    """Whether the job is to be tried again: no connection, or it was lost, or the
    statement took too long or met another one."""
    if isinstance(error, exc.DBAPIError):
        return error.connection_invalidated or isinstance(error, exc.OperationalError)
    return isinstance(error, exc.TimeoutError)  # the pool's


async def create_tables() -> None:
    engine = make_engine()
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(create_tables())
