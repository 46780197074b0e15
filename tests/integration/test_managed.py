# SPDX-License-Identifier: GPL-3.0-or-later
"""A database and a broker that somebody else runs: none of ours is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.conftest import fleet_of
from tests.integration.site import Site, make_site


@pytest.fixture
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An application on a bare host."""
    for hosts in fleet_of("demo"):
        yield make_site(
            app="tenant",
            environment="demo",
            directory=tmp_path_factory.mktemp("tenant"),
            hosts=hosts,
            edge="demo1",
            settings={
                "webapp_database_url": "postgres://tenant:secret-of-the-tenant@db.example.org:5432/tenant",
                "webapp_redis_url": "rediss://:secret-of-the-tenant@redis.example.org:6380/0",
            },
        )


def installed(site: Site) -> set[str]:
    """The packages of the host."""
    return set(site.host.sh("dpkg-query --show --showformat='${Package}\\n'").split())


def test_managed_services_are_not_installed(tenant: Site, tell: Callable[[str], None]) -> None:
    before = installed(tenant)
    first = tenant.play("provision").ended(0)
    added = installed(tenant) - before
    assert "nginx" in added, sorted(added)
    assert {name for name in added if name.startswith("redis")} == set(), sorted(added)
    # PostgreSQL's programs are there, for the throwaway server that proves a backup; a server of ours is not.
    assert tenant.host.sh("pg_lsclusters --no-header").strip() == ""
    assert tenant.host.try_sh("pgrep -x postgres")[0] != 0
    again = tenant.play("provision").ended(0)
    assert again.changed == 0, again.output
    tell(f"{len(added)} packages, no server for data, in {first.seconds:.0f} s; again changed=0")
