# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of the integration tests: one that most tests share, and the production fleet.

SLIPWAY_KEEP_HOSTS=1 leaves them up after the run, so that the next one begins with hosts that are provisioned.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.controller import Controller
from tests.integration.host import Host
from tests.integration.site import Site, bring_up, make_production, make_site, plant, take_down

MakeSite = Callable[..., Site]
# The applications of the shared host that have numbers of its Redis to themselves. There are not enough for all: those
# of the others are the last ones, and whoever comes takes them from whom had them before.
REDIS_NUMBERS = {
    "board": 0,
    "errands": 2,
    "crate": 4,
    "records-of-the-town-hall": 6,
    "keeper": 8,
    "novice": 10,
    "elder": 12,
}
LAST_NUMBER = 14


def fleet_of(name: str) -> Iterator[dict[str, Host]]:
    """The hosts of a fleet; they are removed when the iteration ends."""
    try:
        yield bring_up(name)
    finally:
        if not os.environ.get("SLIPWAY_KEEP_HOSTS"):
            take_down(name)


@pytest.fixture(scope="session")
def staging_hosts() -> Iterator[dict[str, Host]]:
    """One host with Debian 12 that carries everything."""
    yield from fleet_of("staging")


@pytest.fixture(scope="session")
def staging_site(staging_hosts: Mapping[str, Host], tmp_path_factory: pytest.TempPathFactory) -> MakeSite:
    """Makes the directory of a further application on that host."""

    def make(app: str, *, controller: Controller | None = None, **settings: Any) -> Site:
        number = REDIS_NUMBERS.get(app, LAST_NUMBER)
        if number == LAST_NUMBER:
            staging_hosts["staging1"].sh(
                f"grep -ls '{number}' /var/lib/slipway/*/redis.json | xargs --no-run-if-empty rm"
            )
        return make_site(
            app=app,
            environment="staging",
            directory=tmp_path_factory.mktemp(app),
            hosts=staging_hosts,
            edge="staging1",
            settings={"webapp_redis_number": number, **settings},
            controller=controller,
        )

    return make


@pytest.fixture(scope="session")
def planted() -> dict[str, str]:
    """The secrets of the production fleet."""
    return plant()


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory, planted: Mapping[str, str]) -> Iterator[Site]:
    """The production fleet; the tests of faults take it over from those of what an operator does every day."""
    for hosts in fleet_of("production"):
        yield make_production(tmp_path_factory.mktemp("production"), hosts, planted=planted)


@pytest.fixture(scope="session")
def provisioned(staging_site: MakeSite) -> Site:
    """The application that most tests deploy, on the provisioned host."""
    site = staging_site("board")
    site.play("provision").ended(0)
    return site


@pytest.fixture(scope="session")
def deployed(provisioned: Site) -> tuple[Site, Path]:
    """The same with a release of it, and the tree of that release."""
    tree = provisioned.sources.tree(release=1)
    provisioned.deploy(tree)
    return provisioned, tree


@pytest.fixture
def board(deployed: tuple[Site, Path]) -> Site:
    """The application, which answers."""
    site, _tree = deployed
    site.live()
    return site


@pytest.fixture
def tell(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a line with counts, also when the test is passed."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {request.node.name}: {text}", flush=True)

    return say
