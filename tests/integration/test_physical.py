# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the whole server: made by their units, and brought back to a moment that has a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.conftest import fleet_of
from tests.integration.site import Site, make_site

pytestmark = pytest.mark.long
APP = "keeper"
UNIT = f"{APP}-physical"
PGBACKREST = f"runuser -u postgres -- pgbackrest --stanza={APP}"


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An application with its own database on a bare host."""
    for hosts in fleet_of("demo"):
        yield make_site(
            app=APP,
            environment="demo",
            directory=tmp_path_factory.mktemp(APP),
            hosts=hosts,
            edge="demo1",
            settings={"webapp_backup_physical": True},
        )


def sql(site: Site, query: str, *, port: int = 5432, database: str = APP) -> str:
    """What a server of the host answers."""
    words = f"psql -p {port} -XAtq -v ON_ERROR_STOP=1 -d {database}"
    return site.host.sh(f"runuser -u postgres -- {words} <<'EOF'\n{query}\nEOF").strip()


def failed(site: Site, unit: str) -> str:
    """The journal of a unit, which must fail when it is started."""
    since = site.host.now()
    assert site.host.try_sh(f"systemctl start {unit}")[0] != 0, f"{unit} succeeded"
    site.host.sh(f"systemctl reset-failed {unit}; journalctl --sync")
    return site.host.sh(f"journalctl --since=@{since:.3f} --output=cat -u {unit}")


@pytest.fixture(scope="module")
def kept(keeper: Site) -> Site:
    """It is provisioned, and its first copy is made."""
    before = keeper.host.files(APP)
    checked = keeper.play("provision", "--check", "--diff").ended(0)
    assert "PostgreSQL would be restarted once" in checked.said
    assert keeper.host.files(APP) == before
    first = keeper.play("provision").ended(0)
    assert "restarts now, this once" in first.said
    keeper.host.sh(f"systemctl start {UNIT}@full.service")
    again = keeper.play("provision").ended(0)
    assert again.changed == 0, again.output
    assert "restarts now" not in again.said
    return keeper


def test_the_server_keeps_every_change(kept: Site) -> None:
    assert sql(kept, "SHOW archive_mode") == "on"
    timers = kept.host.sh("systemctl list-timers --all --output=json")
    for timer in ("full", "incremental", "check"):
        assert f"{UNIT}-{timer}.timer" in timers
    kept.host.sh(f"systemctl start {UNIT}@incr.service && systemctl start {UNIT}-check.service")
    assert '"type":"incr"' in kept.host.sh(f"{PGBACKREST} --output=json --log-level-console=off info")


def test_back_to_the_moment_before_a_migration(kept: Site, tell: Callable[[str], None]) -> None:
    """A deploy names it; the copy has all rows of that moment, and nothing of what was migrated then."""
    sql(kept, "CREATE TABLE notes AS SELECT n, md5(n::text) AS text FROM generate_series(1, 5000) AS n")
    kept.host.sh(f"systemctl start {UNIT}@incr.service")
    sql(kept, "UPDATE notes SET text = 'kept' WHERE n <= 100; DELETE FROM notes WHERE n > 4000")
    wanted = sql(kept, "SELECT count(*), md5(string_agg(notes::text, ',' ORDER BY n)) FROM notes")
    kept.deploy(kept.sources.tree())
    (run,) = {entry["run"] for entry in kept.host.look(APP)["ledger"] if entry["action"] == "migrate"}
    sql(kept, "UPDATE notes SET text = 'flooded'; INSERT INTO notes VALUES (0, 'late'); SELECT pg_switch_wal()")
    flooded = sql(kept, "SELECT count(*), md5(string_agg(notes::text, ',' ORDER BY n)) FROM notes")
    began = kept.host.now()
    major = sql(kept, "SELECT current_setting('server_version_num')::integer / 10000")
    place = f"/var/lib/postgresql/{major}/moment"
    try:
        kept.host.sh(f"pg_createcluster {major} moment --port 5499 && rm -rf {place}")
        kept.host.sh(
            f"{PGBACKREST} --pg1-path={place} --type=name --target=slipway_{run} --target-action=promote"
            f" --archive-mode=off restore && pg_ctlcluster {major} moment start"
        )
        kept.host.sh(f"timeout 60 sh -c 'until test \"$({_recovering()})\" = f; do sleep 0.1; done'")
        seconds = kept.host.now() - began
        found = sql(kept, "SELECT count(*), md5(string_agg(notes::text, ',' ORDER BY n)) FROM notes", port=5499)
        assert found == wanted != flooded
        assert sql(kept, "SHOW archive_mode", port=5499) == "off"
        migrated = "SELECT to_regclass('public.notes_note') IS NOT NULL"
        assert (sql(kept, migrated, port=5499), sql(kept, migrated)) == ("f", "t")
    finally:
        kept.host.sh(f"pg_dropcluster --stop {major} moment")
    assert sql(kept, "SELECT count(*), md5(string_agg(notes::text, ',' ORDER BY n)) FROM notes") == flooded
    tell(f"{wanted.split('|')[0]} rows as before the migration, in {seconds:.1f} s; the live server as it was")


def _recovering() -> str:
    return 'runuser -u postgres -- psql -p 5499 -XAtqc "SELECT pg_is_in_recovery()" 2>/dev/null'


def test_an_old_copy_is_an_alarm(kept: Site) -> None:
    program = f"runuser -u postgres -- python3 /usr/lib/slipway/slipway_physical.py fresh {APP}"
    code, output = kept.host.try_sh(f"{program} -1")
    assert code == 1, output
    assert "the newest copy is too old" in output
    assert kept.host.try_sh(f"{program} 86400")[0] == 0


def test_a_damaged_copy_is_an_alarm(kept: Site) -> None:
    one = kept.host.sh(f"find /var/lib/pgbackrest/backup/{APP}/*F/bundle -type f -size +100k | sort | head -1").strip()
    kept.host.sh(f"cp -a {one} /var/tmp/good && printf X | dd of={one} bs=1 seek=50000 conv=notrunc status=none")
    try:
        said = failed(kept, f"{UNIT}@incr.service")
        assert "not as it was written" in said, said
    finally:
        kept.host.sh(f"cp -a /var/tmp/good {one} && rm /var/tmp/good")
    kept.host.sh(f"systemctl start {UNIT}@incr.service")


def test_an_archive_that_does_not_take_changes_is_an_alarm(kept: Site) -> None:
    with kept.host.read_only("/var/lib/pgbackrest/archive"):
        assert "archive" in failed(kept, f"{UNIT}-check.service")
    kept.host.sh(f"systemctl start {UNIT}-check.service")


def test_the_archive_of_somebody_else_is_refused(kept: Site) -> None:
    file = kept.host.sh("echo /etc/postgresql/*/main/conf.d").strip() + "/zz-other.conf"
    kept.host.sh(f"echo \"archive_command = '/bin/true'\" >{file}; systemctl reload postgresql")
    try:
        run = kept.play("provision").refused()
        assert "archive_command = '/bin/true'" in run.said
        assert "Next: set webapp_backup_physical for one of them only" in run.said
    finally:
        kept.host.sh(f"rm {file}; systemctl reload postgresql")
    assert sql(kept, "SHOW archive_command").startswith("pgbackrest --stanza")
