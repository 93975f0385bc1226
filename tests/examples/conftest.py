"""A server that the examples' tests may stop and start."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import servers


@pytest.fixture(scope="session")
def examples_server() -> Iterator[servers.Server]:
    if "PGASYNC_TEST_DSN" in os.environ:
        pytest.skip("needs a server of its own, to stop it")
    with servers.Server(settings={"synchronous_commit": "on"}) as started:
        yield started


@pytest.fixture
def own_server(examples_server: servers.Server) -> servers.Server:
    """Running, with an empty database."""
    examples_server.start()
    examples_server.psql(
        "set client_min_messages = warning;"
        "drop schema public cascade; create schema public"
    )
    return examples_server
