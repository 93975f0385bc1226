"""tls_server  a PostgreSQL with TLS; its superuser logs in over TCP by SCRAM"""

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
    with TlsServer(certificates, servers.HBA_DEFAULT) as server:
        server.show(certificates.server["good"], servers.HBA_DEFAULT)
        yield server
