# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue and the verbs that keep it: each way in which an entry can be no backup, and each change half done."""

from __future__ import annotations

import contextlib
import datetime
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slipway_backup import catalogue, covers, manifest, prune, recheck
from slipway_backup.errors import BackupError

from tests.database.backups import APP, FINGERPRINT, ago, put

NOBODY = 65534
SEED = 20261121
FLIPS = 60


def interrupted(*_given: object) -> None:
    """What is stopped at this very moment."""
    raise KeyboardInterrupt


def request(directory: Path, **more: Any) -> dict[str, Any]:
    return {"app": APP, "directory": str(directory), **more}


def listed(directory: Path) -> tuple[list[str], list[str]]:
    found = catalogue.run(request(directory))
    return [one["id"] for one in found["backups"]], [one["code"] for one in found["problems"]]


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Without the right to write: as nobody when we are root, whom no mode stops."""
    paths = [directory, *(path for path in directory.rglob("*") if not path.is_symlink())]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = os.geteuid()
    if before == 0:
        for parent in directory.parents:
            if not parent.stat().st_mode & 0o001:  # pytest's own, never one that others work in
                parent.chmod(0o755)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_newest_first(tmp_path: Path) -> None:
    old, new = put(tmp_path, ago(days=2)), put(tmp_path, ago(hours=1))
    failed = put(tmp_path, ago(days=1), status="failed")
    assert listed(tmp_path) == ([new.name, failed.name, old.name], [])
    assert catalogue.run(request(tmp_path, backup=old.name))["backup"] == manifest.read(old)


def test_a_failed_one_without_a_snapshot_is_listed_by_when_it_began(tmp_path: Path) -> None:
    failed = put(tmp_path, ago(days=1), {}, status="failed", snapshot={}, identity={})
    assert listed(tmp_path) == ([failed.name], [])


def test_no_such_directory_is_named(tmp_path: Path) -> None:
    assert listed(tmp_path / "not" / "mounted") == ([], ["missing_directory"])


def torn(entry: Path) -> None:
    data = (entry / "manifest.json").read_bytes()
    (entry / "manifest.json").write_bytes(data[: len(data) // 2])


def without_manifest(entry: Path) -> None:
    (entry / "manifest.json").unlink()


def of_another_app(entry: Path) -> None:
    manifest.write(entry, {**manifest.read(entry), "app": "blog"})


def renamed(entry: Path) -> None:
    entry.rename(entry.with_name("20200101T000000Z-00000000"))


def copied_by_hand(entry: Path) -> None:
    entry.rename(entry.with_name("copy of a backup"))


def of_a_newer_program(entry: Path) -> None:
    manifest.write(entry, {**manifest.read(entry), "format": 2})


def led_outside(entry: Path) -> None:
    manifest.write(entry, {**manifest.read(entry), "files": [{"path": "../../etc/shadow", "bytes": 1, "sha256": ""}]})


def without_zone(entry: Path) -> None:
    manifest.write(entry, {**manifest.read(entry), "snapshot": {"at": "2026-11-21T10:00:00"}})


def of_odd_status(entry: Path) -> None:
    manifest.write(entry, {**manifest.read(entry), "status": "surely fine"})


def behind_a_link(entry: Path) -> None:
    entry.rename(entry.with_name("elsewhere.partial"))
    entry.symlink_to("elsewhere.partial")


@pytest.mark.parametrize(
    ("harm", "codes"),
    [
        (torn, ["torn_manifest"]),
        (without_manifest, ["torn_manifest"]),
        (of_a_newer_program, ["torn_manifest"]),
        (led_outside, ["torn_manifest"]),
        (without_zone, ["torn_manifest"]),
        (of_odd_status, ["torn_manifest"]),
        (of_another_app, ["foreign"]),
        (renamed, ["foreign"]),
        (copied_by_hand, ["foreign"]),
        (behind_a_link, ["foreign", "unfinished"]),
    ],
)
def test_what_is_no_backup_is_named_and_never_deleted(tmp_path: Path, harm: Any, codes: list[str]) -> None:
    good, bad = put(tmp_path, ago(days=3)), put(tmp_path, ago(days=2))
    harm(bad)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert listed(tmp_path) == ([good.name], codes)
    prune.run(request(tmp_path, retention={"last": 1}))
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_one_from_the_future_is_named(tmp_path: Path) -> None:
    future = put(tmp_path, ago(days=-2))
    assert listed(tmp_path) == ([future.name], ["future"])


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackupError) as refusal:
        catalogue.run(request(tmp_path, backup="20200101T000000Z-00000000"))
    assert refusal.value.code == "no_backup"


@pytest.mark.parametrize("bad", [{"app": "../x"}, {"directory": "var"}, {"other": 1}])
def test_bad_requests(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(BackupError) as refusal:
        catalogue.run({**request(tmp_path), **bad})
    assert refusal.value.code == "bad_request"


def test_recheck_finds_each_flipped_bit_wherever_it_is(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    for _unused in range(FLIPS):
        entry = put(tmp_path, ago(minutes=dice.randint(1, 10_000)))
        path = entry / dice.choice(["archive/toc.dat", "archive/3739.dat.gz"])
        data = bytearray(path.read_bytes())
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        with pytest.raises(BackupError) as refusal:
            recheck.run(request(tmp_path))
        assert refusal.value.code == "files_changed"
        assert [one["id"] for one in refusal.value.details["checked"] if not one["verified"]] == [entry.name]
        assert manifest.read(entry)["status"] == "failed"
        shutil.rmtree(entry)


def truncated(entry: Path) -> None:
    os.truncate(entry / "archive/3739.dat.gz", 1000)


def gone(entry: Path) -> None:
    (entry / "archive/blobs.toc").unlink()


def grown(entry: Path) -> None:
    (entry / "archive/blobs.toc").write_bytes(b"x")


def another_file(entry: Path) -> None:
    (entry / "archive/3740.dat.gz").write_bytes(b"x")


def linked(entry: Path) -> None:
    (entry / "archive/toc.dat").rename(entry / "toc.dat")
    (entry / "archive/toc.dat").symlink_to(entry / "toc.dat")


def a_pipe(entry: Path) -> None:
    (entry / "archive/toc.dat").unlink()
    os.mkfifo(entry / "archive/toc.dat")


def without_archive(entry: Path) -> None:
    shutil.rmtree(entry / "archive")


@pytest.mark.parametrize("harm", [truncated, gone, grown, another_file, linked, a_pipe, without_archive])
def test_recheck_marks_what_changed_with_the_reason(tmp_path: Path, harm: Any) -> None:
    good, bad = put(tmp_path, ago(days=1)), put(tmp_path, ago(hours=1))
    harm(bad)
    with pytest.raises(BackupError):
        recheck.run(request(tmp_path))
    marked = manifest.read(bad)
    assert marked["status"] == "failed"
    assert (marked["checks"][-1]["name"], marked["checks"][-1]["ok"]) == ("recheck", False)
    assert "archive/" in marked["checks"][-1]["found"]
    assert manifest.read(good)["status"] == "verified"
    # It is not looked at again, and the good one still is.
    assert [one["id"] for one in recheck.run(request(tmp_path))["checked"]] == [good.name]


def test_recheck_of_what_is_as_it_was_writes_nothing(tmp_path: Path) -> None:
    entry = put(tmp_path, ago(days=1))
    before = (entry / "manifest.json").stat()
    result = recheck.run(request(tmp_path, backup=entry.name))
    assert result["checked"][0]["verified"]
    assert (entry / "manifest.json").stat() == before


def test_recheck_of_a_failed_one_does_not_make_it_good(tmp_path: Path) -> None:
    entry = put(tmp_path, ago(days=1), status="failed")
    with pytest.raises(BackupError):
        recheck.run(request(tmp_path, backup=entry.name))
    assert manifest.read(entry)["status"] == "failed"


def test_recheck_in_a_read_only_catalogue_still_says_what_it_found(tmp_path: Path) -> None:
    entry = put(tmp_path, ago(days=1))
    with read_only(tmp_path):
        assert recheck.run(request(tmp_path))["checked"][0]["verified"]
    truncated(entry)
    with read_only(tmp_path), pytest.raises(BackupError) as refusal:
        recheck.run(request(tmp_path))
    assert refusal.value.code == "files_changed"
    assert not refusal.value.details["checked"][0]["marked"]
    assert "could not be marked" in refusal.value.found


def test_files_that_may_not_be_read_are_no_proof_of_a_change(tmp_path: Path) -> None:
    entry = put(tmp_path, ago(days=1))
    with read_only(tmp_path), contextlib.ExitStack() as stack:
        unreadable(entry, stack)
        with pytest.raises(BackupError) as refusal:
            recheck.run(request(tmp_path))
    assert refusal.value.code == "catalogue_read_only"
    assert manifest.read(entry)["status"] == "verified"


def unreadable(entry: Path, stack: contextlib.ExitStack) -> None:
    user = os.geteuid()
    if os.getuid() == 0:
        os.seteuid(0)
        stack.callback(os.seteuid, user)
    (entry / "archive/toc.dat").chmod(0)
    os.seteuid(user)


def test_prune_in_a_read_only_catalogue_deletes_nothing(tmp_path: Path) -> None:
    entries = [put(tmp_path, ago(days=back)) for back in range(3)]
    with read_only(tmp_path), pytest.raises(BackupError) as refusal:
        prune.run(request(tmp_path, retention={"last": 1}))
    assert refusal.value.code == "catalogue_read_only"
    assert str(tmp_path) in refusal.value.summary
    assert all(entry.is_dir() for entry in entries)


def test_prune(tmp_path: Path) -> None:
    entries = [put(tmp_path, ago(days=back)) for back in range(6)]
    needed = entries[4].name
    asked = request(tmp_path, retention={"last": 2}, keep=[needed, "20200101T000000Z-00000000"])
    would = prune.run({**asked, "check": True})
    assert len(listed(tmp_path)[0]) == 6
    result = prune.run(asked)
    assert result == would
    assert result["deleted"] == [entries[2].name, entries[3].name, entries[5].name]
    assert result["unknown"] == ["20200101T000000Z-00000000"]
    assert listed(tmp_path) == ([entries[0].name, entries[1].name, needed], [])
    assert prune.run(asked)["deleted"] == []


def test_prune_without_a_policy_deletes_nothing(tmp_path: Path) -> None:
    entries = [put(tmp_path, ago(days=back)) for back in range(4)]
    assert prune.run(request(tmp_path))["deleted"] == []
    assert len(listed(tmp_path)[0]) == len(entries)


def test_the_last_verified_one_outlives_any_number_of_failed_ones(tmp_path: Path) -> None:
    verified = put(tmp_path, ago(days=900))
    for back in range(9):
        put(tmp_path, ago(days=back), {}, status="failed")
    prune.run(request(tmp_path, retention={"last": 1}))
    assert verified.name in listed(tmp_path)[0]


def test_one_that_is_read_stays_until_the_next_time(tmp_path: Path) -> None:
    new, old = put(tmp_path, ago(days=1)), put(tmp_path, ago(days=2))
    with catalogue.lock(old, exclusive=False):
        assert prune.run(request(tmp_path, retention={"last": 1}))["busy"] == [old.name]
        assert listed(tmp_path)[0] == [new.name, old.name]
    assert prune.run(request(tmp_path, retention={"last": 1}))["deleted"] == [old.name]


def test_a_deletion_that_was_cut_off_leaves_no_half_backup_and_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = put(tmp_path, ago(days=1)), put(tmp_path, ago(days=2))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prune.run(request(tmp_path, retention={"last": 1}))
    assert listed(tmp_path) == ([new.name], ["deleting"])
    prune.run(request(tmp_path))
    assert listed(tmp_path) == ([new.name], [])
    assert not old.exists()


def test_covers(tmp_path: Path) -> None:
    entry = put(tmp_path, ago(hours=1))
    asked = request(tmp_path, backup=entry.name, fingerprint="a" * 64, run="7")
    assert covers.run(asked)["changed"]
    assert not covers.run(asked)["changed"]
    assert covers.covered(manifest.read(entry)) == {FINGERPRINT, "a" * 64}


def test_a_backup_that_is_not_verified_covers_nothing(tmp_path: Path) -> None:
    entry = put(tmp_path, ago(hours=1), status="failed")
    with pytest.raises(BackupError) as refusal:
        covers.run(request(tmp_path, backup=entry.name, fingerprint="a" * 64, run="7"))
    assert refusal.value.code == "not_verified"


@pytest.mark.parametrize("bad", [{"fingerprint": "a" * 63}, {"fingerprint": "A" * 64}, {"run": ""}])
def test_covers_of_nothing(tmp_path: Path, bad: dict[str, str]) -> None:
    entry = put(tmp_path, ago(hours=1))
    with pytest.raises(BackupError) as refusal:
        covers.run(request(tmp_path, **{"backup": entry.name, "fingerprint": "a" * 64, "run": "7", **bad}))
    assert refusal.value.code == "bad_request"


def test_a_change_starts_from_what_is_on_the_disk(tmp_path: Path) -> None:
    put(tmp_path, ago(hours=1))
    (entry,) = catalogue.load(tmp_path, APP, now=ago()).entries
    catalogue.change(entry, lambda old: {**old, "who": "berta"})
    changed = catalogue.change(entry, lambda old: {**old, "why": "more"})
    assert (changed.manifest["who"], changed.manifest["why"]) == ("berta", "more")


def test_who_died_while_writing_a_manifest_left_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, ago(hours=1))
    (entry,) = catalogue.load(tmp_path, APP, now=datetime.datetime.now(datetime.UTC)).entries
    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        catalogue.change(entry, lambda old: {**old, "status": "failed"})
    assert manifest.read(path)["status"] == "verified"
