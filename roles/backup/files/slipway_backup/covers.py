# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb ``covers``: a schema that our own migrations made from a backup's schema is covered by that backup."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import catalogue, fingerprint, request
from .connection import Database
from .errors import BackupError
from .source import Source

LOCK_WAIT_SECONDS = 5
FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Covers:
    """``fingerprint``: of the schema after the migrations of ``run``; empty: of the database as it is now."""

    app: str
    directory: str
    backup: str
    run: str
    fingerprint: str = ""
    database_url: str = ""
    database_user: str = ""

    def __post_init__(self) -> None:
        request.check_app(self.app)
        request.check_absolute(directory=self.directory)
        if not FINGERPRINT.fullmatch(self.fingerprint) and (self.fingerprint or not self.database_url):
            raise request.refused("fingerprint", found=repr(self.fingerprint), expected="64 hexadecimal digits")
        if not self.run:
            raise request.refused("run", found="nothing", expected="the id of the run that migrated")


def run(given: dict[str, Any]) -> dict[str, Any]:
    """Append the fingerprint; one that is covered already changes nothing. Raises BackupError not_verified."""
    asked = request.parse(Covers, given)
    entry = catalogue.load(Path(asked.directory), asked.app, now=catalogue.now()).entry(asked.backup)
    known = covered(entry.manifest)
    made = asked.fingerprint or _fingerprint(asked)
    if made in known:
        return {"backup": entry.id, "changed": False, "covers": entry.manifest["covers"]}
    line = {
        "fingerprint": made,
        "run": asked.run,
        "at": catalogue.now().isoformat(timespec="seconds"),
    }
    changed = catalogue.change(entry, lambda old: _appended(old, line))
    return {"backup": entry.id, "changed": True, "covers": changed.manifest["covers"]}


def _fingerprint(asked: Covers) -> str:
    """The schema of the database as it is now."""
    database = Database.parse(asked.database_url, asked.database_user)
    with contextlib.closing(Source(database, lock_wait_seconds=LOCK_WAIT_SECONDS)) as live:
        return fingerprint.fingerprint(live.connection)


def covered(manifest: dict[str, Any]) -> set[str]:
    """Fingerprints of the schemas that lead back to this backup: its own, and those our migrations made from it."""
    return {manifest["schema_fingerprint"], *(line["fingerprint"] for line in manifest["covers"])}


def _appended(manifest: dict[str, Any], line: dict[str, str]) -> dict[str, Any]:
    if manifest["status"] != "verified":
        raise BackupError(
            "not_verified",
            f"Backup {manifest['id']} is not verified, so it covers nothing.",
            found=manifest["status"],
            expected="verified",
            next_step="Take a new backup.",
        )
    return {**manifest, "covers": [*manifest["covers"], line]}
