"""The FastAPI example under the load of 200 clients, with its PostgreSQL taken away in
the middle. Seconds of load: PGASYNC_LOAD_SECONDS (5)."""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import pgasync
import servers
from examples.shop import (
    RARE,
    STOCK,
    UNAVAILABLE,
    Client,
    Load,
    Outage,
    Shop,
    figures,
    load_with_outage,
    stock_up,
    until_up,
)

CLIENTS = 200
SECONDS = float(os.environ.get("PGASYNC_LOAD_SECONDS", "5"))
LATENCY_LIMIT_S = 15.0  # 5 s for the pool, 5 s to connect, the rest: a busy machine
SETTLE_S = 10.0
RECOVERY_LIMIT_S = 5.0
BACKENDS = "select count(*) from pg_stat_activity where application_name = 'shop'"
# Every order is either whole or not there at all.
TORN = f"""
select count(*) from items
  left join (select item_id, sum(quantity) as sold from orders group by item_id) o
    on o.item_id = items.id
 where stock + coalesce(sold, 0) <> case when id = {RARE} then 5 else {STOCK} end
"""


def backends(server: servers.Server) -> int:
    return int(server.psql(BACKENDS))


async def settled(client: Client, before: dict[str, Any]) -> dict[str, Any]:
    """What the service holds once nobody asks it for anything, or after SETTLE_S."""
    until = time.monotonic() + SETTLE_S
    while True:
        after = (await client.ask("GET", "/probe")).json()
        quiet = after["checked_out"] == 0 and after["tasks"] <= before["tasks"]
        if quiet or time.monotonic() > until:
            return after
        await asyncio.sleep(0.05)


async def repeat_the_others(load: Load) -> int:
    """Orders without an acknowledgement are sent again, which is safe; the number of
    those that had been made."""
    client = Client(load.port)
    made = 0
    for key in load.sent.keys() - load.known:
        answer = await client.ask("PUT", f"/orders/{key}", load.sent[key])
        assert answer.status in (200, 201, 409), answer
        made += answer.status == 200
    await client.close()
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loop", "how"), [("asyncio", "immediate"), ("uvloop", "kill"), ("asyncio", "fast")]
)
def test_load_and_restart(
    own_server: servers.Server,
    tmp_path: Path,
    summary: list[str],
    loop: str,
    how: str,
) -> None:
    with Shop(own_server, tmp_path / "log", loop=loop) as shop:
        stock_up(own_server)
        before = asyncio.run(until_up(shop))
        load, outage = Load(shop.port), Outage(own_server, how)
        cpu = shop.cpu()
        asyncio.run(load_with_outage(load, outage, CLIENTS, SECONDS))
        cpu = shop.cpu() - cpu
        after = asyncio.run(after_the_load(load, before))
        summary.append(f"FastAPI, {CLIENTS} clients, {loop}, {how} stop:")
        summary.extend(f"  {line}" for line in figures(load, outage, SECONDS, cpu))

        assert load.wrong == []
        assert max(load.latencies) < LATENCY_LIMIT_S
        assert load.refusals, "the outage was not noticed"
        assert min(at for at in load.successes if at > outage.ended) < (
            outage.ended + RECOVERY_LIMIT_S
        )

        # Nothing is left behind.
        assert after["checked_out"] == 0
        assert after["tasks"] == before["tasks"]
        # A place in the pool is empty where a client's leaving ended the connection.
        held = after["descriptors"] - before["descriptors"]
        assert 0 < held <= after["checked_in"]
        asyncio.run(until_backends(own_server, held))

        # What was acknowledged is there, and nothing is there in part.
        found = set(own_server.psql("select id from orders").split())
        assert load.known and load.known <= found
        assert int(own_server.psql(TORN)) == 0
        made = asyncio.run(repeat_the_others(load))
        summary.append(f"  {made} orders made whose answer was a 503 or not waited for")
        assert load.sent.keys() >= load.known
        assert int(own_server.psql(TORN)) == 0

        shop.terminate()
        assert backends(own_server) == 0
        assert shop.complaints() == []


async def after_the_load(load: Load, before: dict[str, Any]) -> dict[str, Any]:
    client = Client(load.port)
    try:
        return await settled(client, before)
    finally:
        await client.close()


@pytest.fixture
def shop(own_server: servers.Server, tmp_path: Path) -> Iterator[Shop]:
    with Shop(own_server, tmp_path / "log", loop="asyncio") as started:
        asyncio.run(until_up(started))
        yield started
        assert started.complaints() == []


async def ask(shop: Shop, *request: Any) -> Any:
    client = Client(shop.port)
    try:
        return await client.ask(*request)
    finally:
        await client.close()


def test_answers(shop: Shop) -> None:
    """Each page, and each of its refusals."""
    order, other = f"/orders/{uuid.uuid4()}", f"/orders/{uuid.uuid4()}"
    for method, path, body, status in [
        ("GET", "/health/live", None, 200),
        ("GET", "/health/ready", None, 200),
        ("POST", "/items", {"name": "tea", "stock": 5}, 201),
        ("POST", "/items", {"name": "tea", "stock": 5}, 409),
        ("POST", "/items", {"name": "t\0a", "stock": 5}, 422),
        ("POST", "/items", {"name": "tea", "stock": 2**40}, 422),
        ("GET", "/items/1", None, 200),
        ("GET", "/items/2", None, 404),
        ("GET", f"/items/{2**40}", None, 422),
        ("PUT", order, {"item_id": 1, "quantity": 2}, 201),
        ("PUT", order, {"item_id": 1, "quantity": 2}, 200),
        ("PUT", order, {"item_id": 1, "quantity": 1}, 409),
        ("PUT", other, {"item_id": 1, "quantity": 4}, 409),
        ("PUT", other, {"item_id": 7, "quantity": 1}, 404),
        ("GET", "/orders", None, 200),
    ]:
        answer = asyncio.run(ask(shop, method, path, body))
        assert answer.status == status, (method, path, body, answer)
    first, last = map(json.loads, answer.body.splitlines())
    assert order.endswith(first["id"]) and last == {"complete": 1}


def test_without_a_database(own_server: servers.Server, shop: Shop) -> None:
    """The process lives on and starts, too: each answer that needs it is a 503."""
    own_server.shut_down()
    order = {"item_id": 1, "quantity": 1}
    for method, path, body in [
        ("GET", "/health/ready", None),
        ("GET", "/items/1", None),
        ("POST", "/items", {"name": "tea", "stock": 5}),
        ("PUT", f"/orders/{uuid.uuid4()}", order),
        ("GET", "/orders", None),
    ]:
        answer = asyncio.run(ask(shop, method, path, body))
        assert (answer.status, answer.json()) == (503, UNAVAILABLE)
        assert answer.headers["retry-after"] == "1"
    assert asyncio.run(ask(shop, "GET", "/health/live")).status == 200
    own_server.start()
    assert asyncio.run(ask(shop, "GET", "/health/ready")).status == 200


def test_an_export_that_breaks_off(own_server: servers.Server, shop: Shop) -> None:
    """Its last line says so, and all lines before are whole."""
    rows = 60_000  # more than the sockets hold
    own_server.psql(
        f"""
        insert into items (name, stock) values ('tea', 1);
        insert into orders (id, item_id, quantity)
        select gen_random_uuid(), 1, 1 from generate_series(1, {rows});
        """
    )

    async def main() -> list[Any]:
        client = Client(shop.port)
        await client.send("GET", "/orders")
        status, _ = await client.head()
        assert status == 200
        chunks = client.chunks()
        body = await anext(chunks)
        await asyncio.to_thread(own_server.shut_down, fast=False)
        body += b"".join([chunk async for chunk in chunks])
        await client.close()
        return [json.loads(line) for line in body.splitlines()]

    *orders, last = asyncio.run(main())
    assert last == {"error": "the database went away, try again"}
    assert 0 < len(orders) < rows
    assert all(order["quantity"] == 1 for order in orders)


@asynccontextmanager
async def locked(server: servers.Server) -> AsyncIterator[None]:
    """No order can be made for the one item meanwhile."""
    server.psql("insert into items (name, stock) values ('tea', 100)")
    async with pgasync.connect(server.dsn) as conn:
        await conn.execute("select from items for update")
        yield


async def order(shop: Shop) -> Any:
    body = {"item_id": 1, "quantity": 1}
    return await ask(shop, "PUT", f"/orders/{uuid.uuid4()}", body)


async def until_backends(server: servers.Server, wanted: int) -> None:
    until = time.monotonic() + SETTLE_S
    while await asyncio.to_thread(backends, server) != wanted:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)


def test_more_requests_than_connections(own_server: servers.Server, shop: Shop) -> None:
    """Those that get no connection in time are told so."""
    connections, others = 20, 15

    async def main() -> None:
        async with locked(own_server):
            asked = [
                asyncio.create_task(order(shop)) for _ in range(connections + others)
            ]
            refused = []
            for answer in asyncio.as_completed(asked):
                refused.append(await answer)
                if len(refused) == others:
                    break
            assert all(
                (answer.status, answer.json()) == (503, UNAVAILABLE)
                for answer in refused
            )
        answers = await asyncio.gather(*asked)
        statuses = sorted(answer.status for answer in answers)
        assert statuses == [201] * connections + [503] * others

    asyncio.run(main())
    assert backends(own_server) == 10  # pool_size: the overflow is closed again


def test_shutdown_waits_for_requests(own_server: servers.Server, shop: Shop) -> None:
    async def main() -> None:
        async with locked(own_server):
            asked = asyncio.create_task(order(shop))
            await until_backends(own_server, 1)
            ended = asyncio.create_task(asyncio.to_thread(shop.terminate))
            await asyncio.sleep(0.5)
            assert not asked.done() and not ended.done()
        assert (await asked).status == 201
        await ended

    asyncio.run(main())
    assert backends(own_server) == 0


def test_shutdown_that_does_not_wait(
    own_server: servers.Server, tmp_path: Path
) -> None:
    """uvicorn cancels what is not done in time, and the process ends; the server ends
    the statements that nobody waits for, within client_connection_check_interval."""
    log = tmp_path / "log"
    with Shop(own_server, log, "--timeout-graceful-shutdown", "1") as shop:

        async def main() -> None:
            await until_up(shop)
            async with locked(own_server):
                asked = [asyncio.create_task(order(shop)) for _ in range(5)]
                await until_backends(own_server, 5)
                await asyncio.to_thread(shop.terminate)
                await until_backends(own_server, 0)
                await asyncio.gather(*asked, return_exceptions=True)

        asyncio.run(main())
    assert own_server.psql("select stock from items").strip() == "100"
    assert "never retrieved" not in log.read_text()
