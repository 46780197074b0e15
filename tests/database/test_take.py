# SPDX-License-Identifier: GPL-3.0-or-later
"""Every level passes on a schema that is hard on purpose, and the manifest says what is so."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from slipway_backup import cli, fingerprint, manifest, toc
from slipway_backup.connection import Database
from slipway_backup.errors import BackupError

LEVELS = ("archive", "data", "constraints", "full", "amcheck")
BELOW_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root works as several users")


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_passes_on_the_hard_schema(place: Any, shop: str, level: str) -> None:
    made = place.take(shop, level=level)
    assert (made["status"], made["level"], made["exceptions"]) == ("verified", level, [])
    assert all(check["ok"] for check in made["checks"])
    assert place.entries() == [made["id"]]
    assert not list(place.scratch.iterdir())
    assert manifest.read(place.catalogue / made["id"]) == json.loads(json.dumps(made))


def test_what_the_system_refuses_is_an_answer(place: Any, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_given: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/dev/shm/x")

    monkeypatch.setattr(cli, "verb", lambda _name: refuses)
    answer = cli.answer("take", json.dumps(place.request(small)))
    assert not answer["ok"]
    assert (answer["error"]["code"], "/dev/shm/x" in answer["error"]["found"]) == ("file_operation", True)


@pytest.fixture
def made(place: Any, shop: str) -> dict[str, Any]:
    backup: dict[str, Any] = place.take(shop, who="anna", why="deploy of 1.4.0", run="r1")
    return backup


def test_who_and_why_and_which_database(made: dict[str, Any], cluster: Any, shop: str) -> None:
    assert (made["who"], made["why"], made["run"], made["app"]) == ("anna", "deploy of 1.4.0", "r1", "shop")
    ((system, oid),) = cluster.execute(
        shop,
        "SELECT system_identifier::text, oid::bigint FROM pg_control_system(), pg_database"
        " WHERE datname = current_database()",
    )
    assert made["identity"]["system_identifier"] == system
    assert made["identity"]["database_oid"] == oid
    assert made["identity"]["database"] == shop
    assert made["snapshot"]["lsn"]
    assert made["database_properties"]["owner"] == "admin"


def test_every_file_is_listed_with_its_hash(made: dict[str, Any], place: Any) -> None:
    entry = place.catalogue / made["id"]
    there = {str(path.relative_to(entry)): path for path in (entry / "archive").iterdir()}
    assert set(there) == {file["path"] for file in made["files"]}
    for file in made["files"]:
        data = there[file["path"]].read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert made["archive_bytes"] == sum(file["bytes"] for file in made["files"])


def test_rows_and_hash_of_each_table(made: dict[str, Any], cluster: Any, shop: str) -> None:
    tables = {(table["schema"], table["name"]): table for table in made["tables"]}
    with cluster.connect(shop) as connection:
        names = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
        ).fetchall()
        assert set(tables) == set(names)
        for schema, name in names:
            query = psycopg_sql(f"SELECT count(*) FROM ONLY {quoted(schema)}.{quoted(name)}")
            assert connection.execute(query).fetchone() == (tables[schema, name]["rows"],)
        digest = hashlib.sha256()
        with connection.cursor().copy("COPY tree TO STDOUT") as copy:
            for piece in copy:
                digest.update(piece)
    assert tables["public", "tree"]["sha256"] == digest.hexdigest()


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def psycopg_sql(text: str) -> bytes:
    return text.encode()


def test_sequences_large_objects_roles_extensions(made: dict[str, Any]) -> None:
    values = {value["name"]: (value["last_value"], value["is_called"]) for value in made["sequences"]}
    assert values["never_called"] == (5, False)
    assert values["down"] == (98, True)
    assert values["huge"] == (9223372036854775806, True)
    assert values["zoo_id_seq"] == (2193, True)
    assert made["large_objects"]["count"] == 4
    assert {"Anna Müller", "owner", "reader", "select", "пользователь"} <= set(made["roles"])
    assert "nobody" not in made["roles"]
    assert {"citext", "hstore", "pg_trgm"} <= {item["name"] for item in made["extensions"]}


def test_the_fingerprint_follows_the_schema_and_nothing_else(place: Any, cluster: Any, shop: str) -> None:
    def now() -> str:
        with Database.parse(cluster.url(shop), cluster.user).connect() as connection:
            return fingerprint.fingerprint(connection)

    before = now()
    cluster.execute(shop, "INSERT INTO customer VALUES (999, 'new')", "ANALYZE", "SELECT nextval('never_called')")
    assert now() == before == place.take(shop, level="archive")["schema_fingerprint"]
    seen = {before}
    for statement in (
        "ALTER TABLE tree ADD COLUMN extra int",
        "ALTER TABLE tree ALTER COLUMN extra SET DEFAULT 3",
        "ALTER TABLE tree ADD CHECK (extra > 0) NOT VALID",
        "ALTER TABLE tree VALIDATE CONSTRAINT tree_extra_check",
        "CREATE INDEX later ON tree (extra)",
        "ALTER TYPE mood ADD VALUE 'new'",
        "ALTER TABLE tree ENABLE TRIGGER sleeping",
        "CREATE OR REPLACE FUNCTION slug(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'",
        "ALTER POLICY mine ON tenant_data USING (true)",
        "COMMENT ON TABLE tree IS 'new'",
        "ALTER VIEW checked RENAME TO looked_at",
        "DROP PUBLICATION everything",
    ):
        cluster.execute(shop, statement)
        seen.add(now())
    assert len(seen) == 13


def test_django_and_alembic(place: Any, cluster: Any, small: str) -> None:
    cluster.execute(
        small,
        "CREATE TABLE django_migrations (id serial, app text, name text, applied timestamptz)",
        "INSERT INTO django_migrations (app, name) VALUES ('notes', '0001_initial'), ('auth', '0002_x')",
        "CREATE TABLE alembic_version (version_num text)",
        "INSERT INTO alembic_version VALUES ('ae10')",
    )
    made = place.take(small, level="archive")
    assert made["migrations"] == {"django": [["notes", "0001_initial"], ["auth", "0002_x"]], "alembic": ["ae10"]}


@BELOW_ROOT
def test_files_belong_to_us_and_are_read_by_the_group_only(made: dict[str, Any], place: Any) -> None:
    entry = place.catalogue / made["id"]
    for path in (entry, *entry.rglob("*")):
        status = path.stat()
        wanted = 0o750 if path.is_dir() else 0o640
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, wanted), path


def test_checksums_in_the_snapshot(place: Any, shop: str) -> None:
    made = place.take(shop, level="data", source_check="checksums")
    assert [check["name"] for check in made["checks"] if check["name"] == "checksums"] == ["checksums"]


def test_a_rehearsal_runs_on_the_copy_with_every_row(place: Any, cluster: Any, small: str) -> None:
    program = (
        "import json, sys, os\n"
        "asked = json.load(sys.stdin)\n"
        "import psycopg\n"
        "s = asked['scratch']\n"
        "with psycopg.connect(host=s['host'], port=s['port'], user=s['user'], dbname=s['database']) as c:\n"
        "    c.execute('ALTER TABLE book ADD COLUMN rehearsed int')\n"
        "    n = c.execute('SELECT count(*) FROM book').fetchone()[0]\n"
        "print('words for people')\n"
        "result = {'rows': n, 'told': asked['told'], 'secret': os.environ['SECRET']}\n"
        "print(json.dumps({'ok': True, 'result': result}))\n"
    )
    environment = {"SECRET": "x", "PYTHONPATH": ":".join(path for path in sys.path if path)}
    rehearse = {"user": "", "cwd": "/", "command": [sys.executable, "-c", program], "environment": environment,
                "request": {"told": 1}}  # fmt: skip
    made = place.take(small, rehearse=rehearse)
    assert made["rehearsal"] == {"rows": 5000, "told": 1, "secret": "x"}
    assert cluster.execute(small, "SELECT count(*) FROM pg_attribute WHERE attname = 'rehearsed'") == [(0,)]
    rehearse["command"] = ["sh", "-c", 'echo \'{"ok": false, "error": {"summary": "0003 failed"}}\'']
    with pytest.raises(BackupError, match="failed on the restored copy") as refusal:
        place.take(small, rehearse=rehearse)
    assert (refusal.value.code, refusal.value.found) == ("rehearsal_failed", "0003 failed")


def test_the_program_speaks_json_and_keeps_the_password(place: Any, small: str) -> None:
    launcher = Path(cli.__file__).resolve().parents[1] / "slipway-backup"
    asked = place.request(small, level="archive")
    asked["database_url"] += " password='very secret'"
    argv = [sys.executable, str(launcher), "take"]
    done = subprocess.run(argv, input=json.dumps(asked).encode(), capture_output=True, check=False)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["ok"], answer
    assert done.returncode == 0
    asked["database_url"] = "postgresql://u:very%20secret@/db?host=/nonexistent"
    done = subprocess.run(argv, input=json.dumps(asked).encode(), capture_output=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "connection_failed"
    kept = b"".join(path.read_bytes() for path in place.catalogue.rglob("*.json"))
    assert b"very secret" not in done.stdout + done.stderr + kept
    assert b"very%20secret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"level": "total"}, "level"),
        ({"levle": "full"}, "levle"),
        ({"jobs": True}, "jobs"),
        ({"jobs": "2"}, "jobs"),
        ({"directory": "relative"}, "directory"),
        ({"app": "../x"}, "app"),
        ({"keep": [1]}, "keep"),
        ({"seconds": 0}, "seconds"),
        ({"database_url": "postgresql://h/"}, "database_url"),
        ({"database_url": "nonsense"}, "database_url"),
        ({"rehearse": {"user": "x"}}, "rehearse"),
        ({"why": "a\0b"}, "why"),
    ],
)
def test_a_bad_request_is_refused_by_name(place: Any, change: dict[str, Any], named: str) -> None:
    answer = cli.answer("take", json.dumps({**place.request("x"), **change}))
    assert answer["error"]["code"] == "bad_request"
    assert named in answer["error"]["summary"] + answer["error"]["found"]
    assert place.entries() == []


def test_the_table_of_contents_is_read_as_pg_restore_reads_it(made: dict[str, Any], place: Any, cluster: Any) -> None:
    archive = place.catalogue / made["id"] / "archive"
    listed = cluster.run("pg_restore", "--list", str(archive)).stdout.decode() if os.geteuid() else ""
    entries = toc.read(archive)
    names = {(entry.schema, entry.name) for entry in entries if entry.kind == "TABLE DATA"}
    assert ('Näme with "quotes" and blanks', "名前\ttab\nline") in names
    assert ("public", 'Таблица "x"') in names
    for entry in entries if listed else []:
        assert f"\n{entry.id}; " in listed or entry.kind in ("ENCODING", "STDSTRINGS", "SEARCHPATH")
    data = (archive / "toc.dat").read_bytes()
    for length in range(0, len(data), max(1, len(data) // 200)):
        with pytest.raises(ValueError):
            toc.parse(data[:length])
