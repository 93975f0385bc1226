"""Behind PgBouncer: what works without being told that it is there, and what a program
is told where it cannot work (docs/poolers.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import pgasync
import pgbouncer
import servers
from pgasync import errors

pytestmark = pytest.mark.usefixtures("poolers_expected")

ROWS = 1000


@pytest.fixture(scope="module")
def bouncer(server: Any) -> Iterator[pgbouncer.PgBouncer]:
    """Transaction mode, five server connections."""
    pgbouncer.need()
    server.psql(
        "CREATE TABLE IF NOT EXISTS pooled (id int PRIMARY KEY, x text);"
        " TRUNCATE pooled;"
        f" INSERT INTO pooled SELECT n, 'x' || n FROM generate_series(1, {ROWS}) n;"
    )
    with pgbouncer.PgBouncer(server) as started:
        yield started
    server.psql("DROP TABLE pooled")


@pytest.fixture(autouse=True)
def log_of_failures(bouncer: pgbouncer.PgBouncer) -> Iterator[None]:
    """Printed, and so shown with a test that fails."""
    before = len(bouncer.log())
    yield
    print(bouncer.log()[before:])


@pytest.fixture
async def pooled(
    bouncer: pgbouncer.PgBouncer, connect: Callable[..., Any]
) -> AsyncIterator[Callable[..., Any]]:
    """connect() through the PgBouncer."""

    async def factory(**keywords: Any) -> Any:
        return await connect(bouncer.dsn, **keywords)

    yield factory


# What works


async def test_version(bouncer: pgbouncer.PgBouncer, pooled: Any) -> None:
    assert bouncer.version >= (1, 18)
    conn = await pooled(autocommit=True)
    assert await conn.fetchval("select 1") == 1
    assert "transaction" in bouncer.admin("SHOW POOLS")


async def test_values_and_types(pooled: Any) -> None:
    """Types that have to be looked up, parameters of all kinds, a mapping."""
    conn = await pooled()
    await conn.execute("create type pooled_mood as enum ('sad', 'ok')")
    assert await conn.fetchval("select $1::pooled_mood", ["ok"]) == "ok"
    assert await conn.fetchval("select :a::int + :b::int", {"a": 1, "b": 2}) == 3
    await conn.rollback()


async def test_copy(pooled: Any) -> None:
    conn = await pooled(autocommit=True)
    records = [(n, f"copied {n}") for n in range(20_000, 20_100)]
    tag = await conn.copy_records_to_table("pooled", records=records)
    assert tag == "COPY 100"
    pieces: list[bytes] = []
    tag = await conn.copy_from_query(
        "select * from pooled where id >= $1", [20_000], output=pieces.append
    )
    assert tag == "COPY 100"
    assert b"".join(pieces).count(b"\n") == 100
    async with conn.copy("COPY pooled TO STDOUT (FORMAT binary)") as copy:
        rows = [row async for row in copy.rows()]
    assert len(rows) == ROWS + 100
    await conn.execute("delete from pooled where id >= 20000")


@pytest.mark.parametrize("autocommit", [True, False])
async def test_streams(pooled: Any, autocommit: bool) -> None:
    conn = await pooled(autocommit=autocommit)
    rows = [
        row[0]
        async for row in conn.stream("select generate_series(1, $1::int)", [20_000])
    ]
    assert rows == list(range(1, 20_001))
    async for row in conn.stream("select generate_series(1, $1::int)", [20_000]):
        if row[0] == 10:
            break
    assert await conn.fetchval("select 7") == 7


async def test_server_side_cursor(pooled: Any) -> None:
    conn = await pooled()
    async with conn.transaction(), conn.cursor("c") as cursor:
        await cursor.execute("select generate_series(1, 1000)")
        assert len(await cursor.fetchmany(100)) == 100
        assert len(await cursor.fetchall()) == 900


async def test_script_and_prepare(pooled: Any) -> None:
    conn = await pooled(autocommit=True)
    assert await conn.fetchval("select 1; select 2; select 3") == 3
    statement = await conn.prepare("select x from pooled where id = $1")
    assert await statement.fetch([1]) == [("x1",)]


async def test_timeout(pooled: Any) -> None:
    """A CancelRequest finds its way through the PgBouncer."""
    conn = await pooled(autocommit=True)
    with pytest.raises(pgasync.QueryTimeout):
        await conn.execute("select pg_sleep(60)", timeout=0.2)
    assert await conn.fetchval("select 7") == 7


async def test_cancelled_task(pooled: Any) -> None:
    conn = await pooled(autocommit=True)
    task = asyncio.ensure_future(conn.execute("select pg_sleep(60)"))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await conn.fetchval("select 8") == 8


async def test_scram_over_tls(server: Any, connect: Any, certificates: Any) -> None:
    """And the CancelRequest goes over TLS, too."""
    pair = certificates.server["good"]
    with pgbouncer.PgBouncer(
        server,
        users={"postgres": "pooled secret"},
        files={"client_tls_cert_file": pair.cert, "client_tls_key_file": pair.key},
        auth_type="scram-sha-256",
        client_tls_sslmode="require",
    ) as bouncer:
        dsn = bouncer.tcp_dsn_for(
            password="pooled secret",
            sslmode="verify-full",
            sslrootcert=str(certificates.root.file),
        )
        conn = await connect(dsn, autocommit=True)
        assert conn.info.ssl and conn._core.unnamed
        assert await conn.fetchval("select $1::int", [1]) == 1
        with pytest.raises(pgasync.QueryTimeout):
            await conn.execute("select pg_sleep(60)", timeout=0.2)
        assert await conn.fetchval("select $1::int", [2]) == 2
        wrong = bouncer.tcp_dsn_for(password="another", sslmode="require")
        with pytest.raises(errors.OperationalError, match="authentication failed"):
            await connect(wrong)


async def test_listen_is_warned_of(
    pooled: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """LISTEN itself is taken; that nothing may arrive is told, once."""
    for _ in range(2):
        conn = await pooled(autocommit=True)
        async with conn.listen("pooled"):
            pass
    warnings = [record.getMessage() for record in caplog.records]
    assert sum("pool_mode = session" in text for text in warnings) == 1
    caplog.clear()
    direct = await connect(autocommit=True)
    async with direct.listen("pooled"):
        pass
    assert caplog.records == []


async def test_session_mode(server: Any, connect: Any) -> None:
    """It cannot be told from the others: statements stay without names unless
    prepared_statements="named" says that they need not."""
    with pgbouncer.PgBouncer(server, pool_mode="session") as bouncer:
        conn = await connect(bouncer.dsn, autocommit=True)
        assert conn._core.unnamed
        await conn.execute("set work_mem = '7MB'")
        assert await conn.fetchval("show work_mem") == "7MB"
        async with conn.listen("pooled_session") as notifications:
            await conn.notify("pooled_session", "1")
            assert (await notifications.get(timeout=10)).payload == "1"
        named = await connect(bouncer.dsn, autocommit=True, prepared_statements="named")
        for n in range(3):
            assert await named.fetchval("select $1::int", [n]) == n
        names = "select count(*) from pg_prepared_statements where name <> ''"
        assert await named.fetchval(names) > 0


async def test_advisory_locks(pooled: Any) -> None:
    """Those of a transaction are kept as long as it; see docs/poolers.md."""
    first, second = await pooled(), await pooled()
    async with first.transaction():
        await first.execute("select pg_advisory_xact_lock(88)")
        taken = "select pg_try_advisory_xact_lock(88)"
        assert await second.fetchval(taken) is False
        await second.rollback()
    assert await second.fetchval(taken) is True
    await second.rollback()


async def test_settings_of_a_transaction(pooled: Any) -> None:
    conn = await pooled()
    async with conn.transaction(settings={"app.user": "4711"}):
        setting = "select current_setting('app.user', true)"
        assert await conn.fetchval(setting) == "4711"
    assert not await conn.fetchval(setting)
    await conn.rollback()


# The server and the PgBouncer come and go


async def test_reload_pause_resume(bouncer: pgbouncer.PgBouncer, pooled: Any) -> None:
    conn = await pooled(autocommit=True)
    assert await conn.fetchval("select 1") == 1
    await asyncio.to_thread(bouncer.admin, "RELOAD")
    assert await conn.fetchval("select 2") == 2
    await asyncio.to_thread(bouncer.admin, "PAUSE")
    try:
        waiting = asyncio.ensure_future(conn.fetchval("select 3"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
    finally:
        await asyncio.to_thread(bouncer.admin, "RESUME")
    assert await waiting == 3


async def test_other_server_connections(
    bouncer: pgbouncer.PgBouncer, pooled: Any
) -> None:
    """RECONNECT, as after server_lifetime: no client notices."""
    conn = await pooled(autocommit=True)
    first = await conn.fetchval("select pg_backend_pid()")
    await asyncio.to_thread(bouncer.admin, "RECONNECT")
    assert await conn.fetchval("select pg_backend_pid()") != first


async def test_server_restarts(connect: Any) -> None:
    """Between two transactions nobody notices; inside of one it is an error."""
    with servers.Server() as behind, pgbouncer.PgBouncer(behind) as bouncer:
        conn = await connect(bouncer.dsn, autocommit=True)
        other = await connect(bouncer.dsn)
        assert await conn.fetchval("select 1") == 1
        await other.fetchval("select 1")
        await asyncio.to_thread(behind.restart)
        with pytest.raises(errors.OperationalError):
            await other.fetchval("select 1")
        assert other.closed
        assert await conn.fetchval("select 1") == 1


@pytest.mark.parametrize("kill", [False, True])
async def test_pgbouncer_ends(server: Any, connect: Any, kill: bool) -> None:
    with pgbouncer.PgBouncer(server) as bouncer:
        conn = await connect(bouncer.dsn, autocommit=True)
        assert await conn.fetchval("select 1") == 1
        await asyncio.to_thread(bouncer.restart, kill=kill)
        with pytest.raises(errors.ConnectionLost):
            await conn.fetchval("select 2")
        again = await connect(bouncer.dsn, autocommit=True)
        assert await again.fetchval("select 3") == 3


# What cannot work, and what the program is told


@pytest.mark.parametrize(
    ("keywords", "remedies"),
    [
        (
            {"server_settings": {"statement_timeout": "3s"}},
            [
                "conn.transaction(settings={'statement_timeout': …})",
                "ALTER ROLE … SET statement_timeout",
                "ignore_startup_parameters = statement_timeout",
            ],
        ),
        (
            {"options": "-c statement_timeout=3s"},
            ["PGOPTIONS", "ignore_startup_parameters = options"],
        ),
    ],
)
async def test_startup_parameters(
    bouncer: pgbouncer.PgBouncer,
    pooled: Any,
    connect: Any,
    keywords: dict[str, Any],
    remedies: list[str],
) -> None:
    """What it refuses is named, with the remedies; one of them is tried."""
    if bouncer.version >= (1, 20) and "options" in keywords:
        pytest.skip("since 1.20 PgBouncer takes options whose parameters it knows")
    with pytest.raises(errors.OperationalError, match="startup parameter") as caught:
        await pooled(**keywords)
    assert all(remedy in str(caught.value) for remedy in remedies)
    ignored = "options, statement_timeout"
    with pgbouncer.PgBouncer(
        bouncer.server, ignore_startup_parameters=ignored
    ) as other:
        conn = await connect(other.dsn, **keywords)
        assert await conn.fetchval("select 1") == 1


async def test_startup_parameters_it_takes(pooled: Any) -> None:
    """It hands them on to whichever session a transaction is given."""
    conn = await pooled(application_name="pooled", server_settings={"timezone": "UTC"})
    assert await conn.fetchval("show application_name") == "pooled"


async def test_admin_console(bouncer: pgbouncer.PgBouncer, connect: Any) -> None:
    """It speaks the simple protocol only, which this driver does not for queries."""
    conn = await connect(bouncer.dsn_for("pgbouncer"), autocommit=True)
    with pytest.raises(errors.OperationalError, match="extended query protocol"):
        await conn.fetch("SHOW POOLS")


async def test_query_wait_timeout(server: Any, connect: Any) -> None:
    settings = {"default_pool_size": 1, "query_wait_timeout": 1}
    with pgbouncer.PgBouncer(server, **settings) as bouncer:
        first = await connect(bouncer.dsn)
        await first.execute("select 1")
        second = await connect(bouncer.dsn, autocommit=True)
        with pytest.raises(errors.ConnectionLost, match="query_wait_timeout"):
            await second.fetchval("select 2")
        assert second.closed


async def test_too_many_clients(server: Any, connect: Any) -> None:
    with pgbouncer.PgBouncer(server, max_client_conn=2) as bouncer:
        await connect(bouncer.dsn)
        await connect(bouncer.dsn)
        with pytest.raises(errors.OperationalError, match="max_client_conn") as caught:
            await connect(bouncer.dsn)
    assert "raise that, or open fewer" in str(caught.value.hint)


async def test_statement_mode(server: Any, connect: Any) -> None:
    with pgbouncer.PgBouncer(server, pool_mode="statement") as bouncer:
        conn = await connect(bouncer.dsn, autocommit=True)
        assert await conn.fetchval("select $1::int", [1]) == 1
        series = "select generate_series(1, $1::int)"
        assert len([row async for row in conn.stream(series, [100])]) == 100
        await conn.executemany("select $1::int", [(n,) for n in range(10)])
        async with conn.pipeline() as pipeline:
            result = pipeline.fetchval("select $1::int", [2])
        assert await result == 2
        with pytest.raises(errors.ConnectionLost, match="statement pooling mode"):
            async with conn.transaction():
                await conn.execute("select 2")
