# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks and schedules across deploys, rollbacks and crashes: nothing lost, nothing done twice, one beat."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import MakeSite
from tests.integration.site import Site

APP = "errands"
LONG = 15  # seconds; more than a deploy needs from its switch to its commit
PATIENCE = 120  # seconds


@pytest.fixture(scope="module")
def errands(staging_site: MakeSite) -> Site:
    """An application of its own, whose second release is live. It rests between two tests for no time at all."""
    site = staging_site(APP, webapp_environment={"BEAT_SECONDS": "1"}, webapp_worker_concurrency=2)
    site.play("provision").ended(0)
    site.deploy(site.sources.tree(release=2))
    return site


def manage(site: Site, command: str) -> str:
    """Run a command of the live release as the application does."""
    place = f"/srv/{APP}/slots/{site.live().slot}"
    return site.host.sh(
        f"systemd-run --quiet --pipe --wait --uid={APP} -p EnvironmentFile=/etc/{APP}/slots/{site.live().slot}.env"
        f" -p WorkingDirectory={place}/code {place}/venv/bin/python manage.py {command}"
    ).strip()


def enqueue(site: Site, *, count: int, seconds: float) -> str:
    return manage(site, f"enqueue --count {count} --seconds {seconds}")


def report(site: Site, batch: str = "", *, minutes: float = 5) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(manage(site, f"jobs_report --batch '{batch}' --minutes {minutes}"))
    return found


def query(site: Site, sql: str) -> str:
    return site.host.sh(f'runuser -u postgres -- psql -d {APP} -Atc "{sql}"').strip()


def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.2)


def begun(site: Site, batch: str) -> int:
    sql = f"SELECT count(*) FROM jobs_jobrun r JOIN jobs_job j ON j.id = r.job_id WHERE j.batch = '{batch}'"
    return int(query(site, sql))


def says(site: Site, slot: str, process: str = "worker") -> str:
    return site.host.sh(f"systemctl show --property=StatusText --value {APP}-{process}@{slot}").strip()


def process_id(site: Site, process: str, slot: str) -> str:
    return site.host.sh(f"systemctl show --property=MainPID --value {APP}-{process}@{slot}").strip()


def all_done_once(site: Site, batch: str) -> dict[str, int]:
    """Wait for the end of a batch."""
    until(lambda: report(site, batch)["jobs"]["unfinished"] == 0, f"the end of {batch}: {report(site, batch)['jobs']}")
    jobs: dict[str, int] = report(site, batch)["jobs"]
    assert (jobs["doubled"], jobs["begun_twice"]) == (0, 0), jobs
    return jobs


def test_tasks_are_done_once_across_a_deploy_and_a_rollback(errands: Site, tell: Callable[[str], None]) -> None:
    old = errands.live().slot
    worker = process_id(errands, "worker", old)
    batch = enqueue(errands, count=400, seconds=0.2)
    long = enqueue(errands, count=2, seconds=LONG)
    errands.deploy(errands.sources.tree(release=2))
    new = errands.live().slot
    assert says(errands, old).startswith("rests"), says(errands, old)
    back = errands.play("rollback").ended(0)
    assert errands.live().slot == old
    assert process_id(errands, "worker", old) == worker, "the way back needs no new worker"
    assert says(errands, old) == "takes tasks"
    assert says(errands, new).startswith("rests"), says(errands, new)
    jobs = [all_done_once(errands, name)["finished"] for name in (batch, long)]
    slots = query(errands, f"SELECT count(DISTINCT slot) FROM jobs_jobrun r JOIN jobs_job j ON j.id = r.job_id"
                           f" WHERE j.batch = '{batch}'")  # fmt: skip
    assert slots == "2", "both took part"
    beats = report(errands, minutes=2)["beats"]
    assert beats["overlaps"] == 0, beats
    tell(f"{jobs} done once each, both slots took part; rollback {back.seconds:.0f} s; beats {beats['beats']},"
         f" longest gap {beats['longest_gap_seconds']} s")  # fmt: skip


def test_a_migration_that_waits_waits_for_the_last_task_too(errands: Site, tell: Callable[[str], None]) -> None:
    """The old worker runs code that does not know the schema afterwards."""
    old = errands.live().slot
    batch = enqueue(errands, count=1, seconds=LONG)
    until(lambda: begun(errands, batch) == 1, "the task begins")
    run = errands.deploy(errands.sources.tree(fault="dropping-migration"))
    assert errands.host.look(APP)["slots"][old]["processes"]["worker"]["active"] == "inactive"
    all_done_once(errands, batch)
    slot = query(
        errands, f"SELECT r.slot FROM jobs_jobrun r JOIN jobs_job j ON j.id = r.job_id WHERE j.batch = '{batch}'"
    )
    assert slot == old
    gone = float(errands.host.sh(
        f"systemctl show --timestamp=unix --property=InactiveEnterTimestamp --value {APP}-worker@{old}"
    ).strip().lstrip("@"))  # fmt: skip
    applied = float(
        query(errands, "SELECT extract(epoch FROM applied) FROM django_migrations WHERE name = '0099_planted'")
    )
    assert applied >= gone, (applied, gone)
    tell(f"a task of {LONG} s done once by the old worker; the migration ran {applied - gone:.1f} s after it had gone;"
         f" {run.seconds:.0f} s in all")  # fmt: skip


def test_what_still_runs_at_the_deadline_is_given_back(errands: Site, tell: Callable[[str], None]) -> None:
    unit = f"/run/systemd/system/{APP}-worker@.service.d"
    errands.host.sh(
        f"mkdir -p {unit} && printf '[Service]\\nEnvironment=SLIPWAY_DRAIN_SECONDS=2\\n' >{unit}/drain.conf"
    )
    errands.host.sh("systemctl daemon-reload")
    try:
        errands.deploy(errands.sources.tree())
        old = errands.live().slot
        batch = enqueue(errands, count=2, seconds=LONG)
        until(lambda: begun(errands, batch) == 2, "the tasks begin")
        errands.deploy(errands.sources.tree())
        began = time.monotonic()
        errands.host.sh(f"systemctl stop {APP}-worker@{old}")
        took = time.monotonic() - began
    finally:
        errands.host.sh(f"rm -r {unit}; systemctl daemon-reload")
    until(lambda: report(errands, batch)["jobs"]["unfinished"] == 0, "the tasks are done by the new worker")
    jobs = report(errands, batch)["jobs"]
    assert (jobs["finished"], jobs["doubled"]) == (2, 0), jobs
    assert took < LONG, took
    tell(f"the old worker ended after {took:.1f} s; {jobs}")


def test_a_beat_that_is_killed_comes_back_and_never_twice(errands: Site, tell: Callable[[str], None]) -> None:
    """Killed when it works, and killed while it is handed over."""
    live = errands.live().slot
    errands.host.sh(f"kill -9 {process_id(errands, 'beat', live)}")
    until(lambda: says(errands, live, "beat") == "sends what is due", "beat is back")
    started = errands.start("deploy", webapp_source=str(errands.sources.tree()))
    while set(errands.host.look(APP)["route"]) == {live}:
        assert started.running, started.wait().output[-6000:]
    (new,) = errands.host.look(APP)["route"]
    for slot in (live, new):
        errands.host.try_sh(f"kill -9 {process_id(errands, 'beat', slot)}")
    started.wait().ended(0)
    until(lambda: says(errands, new, "beat") == "sends what is due", "the new beat works")
    time.sleep(3)
    beats = report(errands, minutes=1.5)["beats"]
    assert beats["overlaps"] == 0, beats
    assert len({beat["name"] for beat in beats["beats"]}) >= 3, beats
    tell(
        f"{beats['ticks']} ticks of {len(beats['beats'])} beats, none at once,"
        f" longest gap {beats['longest_gap_seconds']} s"
    )
