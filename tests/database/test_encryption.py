# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryption: there and back with age and GnuPG, and every kind of damage to the ciphertext or the key."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from slipway_backup import encryption, integrity, manifest, space
from slipway_backup.catalogue import Entry
from slipway_backup.errors import BackupError
from slipway_backup.processes import Deadline

from tests.database.backups import CONTENT, ago, put
from tests.database.test_damage import AS_ROOT, failed, grown, mounted

SEED = 20261121
FLIPS = 12
LIMIT = 120  # seconds
NOISE = {"archive/toc.dat": random.Random(SEED).randbytes(600_000)}


@dataclass
class Keys:
    """Public part as a request names it, private part in a file."""

    public: dict[str, Any]
    identity: Path


def age_keys(directory: Path) -> Keys:
    identity = directory / "identity.txt"
    subprocess.run(["age-keygen", "-o", identity], check=True, capture_output=True)
    shown = subprocess.run(["age-keygen", "-y", identity], check=True, capture_output=True, text=True)
    return Keys({"tool": "age", "recipients": [shown.stdout.strip()]}, identity)


def gpg_keys(directory: Path) -> Keys:
    home = directory / "home"
    home.mkdir(mode=0o700)
    who = "backup@example.org"

    def gpg(*arguments: str) -> str:
        call = ["gpg", "--homedir", str(home), "--batch", "--passphrase", "", "--pinentry-mode", "loopback", *arguments]
        return subprocess.run(call, check=True, capture_output=True, text=True).stdout

    try:
        gpg("--quick-generate-key", who, "default", "default", "never")
        identity = directory / "identity.asc"
        identity.write_text(gpg("--armor", "--export-secret-keys", who))
        return Keys({"tool": "gpg", "recipients": [who], "keys": gpg("--armor", "--export", who)}, identity)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


@pytest.fixture(scope="module", params=["age", "gpg"])
def keys(request: pytest.FixtureRequest) -> Iterator[Keys]:
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    # A socket of gpg's agent must have a short path.
    directory = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    yield age_keys(directory) if request.param == "age" else gpg_keys(directory)
    shutil.rmtree(directory)


def encrypt(entry: Path, config: dict[str, Any]) -> dict[str, Any]:
    wish = encryption.parse(config)
    assert wish
    sealed = encryption.encrypt(entry, manifest.read(entry), wish, Deadline(LIMIT))
    manifest.write(entry, sealed)
    return sealed


def decrypt(entry: Path, identity: str) -> dict[str, bytes]:
    target = entry.parent / f"{entry.name}.restoring"
    try:
        with encryption.decrypted(entry, manifest.read(entry), identity, target, Deadline(LIMIT), gid=-1) as plain:
            return {path: (plain / path).read_bytes() for path in CONTENT}
    finally:
        assert not target.exists()


@pytest.fixture
def sealed(tmp_path: Path, keys: Keys) -> Path:
    entry = put(tmp_path, ago(hours=1))
    encrypt(entry, keys.public)
    return entry


def test_there_and_back(sealed: Path, keys: Keys) -> None:
    described = manifest.read(sealed)["encryption"]
    assert sorted(path.name for path in sealed.iterdir()) == sorted([described["file"], "manifest.json"])
    assert integrity.differences(Entry(sealed, manifest.read(sealed))) == []
    assert not described["decrypted"]
    assert decrypt(sealed, str(keys.identity)) == CONTENT


def test_nothing_plain_is_in_the_ciphertext(sealed: Path) -> None:
    cipher = (sealed / manifest.read(sealed)["encryption"]["file"]).read_bytes()
    assert b"PGDMP" not in cipher
    assert b"toc.dat" not in cipher


def test_with_the_key_at_hand_it_is_tried(tmp_path: Path, keys: Keys) -> None:
    entry = put(tmp_path, ago(hours=1))
    assert encrypt(entry, {**keys.public, "identity_file": str(keys.identity)})["encryption"]["decrypted"]


def test_without_the_key(sealed: Path) -> None:
    with pytest.raises(BackupError) as refusal:
        decrypt(sealed, "")
    assert refusal.value.code == "identity_needed"


def test_with_another_key(sealed: Path, keys: Keys) -> None:
    directory = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    other = age_keys(directory) if keys.public["tool"] == "age" else gpg_keys(directory)
    with pytest.raises(BackupError) as refusal:
        decrypt(sealed, str(other.identity))
    assert refusal.value.code == "decryption_failed"
    shutil.rmtree(directory)


def test_each_truncation_and_flip_is_found_without_and_with_the_key(sealed: Path, keys: Keys) -> None:
    dice = random.Random(SEED)
    path = sealed / manifest.read(sealed)["encryption"]["file"]
    whole = path.read_bytes()
    for turn in range(FLIPS):
        data = bytearray(whole)
        if turn % 2:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        else:
            del data[dice.choice([len(data) - 1, len(data) - 17, dice.randrange(len(data))]) :]
        path.write_bytes(data)
        assert integrity.differences(Entry(sealed, manifest.read(sealed)))
        with pytest.raises(BackupError) as refusal:
            decrypt(sealed, str(keys.identity))
        assert refusal.value.code in ("decryption_failed", "files_changed")


def test_what_changed_after_the_verification_is_not_encrypted(tmp_path: Path, keys: Keys) -> None:
    for harm in (b"", b"x" + CONTENT["archive/toc.dat"][1:], CONTENT["archive/toc.dat"] + b"x"):
        entry = put(tmp_path, ago(hours=1))
        (entry / "archive/toc.dat").write_bytes(harm)
        with pytest.raises(BackupError) as refusal:
            encrypt(entry, keys.public)
        assert refusal.value.code == "files_changed"
        assert sorted(path.name for path in entry.iterdir()) == ["archive", "manifest.json"]
        assert (entry / "archive/3739.dat.gz").read_bytes() == CONTENT["archive/3739.dat.gz"]


def test_a_recipient_that_is_none_leaves_the_plain_files(tmp_path: Path, keys: Keys) -> None:
    entry = put(tmp_path, ago(hours=1))
    with pytest.raises(BackupError) as refusal:
        encrypt(entry, {**keys.public, "recipients": ["nobody@example.org"]})
    assert refusal.value.code == "encryption_failed"
    assert sorted(path.name for path in entry.iterdir()) == ["archive", "manifest.json"]


def test_a_full_disk_leaves_the_plain_files(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = put(tmp_path, ago(hours=1))

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BackupError) as refusal:
        encrypt(entry, keys.public)
    assert (refusal.value.code, refusal.value.summary) == ("no_space", f"{entry} is full")
    assert sorted(path.name for path in entry.iterdir()) == ["archive", "manifest.json"]


@AS_ROOT
def test_a_disk_that_gets_full_on_the_way_there_leaves_the_plain_files(tmp_path: Path, keys: Keys) -> None:
    place = tmp_path / "small"
    place.mkdir()
    with mounted(place, "1m"):
        entry = put(place, ago(hours=1), NOISE)
        with pytest.raises(BackupError) as refusal:
            encrypt(entry, keys.public)
        assert (refusal.value.code, refusal.value.summary) == ("no_space", f"{entry} is full")
        assert sorted(path.name for path in entry.iterdir()) == ["archive", "manifest.json"]
        assert integrity.differences(Entry(entry, manifest.read(entry))) == []


@AS_ROOT
def test_a_disk_that_is_too_small_for_the_way_back(tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "small"
    place.mkdir()
    with mounted(place, "1m"):
        entry = put(tmp_path, ago(hours=1), NOISE)
        encrypt(entry, keys.public)
        there = place / entry.name
        shutil.copytree(entry, there)
        before = sorted(path.name for path in place.iterdir())
        for summary in ("too little space on the file system", "is full"):
            with pytest.raises(BackupError, match=summary) as refusal:
                decrypt(there, str(keys.identity))
            assert refusal.value.code == "no_space"
            assert str(place) in refusal.value.summary
            assert sorted(path.name for path in place.iterdir()) == before
            monkeypatch.setattr(space, "require_free", lambda *_: None)  # it gets full on the way


@AS_ROOT
def test_a_backup_whose_encryption_has_no_room_says_so(
    place: Any, cluster: Any, small: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown(cluster, small)
    with mounted(place.catalogue, "9m"):
        with pytest.raises(BackupError) as caught:
            place.take(small, level="archive", encryption=keys.public)
        assert (caught.value.code, place.entries()) == ("no_space", [])  # before the dump
        monkeypatch.setattr(space, "require", lambda *_, **__: None)
        with pytest.raises(BackupError) as caught:
            place.take(small, level="archive", encryption=keys.public)
        assert "is full" in caught.value.summary
        assert failed(place, caught.value)["error"]["code"] == "no_space"
    with mounted(place.catalogue, "9m"):
        place.take(small, level="archive")  # without it there is room


def test_a_member_that_the_manifest_does_not_know_is_refused(sealed: Path, keys: Keys) -> None:
    known = manifest.read(sealed)
    manifest.write(sealed, {**known, "files": known["files"][1:]})
    with pytest.raises(BackupError) as refusal:
        decrypt(sealed, str(keys.identity))
    assert refusal.value.code == "files_changed"
    manifest.write(sealed, {**known, "files": [*known["files"], {"path": "archive/1", "bytes": 0, "sha256": ""}]})
    with pytest.raises(BackupError) as refusal:
        decrypt(sealed, str(keys.identity))
    assert refusal.value.code == "files_changed"


@pytest.mark.parametrize(
    "bad",
    [
        {"tool": "zip", "recipients": ["x"]},
        {"tool": "age", "recipients": []},
        {"tool": "age", "recipients": ["AGE-SECRET-KEY-1QQQ"]},
        {"tool": "age", "recipients": ["--output=/etc/passwd"]},
        {"tool": "gpg", "recipients": ["x"]},
        {"tool": "gpg", "recipients": ["x"], "keys": "-----BEGIN PGP PRIVATE KEY BLOCK-----"},
        {"tool": "age", "recipients": ["x"], "password": "y"},
    ],
)
def test_bad_requests(bad: dict[str, Any]) -> None:
    with pytest.raises(BackupError) as refusal:
        encryption.parse(bad)
    assert refusal.value.code == "bad_request"
    assert "QQQ" not in str(refusal.value)
