# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate: every reason to keep it shut is brought about for real, and trips."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slipway_backup import catalogue, covers, gate, manifest, settle
from slipway_backup import take as taking
from slipway_backup.connection import Database
from slipway_backup.errors import BackupError

from tests.database.backups import APP, Shop, ago, put, run_sql, stamp

NAME = "gate_shop"
TABLE = "CREATE TABLE public.note (id integer PRIMARY KEY, text text)"


def make(cluster: Any) -> None:
    url = cluster.url("postgres")
    run_sql(url, f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)", f"CREATE DATABASE {NAME}")
    run_sql(cluster.url(NAME), TABLE, "INSERT INTO public.note VALUES (1, 'one')")


@pytest.fixture
def shop(cluster: Any, place: Any) -> Iterator[Shop]:
    make(cluster)
    yield Shop(cluster, NAME, place.catalogue)
    run_sql(cluster.url("postgres"), f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")


def change(entry: Path, **keys: Any) -> None:
    manifest.write(entry, {**manifest.read(entry), **keys})


def refused(shop: Shop, **more: Any) -> BackupError:
    with pytest.raises(BackupError) as refusal:
        gate.run(shop.request(**more))
    return refusal.value


def test_it_opens(shop: Shop) -> None:
    entry = shop.backup()
    opened = gate.run(shop.request())
    assert (opened["backup"], opened["level"], opened["settled"]) == (entry.name, "full", [])
    assert 0 <= opened["age_seconds"] < 1800
    assert gate.run(shop.request(backup=entry.name))["backup"] == entry.name


def test_rows_may_be_written_meanwhile(shop: Shop) -> None:
    shop.backup()
    shop.sql("INSERT INTO public.note VALUES (2, 'two')", "ANALYZE", "CREATE TEMPORARY TABLE t (i integer)")
    gate.run(shop.request())


def test_no_backup(shop: Shop) -> None:
    assert refused(shop).code == "no_backup"
    assert refused(shop, backup="20260101T000000Z-00000000").code == "no_backup"
    shutil.rmtree(shop.directory)
    error = refused(shop)
    assert error.code == "no_backup"
    assert error.details["problems"][0]["code"] == "missing_directory"


def test_only_torn_and_failed_ones(shop: Shop) -> None:
    (put(shop.directory, ago(minutes=1)) / "manifest.json").write_bytes(b"{")
    failed = put(shop.directory, ago(minutes=1), status="failed")
    error = refused(shop)
    assert error.code == "no_backup"
    assert failed.name in error.found
    assert "damaged" in error.found


def test_not_verified(shop: Shop) -> None:
    entry = shop.backup(status="failed")
    assert refused(shop, backup=entry.name).code == "not_verified"


@pytest.mark.parametrize(
    ("reached", "asked"), [("data", "full"), ("full", "amcheck"), ("", "archive"), ("x", "archive")]
)
def test_level_too_low(shop: Shop, reached: str, asked: str) -> None:
    shop.backup(level=reached)
    assert refused(shop, level=asked).code == "level_too_low"


def test_a_higher_level_will_do(shop: Shop) -> None:
    shop.backup(level="amcheck")
    assert gate.run(shop.request(level="data"))["level"] == "amcheck"


def test_a_database_of_the_same_name_that_was_made_anew(shop: Shop) -> None:
    shop.backup()
    make(shop.cluster)
    assert refused(shop).code == "other_database"


def test_a_database_of_the_same_name_that_took_its_place(shop: Shop) -> None:
    shop.backup()
    other = f"{NAME}_other"
    run_sql(shop.server, f"CREATE DATABASE {other} TEMPLATE {NAME}")
    run_sql(shop.server, f"DROP DATABASE {NAME}", f"ALTER DATABASE {other} RENAME TO {NAME}")
    assert refused(shop).code == "other_database"


def test_another_cluster_with_the_same_database(shop: Shop) -> None:
    """What differs between two clusters made alike is the system identifier; even the oids are the same."""
    entry = shop.backup()
    identity = manifest.read(entry)["identity"]
    number = int(identity["system_identifier"]) + 1
    change(entry, identity={**identity, "system_identifier": str(number)})
    assert refused(shop).code == "other_cluster"


def test_a_manifest_that_does_not_know_its_cluster(shop: Shop) -> None:
    entry = shop.backup()
    change(entry, identity={**manifest.read(entry)["identity"], "system_identifier": ""})
    assert refused(shop).code == "other_cluster"


def test_timeline_changed(shop: Shop) -> None:
    entry = shop.backup()
    identity = manifest.read(entry)["identity"]
    change(entry, identity={**identity, "timeline": identity["timeline"] + 1})
    assert refused(shop).code == "timeline_changed"


@pytest.mark.parametrize("days", [2, -2])
def test_the_clock_of_the_host_is_wrong(shop: Shop, days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the age of a backup nor which one is the newest goes by it."""
    right = catalogue.now
    with monkeypatch.context() as wrong:
        wrong.setattr(taking, "_now", lambda: stamp(ago(days=-days)))
        wrong.setattr(catalogue, "now", lambda: right() + datetime.timedelta(days=days))
        entry = shop.backup()
        assert abs(datetime.datetime.fromisoformat(manifest.read(entry)["begun"]) - right()).days > 0
        assert gate.run(shop.request(max_age_seconds=600))["backup"] == entry.name
    opened = gate.run(shop.request(max_age_seconds=600))
    assert (opened["backup"], opened["age_seconds"] < 600) == (entry.name, True)


def test_a_standby_that_took_over(own_cluster: Any, place: Any) -> None:
    """Told at once: the control file knows of it only after a checkpoint, which has some work to do here."""
    make(own_cluster)
    shop = Shop(own_cluster, NAME, place.catalogue)
    shop.sql("CREATE TABLE public.filler AS SELECT n, repeat('x', 500) AS text FROM generate_series(1, 20000) AS n")
    shop.backup()
    gate.run(shop.request())
    with standby_of(own_cluster) as standby:
        shop.sql("UPDATE public.filler SET n = n + 1")
        ((written,),) = shop.sql("SELECT pg_current_wal_lsn()")
        after = Shop(standby, NAME, place.catalogue)
        while not run_sql(after.server, f"SELECT pg_last_wal_replay_lsn() >= '{written}'")[0][0]:
            time.sleep(0.05)
        own_cluster.stop()
        run_sql(after.server, "SELECT pg_promote()")
        assert refused(after).code == "timeline_changed"
        after.backup()
        gate.run(after.request())


@contextlib.contextmanager
def standby_of(cluster: Any) -> Iterator[Any]:
    """A second server that follows the first one."""
    directory = Path(tempfile.mkdtemp(prefix="slipway-standby-"))
    directory.chmod(0o755)
    standby = type(cluster)(directory, cluster.binaries, cluster.user)
    try:
        for path, mode in ((standby.data, 0o700), (Path(standby.socket), 0o755)):
            path.mkdir(mode=mode)
            if cluster.user:
                shutil.chown(path, cluster.user)
        source = ("--host", cluster.socket, "--username", "admin", "--checkpoint", "fast", "--no-sync")
        cluster.run("pg_basebackup", *source, "--pgdata", str(standby.data), "--write-recovery-conf")
        standby.start()
        yield standby
    finally:
        standby.stop()
        shutil.rmtree(directory)


def test_a_server_that_was_set_back(shop: Shop) -> None:
    entry = shop.backup()
    change(entry, snapshot={**manifest.read(entry)["snapshot"], "lsn": "FFFFFFFF/0"})
    assert refused(shop).code == "lsn_ahead"


def test_a_server_without_positions(shop: Shop) -> None:
    entry = shop.backup()
    change(entry, snapshot={**manifest.read(entry)["snapshot"], "lsn": None})
    gate.run(shop.request())


@pytest.mark.parametrize(
    ("smaller", "larger"), [("0/FF", "0/100"), ("0/FFFFFFFF", "1/0"), ("9/0", "10/0"), ("1/7DB2C770", "1/7DB2C771")]
)
def test_positions_are_numbers(smaller: str, larger: str) -> None:
    assert gate.position(smaller) < gate.position(larger)


def aged(entry: Path, by: datetime.timedelta) -> None:
    snapshot = manifest.read(entry)["snapshot"]
    at = datetime.datetime.fromisoformat(snapshot["at"]) - by
    change(entry, snapshot={**snapshot, "at": at.isoformat()})


def test_too_old(shop: Shop) -> None:
    aged(shop.backup(), datetime.timedelta(seconds=1801))
    assert refused(shop).code == "too_old"
    gate.run(shop.request(max_age_seconds=7200))


def test_age_is_by_the_servers_clock(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = shop.backup()
    for days in (-400, 400):
        monkeypatch.setattr(catalogue, "now", lambda days=days: ago(days=days))
        gate.run(shop.request())
    aged(entry, datetime.timedelta(hours=1))
    monkeypatch.setattr(catalogue, "now", lambda: ago(hours=1))
    assert refused(shop).code == "too_old"


def test_from_the_future(shop: Shop) -> None:
    aged(shop.backup(), datetime.timedelta(days=-1))
    assert refused(shop).code == "from_the_future"


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE public.note ADD COLUMN mood text",
        "ALTER TABLE public.note ALTER COLUMN text SET NOT NULL",
        "ALTER TABLE public.note ALTER COLUMN text SET DEFAULT 'x'",
        "CREATE INDEX ON public.note (text)",
        "CREATE TABLE public.other (id integer)",
        "DROP TABLE public.note",
        "CREATE VIEW public.v AS SELECT 1 AS one",
        "CREATE TYPE public.mood AS ENUM ('good')",
        "CREATE FUNCTION public.f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    ],
)
def test_schema_changed(shop: Shop, statement: str) -> None:
    shop.backup()
    shop.sql(statement)
    assert refused(shop).code == "schema_changed"


def test_a_schema_that_our_own_migrations_made_is_covered(shop: Shop) -> None:
    entry = shop.backup()
    shop.sql("ALTER TABLE public.note ADD COLUMN mood text")
    made = gate.look(Database.parse(shop.url)).fingerprint
    covers.run({"app": APP, "directory": str(shop.directory), "backup": entry.name, "fingerprint": made, "run": "7"})
    assert gate.run(shop.request())["backup"] == entry.name
    shop.sql("ALTER TABLE public.note ADD COLUMN color text")
    assert refused(shop).code == "schema_changed"


def flip(entry: Path) -> None:
    path = max((entry / "archive").iterdir(), key=lambda one: one.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(entry: Path) -> None:
    path = entry / "archive" / "toc.dat"
    os.truncate(path, path.stat().st_size - 1)


def empty(entry: Path) -> None:
    shutil.rmtree(entry / "archive")


@pytest.mark.parametrize(("harm", "code"), [(flip, "files_changed"), (cut, "files_changed"), (empty, "files_missing")])
def test_files_are_read_again(shop: Shop, harm: Any, code: str) -> None:
    entry = shop.backup()
    harm(entry)
    error = refused(shop)
    assert error.code == code
    assert error.details["backup"] == entry.name


def test_off_site_copy_wanted(shop: Shop) -> None:
    entry = shop.backup()
    assert refused(shop, offsite=True).code == "offsite_missing"
    change(entry, offsite={"tool": "rclone", "verified": False, "error": "no route"})
    assert "no route" in refused(shop, offsite=True).found
    change(entry, offsite={"tool": "rclone", "verified": True})
    gate.run(shop.request(offsite=True))


def test_the_newest_one_that_fits_opens_it_and_else_the_newest_one_says_why(shop: Shop) -> None:
    good = shop.backup()
    aged(good, datetime.timedelta(minutes=5))
    newest = shop.backup(level="archive")
    assert gate.run(shop.request())["backup"] == good.name
    aged(good, datetime.timedelta(hours=5))
    error = refused(shop)
    assert (error.code, error.details["backup"]) == ("level_too_low", newest.name)


def test_a_damaged_one_is_not_passed_over_in_silence(shop: Shop) -> None:
    aged(shop.backup(), datetime.timedelta(minutes=5))
    newest = shop.backup()
    flip(newest)
    error = refused(shop)
    assert (error.code, error.details["backup"]) == ("files_changed", newest.name)


def test_decrypted_files_of_a_killed_restore_go(shop: Shop) -> None:
    shop.backup()
    left = shop.directory / "20260101T000000Z-00000000.restoring"
    (left / "archive").mkdir(parents=True)
    with settle.held(shop.directory):
        assert refused(shop).code == "restore_busy"
    assert left.exists()
    gate.run(shop.request())
    assert not left.exists()


def test_no_server(shop: Shop) -> None:
    shop.backup()
    error = refused(shop, database_url=f"postgresql:///{NAME}?host={shop.directory}")
    assert error.code == "connection_failed"


def test_a_plain_role_may_ask(shop: Shop) -> None:
    entry = shop.backup()
    with contextlib.suppress(Exception):
        run_sql(shop.server, "CREATE ROLE gate_plain LOGIN")
    assert gate.run(shop.request(database_url=shop.cluster.url(NAME, "gate_plain")))["backup"] == entry.name


@pytest.mark.parametrize(
    "bad", [{"level": "best"}, {"max_age_seconds": 0}, {"database_url": "shop"}, {"directory": "x"}]
)
def test_bad_requests(shop: Shop, bad: dict[str, Any]) -> None:
    assert refused(shop, **bad).code == "bad_request"
