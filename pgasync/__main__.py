"""`python -m pgasync demo` and `python -m pgasync ping`."""

import argparse
import asyncio
import sys
import time

import pgasync


async def ping(dsn: str) -> None:
    """Connects, asks for the version, measures a round trip."""
    start = time.perf_counter()
    async with pgasync.connect(dsn, autocommit=True) as connection:
        connected = time.perf_counter()
        version = await connection.fetchval("select version()")
        asked = time.perf_counter()
        await connection.fetchval("select 1")
        again = time.perf_counter()
    print(version)
    print(f"connected in {(connected - start) * 1e3:.1f} ms")
    print(f"first query in {(asked - connected) * 1e3:.1f} ms")
    print(f"select 1 in {(again - asked) * 1e3:.1f} ms")


async def demo(arguments: argparse.Namespace) -> None:
    try:
        from pgasync.sqlalchemy import demo
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sqlalchemy":
            raise
        raise SystemExit(
            "The demo needs SQLAlchemy: pip install 'pgasync[sqlalchemy]'"
        ) from None
    await demo.run(
        arguments.dsn,
        rows=arguments.rows,
        tasks=arguments.tasks,
        seconds=arguments.seconds,
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pgasync", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    address = argparse.ArgumentParser(add_help=False)
    address.add_argument(
        "--dsn",
        default="postgresql://",
        help="URI of the server (default: what the PG* environment variables say)",
    )
    commands.add_parser(
        "ping", parents=[address], help="connect and measure a round trip"
    )
    show = commands.add_parser(
        "demo",
        parents=[address],
        help="load the IANA time zone tables and query them: through SQLAlchemy, and"
        " in bulk by the driver alone",
        description="Works in a schema of its own, pgasync_demo, dropped at the end.",
    )
    show.add_argument("--tasks", type=int, default=50, help="concurrent tasks (50)")
    show.add_argument(
        "--seconds", type=float, default=3.0, help="how long they query (3)"
    )
    show.add_argument(
        "--rows", type=int, default=1_000_000, help="copied and streamed (1000000)"
    )
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    work = ping(arguments.dsn) if arguments.command == "ping" else demo(arguments)
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        print("\nInterrupted", file=sys.stderr)
        return 130
    except (pgasync.Error, OSError) as error:
        print(f"{arguments.command} failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
