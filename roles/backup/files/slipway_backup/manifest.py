# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a backup: one JSON document beside the archive, replaced as a whole."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import BackupError

FORMAT = 1
NAME = "manifest.json"
MODE = 0o640


@dataclass
class Manifest:
    """Format 1. Times are ISO 8601 in UTC, durations seconds, sizes bytes. docs/manifest.md describes each key."""

    id: str
    app: str
    who: str
    why: str
    run: str
    begun: str
    ended: str = ""
    format: int = FORMAT
    status: str = "failed"  # until the last check has passed
    level: str = ""
    strategy: str = "logical"
    identity: dict[str, Any] = field(default_factory=dict)
    snapshot: dict[str, Any] = field(default_factory=dict)
    schema_fingerprint: str = ""
    restored_fingerprint: str = ""  # of the copy; differs where the server prints an expression in another form
    migrations: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)
    archive_bytes: int = 0
    database_bytes: int = 0
    tables: list[dict[str, Any]] = field(default_factory=list)
    sequences: list[dict[str, Any]] = field(default_factory=list)
    large_objects: dict[str, Any] = field(default_factory=dict)
    extensions: list[dict[str, str]] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    database_properties: dict[str, Any] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    rehearsal: dict[str, Any] = field(default_factory=dict)
    covers: list[dict[str, Any]] = field(default_factory=list)
    encryption: dict[str, Any] = field(default_factory=dict)
    offsite: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)  # why it failed

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as it is written."""
        return dataclasses.asdict(self)


_KINDS = {
    item.name: {"str": str, "int": int}.get(str(item.type), list if str(item.type).startswith("list") else dict)
    for item in dataclasses.fields(Manifest)
}


def new_id(begun: str) -> str:
    """An id that sorts by time: ``begun`` is ISO 8601 in UTC to the second (2026-11-21T10:15:00Z)."""
    return f"{begun.replace('-', '').replace(':', '')}-{secrets.token_hex(4)}"


def read(directory: Path) -> dict[str, Any]:
    """The manifest of a backup, with every key of the format; raises BackupError manifest_missing or _damaged."""
    path = directory / NAME
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise BackupError(
            "manifest_missing",
            f"{directory.name} has no {NAME}",
            next_step="use another backup; delete that directory when nobody writes into it",
        ) from error
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise damaged(path, f"no object of format {FORMAT}")
    for name, kind in _KINDS.items():
        if not isinstance(value.get(name), kind):
            raise damaged(path, f"{name} is no {kind.__name__}")
    return value


def damaged(path: Path, found: str) -> BackupError:
    """The error for a manifest that cannot be used."""
    return BackupError(
        "manifest_damaged",
        f"{path} is damaged",
        found=found,
        expected=f"a manifest of format {FORMAT}",
        next_step="do not use this backup; take a new one",
    )


def write(directory: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest: written through to disk, then renamed. It takes the group of ``directory``."""
    path, fresh = directory / NAME, directory / f".{NAME}.{secrets.token_hex(4)}"
    data = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), MODE)
            os.fchown(file.fileno(), -1, directory.stat().st_gid)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise
    sync(directory)


def sync(directory: Path) -> None:
    """Write a directory's names through to disk."""
    with opened(directory) as handle:
        os.fsync(handle)


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[int]:
    """A descriptor of a directory."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
