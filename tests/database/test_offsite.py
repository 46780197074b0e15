# SPDX-License-Identifier: GPL-3.0-or-later
"""Off-site copies: to a directory, to an S3 server on this host where one can be had, and with restic."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slipway_backup import integrity, manifest, offsite
from slipway_backup.catalogue import Entry
from slipway_backup.errors import BackupError
from slipway_backup.processes import Deadline

from tests.database.backups import CONTENT, ago, put

LIMIT = 120  # seconds
SECRET = "a-secret-of-the-remote"


def program(name: str) -> str:
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


def sent(entry: Path, config: dict[str, Any]) -> dict[str, Any]:
    wish = offsite.parse(config)
    assert wish
    return offsite.copy(Entry(entry, manifest.read(entry)), wish, Deadline(LIMIT)).manifest


def failed(entry: Path, config: dict[str, Any]) -> BackupError:
    """The copy fails, the manifest says so, and the backup itself is as good as it was."""
    with pytest.raises(BackupError) as failure:
        sent(entry, config)
    known = manifest.read(entry)
    assert not known["offsite"]["verified"]
    assert known["offsite"]["error"]
    assert known["status"] == "verified"
    assert failure.value.details["backup"] == entry.name
    assert integrity.differences(Entry(entry, known)) == []
    return failure.value


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    return put(tmp_path / "catalogue", ago(hours=1))


@pytest.fixture
def rclone(tmp_path: Path) -> dict[str, Any]:
    program("rclone")
    return {"tool": "rclone", "remote": str(tmp_path / "elsewhere"), "environment": {"RCLONE_CONFIG": "/dev/null"}}


def test_rclone_and_what_is_fetched_back_is_an_entry_again(entry: Path, rclone: dict[str, Any]) -> None:
    known = sent(entry, rclone)
    assert known["offsite"]["verified"]
    assert (known["offsite"]["files"], known["offsite"]["bytes"]) == (3, sum(map(len, CONTENT.values())))
    there = Path(rclone["remote"]) / entry.name
    assert manifest.read(there) == manifest.read(entry) == known
    assert integrity.differences(Entry(there, manifest.read(there))) == []


def test_a_second_time(entry: Path, rclone: dict[str, Any]) -> None:
    sent(entry, rclone)
    assert sent(entry, rclone)["offsite"]["verified"]


def faulty(tmp_path: Path, script: str) -> dict[str, str]:
    """An rclone that does harm on the way; ``$real`` is the true one."""
    directory = tmp_path / "bin"
    directory.mkdir()
    path = directory / "rclone"
    path.write_text(f"#!/bin/sh\nreal={program('rclone')}\n{script}\n")
    path.chmod(0o755)
    return {"RCLONE_CONFIG": "/dev/null", "PATH": f"{directory}:{os.environ['PATH']}"}


CUT = 'case "$1 $3" in "copyto "*.gz) mkdir -p "${3%/*}"; head -c 1000 "$2" >"$3";; *) exec "$real" "$@";; esac'
CHANGED = '"$real" "$@"; [ "$1" = copyto ] && printf x | dd of="$3" bs=1 seek=0 conv=notrunc 2>/dev/null; exit 0'


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (CUT, "offsite_differs"),
        (CHANGED, "offsite_differs"),
        ('[ "$1" = cat ] || exec "$real" "$@"; "$real" "$@"; exit 7', "offsite_failed"),
        ('[ "$1" = copyto ] || exec "$real" "$@"; exit 0', "offsite_failed"),
        ('echo "403 Forbidden" >&2; exit 1', "offsite_failed"),
    ],
    ids=["truncated", "first byte changed", "reading back fails", "nothing is written", "forbidden"],
)
def test_harm_on_the_way(entry: Path, rclone: dict[str, Any], tmp_path: Path, script: str, code: str) -> None:
    environment = faulty(tmp_path, script)
    assert failed(entry, {**rclone, "environment": environment}).code == code


def test_no_secret_is_on_a_command_line_or_in_the_manifest(entry: Path, rclone: dict[str, Any], tmp_path: Path) -> None:
    environment = faulty(tmp_path, f'echo "$@" >>{tmp_path}/arguments\nexec "$real" "$@"')
    known = sent(entry, {**rclone, "environment": {**environment, "RCLONE_CONFIG_S3_SECRET_ACCESS_KEY": SECRET}})
    assert (tmp_path / "arguments").read_text()
    assert SECRET not in (tmp_path / "arguments").read_text() + json.dumps(known)


@pytest.fixture
def restic(tmp_path: Path) -> dict[str, Any]:
    path = program("restic")
    environment = {"RESTIC_PASSWORD": SECRET, "RESTIC_CACHE_DIR": str(tmp_path / "cache")}
    repository = str(tmp_path / "repository")
    subprocess.run(
        [path, "init"],
        env={**os.environ, **environment, "RESTIC_REPOSITORY": repository},
        check=True,
        capture_output=True,
    )
    return {"tool": "restic", "repository": repository, "environment": environment}


def test_restic(entry: Path, restic: dict[str, Any]) -> None:
    known = sent(entry, restic)
    assert known["offsite"]["verified"]
    assert known["offsite"]["snapshot"]


def test_restic_without_a_repository_or_with_another_password(entry: Path, restic: dict[str, Any]) -> None:
    assert failed(entry, {**restic, "repository": restic["repository"] + "x"}).code == "offsite_failed"
    environment = {**restic["environment"], "RESTIC_PASSWORD": "another"}
    assert failed(entry, {**restic, "environment": environment}).code == "offsite_failed"


def test_restic_when_what_was_sent_differs_from_what_was_verified(entry: Path, restic: dict[str, Any]) -> None:
    path = entry / "archive/toc.dat"
    whole = path.read_bytes()
    for harm in (whole[:-1], b"x" + whole[1:], None):
        path.unlink()
        if harm is not None:
            path.write_bytes(harm)
        with pytest.raises(BackupError) as failure:
            sent(entry, restic)
        assert failure.value.code == "offsite_differs"
        path.write_bytes(whole)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server on this host: moto's, where it is installed."""
    if not importlib.util.find_spec("moto"):
        pytest.skip("no S3 server here: install moto[server] for this test")
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _unused in range(600):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(url, timeout=5).close()
                break
            time.sleep(0.1)
        yield url
    finally:
        server.kill()
        server.wait()


def test_rclone_to_s3(entry: Path, s3: str) -> None:
    program("rclone")
    keys = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": s3, "REGION": "us-east-1", "ACCESS_KEY_ID": "k"}
    environment = {f"RCLONE_CONFIG_STORE_{name}": value for name, value in keys.items()}
    environment |= {"RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": SECRET, "RCLONE_CONFIG": "/dev/null"}
    config = {"tool": "rclone", "remote": "store:bucket/shop", "environment": environment}
    assert sent(entry, config)["offsite"]["verified"]


@pytest.mark.parametrize(
    "bad",
    [
        {"tool": "scp", "remote": "x"},
        {"tool": "rclone"},
        {"tool": "restic", "remote": "x"},
        {"tool": "rclone", "remote": "x", "repository": "y"},
        {"tool": "rclone", "remote": "--config=x"},
        {"tool": "rclone", "remote": ":s3,secret_access_key=x:bucket"},
    ],
)
def test_bad_requests(bad: dict[str, Any]) -> None:
    with pytest.raises(BackupError) as refusal:
        offsite.parse(bad)
    assert refusal.value.code == "bad_request"
