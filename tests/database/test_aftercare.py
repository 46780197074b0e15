# SPDX-License-Identifier: GPL-3.0-or-later
"""After the proof: encryption, a copy elsewhere, retention; and the way back from what came out of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slipway_backup import aftercare, cli, manifest, restore
from slipway_backup.errors import BackupError

from tests.database.backups import Shop, run_sql

NAME = "aftercare"


@pytest.fixture
def shop(cluster: Any, place: Any) -> Iterator[Shop]:
    cluster.drop(NAME)
    cluster.create(NAME)
    run_sql(cluster.url(NAME), "CREATE TABLE public.note AS SELECT 'note ' || n AS text FROM generate_series(1, 50) n")
    yield Shop(cluster, NAME, place.catalogue)
    for (name,) in run_sql(cluster.url("postgres"), f"SELECT datname FROM pg_database WHERE datname LIKE '{NAME}%'"):
        cluster.drop(name)


@pytest.fixture
def age(tmp_path: Path) -> dict[str, Any]:
    """A request's encryption; the private key lies in ``tmp_path``."""
    if not shutil.which("age"):
        pytest.skip("age is not installed")
    identity = tmp_path / "identity.txt"
    subprocess.run(["age-keygen", "-o", identity], check=True, capture_output=True)
    shown = subprocess.run(["age-keygen", "-y", identity], check=True, capture_output=True, text=True)
    return {"tool": "age", "recipients": [shown.stdout.strip()]}


def answered(verb: str, request: dict[str, Any]) -> dict[str, Any]:
    answer = cli.answer(verb, json.dumps(request))
    assert answer["ok"], answer
    result: dict[str, Any] = answer["result"]
    return result


def test_all_of_it_and_back(shop: Shop, age: dict[str, Any], tmp_path: Path) -> None:
    if not shutil.which("rclone"):
        pytest.skip("rclone is not installed")
    elsewhere = tmp_path / "elsewhere"
    copies = {"tool": "rclone", "remote": str(elsewhere), "environment": {"RCLONE_CONFIG": "/dev/null"}}
    entry = shop.take(encryption=age, offsite=copies, retention={"last": 1})
    known = manifest.read(entry)
    assert sorted(path.name for path in entry.iterdir()) == ["archive.tar.age", "manifest.json"]
    assert (known["status"], known["offsite"]["verified"]) == ("verified", True)
    assert manifest.read(elsewhere / entry.name) == known
    # The host is lost, and the copy is fetched.
    shutil.rmtree(entry)
    shutil.copytree(elsewhere / entry.name, entry)
    (entry / "archive.tar.age").chmod(0o640)
    asked = shop.request(backup=entry.name, confirm=NAME, jobs=1, binaries=shop.cluster.binaries)
    with pytest.raises(BackupError) as refusal:
        restore.run(asked)
    assert refusal.value.code == "identity_needed"
    if shop.cluster.user:
        shutil.chown(entry, group=shop.cluster.user)
    restored = restore.run({**asked, "identity_file": str(tmp_path / "identity.txt")})
    assert (restored["rows"], shop.sql("SELECT count(*) FROM public.note")) == (50, [(50,)])
    assert not list(shop.directory.glob("*.restoring"))


def test_old_ones_go_when_the_new_one_is_there(shop: Shop) -> None:
    first, second = shop.take(), shop.take()
    answer = shop.take(retention={"last": 1}, keep=[first.name])
    left = answered("list", {"app": "shop", "directory": str(shop.directory)})["backups"]
    assert [one["id"] for one in left] == [answer.name, first.name]
    assert not second.exists()


def test_a_backup_that_cannot_be_encrypted_is_none(shop: Shop, age: dict[str, Any]) -> None:
    with pytest.raises(BackupError) as failure:
        shop.take(encryption={**age, "recipients": ["age1nobody"]})
    assert failure.value.code == "encryption_failed"
    entry = shop.directory / failure.value.details["backup"]
    assert manifest.read(entry)["status"] == "failed"
    assert [path.name for path in entry.iterdir()] == ["manifest.json"]


def test_a_copy_that_fails_is_loud_and_leaves_the_backup_and_the_old_ones(shop: Shop) -> None:
    if not shutil.which("rclone"):
        pytest.skip("rclone is not installed")
    old = shop.take()
    copies = {"tool": "rclone", "remote": "/proc/nowhere", "environment": {"RCLONE_CONFIG": "/dev/null"}}
    with pytest.raises(BackupError) as failure:
        shop.take(offsite=copies, retention={"last": 1})
    assert failure.value.code == "offsite_failed"
    known = manifest.read(shop.directory / failure.value.details["backup"])
    assert (known["status"], known["offsite"]["verified"]) == ("verified", False)
    assert old.exists()


@pytest.mark.parametrize(
    "bad", [{"encryption": {"tool": "zip"}}, {"offsite": {"tool": "scp"}}, {"retention": {"hourly": 1}}]
)
def test_a_bad_wish_is_refused_before_anything_is_done(shop: Shop, bad: dict[str, Any]) -> None:
    with pytest.raises(BackupError) as refusal:
        shop.take(**bad)
    assert refusal.value.code == "bad_request"
    assert list(shop.directory.iterdir()) == []


def test_each_verb_is_there() -> None:
    for verb in ("take", "list", "recheck", "prune", "gate", "covers", "restore", "fresh", "reap"):
        assert cli.answer(verb, "{}")["error"]["code"] == "bad_request", verb


def test_backups_behind_releases_that_are_still_there_are_kept(tmp_path: Path) -> None:
    releases = tmp_path / "releases"
    (releases / "r1").mkdir(parents=True)
    lines = [{"release": name, "database": {"backup": f"b-{name}"}} for name in ("r1", "r2")]
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text("\n".join(map(json.dumps, [*lines, {"release": "r1", "database": None}, {"x": 1}])) + '\n{"torn')
    assert aftercare.needed(str(ledger), str(releases)) == ["b-r1"]
    assert aftercare.needed("", "") == aftercare.needed(str(tmp_path / "none"), "") == []
