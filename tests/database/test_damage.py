# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever breaks on the way, nothing becomes a backup that is none, and the error names what it was."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from slipway_backup import connection, dump, loading, manifest, space
from slipway_backup.errors import BackupError
from slipway_backup.scratch import Scratch

FLIPS = int(os.environ.get("SLIPWAY_MANY", "12"))
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts file systems and works as several users")


def failed(place: Any, error: BackupError) -> dict[str, Any]:
    """The manifest of the failed backup, which is all that is left of it."""
    (name,) = place.entries()
    assert name == error.details["backup"]
    assert [path.name for path in (place.catalogue / name).iterdir()] == ["manifest.json"]
    assert not list(place.scratch.iterdir())
    kept = manifest.read(place.catalogue / name)
    assert (kept["status"], kept["error"]["code"], kept["files"]) == ("failed", error.code, [])
    return kept


@pytest.fixture
def damage(place: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], None]], None]:
    """Arrange for something to happen to the archive as soon as it is dumped."""

    def arrange(how: Callable[[Path], object]) -> None:
        finish = dump.finish

        def tampered(running: Any, deadline: Any) -> None:
            finish(running, deadline)
            (archive,) = place.catalogue.glob("*.partial/archive")
            how(archive)

        monkeypatch.setattr(dump, "finish", tampered)

    return arrange


def largest(archive: Path) -> Path:
    return max(archive.glob("*.dat.*"), key=lambda path: path.stat().st_size)


def cut(path: Path, count: int) -> None:
    os.truncate(path, max(0, path.stat().st_size - count))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a byte less": lambda archive: cut(largest(archive), 1),
    "half a file": lambda archive: cut(largest(archive), largest(archive).stat().st_size // 2),
    "an empty file": lambda archive: cut(largest(archive), 1 << 30),
    "a file missing": lambda archive: largest(archive).unlink(),
    "a byte more": lambda archive: largest(archive).write_bytes(largest(archive).read_bytes() + b"\0"),
    "no table of contents": lambda archive: (archive / "toc.dat").unlink(),
    "half a table of contents": lambda archive: cut(archive / "toc.dat", 500),
    "a stranger": lambda archive: (archive / "9999.dat.gz").write_bytes(b"x"),
    "the list of large objects cut": lambda archive: cut(next(archive.glob("blobs*.toc")), 3),
}


@pytest.mark.parametrize("level", ["archive", "full"])
@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_archive_is_no_backup(
    place: Any, cluster: Any, small: str, damage: Callable[..., None], name: str, level: str
) -> None:
    cluster.execute(small, "SELECT lo_from_bytea(0, 'content'), lo_from_bytea(0, 'other')")
    damage(DAMAGES[name])
    with pytest.raises(BackupError) as caught:
        place.take(small, level=level)
    assert caught.value.code in ("archive_damaged", "verification_failed"), caught.value
    failed(place, caught.value)


@pytest.mark.parametrize("seed", range(FLIPS))
def test_one_byte_flipped_anywhere_never_goes_unnoticed_and_unharmful(
    place: Any, cluster: Any, small: str, damage: Callable[..., None], seed: int
) -> None:
    """A byte that carries nothing (the time in a header of gzip) may pass: then all that is restored is equal."""
    rng = random.Random(seed)

    def flip(archive: Path) -> None:
        path = rng.choice([path for path in sorted(archive.iterdir()) if path.stat().st_size])
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)

    cluster.execute(small, "SELECT lo_from_bytea(0, 'content')")
    damage(flip)
    try:
        made = place.take(small, level="full", source_check="checksums")
    except BackupError as error:
        if error.code not in ("archive_damaged", "verification_failed", "restore_failed", "archive_unknown_format"):
            raise
        failed(place, error)
    else:
        assert made["status"] == "verified"
        assert {check["name"] for check in made["checks"]} >= {"content", "checksums", "schema", "large objects"}


@pytest.mark.parametrize("seed", range(FLIPS))
def test_one_byte_flipped_in_packed_data_is_always_caught(
    place: Any, small: str, damage: Callable[..., None], seed: int
) -> None:
    rng = random.Random(seed)

    def flip(archive: Path) -> None:
        path = largest(archive)
        data = bytearray(path.read_bytes())
        data[rng.randrange(10, len(data))] ^= 1 << rng.randrange(8)  # ten bytes of header hold a time, and no data
        path.write_bytes(data)

    damage(flip)
    with pytest.raises(BackupError) as caught:
        place.take(small, level="archive")
    assert caught.value.code == "archive_damaged"


def test_an_extension_that_is_missing_here_is_named(
    place: Any, cluster: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.execute(small, "CREATE EXTENSION citext")
    rows = connection.rows
    monkeypatch.setattr(loading, "rows", lambda *a: [row for row in rows(*a) if row != ("citext",)])
    with pytest.raises(BackupError, match="not installed on this host") as caught:
        place.take(small)
    assert (caught.value.code, caught.value.details["extensions"]) == ("extension_missing", ["citext"])
    assert "citext.control" in caught.value.next_step
    failed(place, caught.value)


@pytest.mark.parametrize(("program", "says"), [("pg_dump", "14.1"), ("pg_restore", "99.1"), ("postgres", "99.1")])
def test_programs_of_another_major_version_are_refused(
    place: Any, cluster: Any, small: str, program: str, says: str
) -> None:
    fake = place.root / "bin"
    fake.mkdir()
    for path in Path(cluster.binaries).iterdir():
        (fake / path.name).symlink_to(path)
    (fake / program).unlink()
    (fake / program).write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) {says}'\n")
    (fake / program).chmod(0o755)
    with pytest.raises(BackupError) as caught:
        place.take(small, binaries=str(fake))
    assert caught.value.code == "wrong_major"
    assert says in caught.value.found
    assert place.entries() == []


def test_programs_that_are_not_there_are_named(place: Any, small: str) -> None:
    with pytest.raises(BackupError, match=r"no /nowhere/pg_dump") as caught:
        place.take(small, binaries="/nowhere")
    assert caught.value.code == "programs_missing"


@contextmanager
def mounted(path: Path, size: str) -> Iterator[None]:
    """A small file system in memory, which gets full."""
    before = path.stat()
    options = f"size={size},mode={before.st_mode & 0o777:o},uid={before.st_uid},gid={before.st_gid}"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("this host does not allow to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def grown(cluster: Any, database: str) -> None:
    cluster.execute(
        database,
        "CREATE TABLE noise (b bytea)",
        "ALTER TABLE noise ALTER b SET STORAGE EXTERNAL",
        "INSERT INTO noise SELECT decode(string_agg(md5(random()::text), ''), 'hex')"
        " FROM generate_series(1, 400000) n GROUP BY n / 4000",
    )


@AS_ROOT
def test_too_little_space_is_refused_before_anything_is_written(place: Any, cluster: Any, small: str) -> None:
    grown(cluster, small)
    with mounted(place.catalogue, "3m"), pytest.raises(BackupError) as caught:
        place.take(small, level="archive")
    assert caught.value.code == "no_space"
    assert str(place.catalogue) in caught.value.summary
    with mounted(place.scratch, "40m"), pytest.raises(BackupError) as caught:
        place.take(small)
    assert caught.value.code == "no_space"
    assert str(place.scratch) in caught.value.summary
    assert place.entries() == []


@AS_ROOT
@pytest.mark.parametrize(
    ("which", "size"), [("catalogue", "3m"), ("scratch", "8m"), ("scratch", "50m"), ("scratch", "66m")]
)
def test_a_disk_that_gets_full_on_the_way(
    place: Any, cluster: Any, small: str, monkeypatch: pytest.MonkeyPatch, which: str, size: str
) -> None:
    """In the dump, in initdb, in the server's start and in the restore."""
    grown(cluster, small)
    monkeypatch.setattr(space, "require", lambda *_, **__: None)
    with mounted(getattr(place, which), size):
        with pytest.raises(BackupError) as caught:
            place.take(small)
        assert caught.value.code in ("no_space", "scratch_too_large"), caught.value
        failed(place, caught.value)


@AS_ROOT
def test_a_full_disk_at_the_very_end_leaves_no_backup(place: Any, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifest, "write", full)
    with pytest.raises(BackupError) as caught:
        place.take(small, level="archive")
    assert caught.value.code == "no_space"
    assert place.entries() == []


@AS_ROOT
def test_a_catalogue_that_is_read_only(place: Any, small: str) -> None:
    with mounted(place.catalogue, "20m"):
        subprocess.run(["mount", "-o", "remount,ro", str(place.catalogue)], check=True)
        with pytest.raises(BackupError) as caught:
            place.take(small)
    assert caught.value.code == "catalogue_read_only"
    assert not list(place.scratch.iterdir())


def test_the_server_is_killed_in_the_middle(own_cluster: Any, make_place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own_cluster.create("doomed")
    own_cluster.execute("doomed", "CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n")
    start = dump.start

    def killed(*arguments: Any, **options: Any) -> Any:
        running = start(*arguments, **options)
        own_cluster.stop(signal.SIGKILL)
        return running

    monkeypatch.setattr(dump, "start", killed)
    with make_place(own_cluster) as place:
        with pytest.raises(BackupError) as caught:
            place.take("doomed")
        assert caught.value.code in ("server_gone", "dump_failed"), caught.value
        failed(place, caught.value)


def test_the_throwaway_server_is_killed_in_the_middle(place: Any, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create = loading.create_database

    def killed(scratch: Scratch, facts: Any) -> list[str]:
        notes = create(scratch, facts)
        assert scratch._server
        scratch._server.child.send_signal(signal.SIGKILL)
        scratch._server.child.wait(60)
        return notes

    monkeypatch.setattr(loading, "create_database", killed)
    with pytest.raises(BackupError) as caught:
        place.take(small)
    assert caught.value.code == "scratch_failed"
    failed(place, caught.value)


@pytest.mark.parametrize(
    ("grants", "code", "named"),
    [
        ([], "row_security", "tenant_data"),
        (["ALTER ROLE nobody BYPASSRLS"], "not_readable", "zoo"),
        (["ALTER ROLE nobody BYPASSRLS", "GRANT pg_read_all_data TO nobody"], "large_objects_unreadable", "70001"),
    ],
)
def test_a_role_that_cannot_read_everything_is_refused_before_the_dump(
    place: Any, cluster: Any, shop: str, monkeypatch: pytest.MonkeyPatch, grants: list[str], code: str, named: str
) -> None:
    monkeypatch.setattr(dump, "start", lambda *_, **__: pytest.fail("the dump was started"))
    try:
        cluster.execute(shop, *(grants or ["SELECT 1"]))
        with pytest.raises(BackupError) as caught:
            place.take(shop, role="nobody")
    finally:
        cluster.execute(shop, "ALTER ROLE nobody NOBYPASSRLS", "REVOKE pg_read_all_data FROM nobody")
    assert caught.value.code == code
    assert any(named in name for name in caught.value.details["objects"])
    assert place.entries() == []


def test_a_role_that_may_read_everything_needs_not_be_a_superuser(place: Any, cluster: Any, small: str) -> None:
    try:
        cluster.execute(small, "GRANT pg_read_all_data TO nobody", "SELECT lo_from_bytea(70009, 'x')",
                        "GRANT SELECT ON LARGE OBJECT 70009 TO nobody")  # fmt: skip
        assert place.take(small, role="nobody")["status"] == "verified"
    finally:
        cluster.execute(small, "SELECT lo_unlink(70009)", "REVOKE pg_read_all_data FROM nobody")


def test_a_table_that_is_locked_is_waited_for_no_longer_than_told(place: Any, cluster: Any, small: str) -> None:
    with cluster.connect(small) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE book")
        with pytest.raises(BackupError) as caught:
            place.take(small, lock_wait_seconds=1)
    assert caught.value.code == "lock_not_available"


def test_another_run_at_work_is_respected(place: Any, small: str) -> None:
    from slipway_backup import workspace

    with workspace.alone(place.catalogue), pytest.raises(BackupError) as caught:
        place.take(small)
    assert caught.value.code == "backup_running"


def test_what_is_no_directory(place: Any, small: str) -> None:
    shutil.rmtree(place.catalogue)
    with pytest.raises(BackupError) as caught:
        place.take(small)
    assert caught.value.code == "catalogue_unusable"
