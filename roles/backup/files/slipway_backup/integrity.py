# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the files of a backup are, byte for byte, those that were verified."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import catalogue, workspace
from .errors import BackupError
from .streams import Hashing

_GONE = (errno.ENOENT, errno.ENOTDIR)
_ANOTHER_KIND = (errno.ELOOP, errno.EINVAL, errno.ENXIO)  # a link, no regular file, a socket


@dataclass(frozen=True)
class Difference:
    """A file that is not what the manifest says. ``missing``: it is gone, as opposed to changed."""

    path: str
    found: str
    expected: str
    missing: bool = False


def files(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """What lies on the disk, as ``path``, ``bytes``, ``sha256``; of an encrypted backup the one ciphertext."""
    encryption = manifest["encryption"]
    if encryption:
        return [{"path": encryption["file"], "bytes": encryption["bytes"], "sha256": encryption["cipher_sha256"]}]
    return list(manifest["files"])


def described(path: str, data: bytes) -> dict[str, Any]:
    """A small file as the manifest lists files."""
    return {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def differences(entry: catalogue.Entry) -> list[Difference]:
    """Read every file again and name each one that differs. Empty: all is as it was verified.

    Raises BackupError when they cannot be read now, or not by this user: that says nothing about the bytes.
    """
    expected = files(entry.manifest)
    found = [difference for one in expected if (difference := _differs(entry.directory, one))]
    known = {one["path"] for one in expected} | {"manifest.json"}
    return found + [
        Difference(path, "a file that the manifest does not know", "no such file")
        for path in _present(entry.directory)
        if path not in known
    ]


def _present(directory: Path) -> list[str]:
    """Files below the archive; leftovers of a manifest that was being written are nobody's concern."""
    archive = directory / "archive"
    return sorted(str(path.relative_to(directory)) for path in archive.rglob("*") if not path.is_dir())


def _differs(directory: Path, one: dict[str, Any]) -> Difference | None:
    path = directory / one["path"]
    expected = f"{one['bytes']} bytes with SHA-256 {one['sha256']}"
    try:
        size, digest = hash_file(path, expected_bytes=one["bytes"])
    except OSError as error:
        if error.errno not in (*_GONE, *_ANOTHER_KIND):  # a disk or a network that does not answer now
            raise workspace.unusable(path, error) from error
        gone = error.errno in _GONE
        return Difference(one["path"], error.strerror or str(error), expected, missing=gone)
    if size != one["bytes"]:
        return Difference(one["path"], f"{size} bytes", expected)
    if digest != one["sha256"]:
        return Difference(one["path"], f"SHA-256 {digest}", expected)
    return None


def hash_file(path: Path, *, expected_bytes: int) -> tuple[int, str]:
    """Size and SHA-256 of a regular file; another size than expected is answered without reading. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb", buffering=0) as stream:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if status.st_size != expected_bytes:
            return status.st_size, ""
        hashing = Hashing(stream)
        hashing.drain()
        return hashing.bytes, hashing.sha256


def share(handle: int, directory: Path) -> None:
    """Give an open file the mode and the group of an archive's files, which pg_restore may have to read."""
    os.fchmod(handle, 0o640)
    os.fchown(handle, -1, directory.stat().st_gid)


def require(entry: catalogue.Entry) -> None:
    """Raises BackupError files_missing or files_changed, naming each file."""
    found = differences(entry)
    if not found:
        return
    missing = all(one.missing for one in found)
    raise BackupError(
        "files_missing" if missing else "files_changed",
        f"Backup {entry.id} is not what was verified: {len(found)} of its files {'are gone' if missing else 'differ'}.",
        found="; ".join(f"{one.path}: {one.found}" for one in found[:5]),
        expected="; ".join(f"{one.path}: {one.expected}" for one in found[:5]),
        next_step="Take a new backup, and find out what wrote to this one.",
        details={"backup": entry.id, "differences": [vars(one) for one in found]},
    )
