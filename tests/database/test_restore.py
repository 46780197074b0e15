# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore: the way back itself. Whatever fails or is killed, the live database is the old one or the restored one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from slipway_backup import (
    encryption,
    gate,
    integrity,
    loss,
    manifest,
    properties,
    prune,
    request,
    restore,
    settle,
    swap,
)
from slipway_backup.catalogue import Entry
from slipway_backup.connection import Database
from slipway_backup.errors import BackupError
from slipway_backup.processes import Deadline

from tests.database.backups import Shop, connect, run_sql
from tests.database.test_damage import AS_ROOT
from tests.database.test_encryption import Keys, gpg_keys

NAME = "restore shop"
ROWS = 300
STEPS = ("_create", "_load", "_compare", "_analyze", "_replay", "_swap")
# Runs a verb in a process that kills itself when it comes to a function: before it, or right after it.
KILLED = """
import importlib, json, os, signal, sys
sys.path.insert(0, sys.argv[1])
from slipway_backup import cli
where, owner, name, when = sys.argv[2:6]
holder = importlib.import_module("slipway_backup." + where)
holder = getattr(holder, owner) if owner else holder
real = getattr(holder, name)
def killed(*arguments, **options):
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    real(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(holder, name, killed)
print(cli.answer("restore", sys.stdin.read()))
"""


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    with tempfile.TemporaryDirectory(prefix="slipway-") as directory:  # with a short path, for a socket of gpg's agent
        yield gpg_keys(Path(directory))


@pytest.fixture
def shop(cluster: Any, place: Any) -> Iterator[Shop]:
    made = Shop(cluster, NAME, place.catalogue)
    clean(made)
    run_sql(
        made.server,
        "CREATE ROLE shop_owner LOGIN",
        "CREATE ROLE shop_reader LOGIN",
        f'CREATE DATABASE "{NAME}" OWNER shop_owner',
    )
    made.sql(
        "CREATE TABLE public.note (id serial PRIMARY KEY, text text)",
        "ALTER TABLE public.note OWNER TO shop_owner",
        f"INSERT INTO public.note (text) SELECT 'note ' || n FROM generate_series(1, {ROWS}) n",
        "SELECT lo_from_bytea(0, 'a large object')",
    )
    yield made
    clean(made)


def clean(shop: Shop) -> None:
    for name in shop.databases() - {"postgres", "template0", "template1"}:
        if name.startswith((NAME, settle.PREFIX)) or name == "copy":
            run_sql(shop.server, f'DROP DATABASE "{name}" WITH (FORCE)')
    run_sql(shop.server, "DROP ROLE IF EXISTS shop_owner, shop_reader, shop_weak, shop_gone")


def asked(shop: Shop, entry: Path, **more: Any) -> dict[str, Any]:
    common = {"backup": entry.name, "confirm": NAME, "jobs": 1, "seconds": 120, "binaries": shop.cluster.binaries}
    return shop.request(**{**common, **more})


def refused(shop: Shop, entry: Path, **more: Any) -> BackupError:
    """It is refused or fails, and the live database is as it was, with nothing beside it."""
    before, oid, rows = shop.databases(), shop.oid(), count(shop)
    with pytest.raises(BackupError) as refusal:
        restore.run(asked(shop, entry, **more))
    assert (shop.databases(), shop.oid(), count(shop)) == (before, oid, rows)
    assert not (shop.directory / ".restore.json").exists()
    assert not list(shop.directory.glob("*.restoring"))
    return refusal.value


def count(shop: Shop) -> int:
    return int(shop.sql("SELECT count(*) FROM public.note")[0][0])


def test_swap(shop: Shop) -> None:
    entry, old = shop.backup(), shop.oid()
    # The server's position in its log is that of what is written, and the test server writes a commit later.
    written = "SET synchronous_commit = on"
    shop.sql(written, "INSERT INTO public.note (text) VALUES ('lost')", "CREATE TABLE public.other AS SELECT 1 AS one")
    done = restore.run(asked(shop, entry))
    assert done["restored"] == NAME
    assert done["kept"].startswith(f"{NAME}_before_20")
    assert (count(shop), shop.oid(done["kept"])) == (ROWS, old)
    assert int(run_sql(shop.cluster.url(done["kept"]), "SELECT count(*) FROM public.note")[0][0]) == ROWS + 1
    assert shop.sql("SELECT convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata") == [("a large object",)]
    assert shop.sql("SELECT nextval('public.note_id_seq')") == [(ROWS + 1,)]
    assert done["verified"]
    assert 0 < done["swap_seconds"] < done["seconds"]["swap"] + 1
    assert done["lost"]["tables"] == [
        {"schema": "public", "name": "note", "rows_backup": ROWS, "rows_now": ROWS + 1},
        {"schema": "public", "name": "other", "rows_backup": None, "rows_now": 1},
    ]
    assert done["lost"]["wal_bytes"] > 0
    assert done["lost"]["seconds_since_snapshot"] > 0
    # It is another database now: the backup is no way back from it any more.
    with pytest.raises(BackupError) as refusal:
        gate.run(shop.request())
    assert refusal.value.code == "other_database"


def test_properties_come_back(shop: Shop) -> None:
    name = f'"{NAME}"'
    run_sql(
        shop.server,
        f"REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {name} TO shop_reader WITH GRANT OPTION",
        f'ALTER DATABASE {name} SET search_path TO "$user", public, "a""b, c"',
        f"ALTER DATABASE {name} SET statement_timeout TO '7s'",
        f"ALTER DATABASE {name} SET default_transaction_read_only TO on",
        f"ALTER DATABASE {name} SET app.motto TO 'it''s \\ours, \"all\" of it'",
        f"ALTER ROLE shop_reader IN DATABASE {name} SET work_mem TO '8MB'",
        f"ALTER DATABASE {name} CONNECTION LIMIT 17",
        f"COMMENT ON DATABASE {name} IS 'it''s \\ours'",
    )
    query = (
        """SELECT pg_get_userbyid(datdba), datacl::text, datconnlimit, shobj_description(d.oid, 'pg_database'),
      encoding, datcollate, datctype, (SELECT array_agg(setrole::regrole::text || setconfig::text ORDER BY setrole)
      FROM pg_db_role_setting s WHERE s.setdatabase = d.oid) FROM pg_database d WHERE datname = '"""
        + NAME
        + "'"
    )
    before = run_sql(shop.server, query)
    restore.run(asked(shop, shop.backup()))
    assert run_sql(shop.server, query) == before


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", []),
        ("public", ["public"]),
        ('"$user", public', ["$user", "public"]),
        ('"a""b", "c, d",e', ['a"b', "c, d", "e"]),
        ('""""', ['"']),
    ],
)
def test_lists_of_names(value: str, names: list[str]) -> None:
    assert properties.names_of(value) == names


def test_clients_come_back_by_themselves(shop: Shop) -> None:
    """They write all the time; each of them loses its session once at most, and none its way."""
    entry = shop.backup()
    stop, failures, written, reconnected = threading.Event(), [], [0], [0]

    def client() -> None:
        connection = connect(shop.url)
        while not stop.is_set():
            try:
                connection.execute("INSERT INTO public.note (text) VALUES ('from a client')")
                written[0] += 1
            except psycopg.Error:
                for _unused in range(1000):
                    try:
                        connection = connect(shop.url)
                        reconnected[0] += 1
                        break
                    except psycopg.OperationalError:
                        stop.wait(0.01)
                else:
                    failures.append("could not connect again")
                    return
        connection.close()

    threads = [threading.Thread(target=client) for _unused in range(3)]
    for thread in threads:
        thread.start()
    try:
        done = restore.run(asked(shop, entry))
        seen = written[0]
        for _unused in range(2000):
            if written[0] > seen + 10 or failures:
                break
            stop.wait(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert done["connections_ended"] >= 3
    assert reconnected[0] >= 3
    assert written[0] > seen + 10
    assert ROWS < count(shop) <= ROWS + written[0]


def test_without_terminate_nobody_is_disconnected(shop: Shop) -> None:
    entry = shop.backup()
    with contextlib.closing(connect(shop.url)) as client:
        error = refused_while_connected(shop, entry, client)
    assert error.code == "connections_open"
    assert "pid" in error.found
    assert restore.run(asked(shop, entry, terminate=False))["connections_ended"] == 0


def refused_while_connected(shop: Shop, entry: Path, client: psycopg.Connection[Any]) -> BackupError:
    error = refused(shop, entry, terminate=False)
    assert client.execute("SELECT 1").fetchone() == (1,)
    return error


@pytest.mark.parametrize("confirm", ["", "restore", "RESTORE SHOP", "postgres", f" {NAME}"])
def test_not_confirmed(shop: Shop, confirm: str) -> None:
    assert refused(shop, shop.backup(), confirm=confirm).code == "not_confirmed"


def test_check_changes_nothing(shop: Shop) -> None:
    entry = shop.backup()
    shop.sql("DELETE FROM public.note WHERE id <= 10")
    before = (shop.databases(), shop.oid(), sorted(os.listdir(shop.directory)))
    told = restore.run(asked(shop, entry, check=True, confirm=""))
    assert told["missing"] == []
    assert told["lost"]["tables"] == [{"schema": "public", "name": "note", "rows_backup": ROWS, "rows_now": ROWS - 10}]
    assert (shop.databases(), shop.oid(), sorted(os.listdir(shop.directory))) == before


def test_a_table_that_cannot_be_counted_is_told_and_does_not_stop_the_way_back(shop: Shop) -> None:
    entry = shop.backup()
    with contextlib.closing(psycopg.connect(shop.url)) as other, pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "LOCK_WAIT_SECONDS", 1)
        other.execute("LOCK TABLE public.note IN ACCESS EXCLUSIVE MODE")
        told = restore.run(asked(shop, entry, check=True))
    assert told["lost"]["tables"] == [{"schema": "public", "name": "note", "rows_backup": ROWS, "rows_now": None}]


def test_into_a_new_name(shop: Shop) -> None:
    entry, old = shop.backup(), shop.oid()
    done = restore.run(asked(shop, entry, mode="new", target="copy", confirm="copy"))
    assert (done["restored"], done["kept"], shop.oid()) == ("copy", "", old)
    assert run_sql(shop.cluster.url("copy"), "SELECT count(*) FROM public.note") == [(ROWS,)]
    assert refused(shop, entry, mode="new", target="copy", confirm="copy").code == "name_taken"
    assert refused(shop, entry, mode="new", target="copy", confirm=NAME).code == "not_confirmed"


def test_a_live_database_that_was_dropped(shop: Shop) -> None:
    entry = shop.backup()
    run_sql(shop.server, f'DROP DATABASE "{NAME}"')
    done = restore.run(asked(shop, entry))
    assert (done["kept"], count(shop)) == ("", ROWS)


def test_the_kept_name_is_taken(shop: Shop) -> None:
    entry = shop.backup()
    assert refused(shop, entry, kept_name="postgres").code == "name_taken"
    assert restore.run(asked(shop, entry, kept_name=f"{NAME} of yesterday"))["kept"] == f"{NAME} of yesterday"


def test_a_long_name_keeps_its_date(shop: Shop) -> None:
    """PostgreSQL cuts names after 63 bytes, in the middle of the date if one lets it."""
    entry = shop.backup()
    long = NAME + "é" * ((63 - len(NAME)) // 2)
    run_sql(shop.server, f'ALTER DATABASE "{NAME}" RENAME TO "{long}"')
    identity = {**manifest.read(entry)["identity"], "database": long}
    manifest.write(entry, {**manifest.read(entry), "identity": identity})
    url = shop.cluster.url(long)
    done = restore.run(asked(shop, entry, database_url=url, confirm=long))
    assert len(done["kept"].encode()) <= 63
    assert done["kept"].startswith(NAME)
    assert done["kept"][-16:].endswith("Z")
    assert shop.oid(done["kept"])


def broken(entry: Path) -> None:
    path = entry / "archive" / "toc.dat"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def test_files_that_changed_are_not_restored(shop: Shop) -> None:
    entry = shop.backup()
    broken(entry)
    assert refused(shop, entry).code == "files_changed"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": "failed"}, "not_verified"),
        ({"roles": ["shop_gone", "shop_owner"]}, "roles_missing"),
        ({"extensions": [{"name": "no_such_thing", "version": "1", "schema": "public"}]}, "extension_missing"),
        ({"database_bytes": 1 << 60}, "no_space"),
    ],
)
def test_what_stands_in_the_way_is_told_before(shop: Shop, change: dict[str, Any], code: str) -> None:
    entry = shop.backup(**change)
    assert refused(shop, entry).code == code
    assert restore.run(asked(shop, entry, check=True))["missing"][0]["code"] == code


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("database", "blog", "other_database"),
        ("system_identifier", "1", "other_cluster"),
        ("server_version_num", 990000, "older_server"),
    ],
)
def test_a_backup_of_something_else(shop: Shop, key: str, value: Any, code: str) -> None:
    entry = shop.backup()
    manifest.write(entry, {**manifest.read(entry), "identity": {**manifest.read(entry)["identity"], key: value}})
    assert refused(shop, entry).code == code


def test_roles_that_only_the_database_itself_names(shop: Shop) -> None:
    run_sql(shop.server, f'GRANT CONNECT ON DATABASE "{NAME}" TO shop_reader')
    granted = shop.backup()
    run_sql(shop.server, f'REVOKE ALL ON DATABASE "{NAME}" FROM shop_reader')
    run_sql(shop.server, f"ALTER ROLE shop_reader IN DATABASE \"{NAME}\" SET work_mem TO '8MB'")
    configured = shop.backup()
    run_sql(shop.server, "DROP ROLE shop_reader")
    for entry in (granted, configured):
        error = refused(shop, entry)
        assert error.code == "roles_missing"
        assert "shop_reader" in error.found


FOREIGN, UNNAMED = 1, 987_654  # numbers of groups: of another one here, and of nobody here


def fetch(entry: Path, group: int, modes: tuple[int, int]) -> None:
    """As it comes back from elsewhere: with numbers and modes of there, or of whoever fetched it."""
    for path in (entry, *entry.rglob("*")):
        os.chown(path, 0, group)
        path.chmod(modes[0] if path.is_dir() else modes[1])


OPEN, CLOSED, SHARED = (0o755, 0o644), (0o700, 0o600), (0o750, 0o640)


@AS_ROOT
@pytest.mark.parametrize(
    ("group", "modes", "catalogue", "encrypted"),
    [
        (UNNAMED, SHARED, None, False),
        (FOREIGN, SHARED, None, False),
        (0, CLOSED, None, False),
        (0, OPEN, UNNAMED, False),
        (0, CLOSED, UNNAMED, False),
        (0, OPEN, None, True),
        (UNNAMED, SHARED, UNNAMED, True),
    ],
)
def test_an_entry_that_was_fetched_from_elsewhere(
    shop: Shop, keys: Keys, group: int, modes: tuple[int, int], catalogue: int | None, encrypted: bool
) -> None:
    entry = shop.backup()
    if encrypted:
        wish = encryption.parse(keys.public)
        assert wish
        manifest.write(entry, encryption.encrypt(entry, manifest.read(entry), wish, Deadline(120)))
    if catalogue:
        os.chown(shop.directory, 0, catalogue)
    fetch(entry, group, modes)
    assert restore.run(asked(shop, entry, identity_file=str(keys.identity)))["verified"]
    files = {path.stat().st_gid for path in entry.glob("archive/*")}
    assert files == (set() if encrypted else {0} if modes == OPEN else {shop.directory.stat().st_gid})


@AS_ROOT
def test_who_restores_has_the_group_of_the_catalogue_and_no_other(shop: Shop) -> None:
    entry = shop.backup()
    fetch(entry, FOREIGN, (0o750, 0o640))
    work = restore.Work(
        request.parse(restore.Restore, asked(shop, entry)),
        Database.parse(shop.url, shop.cluster.user),
        Entry(entry, manifest.read(entry)),
        Deadline(120),
    )
    assert work._fresh_database().account.groups == (str(shop.directory.stat().st_gid),)
    os.chown(shop.directory, 0, 0)  # root's is given to nobody
    (line,) = [word for word in work._fresh_database().account.prefix() if word.startswith("--groups")]
    assert "0" not in line.partition("=")[2].split(",")


def test_after_the_old_server_was_lost(shop: Shop) -> None:
    entry = shop.backup()
    identity = {**manifest.read(entry)["identity"], "system_identifier": "1"}
    manifest.write(entry, {**manifest.read(entry), "identity": identity})
    done = restore.run(asked(shop, entry, other_cluster=True))
    assert done["lost"]["wal_bytes"] is None
    assert count(shop) == ROWS


def test_several_reasons_are_told_at_once(shop: Shop) -> None:
    entry = shop.backup(roles=["shop_gone"], database_bytes=1 << 60)
    error = refused(shop, entry)
    assert error.code == "requirements"
    assert {one["code"] for one in error.details["missing"]} == {"roles_missing", "no_space"}


def test_a_role_that_may_not(shop: Shop) -> None:
    entry = shop.backup()
    run_sql(shop.server, "CREATE ROLE shop_weak LOGIN")
    url = shop.cluster.url(NAME, "shop_weak")
    error = refused(shop, entry, database_url=url)
    assert {one["code"] for one in error.details["missing"]} == {"no_createdb", "not_owner"}


def test_the_owner_with_createdb_needs_no_superuser(shop: Shop) -> None:
    """As on a managed server. Large objects would have to be its own."""
    shop.sql("SELECT lo_unlink(oid) FROM pg_largeobject_metadata", "ALTER SCHEMA public OWNER TO shop_owner")
    entry = shop.backup(roles=["shop_owner"])
    run_sql(shop.server, "ALTER ROLE shop_owner CREATEDB")
    done = restore.run(asked(shop, entry, database_url=shop.cluster.url(NAME, "shop_owner")))
    assert (count(shop), done["verified"]) == (ROWS, True)


def test_sessions_of_others_that_this_role_may_not_end(shop: Shop) -> None:
    shop.sql("SELECT lo_unlink(oid) FROM pg_largeobject_metadata", "ALTER SCHEMA public OWNER TO shop_owner")
    entry = shop.backup(roles=["shop_owner"])
    run_sql(shop.server, "ALTER ROLE shop_owner CREATEDB")
    with contextlib.closing(connect(shop.url)) as client:
        error = refused(shop, entry, database_url=shop.cluster.url(NAME, "shop_owner"))
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert error.code == "swap_failed"
    assert "admin" in error.found


def test_an_inactive_slot_does_not_stop_it(shop: Shop) -> None:
    entry = shop.backup()
    shop.sql("SELECT pg_create_logical_replication_slot('restore_slot', 'pgoutput')")
    try:
        assert restore.run(asked(shop, entry))["kept"]
    finally:
        run_sql(shop.server, "SELECT pg_drop_replication_slot('restore_slot')")


def test_an_active_slot_does(shop: Shop) -> None:
    entry = shop.backup()
    shop.sql("SELECT pg_create_logical_replication_slot('restore_slot', 'pgoutput')", "CREATE PUBLICATION p")
    program = os.path.join(shop.cluster.binaries, "pg_recvlogical")
    argv = [program, "--dbname", shop.url, "--slot=restore_slot", "--start", "--file=/dev/null"]
    argv += ["--option=proto_version=1", "--option=publication_names=p"]
    reader = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        for _unused in range(600):
            if run_sql(shop.server, "SELECT FROM pg_replication_slots WHERE active"):
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                reader.wait(0.05)
        assert refused(shop, entry).code == "slots_active"
    finally:
        reader.kill()
        reader.wait()
        for _unused in range(600):
            if not run_sql(shop.server, "SELECT FROM pg_replication_slots WHERE active"):
                break
            run_sql(shop.server, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
        run_sql(shop.server, "SELECT pg_drop_replication_slot('restore_slot')")


def test_an_enabled_subscription_does(shop: Shop) -> None:
    entry = shop.backup()
    shop.sql("CREATE SUBSCRIPTION s CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false, slot_name = 's')")
    shop.sql("ALTER SUBSCRIPTION s ENABLE")
    try:
        assert refused(shop, entry).code == "subscriptions_active"
    finally:
        shop.sql("ALTER SUBSCRIPTION s DISABLE", "ALTER SUBSCRIPTION s SET (slot_name = NONE)", "DROP SUBSCRIPTION s")


@pytest.mark.parametrize("step", STEPS)
def test_each_step_may_fail(shop: Shop, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = shop.backup()

    def fails(*_: Any) -> None:
        raise BackupError("injected", step)

    with monkeypatch.context() as patch:
        patch.setattr(restore.Work, step, fails)
        assert refused(shop, entry).code == "injected"
    assert restore.run(asked(shop, entry))["settled"] == []


def test_a_row_that_differs_is_found_before_the_swap(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = shop.backup()
    real = restore.Work._load
    for harm in (
        "UPDATE public.note SET text = 'x' WHERE id = 7",
        "DELETE FROM public.note WHERE id = 7",
        "SELECT setval('public.note_id_seq', 1)",
        "SELECT lo_put(oid, 0, 'A') FROM pg_largeobject_metadata",
        "DROP TABLE public.note",
    ):

        def harmed(work: restore.Work, server: Any, archive: Path, harm: str = harm) -> None:
            real(work, server, archive)
            run_sql(shop.cluster.url(work.fresh), harm)

        with monkeypatch.context() as patch:
            patch.setattr(restore.Work, "_load", harmed)
            assert refused(shop, entry).code in ("restored_differs", "source_failed"), harm


def cut_rows(entry: Path) -> None:
    for path in (entry / "archive").glob("[0-9]*.dat.gz"):
        os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(("harm", "code"), [(broken, "archive_damaged"), (cut_rows, "restore_failed")])
def test_the_archive_does_not_load(shop: Shop, monkeypatch: pytest.MonkeyPatch, harm: Any, code: str) -> None:
    """Even if nobody had looked at the hashes of its files."""
    entry = shop.backup()
    harm(entry)
    monkeypatch.setattr(integrity, "require", lambda _: None)
    assert refused(shop, entry).code == code


def test_the_answer_to_the_commit_is_lost(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, old = shop.backup(), shop.oid()
    real = swap.swap

    def cut(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        raise BackupError("swap_failed", "the connection was cut")

    monkeypatch.setattr(swap, "swap", cut)
    done = restore.run(asked(shop, entry))
    assert (shop.oid(done["kept"]), count(shop)) == (old, ROWS)


def kill_at(shop: Shop, entry: Path, where: str, owner: str, name: str, when: str) -> None:
    package = str(Path(restore.__file__).parents[1])
    call = [sys.executable, "-c", KILLED, package, where, owner, name, when]
    done = subprocess.run(
        call, input=json.dumps(asked(shop, entry)), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


POINTS = [
    ("restore", "Work", "_create", "before"),
    ("properties", "", "creation", "after"),
    ("restore", "Work", "_create", "after"),
    ("restore", "Work", "_load", "after"),
    ("restore", "Work", "_compare", "after"),
    ("restore", "Work", "_replay", "after"),
    ("swap", "", "swap", "before"),
    ("swap", "", "swap", "after"),
]


@pytest.mark.parametrize(("where", "owner", "name", "when"), POINTS)
def test_killed(shop: Shop, where: str, owner: str, name: str, when: str) -> None:
    entry, old = shop.backup(), shop.oid()
    shop.sql("INSERT INTO public.note (text) VALUES ('live')")
    kill_at(shop, entry, where, owner, name, when)
    swapped = shop.oid() != old
    assert swapped == ((where, when) == ("swap", "after"))
    assert count(shop) == (ROWS if swapped else ROWS + 1)
    # Any verb that touches the database ends what was left.
    with contextlib.suppress(BackupError):
        gate.run(shop.request())
    assert not [name for name in shop.databases() if name.startswith(settle.PREFIX)]
    assert not (shop.directory / ".restore.json").exists()
    assert restore.run(asked(shop, entry))["settled"] == []
    assert count(shop) == ROWS


def test_killed_between_the_two_renames(shop: Shop) -> None:
    """They are one transaction: the server takes the first one back, and nobody else ever saw it."""
    entry, old = shop.backup(), shop.oid()
    # When the comment is put together, both renames have been carried out.
    kill_at(shop, entry, "swap", "", "literal", "before")
    assert (shop.oid(), count(shop)) == (old, ROWS)
    assert restore.run(asked(shop, entry))["settled"][0]["what"] == "dropped"


def test_the_next_restore_ends_a_killed_one_without_its_journal(shop: Shop) -> None:
    entry = shop.backup()
    kill_at(shop, entry, "restore", "Work", "_load", "after")
    (shop.directory / ".restore.json").unlink()
    settled = restore.run(asked(shop, entry))["settled"]
    assert [one["what"] for one in settled] == ["dropped"]
    assert not [name for name in shop.databases() if name.startswith(settle.PREFIX)]


@pytest.mark.parametrize("step", ["_analyze", "_replay", "_swap"])
def test_the_server_is_killed(own_cluster: Any, make_place: Any, step: str) -> None:
    """It comes back with the live database as it was, and the next run ends what was left."""
    with make_place(own_cluster) as place, pytest.MonkeyPatch.context() as patch:
        shop = Shop(own_cluster, NAME, place.catalogue)
        own_cluster.create(NAME)
        shop.sql(f"CREATE TABLE public.note AS SELECT n AS id FROM generate_series(1, {ROWS}) n", "CHECKPOINT")
        entry, old, real = shop.backup(), shop.oid(), getattr(restore.Work, step)

        def killed(work: restore.Work, *arguments: Any) -> Any:
            own_cluster.stop(signal.SIGQUIT)
            return real(work, *arguments)

        patch.setattr(restore.Work, step, killed)
        with pytest.raises(BackupError) as failure:
            restore.run(asked(shop, entry))
        assert failure.value.code in ("server_gone", "connection_failed", "properties_failed")
        own_cluster.start()
        patch.undo()
        assert (shop.oid(), count(shop)) == (old, ROWS)
        assert gate.run(shop.request())["settled"][0]["what"] == "dropped"
        assert restore.run(asked(shop, entry))["settled"] == []


def test_one_at_a_time(shop: Shop) -> None:
    entry = shop.backup()
    with settle.held(shop.directory):
        assert refused(shop, entry).code == "restore_busy"
    query = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
    with contextlib.closing(connect(shop.server)) as elsewhere:
        elsewhere.execute(query, (settle.MARKER + NAME,))
        assert refused(shop, entry).code == "restore_busy"


def test_a_backup_that_is_restored_is_not_pruned(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = shop.backup()
    shop.backup()
    real, busy = restore.Work._load, []

    def pruned(work: restore.Work, server: Any, archive: Path) -> None:
        request = {"app": "shop", "directory": str(shop.directory), "retention": {"last": 1}}
        busy.extend(prune.run(request)["busy"])
        real(work, server, archive)

    monkeypatch.setattr(restore.Work, "_load", pruned)
    restore.run(asked(shop, entry))
    assert busy == [entry.name]


def test_a_damaged_journal_is_named_and_nothing_is_dropped(shop: Shop) -> None:
    entry, before = shop.backup(), shop.databases()
    (shop.directory / ".restore.json").write_text("{")
    with pytest.raises(BackupError) as refusal:
        restore.run(asked(shop, entry))
    assert refusal.value.code == "journal_damaged"
    assert shop.databases() == before


def test_a_journal_never_makes_it_drop_a_database_that_is_not_ours(shop: Shop) -> None:
    entry = shop.backup()
    (shop.directory / ".restore.json").write_text(json.dumps({"fresh": NAME, "target": "x", "oid": 1}))
    restore.run(asked(shop, entry, check=False))
    assert count(shop) == ROWS
    with pytest.raises(ValueError, match="postgres"), contextlib.closing(connect(shop.server)) as server:
        settle.drop(server, "postgres")


@pytest.mark.parametrize(
    "bad",
    [
        {"mode": "over"},
        {"mode": "new"},
        {"target": "x"},
        {"mode": "new", "target": "x" * 64},
        {"mode": "new", "target": settle.PREFIX + "x"},
        {"jobs": 65},
        {"directory": "x"},
        {"confirmed": True},
    ],
)
def test_bad_requests(shop: Shop, bad: dict[str, Any]) -> None:
    with pytest.raises(BackupError) as refusal:
        restore.run({**shop.request(backup="x"), **bad})
    assert refusal.value.code == "bad_request"


def test_the_hard_database(cluster: Any, hard: str, place: Any) -> None:
    """With its real proof of level full, so that the restored schema is compared too."""
    name = f"{NAME} hard"
    cluster.create(name, hard)
    try:
        shop = Shop(cluster, name, place.catalogue)
        taken = place.take(name)
        assert gate.run(shop.request())["backup"] == taken["id"]
        done = restore.run(asked(shop, place.catalogue / taken["id"], confirm=name))
        assert done["verified"]
        assert done["lost"]["tables"] == []
        assert done["rows"] == sum(table["rows"] for table in taken["tables"])
    finally:
        for left in [one for one in shop.databases() if one.startswith(name)]:
            cluster.drop(left)
