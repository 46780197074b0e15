# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed between backup and migration, killed while the backup is proven, and back to the backup when it must be."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import pytest

from tests.integration.conftest import MakeSite
from tests.integration.host import Host
from tests.integration.site import Site
from tests.integration.test_bad_conditions import let_the_lease_expire

FAILED_HOSTS = 2
APP = "records-of-the-town-hall"  # as long as a name may be
DATABASE = APP.replace("-", "_")
CATALOGUE, SCRATCH = f"/var/backups/slipway/{APP}", f"/var/lib/slipway-scratch/{APP}"
PATIENCE = 120  # seconds


@pytest.fixture(scope="module")
def records(staging_site: MakeSite) -> Site:
    """An application of its own, whose first release is live."""
    testers = {"webapp_preview_token": secrets.token_hex(20)}
    site = staging_site(APP, webapp_backup_level="full", webapp_backup_rehearse=True, **testers)
    site.play("provision").ended(0)
    site.deploy(site.sources.tree())
    return site


def ask(host: Host, sql: str) -> str:
    return host.sh(f'runuser -u postgres -- psql -d {DATABASE} -Atc "{sql}"').strip()


def columns(host: Host) -> set[str]:
    found = ask(host, "SELECT column_name FROM information_schema.columns WHERE table_name = 'notes_note'")
    return set(found.splitlines())


def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)


def verified(host: Host) -> set[str]:
    """The ids of the backups that are verified."""
    found = host.sh(f'grep -ls \'"status": "verified"\' {CATALOGUE}/2*[0-9a-f]/manifest.json || true').split()
    return {path.split("/")[-2] for path in found}


def nothing_left(host: Host) -> None:
    """No throwaway server, no half-made backup, no lock in the database."""
    assert host.sh(f"find {SCRATCH} -mindepth 1 -maxdepth 1; find {CATALOGUE} -name '*.partial'").strip() == ""
    assert host.try_sh(f"ps -o args= -u {APP}_scratch")[1].strip() == ""
    assert ask(host, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"


def test_the_controller_dies_between_backup_and_migration(records: Site, tell: Callable[[str], None]) -> None:
    host, live = records.host, records.live()
    before = verified(host)
    tree = records.sources.tree(release=2)
    started = records.start("deploy", webapp_source=str(tree), webapp_lease_seconds=600)
    until(lambda: verified(host) - before or not started.running, "a verified backup")
    started.kill()
    output = started.wait().output
    assert len(verified(host) - before) == 1, output[-6000:]
    # What had been started on the host may end by itself: then the migration is there, whole, or it is not.
    until(lambda: not host.try_sh("pgrep -f '[s]lipway-migrate'")[1].strip(), "the end of what was started")
    assert records.live() == live
    moved = "mood" in columns(host)
    let_the_lease_expire(records)
    run = records.deploy(tree)
    assert records.live().release != live.release
    assert "mood" in columns(host)
    nothing_left(host)
    tell(f"the migration was {'there already' if moved else 'not begun'}; the next run took {run.seconds:.0f} s")


def test_the_backup_is_killed_while_it_is_proven(records: Site, tell: Callable[[str], None]) -> None:
    host, live, before = records.host, records.live(), verified(records.host)
    tree = records.sources.tree(release=3)
    started = records.start("deploy", webapp_source=str(tree))
    until(lambda: host.try_sh(f"test -e {SCRATCH}/*/data/PG_VERSION")[0] == 0, "a throwaway server")
    host.sh("pkill -KILL -f '[s]lipway-backup take'")
    run = started.wait()
    assert run.code == FAILED_HOSTS, run.output[-6000:]
    assert "slipway-backup take" in run.said
    assert records.live() == live
    assert "pinned" not in columns(host)
    assert verified(host) == before
    until(lambda: not host.try_sh(f"ps -o args= -u {APP}_scratch")[1].strip(), "the end of the throwaway server")
    tell(f"failed in {run.seconds:.0f} s")


def test_of_two_deploys_at_once_one_migrates(records: Site, tell: Callable[[str], None]) -> None:
    host, before = records.host, verified(records.host)
    tree = records.sources.tree(release=3)
    started = [records.start("deploy", webapp_source=str(tree)) for _each in range(2)]
    runs = sorted((each.wait() for each in started), key=lambda run: run.code)
    assert [run.code for run in runs] == [0, FAILED_HOSTS], [run.output[-3000:] for run in runs]
    assert "lease" in runs[1].said, runs[1].output[-3000:]
    assert len(verified(host) - before) == 1
    assert ask(host, "SELECT count(*) FROM django_migrations WHERE app = 'notes' AND name LIKE '%pinned%'") == "1"
    assert "pinned" in columns(host)
    nothing_left(host)
    tell(f"one in {runs[0].seconds:.0f} s, the other refused in {runs[1].seconds:.0f} s")


def test_a_database_that_old_code_cannot_live_with_is_put_back_where_the_inventory_says_so(
    records: Site, tell: Callable[[str], None]
) -> None:
    host, live = records.host, records.live()
    tree = records.sources.tree(release=3, fault="renaming-and-failing")
    run = records.play(
        "deploy",
        webapp_source=str(tree),
        webapp_accepted_migrations=["notes.0098_planted"],
        webapp_backup_rehearse=False,
        webapp_restore_after_failed_migration=True,
    )
    assert run.code == FAILED_HOSTS, run.output[-6000:]
    assert "division by zero" in run.said, run.output[-6000:]
    assert {"author"} <= columns(host)
    assert "writer" not in columns(host)
    assert records.live() == live
    assert [entry["action"] for entry in host.look(APP)["ledger"]][-2:] == ["deploy", "restore"]
    kept = ask(host, f"SELECT count(*) FROM pg_database WHERE datname LIKE '{DATABASE}\\_before\\_%'")
    assert kept == "1"
    assert host.try_sh(f"test -e /srv/{APP}/maintenance")[0] == 1
    nothing_left(host)
    tell(f"failed and put back in {run.seconds:.0f} s")


def test_where_there_can_be_no_backup_the_timers_end(records: Site) -> None:
    """They would fail every night; what they made stays."""
    host, before = records.host, verified(records.host)
    timers = f"systemctl is-active {APP}-backup.timer {APP}-backup-check.timer"
    assert host.sh(timers).split() == ["active", "active"]
    records.play("provision", webapp_accept_migrations_without_backup=True).ended(0)
    assert host.try_sh(timers)[1].split() == ["inactive", "inactive"]
    assert verified(host) == before
