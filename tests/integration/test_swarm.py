# SPDX-License-Identifier: GPL-3.0-or-later
"""The same deploy in a Docker Swarm of three hosts: its engine places the tasks, replaces them, and takes them back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import engine
from tests.integration.conftest import fleet_of
from tests.integration.host import Host
from tests.integration.registry import Registry, images_of
from tests.integration.site import Site, make_site
from tests.integration.test_docker import build, deploy
from tests.integration.test_revert import NOBODY, under_load
from tests.load import Report

pytestmark = pytest.mark.long
APP = "hive"
NODES = ("swarm1", "swarm2", "swarm3")
FAILED_HOSTS = 2
SETTLED_SECONDS = 180


@pytest.fixture(scope="module")
def hive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An application on three hosts, provisioned; the first one is its edge, its database and its registry, too."""
    for hosts in fleet_of("swarm"):
        address = hosts["swarm1"].address
        registry = Registry(hosts["swarm1"], address=f"{address}:5000")
        site = make_site(
            app=APP,
            environment="swarm",
            directory=tmp_path_factory.mktemp(APP),
            hosts=hosts,
            edge="swarm1",
            settings={
                "webapp_environments": ["swarm"],
                "webapp_runtime": "swarm",
                "webapp_primary": "swarm1",
                **images_of(APP, address=registry.address),
                "webapp_database_password": "planted-database-5a1c",
                "webapp_redis_password": "planted-redis-77d0",
                "webapp_backup_database_url": f"postgresql://{APP}_backup:planted-backup-90e2@{address}/{APP}",
                "webapp_secrets": {"SECRET_KEY": "planted-key-of-the-hive-4b1f22aa90c1f7a2be41"},
                "webapp_web_workers": 1,
                # The registry of this test has no certificate.
                "docker_host_settings": {"insecure-registries": [registry.address]},
                # The kernel of a test host does not share out memory either.
                "webapp_container_memory": "",
                "webapp_container_pids": 0,
                "webapp_worker_drain_seconds": 20,
                "webapp_health_deadline": 30,
                "webapp_swarm_worker_replicas": 1,
                "webapp_swarm_monitor_seconds": 3,
            },
        )
        site.play("provision").ended(0)
        registry.set_up()
        registry.make_base()
        yield site


@pytest.fixture(scope="module")
def images(hive: Site) -> list[str]:
    """Two releases as images, of which the first is live; the second has migrations."""
    found = [build(hive, hive.sources.tree(release=number)) for number in (1, 2)]
    deploy(hive, found[0]).ended(0)
    return found


def manager(site: Site) -> Host:
    return site.hosts["swarm1"]


def told(site: Site, words: str) -> list[dict[str, Any]]:
    """What the engine says, one JSON object a line."""
    return [json.loads(line) for line in manager(site).sh(f"docker {words} --format '{{{{json .}}}}'").splitlines()]


def running(site: Site, process: str) -> dict[str, str]:
    """The tasks of a service that run: their node by their name."""
    found = told(site, f"service ps --no-trunc --filter desired-state=running {APP}-{process}")
    return {one["Name"]: one["Node"] for one in found if one["CurrentState"].startswith("Running")}


def spec(site: Site, process: str) -> dict[str, Any]:
    (found,) = json.loads(manager(site).sh(f"docker service inspect {APP}-{process}"))
    return dict(found["Spec"])


def live(site: Site) -> str:
    """The release that visitors get, which is also that of all services."""
    answer = site.ask("/health")
    assert answer.status == 200, answer
    release = str(answer.json()["release"])
    for process in ("web", "worker", "beat"):
        labels = spec(site, process)["TaskTemplate"]["ContainerSpec"]["Labels"]
        assert labels["slipway.webapp.release"] == release, (process, labels)
    return release


def last(site: Site) -> dict[str, Any]:
    look = manager(site).look(APP)
    assert (look["lease"], look["pending"]) == (None, None)
    return dict(look["ledger"][-1])


def counts(report: Report) -> str:
    return f"sent={report.sent} answered={report.answered} failed={report.failed}"


def test_it_is_provisioned_once(hive: Site, tell: Callable[[str], None]) -> None:
    again = hive.play("provision").ended(0)
    assert again.changed == 0, again.output[-6000:]
    nodes = told(hive, "node ls")
    assert sorted((one["Hostname"], one["Status"], bool(one["ManagerStatus"])) for one in nodes) == [
        (manager(hive).sh("hostname").strip(), "Ready", True),
        *sorted((hive.hosts[name].sh("hostname").strip(), "Ready", False) for name in NODES[1:]),
    ]
    tell(f"3 nodes, again changed=0 in {again.seconds:.0f} s")


def test_its_tasks_are_where_they_may_be_without_rights_and_without_secrets(hive: Site, images: list[str]) -> None:
    live(hive)
    assert len(set(running(hive, "web").values())) == len(NODES)
    assert len(running(hive, "beat")) == 1
    shown = manager(hive).sh(f"docker service inspect {APP}-web {APP}-worker {APP}-beat")
    for name in NODES:
        code, inside = hive.hosts[name].try_sh(f"docker inspect $(docker ps -q --filter label=slipway.webapp={APP})")
        assert code == 0, inside
        shown += inside
        for one in json.loads(inside):
            assert (one["HostConfig"]["ReadonlyRootfs"], one["HostConfig"]["CapDrop"]) == (True, ["ALL"]), one["Name"]
            assert one["Config"]["Image"] == images[0]
        # Nobody can reach the application but by Nginx.
        assert "gunicorn" not in hive.hosts[name].sh("ss --listening --tcp --processes --numeric --no-header")
    for planted in ("planted-key", "planted-database", "planted-redis"):
        assert planted not in shown


def test_a_deploy_of_what_is_live_changes_nothing(hive: Site, images: list[str], tell: Callable[[str], None]) -> None:
    again = deploy(hive, images[0]).ended(0)
    assert again.changed == 0, again.output[-6000:]
    tell(f"changed=0 in {again.seconds:.1f} s")


def test_visitors_notice_neither_redeploy_nor_rollback(
    hive: Site, images: list[str], tell: Callable[[str], None]
) -> None:
    first = live(hive)

    def there_and_back() -> list[float]:
        forth = deploy(hive, images[1]).ended(0)
        # It has migrations, so there was a verified backup before them.
        assert [entry for entry in manager(hive).look(APP)["ledger"] if (entry.get("database") or {}).get("backup")]
        assert live(hive) != first
        return [forth.seconds, hive.play("rollback").ended(0).seconds]

    (forth, back), report = under_load(hive, there_and_back)
    assert live(hive) == first
    assert report.good, report.lines()
    tell(f"{counts(report)}; deploy {forth:.0f} s, rollback {back:.0f} s")


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("fault", ["fails-at-import", "health-500"])
def test_an_image_that_is_bad_is_taken_back_by_the_engine(hive: Site, fault: str, tell: Callable[[str], None]) -> None:
    before, image = live(hive), build(hive, hive.sources.tree(release=1, fault=fault))
    run, report = under_load(hive, lambda: deploy(hive, image, webapp_check_deploy=False, webapp_collectstatic=True))
    assert run.code == FAILED_HOSTS, run.output[-6000:]
    assert live(hive) == before
    assert last(hive)["outcome"] == "failed"
    assert report.good, report.lines()
    (why,) = [line for line in run.output.splitlines() if "why:" in line][:1]
    tell(f"{counts(report)}; {before} served on; {run.seconds:.0f} s; {why.strip()[:200]}")


@pytest.mark.usefixtures("images")
def test_a_failed_smoke_test_brings_the_former_services_back(hive: Site, tell: Callable[[str], None]) -> None:
    before, image = live(hive), build(hive, hive.sources.tree(release=1))
    run, report = under_load(hive, lambda: deploy(hive, image, **NOBODY))
    assert run.code == FAILED_HOSTS, run.output[-6000:]
    assert live(hive) == before
    assert len({seen.release for seen in report.releases}) == 2, report.lines()
    assert last(hive)["outcome"] == "failed"
    assert report.good, report.lines()
    tell(f"{counts(report)}; there and back in {run.seconds:.0f} s")


def updating(site: Site, started: Any) -> None:
    """Until the engine replaces the tasks that serve the web."""
    while "updating" not in manager(site).sh(f"docker service inspect -f '{{{{json .UpdateStatus}}}}' {APP}-web"):
        assert started.running, started.wait().output[-6000:]
        time.sleep(0.1)


@pytest.mark.usefixtures("images")
def test_a_controller_that_dies_in_the_middle_is_settled_by_the_host(hive: Site, tell: Callable[[str], None]) -> None:
    before, image = live(hive), build(hive, hive.sources.tree(release=1))

    def die_and_wait() -> float:
        started = hive.start("deploy", webapp_source=image, webapp_health_deadline=20, webapp_hold_seconds=40)
        updating(hive, started)
        started.kill()
        started.wait()
        began = time.monotonic()
        while manager(hive).look(APP)["pending"] is not None:
            assert time.monotonic() - began < SETTLED_SECONDS
            time.sleep(1)
        return time.monotonic() - began

    seconds, report = under_load(hive, die_and_wait)
    assert live(hive) == before
    assert last(hive)["outcome"] == "failed"
    assert report.good, report.lines()
    tell(f"{counts(report)}; back by itself after {seconds:.0f} s")


@pytest.mark.usefixtures("images")
def test_a_host_is_stopped_in_the_middle_of_an_update(hive: Site, tell: Callable[[str], None]) -> None:
    before, image = live(hive), build(hive, hive.sources.tree(release=1))
    lost = engine.require().containers.get(hive.hosts["swarm3"].container)
    moments: list[float] = []

    def lose_one() -> Any:
        started = hive.start("deploy", webapp_source=image)
        updating(hive, started)
        moments.append(time.time())
        lost.kill()
        return started.wait()

    try:
        run, report = under_load(hive, lose_one)
        run.ended(0)
        after = live(hive)
        assert after != before
        assert len(running(hive, "web")) == len(NODES)
        assert set(running(hive, "web").values()) <= {hive.hosts[name].sh("hostname").strip() for name in NODES[:2]}
    finally:
        lost.start()
    # What was on its way in the very host is gone with it; nobody after that.
    assert report.failed <= 10, report.lines()
    assert report.posts.lost in (None, ()), report.lines()
    began = time.monotonic()
    while [one["Status"] for one in told(hive, "node ls")] != ["Ready"] * 3:
        assert time.monotonic() - began < SETTLED_SECONDS, told(hive, "node ls")
        time.sleep(1)
    again = deploy(hive, image).ended(0)
    tell(
        f"{counts(report)}; {before} -> {after} in {run.seconds:.0f} s with two of three hosts; the third is back after"
        f" {time.monotonic() - began:.0f} s, then changed={again.changed}; {report.failures}"
    )


@pytest.mark.usefixtures("images")
def test_status_tells_what_the_services_run(hive: Site, tmp_path: Path) -> None:
    output = tmp_path / "status.json"
    hive.play("status", format="json", output=str(output)).ended(0)
    found = json.loads(output.read_text())
    assert (found["healthy"], [one["release"] for one in found["live"]]) == (True, [live(hive)])
    services = found["hosts"]["swarm1"]["services"]
    assert {name: (one["running"], one["replicas"]) for name, one in services.items()} == {
        "web": (3, 3),
        "worker": (1, 1),
        "beat": (1, 1),
    }
