"""A small shop on FastAPI and PostgreSQL: one engine, a session for each request, and
a 503 that can be repeated safely for everything that will pass by itself.

    DATABASE_URL=postgresql+pgasync://shop:secret@localhost/shop
    python app.py             # creates the tables, once
    uvicorn app:app
"""

import asyncio
import json
import logging
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, PositiveInt
from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    exc,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

DEFAULT_URL = "postgresql+pgasync://localhost/shop"
BATCH = 500  # rows of a streamed response that are in memory at a time

log = logging.getLogger("shop")


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    stock: Mapped[int] = mapped_column(CheckConstraint("stock >= 0"))


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey(Item.id), index=True)
    quantity: Mapped[int]
    made_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now()
    )


# ------------------------------------------------------- the engine, the sessions


def make_engine() -> AsyncEngine:
    """The engine of this process. Nothing is connected before the first request."""
    return create_async_engine(
        os.environ.get("DATABASE_URL", DEFAULT_URL),
        pool_size=10,  # times the number of processes: what the server has to bear
        max_overflow=10,  # for peaks; closed again behind them
        pool_timeout=5,  # s in the queue for a connection, then a 503
        connect_args={
            "timeout": 5,  # s to connect
            "command_timeout": 10,  # s for a statement
            "server_settings": {
                "application_name": "shop",
                # A process that is killed leaves no statement behind that runs on.
                "client_connection_check_interval": "1s",
            },
        },
    )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    engine = make_engine()
    app.state.engine = engine
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    try:
        yield
    finally:
        await engine.dispose()


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """A session for the request. It takes a connection with its first statement and
    gives it back with commit(), rollback(), or here, behind the response."""
    async with request.app.state.sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]

app = FastAPI(title="shop", lifespan=lifespan)


# ----------------------------------------------------------------------- errors


def is_transient(error: exc.SQLAlchemyError) -> bool:
    """Whether the same request can succeed in a moment: no connection was free, it was
    lost or could not be made, the statement took too long or met another one."""
    if isinstance(error, exc.DBAPIError):
        return error.connection_invalidated or isinstance(error, exc.OperationalError)
    return isinstance(error, exc.TimeoutError)  # the pool's


@app.exception_handler(exc.SQLAlchemyError)
async def database_error(request: Request, error: exc.SQLAlchemyError) -> Response:
    if isinstance(error, exc.DataError):  # too large for its column, a \0 in a text
        return JSONResponse({"detail": "a value that cannot be stored"}, 422)
    if not is_transient(error):
        raise error  # a mistake of ours: 500, with its traceback in the log
    cause = getattr(error, "orig", None) or error
    log.warning("%s %s: %s", request.method, request.url.path, describe(cause))
    return JSONResponse(
        {"detail": "the database is not available, try again"},
        status_code=503,
        headers={"Retry-After": "1"},
    )


def describe(cause: BaseException) -> str:
    """One line for the log; the outcome tells whether a write may have happened."""
    outcome = getattr(cause, "outcome", None)
    line = str(cause).partition("\n")[0]
    return f"{type(cause).__name__}: {line}" + (f" [{outcome}]" if outcome else "")


# ------------------------------------------------------------------- the service


class NewItem(BaseModel):
    name: str
    stock: PositiveInt


class NewOrder(BaseModel):
    item_id: int
    quantity: PositiveInt


class ItemOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    stock: int


class OrderOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    item_id: int
    quantity: int
    made_at: datetime


@app.get("/health/live")
async def live() -> dict[str, str]:
    """The process answers. Without the database: to restart us would not mend it."""
    return {"status": "ok"}


@app.get("/health/ready")
async def ready(session: Session) -> dict[str, str]:
    """Requests can be served; 503 by the handler where they cannot."""
    await session.execute(select(1))
    return {"status": "ok"}


@app.get("/items/{item_id}")
async def read_item(item_id: int, session: Session) -> ItemOut:
    item = await session.get(Item, item_id)
    if item is None:
        raise HTTPException(404, f"there is no item {item_id}")
    return ItemOut.model_validate(item)


@app.post("/items", status_code=201)
async def create_item(new: NewItem, session: Session) -> ItemOut:
    item = Item(name=new.name, stock=new.stock)
    session.add(item)
    try:
        await session.commit()
    except exc.IntegrityError:
        raise HTTPException(409, f"there is an item {new.name!r} already") from None
    return ItemOut.model_validate(item)


@app.put("/orders/{order_id}", status_code=201)
async def place_order(
    order_id: uuid.UUID, new: NewOrder, session: Session, response: Response
) -> OrderOut:
    """The client makes up the id. So it can repeat a request whose answer was a 503 or
    got lost: what was committed already is answered with 200 and not ordered twice."""
    try:
        async with session.begin():
            order = await session.scalar(
                insert(Order)
                .values(id=order_id, **new.model_dump())
                .on_conflict_do_nothing()
                .returning(Order)
            )
            if order is None:
                response.status_code = 200
                return OrderOut.model_validate(await same_order(session, order_id, new))
            await take_from_stock(session, new)
    except exc.IntegrityError:
        raise HTTPException(404, f"there is no item {new.item_id}") from None
    return OrderOut.model_validate(order)


async def same_order(
    session: AsyncSession, order_id: uuid.UUID, new: NewOrder
) -> Order:
    """The order of this id, if it is the one that is asked for again."""
    order = await session.get_one(Order, order_id)
    if (order.item_id, order.quantity) != (new.item_id, new.quantity):
        raise HTTPException(409, "this id is another order's")
    return order


async def take_from_stock(session: AsyncSession, new: NewOrder) -> None:
    """One statement reads and writes, so no other request comes between."""
    left = await session.scalar(
        update(Item)
        .where(Item.id == new.item_id, Item.stock >= new.quantity)
        .values(stock=Item.stock - new.quantity)
        .returning(Item.stock)
    )
    if left is None:  # the order made above is rolled back
        raise HTTPException(409, f"there are fewer than {new.quantity} left")


@app.get("/orders")
async def export_orders(session: Session) -> StreamingResponse:
    """All orders as lines of JSON, by a server-side cursor. The last line tells that
    the export is complete, or why it is not: the status is long gone by then."""
    orders = await session.stream_scalars(
        select(Order).order_by(Order.id).execution_options(yield_per=BATCH)
    )  # what fails here is a 503 still
    return StreamingResponse(json_lines(orders), media_type="application/x-ndjson")


async def json_lines(orders: Any) -> AsyncIterator[str]:
    count = 0
    try:
        async for batch in orders.partitions():
            count += len(batch)
            yield "".join(
                OrderOut.model_validate(order).model_dump_json() + "\n"
                for order in batch
            )
    except exc.SQLAlchemyError as error:
        if not is_transient(error):
            raise
        log.warning("GET /orders: %s", describe(getattr(error, "orig", error)))
        yield json.dumps({"error": "the database went away, try again"}) + "\n"
    else:
        yield json.dumps({"complete": count}) + "\n"


async def create_tables() -> None:
    engine = make_engine()
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(create_tables())
