# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks and schedules across deploys, rollbacks and crashes: nothing lost, nothing done twice, one beat."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import steps
from tests.faults.hook import stopped_at
from tests.integration.conftest import MakeSite
from tests.integration.controller import Started
from tests.integration.site import Site

pytestmark = pytest.mark.long
APP = "errands"
LONG = 30  # seconds; more than a deploy needs from its switch to its commit
DROP_IN = f"/run/systemd/system/{APP}-worker@.service.d"
PATIENCE = 120  # seconds


@pytest.fixture(scope="module")
def errands(staging_site: MakeSite) -> Site:
    """An application of its own, whose second release is live."""
    site = staging_site(APP, webapp_environment={"BEAT_SECONDS": "1"}, webapp_worker_concurrency=2)
    site.play("provision").ended(0)
    site.deploy(site.sources.tree(release=2))
    return site


def manage(site: Site, command: str) -> str:
    """Run a command of the live release as the application does; in the middle of a deploy, too."""
    slot = next(iter(site.host.look(APP)["route"]))
    return site.host.sh(
        f"systemd-run --quiet --pipe --wait --uid={APP} -p EnvironmentFile=/etc/{APP}/slots/{slot}.env"
        f" -p WorkingDirectory=/srv/{APP}/slots/{slot}/code /srv/{APP}/slots/{slot}/venv/bin/python manage.py {command}"
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


@contextlib.contextmanager
def deploy_with_tasks(site: Site, tree: Path, *wanted: tuple[int, float]) -> Iterator[tuple[list[str], Started]]:
    """A deploy whose traffic has just moved, while the old worker does what it has begun of the first batch wanted.

    It is stopped in front of its switch until they have begun, so that the machine may be as slow as it likes.
    """
    (new,) = {"blue", "green"} - set(site.host.look(APP)["route"])
    site.host.sh(f"systemctl stop '{APP}-*@{new}.service'")  # it was warm
    with stopped_at(steps.BY_NAME["switch_1"], site, "deploy", limit=PATIENCE, webapp_source=str(tree)) as run:
        batches = [enqueue(site, count=count, seconds=seconds) for count, seconds in wanted]
        until(lambda: begun(site, batches[0]) == wanted[0][0], "the old worker has begun them")
        run.go_on()
        while set(site.host.look(APP)["route"]) != {new}:
            assert run.running, run.started.wait().output[-6000:]
        yield batches, run.started


def slots_of(site: Site, batch: str) -> list[str]:
    """Which slot has begun the tasks of a batch, in that order."""
    sql = f"FROM jobs_jobrun r JOIN jobs_job j ON j.id = r.job_id WHERE j.batch = '{batch}'"
    return query(site, f"SELECT r.slot {sql} ORDER BY r.started_at").split()


def test_tasks_are_done_once_across_a_deploy_and_a_rollback(errands: Site, tell: Callable[[str], None]) -> None:
    old = errands.live().slot
    worker = process_id(errands, "worker", old)
    tree = errands.sources.tree(release=2)
    with deploy_with_tasks(errands, tree, (2, LONG), (200, 0.2)) as ((long, short), started):
        assert slots_of(errands, long) == [old] * 2
        started.wait().ended(0)
    new = errands.live().slot
    assert says(errands, old).startswith("rests"), says(errands, old)
    back = errands.play("rollback").ended(0)
    assert errands.live().slot == old
    assert process_id(errands, "worker", old) == worker, "the way back needs no new worker"
    assert says(errands, old) == "takes tasks"
    assert says(errands, new).startswith("rests"), says(errands, new)
    jobs = [all_done_once(errands, name)["finished"] for name in (long, short)]
    assert set(slots_of(errands, short)) >= {new}, "what the old one had fetched and not begun, too"
    beats = report(errands, minutes=2)["beats"]
    assert beats["overlaps"] == 0, beats
    tell(f"{jobs} done once each; rollback {back.seconds:.0f} s; beats {beats['beats']},"
         f" longest gap {beats['longest_gap_seconds']} s")  # fmt: skip


def test_a_migration_that_waits_waits_for_the_last_task_too(errands: Site, tell: Callable[[str], None]) -> None:
    """The old worker runs code that does not know the schema afterwards. The new one will have little time to drain."""
    errands.host.sh(
        f"mkdir -p {DROP_IN}; printf '[Service]\\nEnvironment=SLIPWAY_DRAIN_SECONDS=2\\n' >{DROP_IN}/drain.conf"
    )
    errands.host.sh("systemctl daemon-reload")
    old = errands.live().slot
    tree = errands.sources.tree(fault="dropping-migration")
    with deploy_with_tasks(errands, tree, (1, LONG)) as ((batch,), started):
        assert slots_of(errands, batch) == [old]
        run = started.wait().ended(0)
    assert errands.host.look(APP)["slots"][old]["processes"]["worker"]["active"] == "inactive"
    assert report(errands, batch)["jobs"]["unfinished"] == 0, "nobody gave it back"
    jobs = all_done_once(errands, batch)
    asked = f"systemctl show --timestamp=unix --property=InactiveEnterTimestamp --value {APP}-worker@{old}"
    gone = float(errands.host.sh(asked).strip().lstrip("@"))
    applied = query(errands, "SELECT extract(epoch FROM applied) FROM django_migrations WHERE name = '0099_planted'")
    assert float(applied) >= gone, (applied, gone)
    tell(
        f"a task of {LONG} s done once by the old worker ({jobs}); the migration ran {float(applied) - gone:.1f} s"
        f" after it had gone; {run.seconds:.0f} s in all"
    )


def test_what_still_runs_at_the_deadline_is_given_back(errands: Site, tell: Callable[[str], None]) -> None:
    errands.host.sh(f"rm -r {DROP_IN}; systemctl daemon-reload")
    old = errands.live().slot
    with deploy_with_tasks(errands, errands.sources.tree(), (2, LONG)) as ((batch,), started):
        assert slots_of(errands, batch) == [old] * 2
        began = time.monotonic()
        errands.host.sh(f"systemctl stop {APP}-worker@{old}")
        took = time.monotonic() - began
        started.wait().ended(0)
    until(lambda: report(errands, batch)["jobs"]["unfinished"] == 0, "the tasks are done by the new worker")
    jobs = report(errands, batch)["jobs"]
    assert (jobs["finished"], jobs["doubled"], jobs["begun_twice"]) == (2, 0, 2), jobs
    tell(f"the old worker ended after {took:.1f} s, the new one did them: {jobs}")


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
    beats = report(errands, minutes=5)["beats"]
    assert beats["overlaps"] == 0, beats
    assert len({beat["name"] for beat in beats["beats"]}) >= 3, beats
    tell(
        f"{beats['ticks']} ticks of {len(beats['beats'])} beats, none at once,"
        f" longest gap {beats['longest_gap_seconds']} s"
    )
