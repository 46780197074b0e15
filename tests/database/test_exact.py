# SPDX-License-Identifier: GPL-3.0-or-later
"""No false alarm while others write, and no miss when one row of the archive or of the copy is not what it was."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from slipway_backup import compare, dump, manifest, verify
from slipway_backup.archive import END_OF_COPY
from slipway_backup.errors import BackupError
from slipway_backup.source import SequenceValue, per_table

RUNS = int(os.environ.get("SLIPWAY_MANY", "15"))
PLANTED = int(os.environ.get("SLIPWAY_MANY", "12"))
WRITERS = 2
STATEMENTS = (
    "INSERT INTO book SELECT coalesce(max(id), 0) + 1, 1, repeat('x', 1 + (random() * 3000)::int) FROM book",
    "UPDATE book SET title = title || 'y' WHERE id = (SELECT min(id) + (random() * 50)::int FROM book)",
    "DELETE FROM book WHERE id = (SELECT min(id) FROM book)",
    "INSERT INTO counted DEFAULT VALUES",
    "SELECT lo_from_bytea(0, decode(md5(random()::text), 'hex'))",
    "SELECT lo_unlink(oid) FROM pg_largeobject_metadata ORDER BY oid LIMIT 1",
    "INSERT INTO emptied SELECT n FROM generate_series(1, 50) n",
    # What grows is cut again, so that the last of many runs takes no longer than the first.
    "DELETE FROM emptied WHERE ctid IN (SELECT ctid FROM emptied LIMIT 60)",
    "DELETE FROM counted WHERE id < (SELECT max(id) - 1000 FROM counted)",
    "UPDATE author SET name = name WHERE id % 50 = 0",
)


@contextmanager
def writers(cluster: Any, database: str) -> Iterator[list[int]]:
    """Others at work; yields how many statements each has done."""
    stop, done = threading.Event(), [0] * WRITERS

    def write(number: int) -> None:
        rng = random.Random(number)
        with cluster.connect(database) as connection:
            while not stop.is_set():
                try:
                    connection.execute(rng.choice(STATEMENTS).encode())
                    done[number] += 1
                except (
                    psycopg.errors.UniqueViolation,
                    psycopg.errors.DeadlockDetected,
                    psycopg.errors.UndefinedObject,
                ):
                    pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def prepared(cluster: Any, database: str) -> None:
    cluster.execute(
        database,
        "CREATE TABLE IF NOT EXISTS counted (id serial PRIMARY KEY, at timestamptz DEFAULT now())",
        "CREATE TABLE IF NOT EXISTS emptied (id int)",
    )


def test_no_false_alarm_while_others_write(place: Any, cluster: Any, small: str) -> None:
    prepared(cluster, small)
    with writers(cluster, small) as done:
        counted = 0
        for number in range(RUNS):
            before = sum(done)
            made = place.take(small, level="data" if number % 5 else "full")
            assert made["status"] == "verified"
            assert sum(done) > before, "nobody has written meanwhile: the run has shown nothing"
            counted += made["source"]["tables_counted"]
            cluster.execute(small, "VACUUM")
            shutil.rmtree(place.catalogue / made["id"])
    tables = RUNS * len(made["tables"])
    print(f"\n{RUNS} backups, {sum(done)} statements meanwhile; {tables} tables, {counted} of them counted")


def reported(cluster: Any, database: str, *statements: str) -> None:
    """Statements in a session of their own, until it is gone: then the server's statistics know of them."""
    with cluster.connect(database) as connection:
        for statement in statements:
            connection.execute(statement.encode())
        pid = connection.info.backend_pid
    for _unused in range(2000):
        if cluster.execute(database, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}") == [(0,)]:
            return
        time.sleep(0.01)


def meanwhile(monkeypatch: pytest.MonkeyPatch, cluster: Any, database: str, statement: str) -> None:
    """What another session does while pg_dump is at work, each time that it is."""
    start = dump.start

    def disturbed(*arguments: Any, **options: Any) -> Any:
        running = start(*arguments, **options)
        reported(cluster, database, statement)
        return running

    monkeypatch.setattr(dump, "start", disturbed)


@pytest.mark.parametrize(
    ("statement", "counted"),
    [
        ("SELECT 1", []),
        ("SELECT count(*) FROM book", ["book"]),  # 5000 rows that are no row of the dump's
        ("SELECT pg_stat_reset()", ["author", "book", "counted", "emptied"]),  # fewer scans than before
    ],
)
def test_only_what_the_server_cannot_tell_is_counted(
    place: Any, cluster: Any, small: str, monkeypatch: pytest.MonkeyPatch, statement: str, counted: list[str]
) -> None:
    prepared(cluster, small)
    reported(cluster, small, *(f"SELECT FROM {name}" for name in ("author", "book", "counted", "emptied") * 2))
    asked: list[str] = []

    def asking(ask: Any, tables: Any, what: str) -> Any:
        asked.extend(table.name for table in tables)
        return per_table(ask, tables, what)

    monkeypatch.setattr("slipway_backup.counting.per_table", asking)
    meanwhile(monkeypatch, cluster, small, statement)
    made = place.take(small, level="archive")
    assert asked == counted
    assert made["source"]["tables_counted"] == len(counted)
    assert {table["name"]: table["rows"] for table in made["tables"]} == {
        "author": 500, "book": 5000, "counted": 0, "emptied": 0}  # fmt: skip


def test_rows_that_others_were_given_are_no_alarm(
    place: Any, cluster: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TABLESAMPLE returns rows without being a scan: the server tells too many, and all is done again, counted."""
    meanwhile(monkeypatch, cluster, small, "SELECT count(*) FROM book TABLESAMPLE SYSTEM (50)")
    made = place.take(small, level="archive")
    assert (made["status"], made["source"]["tables_counted"]) == ("verified", 2)
    (first,) = [name for name in place.entries() if name != made["id"]]
    assert manifest.read(place.catalogue / first)["error"]["code"] == "verification_failed"


def test_where_the_server_keeps_no_statistics_every_table_is_counted(place: Any, cluster: Any, small: str) -> None:
    cluster.execute(small, f"ALTER DATABASE {small} SET track_counts = off")
    made = place.take(small, level="archive")
    assert (made["status"], made["source"]["tables_counted"]) == ("verified", 2)


def test_who_wants_a_table_for_himself_is_let_through_and_the_dump_begins_again(
    place: Any, cluster: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRUNCATE between our lock and pg_dump's: it would wait for us, pg_dump for it, and we for pg_dump."""
    prepared(cluster, small)
    cluster.execute(small, "INSERT INTO emptied SELECT n FROM generate_series(1, 50) n")
    start = dump.start
    others: list[threading.Thread] = []

    def disturbed(*arguments: Any, **options: Any) -> Any:
        if not others:
            other = threading.Thread(target=cluster.execute, args=(small, "TRUNCATE emptied"))
            other.start()
            others.append(other)
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            for _unused in range(2000):
                if cluster.execute(small, waits) == [(1,)]:
                    break
                time.sleep(0.01)
        return start(*arguments, **options)

    monkeypatch.setattr(dump, "start", disturbed)
    made = place.take(small, level="data")
    others[0].join()
    assert {table["name"]: table["rows"] for table in made["tables"]}["emptied"] == 0
    assert made["status"] == "verified"


def replanted(path: Path, change: Callable[[list[bytes]], None]) -> None:
    """Change the rows of a packed COPY stream, and pack it again without a trace."""
    rows = gzip.decompress(path.read_bytes())[: -len(END_OF_COPY)].split(b"\n")[:-1]
    change(rows)
    path.write_bytes(gzip.compress(b"".join(row + b"\n" for row in rows) + END_OF_COPY, 1))


def data_file(archive: Path, rng: random.Random) -> Path:
    """A file of a table with rows."""
    packed = [path for path in sorted(archive.glob("*.dat.gz")) if gzip.decompress(path.read_bytes()) != END_OF_COPY]
    return rng.choice(packed)


def remove_row(rows: list[bytes], rng: random.Random) -> None:
    del rows[rng.randrange(len(rows))]


def double_row(rows: list[bytes], rng: random.Random) -> None:
    rows.append(rng.choice(rows))


@pytest.mark.parametrize("seed", range(PLANTED))
@pytest.mark.parametrize("plant", [remove_row, double_row])
def test_a_row_missing_or_doubled_in_the_archive_is_caught(
    place: Any, small: str, monkeypatch: pytest.MonkeyPatch, seed: int, plant: Callable[..., None]
) -> None:
    rng, finish = random.Random(seed), dump.finish

    def tampered(running: Any, deadline: Any) -> None:
        finish(running, deadline)
        (directory,) = place.catalogue.glob("*.partial/archive")
        replanted(data_file(directory, rng), lambda rows: plant(rows, rng))

    monkeypatch.setattr(dump, "finish", tampered)
    with pytest.raises(BackupError, match="not equal to the database: rows") as caught:
        place.take(small, level="archive")
    assert "rows in the source" in caught.value.found
    # Once by what the server has told of the dump, and once counted.
    errors = [manifest.read(place.catalogue / name)["error"]["summary"] for name in place.entries()]
    assert errors == ["The backup is not equal to the database: rows"] * 2


def test_a_row_changed_between_dump_and_restore_is_caught_by_checksums(
    place: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one thing that counts cannot see: the number of rows is right, and the archive is restored as it is."""
    finish = dump.finish

    def tampered(running: Any, deadline: Any) -> None:
        finish(running, deadline)
        (directory,) = place.catalogue.glob("*.partial/archive")
        replanted(data_file(directory, random.Random(1)), change)

    def change(rows: list[bytes]) -> None:
        rows[3] = rows[3][:-1] + (b"x" if rows[3][-1:] != b"x" else b"y")

    monkeypatch.setattr(dump, "finish", tampered)
    with pytest.raises(BackupError) as caught:
        place.take(small, level="data", source_check="checksums")
    assert caught.value.code == "verification_failed"
    assert caught.value.details["check"] == "checksums"


COPY_CHANGES = {
    "row changed": "UPDATE book SET title = title || '.' WHERE id = 7",
    "row missing": "DELETE FROM book WHERE id = 8",
    "row doubled": "INSERT INTO emptied SELECT 1",
    "one null": "UPDATE book SET title = NULL WHERE id = 9",
    "order only": "UPDATE author SET name = name WHERE id = 1",
    "sequence": "SELECT setval('counted_id_seq', 4711)",
    "large object": "SELECT lo_put(80001, 0, 'X')",
    "large object gone": "SELECT lo_unlink(80001)",
    "large object more": "SELECT lo_from_bytea(80002, 'new')",
}


@pytest.mark.parametrize("name", COPY_CHANGES)
def test_a_difference_of_the_copy_is_caught(
    place: Any, cluster: Any, small: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    prepared(cluster, small)
    cluster.execute(small, "SELECT lo_from_bytea(80001, 'content')")
    load = verify.Verification._load_data

    def tampered(self: verify.Verification, decoding: Any) -> None:
        load(self, decoding)
        with self._server.connect(small) as connection:
            connection.execute("SET search_path = public, pg_catalog")
            connection.execute(COPY_CHANGES[name].encode())

    monkeypatch.setattr(verify.Verification, "_load_data", tampered)
    with pytest.raises(BackupError) as caught:
        place.take(small, level="data")
    assert caught.value.code == "verification_failed"
    expected = {"sequence": "restored sequences", "large": "large objects"}.get(name.split()[0], "content")
    assert caught.value.details["check"] == expected


SCHEMA_CHANGES = {
    "DROP INDEX book_title_idx": "schema",
    "ALTER TABLE book DROP CONSTRAINT book_author_fkey": "schema",
    "ALTER TABLE book ALTER COLUMN title SET DEFAULT 'x'": "schema",
    "COMMENT ON TABLE book IS 'x'": "schema",
    "GRANT SELECT ON book TO pg_monitor": "ownership and privileges",
    "ALTER TABLE book OWNER TO pg_monitor": "ownership and privileges",
}


@pytest.mark.parametrize("statement", SCHEMA_CHANGES)
def test_a_difference_of_the_schema_is_caught(
    place: Any, small: str, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    full = verify.Verification._full

    def tampered(self: verify.Verification) -> None:
        with self._server.connect(small) as connection:
            connection.execute("SET search_path = public, pg_catalog")
            connection.execute(statement.encode())
        full(self)

    monkeypatch.setattr(verify.Verification, "_full", tampered)
    with pytest.raises(BackupError) as caught:
        place.take(small, level="full")
    assert caught.value.details["check"] == SCHEMA_CHANGES[statement]


def test_a_sequence_between_the_two_looks() -> None:
    """A sequence that others advance must not raise an alarm, one that stood still must be equal."""

    def plausible(before: int, archived: int, after: int, *, ascends: bool = True) -> bool:
        value = SequenceValue("s", "q", before, True, ascends)
        return compare._plausible(value, (archived, True), SequenceValue("s", "q", after, True, ascends))

    assert plausible(5, 5, 5)
    assert not plausible(5, 6, 5)
    assert plausible(5, 7, 9)
    assert not plausible(5, 4, 9)
    assert not plausible(5, 10, 9)
    assert plausible(5, 1, 3), "set back meanwhile"
    assert plausible(5, 1, 9, ascends=False)
