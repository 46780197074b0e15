# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that carried everything is lost, and what the documentation says of that brings the application back."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import fleet_of
from tests.integration.controller import ROOT
from tests.integration.host import Host, wait_for
from tests.integration.site import Site, bring_up, make_site, take_down

pytestmark = pytest.mark.long
FLEET, NAME = "demo", "demo1"
# Another place than the host: what is there is carried away before the host is lost, and put before the new one.
ELSEWHERE = "/srv/elsewhere"
ROWS = 1000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    for hosts in fleet_of(FLEET):
        yield make_site(
            app="board",
            environment=FLEET,
            directory=tmp_path_factory.mktemp("lost"),
            hosts=hosts,
            edge=NAME,
            settings={
                "webapp_backup_offsite": {"tool": "rclone", "remote": f"far:{ELSEWHERE}"},
                "webapp_backup_offsite_environment": {"RCLONE_CONFIG_FAR_TYPE": "local"},
                "webapp_bake_seconds": 0,
            },
        )


def sql(host: Host, text: str) -> str:
    return host.sh(f'runuser -u postgres -- psql -d board -Atc "{text}"').strip()


def brought_back(backup: str) -> str:
    """What the page has people type on the new host."""
    page = (ROOT / "docs" / "changing-an-environment.md").read_text()
    (commands,) = re.findall(r"^```\n(rclone copy .*?)^```$", page, re.MULTILINE | re.DOTALL)
    words = commands.replace("s3:bucket/shop", f"far:{ELSEWHERE}").replace("/shop/", "/board/")
    return "export RCLONE_CONFIG_FAR_TYPE=local\n" + re.sub(r"\bID\b", backup, words)


def lose(host: Host, site: Site, place: Path) -> None:
    """Its disk is gone; a new machine has its address."""
    place.write_bytes(base64.b64decode(host.sh(f"tar -C / -cz {ELSEWHERE[1:]} | base64 -w0")))
    take_down(FLEET)
    bring_up(FLEET)
    text = base64.b64encode(place.read_bytes()).decode()
    step = 100_000  # the longest word of a command line
    for start in range(0, len(text), step):
        host.sh(f"printf %s '{text[start : start + step]}' >>/root/elsewhere")
    host.sh("base64 -d /root/elsewhere | tar -C / -xz")
    assert host.look(site.app)["route"] == {}
    # The controller's shared connection to the old machine has to be given up first.
    words = ("ansible", "-i", str(site.inventory), FLEET, "-m", "ansible.builtin.ping")
    wait_for(lambda: site.controller.run(*words).code == 0, seconds=180)


def test_a_lost_machine_comes_back(site: Site, tmp_path: Path, tell: Callable[[str], None]) -> None:
    tree, host = site.sources.tree(), site.host
    site.play("provision").ended(0)
    site.deploy(tree)
    before = site.live()
    sql(host, f"CREATE TABLE kept AS SELECT generate_series(1, {ROWS}) AS n; ALTER TABLE kept OWNER TO board")
    site.play("backup", why="every night").ended(0)
    backup = sorted(host.sh(f"ls {ELSEWHERE}").split())[-1]
    lose(host, site, tmp_path / "elsewhere")
    provision = site.play("provision").ended(0)
    host.sh(f"set -e; {brought_back(backup)}")
    assert backup in site.play("backups", recheck="true").ended(0).said
    site.play("restore", backup=backup, confirm="board").refused()  # that it is another server has to be meant
    restore = site.play("restore", backup=backup, other_cluster=True, confirm="board").ended(0)
    deploy = site.deploy(tree)
    assert site.live().release == before.release
    assert sql(host, "SELECT count(*) FROM kept") == str(ROWS)
    seconds = [round(run.seconds) for run in (provision, restore, deploy)]
    tell(f"{backup}: provisioned, restored, deployed in {seconds} s, {ROWS} rows are there")
