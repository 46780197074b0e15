# SPDX-License-Identifier: GPL-3.0-or-later
"""What others do while a backup is made or restored: failed indexes, locks, links, files put in our way."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from slipway_backup import (
    compare,
    dump,
    fingerprint,
    likeness,
    manifest,
    offsite,
    restore,
    scratch,
    settle,
    sharedmemory,
    verify,
    workspace,
)
from slipway_backup.connection import Database
from slipway_backup.errors import BackupError
from slipway_backup.processes import Account, Deadline
from slipway_backup.source import CHECKSUM, Facts, Source

from tests.database.backups import Shop, run_sql
from tests.database.pooler import pgbouncer

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root works as several users")
PATIENCE = 60  # seconds until something that must happen has happened on the slowest machine
NAME = "hazards"


def until(true: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"not within {PATIENCE} s: {what}")
        time.sleep(0.02)


def source_of(cluster: Any, database: str, seconds: int = PATIENCE) -> Source:
    return Source(Database.parse(cluster.url(database), cluster.user), lock_wait_seconds=seconds)


def test_an_invalid_index_is_told_and_does_not_fail_the_backup(place: Any, cluster: Any, small: str) -> None:
    before = place.take(small, level="archive")["schema_fingerprint"]
    with pytest.raises(psycopg.errors.UniqueViolation):
        cluster.execute(small, "CREATE UNIQUE INDEX CONCURRENTLY failed ON book (author)")
    made = place.take(small, level="full")
    assert (made["status"], made["level"], made["schema_fingerprint"]) == ("verified", "full", before)
    (told,) = made["exceptions"]
    assert told.startswith("index public.failed of public.book is invalid")


def test_a_pooler_is_refused(place: Any, cluster: Any, small: str) -> None:
    port = int(cluster.execute("postgres", "SHOW port")[0][0])
    with pgbouncer(cluster.socket, port, system_user=cluster.user, role="admin") as pooled:
        with pytest.raises(BackupError) as refusal:
            place.take(small, database_url=cluster.url(small).replace(cluster.socket, pooled))
        assert refusal.value.code == "pooled_connection"
    assert not list(place.catalogue.glob("2*"))


def test_a_tablespace_of_the_source(place: Any, cluster: Any, small: str) -> None:
    where = place.root / "space"
    where.mkdir()
    if cluster.user:
        shutil.chown(where, cluster.user)
    cluster.execute("postgres", f"CREATE TABLESPACE elsewhere LOCATION '{where}'")
    try:
        cluster.execute(small, "ALTER TABLE book SET TABLESPACE elsewhere")
        assert place.take(small)["status"] == "verified"
    finally:
        cluster.execute(small, "ALTER TABLE book SET TABLESPACE pg_default")
        cluster.execute("postgres", "DROP TABLESPACE elsewhere")


def test_sequences_are_read_before_the_dump_begins(
    place: Any, cluster: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.execute(small, "CREATE SEQUENCE counter", "SELECT nextval('counter')")
    start, look = dump.start, Source.facts
    seen: list[Any] = []

    def started(*arguments: Any, **options: Any) -> Any:
        cluster.execute(small, "SELECT nextval('counter')")
        return start(*arguments, **options)

    def looked(self: Source, before: Any, **options: Any) -> Facts:
        seen.extend(value.last_value for value in before)
        return look(self, before, **options)

    monkeypatch.setattr(dump, "start", started)
    monkeypatch.setattr(Source, "facts", looked)
    made = place.take(small, level="archive")
    assert seen == [1]
    assert [value["last_value"] for value in made["sequences"]] == [2]


def test_while_we_wait_for_one_table_others_get_theirs(cluster: Any, small: str) -> None:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'slipway-backup'"
    )
    with (
        contextlib.closing(source_of(cluster, small)) as source,
        ThreadPoolExecutor(1) as pool,
        contextlib.closing(psycopg.connect(cluster.url(small))) as holder,
    ):
        holder.execute("LOCK TABLE book IN ACCESS EXCLUSIVE MODE")
        opening = pool.submit(source.open_snapshot)
        try:
            until(lambda: cluster.execute("postgres", waiting) == [(1,)], "the backup waits for book")
            # It has locked author already, and would keep it as long as it waits.
            cluster.execute(small, "SET lock_timeout = '30s'", "ALTER TABLE author ADD COLUMN extra int")
            assert not opening.done()
        finally:
            holder.rollback()
        assert opening.result(PATIENCE)


def test_a_future_that_never_ends_meets_the_deadline(tmp_path: Path) -> None:
    facts = Facts(identity={"database": "x"}, snapshot={})
    proof = verify.Verification(facts=facts, archive=tmp_path, level="data", jobs=2, deadline=Deadline(0.01))
    with pytest.raises(BackupError) as caught:
        proof._result(Future[int]())
    assert caught.value.code == "time_limit"


@pytest.fixture
def shop(cluster: Any, place: Any) -> Iterator[Shop]:
    cluster.drop(NAME)
    cluster.create(NAME)
    yield Shop(cluster, NAME, place.catalogue)
    for (name,) in run_sql(cluster.url("postgres"), f"SELECT datname FROM pg_database WHERE datname LIKE '{NAME}%'"):
        cluster.drop(name)


def back(shop: Shop, entry: Path) -> dict[str, Any]:
    return restore.run(
        shop.request(backup=entry.name, confirm=NAME, jobs=1, seconds=120, binaries=shop.cluster.binaries)
    )


def test_another_version_of_an_extension_is_a_note(shop: Shop) -> None:
    shop.sql("CREATE EXTENSION hstore VERSION '1.4'", "CREATE TABLE public.note AS SELECT 'a=>1'::hstore AS data")
    entry = shop.backup()
    print_ = manifest.read(entry)["schema_fingerprint"]
    manifest.write(entry, {**manifest.read(entry), "restored_fingerprint": print_})
    (told,) = back(shop, entry)["notes"]
    assert told.startswith("extension hstore: 1.4 in the backup, ")
    # Anything else that differs still counts.
    manifest.write(entry, {**manifest.read(entry), "schema_fingerprint": "0" * 64, "restored_fingerprint": "0" * 64})
    with pytest.raises(BackupError) as caught:
        back(shop, entry)
    assert caught.value.code == "restored_differs"


def test_lines_as_if_of_other_versions() -> None:
    text = ["extension\thstore\t1.8 public", "table\thstore\t1.8 public"]
    wanted = [{"name": "hstore", "version": "1.4", "schema": "public"}]
    assert fingerprint.as_if(text, wanted) == ["extension\thstore\t1.4 public", "table\thstore\t1.8 public"]


def test_money_is_loaded_with_the_locale_that_it_was_printed_in(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    query = (
        "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase"
        " WHERE setrole = 0 AND (datname = {} OR starts_with(datname, {})) "
    )
    shop.sql("CREATE TABLE public.note AS SELECT '12.50'::money AS price")
    run_sql(shop.server, f"ALTER DATABASE {NAME} SET lc_monetary = 'C'")
    entry = shop.backup()
    run_sql(shop.server, f"ALTER DATABASE {NAME} RESET lc_monetary")
    real, seen = likeness.require, []

    def looked(database: Database, *arguments: Any) -> likeness.Likeness:
        seen.extend(run_sql(shop.server, query.format(f"'{database.name}'", f"'{settle.PREFIX}'")))
        return real(database, *arguments)

    monkeypatch.setattr(likeness, "require", looked)
    assert manifest.read(entry)["database_properties"]["lc_monetary"] == "C"
    assert back(shop, entry)["notes"] == []
    assert seen == [(["lc_monetary=C"],)]
    assert run_sql(shop.url, "SHOW lc_monetary") == [("C",)]


def test_a_commit_that_arrives_while_we_drop_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = settle.PREFIX + "0" * 12
    names = [{fresh: 7, "shop": 5}, {"shop": 7, "shop_before": 5}]
    monkeypatch.setattr(settle, "_databases", lambda _server: names.pop(0))
    monkeypatch.setattr(settle, "drop", lambda _server, _name: None)
    journal = settle.Journal(tmp_path)
    journal.write(fresh=fresh, target="shop", oid=7, kept="shop_before")
    server: Any = None
    assert settle.end(server, journal) == [{"database": "shop", "what": "finished", "kept": "shop_before"}]


@pytest.mark.parametrize("how", ["symlink", "pipe", "second name"])
def test_what_the_dump_leaves_leads_nowhere_else(tmp_path: Path, how: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("secret")
    victim.chmod(0o600)
    made = manifest.Manifest(id="x", app="shop", who="", why="", run="", begun="")
    place = workspace.Workspace(tmp_path, made, account=Account(), group="")
    plant: dict[str, Callable[[Path], None]] = {
        "symlink": lambda path: path.symlink_to(victim),
        "pipe": os.mkfifo,
        "second name": lambda path: os.link(victim, path),
    }
    plant[how](place.archive / "1.dat.gz")
    with pytest.raises(BackupError) as caught:
        place.claim()
    assert caught.value.code == "archive_damaged"
    assert victim.stat().st_mode & 0o777 == 0o600


def segment() -> int:
    """A new System V segment of ours."""
    said = subprocess.run(["ipcmk", "--shmem", "4096"], check=True, capture_output=True, text=True)
    return int(said.stdout.split()[-1])


def segments() -> set[int]:
    return {int(line.split()[1]) for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def pid_file(data: Path, number: int) -> None:
    data.mkdir(exist_ok=True)
    (data / "postmaster.pid").write_text("\n".join(["1", str(data), "0", "5432", "/", "", f"  5432  {number}"]))


@AS_ROOT
def test_shared_memory_of_others_stays(tmp_path: Path, cluster: Any) -> None:
    number, data = segment(), tmp_path / "data"
    try:
        pid_file(data, number)
        shutil.chown(data, cluster.user)
        assert not sharedmemory.release(data)
        assert number in segments()
        ((used,),) = cluster.execute("postgres", "SELECT pg_read_file('postmaster.pid')")
        pid_file(data, int(used.splitlines()[6].split()[1]))
        assert not sharedmemory.release(data), "a segment in use was removed"
        (data / "postmaster.pid").unlink()
        os.mkfifo(data / "postmaster.pid")
        assert not sharedmemory.release(data)
        (data / "postmaster.pid").unlink()
        pid_file(data, number)
        shutil.chown(data, os.geteuid())
        assert sharedmemory.release(data)
        assert number not in segments()
    finally:
        subprocess.run(["ipcrm", "--shmem-id", str(number)], check=False, capture_output=True)


def test_a_hash_is_read_from_a_small_regular_file_only(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_text("abc *stdin\n")
    assert compare._first_word(good) == "abc"
    (tmp_path / "link").symlink_to(good)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_text("a" * 201)
    (tmp_path / "empty").touch()
    for name in ("link", "pipe", "large", "empty", "none"):
        with pytest.raises(BackupError) as caught:
            compare._first_word(tmp_path / name)
        assert caught.value.code == "copy_unreadable"


def test_the_checksum_sees_every_column_beside_one_called_t(cluster: Any, small: str) -> None:
    cluster.execute(small, "CREATE TABLE odd (t text, other text)", "INSERT INTO odd VALUES ('same', 'one')")
    before = cluster.execute(small, f"SELECT {CHECKSUM} FROM ONLY odd t")
    cluster.execute(small, "UPDATE odd SET other = 'two'")
    assert cluster.execute(small, f"SELECT {CHECKSUM} FROM ONLY odd t") != before


def test_no_user_and_password_of_a_url_in_the_manifest() -> None:
    wish = offsite.parse({"tool": "restic", "repository": "rest:https://anna:p%40ss@backup.example:8000/shop"})
    assert wish
    assert wish.destination == "rest:https://backup.example:8000/shop"
    assert wish.repository.startswith("rest:https://anna")
    assert offsite.without_userinfo("open s3:https://host/b: a@b") == "open s3:https://host/b: a@b"


def test_a_scratch_directory_appears_locked(place: Any, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fcntl.flock
    seen: list[list[str]] = []

    def looked(handle: int, how: int) -> None:
        if how == fcntl.LOCK_EX:
            seen.append([path.name[:2] for path in place.scratch.iterdir()])
            assert scratch.reap(place.scratch) == []
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", looked)
    binaries = dump.Binaries(cluster.binaries, "15.1")
    with scratch.prepared(place.scratch, binaries, Account(), limits=scratch.Limits(1 << 30)) as server:
        assert server.directory.name.startswith("s-")
        assert scratch.reap(place.scratch) == []
    assert seen == [["n-"]]
    assert not list(place.scratch.iterdir())


def test_old_and_vanished_scratch_directories(place: Any) -> None:
    old = place.scratch / "n-00000000"
    old.mkdir()
    (old / ".lock").touch()
    assert not scratch._abandoned(place.scratch / "s-gone")
    assert not scratch._abandoned(place.scratch / "n-gone")
    assert scratch.reap(place.scratch) == []
    os.utime(old, (0, 0))
    assert scratch.reap(place.scratch) == [old.name]
