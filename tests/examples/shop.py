"""The shop of docs/examples/fastapi in a process of its own, and clients for it.

As a script it serves and loads the shop once and prints the figures; with --how, the
server is taken away in the middle:

    python tests/examples/shop.py --driver asyncpg --loop uvloop --how kill
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

TESTS = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

import servers  # noqa: E402

EXAMPLE = TESTS.parent / "docs" / "examples" / "fastapi"
START_TIMEOUT_S = 30
REQUEST_TIMEOUT_S = 30  # a request that takes longer hangs
ITEMS = 100
STOCK = 1_000_000
RARE = 1  # the item of which there are few
PRELOADED = 2000  # orders, so that an export is several batches
UNAVAILABLE = {"detail": "the database is not available, try again"}


class Shop:
    """uvicorn with the example on a free port of 127.0.0.1."""

    def __init__(
        self,
        server: servers.Server,
        log: Path,
        *options: str,
        loop: str = "asyncio",
        driver: str = "pgasync",
    ) -> None:
        self.port = servers.free_port()
        self.log = log
        address = server.tcp_dsn.replace("postgresql:", f"postgresql+{driver}:")
        self.environment = {
            **os.environ,
            "DATABASE_URL": address,
            "PYTHONWARNINGS": "default",
            "PYTHONPATH": os.pathsep.join(
                [str(EXAMPLE), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
        }
        self.options = ("--loop", loop, *options)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Shop:
        subprocess.run(
            [sys.executable, EXAMPLE / "app.py"], env=self.environment, check=True
        )
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "probe:app"),
                    *("--app-dir", str(Path(__file__).parent)),
                    *("--port", str(self.port), *self.options),
                    *("--no-access-log", "--log-level", "warning"),
                ],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_TIMEOUT_S)

    def cpu(self) -> float:
        """Seconds of CPU that the process has used; 0 where there is no /proc."""
        assert self.process is not None
        try:
            text = Path(f"/proc/{self.process.pid}/stat").read_text()
        except FileNotFoundError:
            return 0.0
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def complaints(self) -> list[str]:
        """Lines of the log that tell of a mistake, not of a database that is away."""
        signs = ("Traceback", "ERROR:", "Warning:", "never retrieved", "never awaited")
        lines = self.log.read_text().splitlines()
        return [line for line in lines if any(sign in line for sign in signs)]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection of HTTP/1.1, kept alive."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, path: str, body: Any = None) -> None:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(
                "127.0.0.1", self.port
            )
        payload = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: shop\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        self.writer.write(head.encode() + payload)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        assert self.reader is not None
        first, *lines = (
            (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        )
        pairs = (line.partition(":") for line in lines if line)
        return int(first.split()[1]), {k.lower(): v.strip() for k, _, v in pairs}

    async def receive(self) -> Answer:
        assert self.reader is not None
        status, headers = await self.head()
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join([chunk async for chunk in self.chunks()])
        else:
            body = await self.reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.abort()
        return Answer(status, headers, body)

    async def chunks(self) -> Any:
        assert self.reader is not None
        size = -1
        while size:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            chunk = await self.reader.readexactly(size + 2)
            yield chunk[:-2]

    async def ask(self, method: str, path: str, body: Any = None) -> Answer:
        async def both() -> Answer:
            await self.send(method, path, body)
            return await self.receive()

        return await asyncio.wait_for(both(), REQUEST_TIMEOUT_S)

    def abort(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None

    async def close(self) -> None:
        writer = self.writer
        self.abort()
        if writer is not None:
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@dataclass
class Load:
    """What many clients at once did and got."""

    port: int
    deadline: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    successes: list[float] = field(default_factory=list)  # when they were complete
    refusals: list[float] = field(default_factory=list)  # 503s, likewise
    sent: dict[str, dict[str, int]] = field(default_factory=dict)  # orders by id
    known: set[str] = field(default_factory=set)  # the acknowledged ones of them

    async def run(self, clients: int, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        await asyncio.gather(*(self.client(n) for n in range(clients)))

    async def client(self, number: int) -> None:
        dice = random.Random(number)
        client = Client(self.port)
        kinds, weights = zip(*KINDS, strict=True)
        while time.monotonic() < self.deadline:
            kind = dice.choices(kinds, weights)[0]
            try:
                refused = await kind(self, client, dice)
            except Exception as error:
                client.abort()
                self.wrong.append(f"{kind.__name__}: {error!r}")
                refused = True
            if refused:
                await asyncio.sleep(dice.uniform(0.1, 0.3))
        await client.close()

    async def ask(
        self, client: Client, method: str, path: str, body: Any, *good: int
    ) -> Answer:
        begun = time.monotonic()
        answer = await client.ask(method, path, body)
        now = time.monotonic()
        self.latencies.append(now - begun)
        self.answers[f"{method} {path.split('/')[1]} {answer.status}"] += 1
        if answer.status == 503:
            self.refusals.append(now)
            clean = "retry-after" in answer.headers and answer.json() == UNAVAILABLE
            if not clean:
                self.wrong.append(f"{method} {path}: {answer}")
        elif answer.status not in good:
            self.wrong.append(f"{method} {path}: {answer}")
        elif answer.status < 300:
            self.successes.append(now)
        return answer

    async def read(self, client: Client, dice: random.Random) -> bool:
        path = f"/items/{dice.randint(1, ITEMS)}"
        return (await self.ask(client, "GET", path, None, 200)).status == 503

    async def ready(self, client: Client, dice: random.Random) -> bool:
        answer = await self.ask(client, "GET", "/health/ready", None, 200)
        return answer.status == 503

    async def taken_name(self, client: Client, dice: random.Random) -> bool:
        body = {"name": f"item {dice.randint(1, ITEMS)}", "stock": 1}
        return (await self.ask(client, "POST", "/items", body, 409)).status == 503

    async def order(self, client: Client, dice: random.Random) -> bool:
        key, body = self.new_order(dice)
        path = f"/orders/{key}"
        good = (201, 409) if body["item_id"] == RARE else (201,)
        answer = await self.ask(client, "PUT", path, body, *good)
        if answer.status == 201:
            self.known.add(key)
        return answer.status == 503

    async def again(self, client: Client, dice: random.Random) -> bool:
        """An acknowledged order once more, or another one of the same id."""
        if not self.known:
            return False
        key = next(iter(self.known))
        other = dice.random() < 0.5
        body = {**self.sent[key], **({"quantity": 77} if other else {})}
        good = 409 if other else 200
        answer = await self.ask(client, "PUT", f"/orders/{key}", body, good)
        return answer.status == 503

    async def export(self, client: Client, dice: random.Random) -> bool:
        answer = await self.ask(client, "GET", "/orders", None, 200)
        if answer.status != 200:
            return True
        lines = answer.body.splitlines()
        last = json.loads(lines[-1])
        if "error" in last:
            self.answers["exports that end with an error"] += 1
        elif last != {"complete": len(lines) - 1} or len(lines) <= PRELOADED:
            self.wrong.append(f"an export of {len(lines)} lines ends with {last}")
        return "error" in last

    async def export_cut(self, client: Client, dice: random.Random) -> bool:
        """The client goes away in the middle of the body."""
        await client.send("GET", "/orders")
        await asyncio.wait_for(client.head(), REQUEST_TIMEOUT_S)
        client.abort()
        self.answers["exports left by the client"] += 1
        return False

    async def order_cut(self, client: Client, dice: random.Random) -> bool:
        """The client goes away before the answer."""
        key, body = self.new_order(dice)
        await client.send("PUT", f"/orders/{key}", body)
        await asyncio.sleep(dice.uniform(0, 0.05))
        client.abort()
        self.answers["orders left by the client"] += 1
        return False

    def new_order(self, dice: random.Random) -> tuple[str, dict[str, int]]:
        key = str(uuid.UUID(int=dice.getrandbits(128)))
        body = {"item_id": dice.randint(1, ITEMS), "quantity": dice.randint(1, 3)}
        self.sent[key] = body
        return key, body


KINDS = (
    (Load.read, 50.0),
    (Load.order, 26),
    (Load.again, 8),
    (Load.taken_name, 6),
    (Load.ready, 6),
    (Load.order_cut, 3),
    (Load.export, 0.5),
    (Load.export_cut, 0.5),
)


def stock_up(server: servers.Server) -> None:
    server.psql(
        f"""
        insert into items (name, stock)
        select 'item ' || n, case when n = {RARE} then 5 else {STOCK} end
          from generate_series(1, {ITEMS}) n;
        insert into orders (id, item_id, quantity)
        select gen_random_uuid(), 2, 0 from generate_series(1, {PRELOADED});
        """
    )


@dataclass
class Outage:
    """The server is stopped in the middle of the load, and comes back."""

    server: servers.Server
    how: str  # "immediate", "fast" or "kill"
    begun: float = 0.0
    ended: float = 0.0

    def happen(self, seconds: float) -> None:
        self.begun = time.monotonic()
        if self.how == "kill":
            self.server.kill()
        else:
            self.server.shut_down(fast=self.how == "fast")
        time.sleep(seconds)
        self.server.start()
        self.ended = time.monotonic()


async def load_with_outage(
    load: Load, outage: Outage, clients: int, seconds: float
) -> None:
    async def strike() -> None:
        await asyncio.sleep(seconds * 0.4)
        await asyncio.to_thread(outage.happen, 1.0)

    await asyncio.gather(load.run(clients, seconds), strike())


def figures(load: Load, outage: Outage | None, seconds: float, cpu: float) -> list[str]:
    """Lines that tell how it went."""
    taken = sorted(load.latencies)
    cuts = statistics.quantiles(taken, n=100)
    down = 0.0 if outage is None else outage.ended - outage.begun
    calm = [
        at
        for at in load.successes
        if outage is None or not outage.begun <= at <= outage.ended
    ]
    lines = [
        f"{len(taken)} answers of {cpu / len(taken) * 1e3:.2f} ms CPU; latency "
        f"p50 {cuts[49] * 1e3:.0f} ms, p99 {cuts[98] * 1e3:.0f} ms, "
        f"max {taken[-1] * 1e3:.0f} ms; {len(calm) / (seconds - down):.0f} 2xx a "
        "second with the server there",
        ", ".join(f"{name}: {n}" for name, n in sorted(load.answers.items())),
    ]
    if outage is not None:
        first = min((at for at in load.successes if at > outage.ended), default=0.0)
        last = max(load.refusals, default=0.0)
        lines.append(
            f"away for {down:.2f} s; first 2xx {(first - outage.ended) * 1e3:.0f} ms "
            f"after it was back, last 503 {(last - outage.ended) * 1e3:+.0f} ms; "
            f"{len(load.refusals)} 503s, {len(load.wrong)} wrong"
        )
    return lines


def kind_of(wrong: str) -> str:
    return re.sub(r"/[0-9a-f-]+|'date': '.*?'", "/…", wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--driver", default="pgasync")
    parser.add_argument("--loop", default="asyncio", choices=["asyncio", "uvloop"])
    parser.add_argument("--how", choices=["immediate", "fast", "kill"])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--log", type=Path, default=Path(os.devnull))
    given = parser.parse_args()
    settings = {"synchronous_commit": "on"}
    with servers.Server(settings=settings) as server:
        shop = Shop(server, given.log, loop=given.loop, driver=given.driver)
        with shop:
            stock_up(server)
            asyncio.run(until_up(shop))
            load, outage = Load(shop.port), None
            cpu = shop.cpu()
            if given.how is None:
                asyncio.run(load.run(given.clients, given.seconds))
            else:
                outage = Outage(server, given.how)
                asyncio.run(
                    load_with_outage(load, outage, given.clients, given.seconds)
                )
            cpu = shop.cpu() - cpu
            print(*figures(load, outage, given.seconds, cpu), sep="\n")
            for what, count in Counter(map(kind_of, load.wrong)).most_common():
                print(f"{count} times {what}")
            shop.terminate()


async def until_up(shop: Shop) -> Any:
    """Waits for uvicorn; what /probe says then."""
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        client = Client(shop.port)
        try:
            return (await client.ask("GET", "/probe")).json()
        except OSError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.05)
        finally:
            await client.close()


if __name__ == "__main__":
    main()
