"""A PostgreSQL with TLS that trusts everybody."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import servers
from certificates import Certificates
from tlsservers import MAJOR, MISSING, TlsServer


@pytest.fixture(scope="session")
def tls_server(certificates: Certificates) -> Iterator[TlsServer]:
    if not servers.installed(MAJOR):
        pytest.skip(MISSING)
    with TlsServer(certificates) as server:
        server.show(certificates.server["good"])
        yield server
