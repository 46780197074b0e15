# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb ``gate``: is there a way back from here? No migration runs before it has said so.

A backup opens the gate when it is of *this* database (system identifier, oid and timeline: a name proves nothing),
was verified to the level that is asked for, is young enough by the server's own clock, still has the bytes that were
verified, and when the schema is the one it holds or one that our own migrations made from it.
"""

from __future__ import annotations

import contextlib
import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import catalogue, covers, fingerprint, integrity, request, settle, source
from .connection import Database
from .errors import BackupError
from .request import LEVELS
from .retention import CLOCK_TOLERANCE
from .source import Source

LOCK_WAIT_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Gate:
    """``backup``: an id; empty: the newest that fits. ``offsite``: only one whose copy elsewhere was verified."""

    app: str
    database_url: str
    directory: str
    database_user: str = ""
    backup: str = ""
    level: str = "full"
    max_age_seconds: int = 1800
    offsite: bool = False

    def __post_init__(self) -> None:
        request.check_app(self.app)
        request.check_absolute(directory=self.directory)
        request.check_one_of("level", self.level, LEVELS)
        request.check_range("max_age_seconds", self.max_age_seconds, 1, 366 * 86400)


@dataclass(frozen=True)
class Now:
    """The live database as it is. ``at`` is by the server's clock."""

    identity: dict[str, Any]
    at: datetime.datetime
    lsn: str | None
    fingerprint: str


def run(given: dict[str, Any]) -> dict[str, Any]:
    """``backup``, ``age_seconds``, ``level``; raises BackupError with the code of the first reason against it."""
    asked = request.parse(Gate, given)
    database = Database.parse(asked.database_url, asked.database_user)
    settled = settle.settle(database, Path(asked.directory), asked.app)
    candidates = _candidates(asked)
    live = look(database)
    entry = _choose(candidates, asked, live)
    with catalogue.lock(entry.directory, exclusive=False):
        integrity.require(entry)
    age = max(0.0, (live.at - entry.at).total_seconds())
    return {"backup": entry.id, "age_seconds": round(age, 3), "level": entry.manifest["level"], "settled": settled}


def _candidates(asked: Gate) -> list[catalogue.Entry]:
    """The one that was asked for, or all verified ones, newest first."""
    found = catalogue.load(Path(asked.directory), asked.app, now=catalogue.now())
    if asked.backup:
        return [found.entry(asked.backup)]
    verified = [entry for entry in found.entries if entry.verified]
    if not verified:
        others = [f"{entry.id} is {entry.manifest['status']}" for entry in found.entries[:5]]
        others += [f"{problem.path}: {problem.message}" for problem in found.problems[:5]]
        raise BackupError(
            "no_backup",
            f"{asked.app} has no verified backup",
            found="; ".join(others) or f"an empty catalogue {asked.directory}",
            expected=f"a verified backup of at least level {asked.level}",
            next_step="take a backup",
            details={"problems": [vars(problem) for problem in found.problems]},
        )
    return verified


def _choose(candidates: list[catalogue.Entry], asked: Gate, live: Now) -> catalogue.Entry:
    """The newest one that nothing speaks against; if there is none, what speaks against the newest of all."""
    first: BackupError | None = None
    for entry in candidates:
        try:
            check(entry, asked, live)
        except BackupError as refusal:
            first = first or refusal
        else:
            return entry
    assert first
    raise first


def look(database: Database) -> Now:
    """Identity, clock, position and schema of the live database, in one transaction that writes nothing."""
    with contextlib.closing(Source(database, lock_wait_seconds=LOCK_WAIT_SECONDS)) as live:
        at, lsn = live.rows(
            """SELECT pg_catalog.clock_timestamp(), CASE WHEN pg_catalog.pg_is_in_recovery()
              THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END::text"""
        )[0]
        return Now(source.identity(live), at, lsn, fingerprint.fingerprint(live.connection))


def position(lsn: str) -> int:
    """An LSN as a number of bytes."""
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def check(entry: catalogue.Entry, asked: Gate, live: Now) -> None:
    """Everything but the files. Raises BackupError with the code of the first reason against this backup."""
    _require_level(entry, asked)
    _require_identity(entry, live)
    _require_age(entry, asked, live)
    known = covers.covered(entry.manifest)
    if live.fingerprint not in known:
        raise _refusal(
            entry,
            "schema_changed",
            "The schema was changed since",
            f"a schema with fingerprint {live.fingerprint}",
            f"one of {', '.join(sorted(known))}",
        )
    if asked.offsite and not entry.manifest["offsite"].get("verified"):
        raise _refusal(
            entry,
            "offsite_missing",
            "There is no verified copy of it elsewhere",
            entry.manifest["offsite"].get("error") or "none",
            "an off-site copy that was read back and compared",
        )


def _require_level(entry: catalogue.Entry, asked: Gate) -> None:
    if not entry.verified:
        failed = [f"{one['name']}: {one['found']}" for one in entry.manifest["checks"] if not one["ok"]]
        found = "; ".join([entry.manifest["status"], *failed])
        raise _refusal(entry, "not_verified", "It is not verified", found, "status verified")
    reached = entry.manifest["level"]
    if reached not in LEVELS or LEVELS.index(reached) < LEVELS.index(asked.level):
        raise _refusal(entry, "level_too_low", "It was not verified far enough", reached or "no level", asked.level)


def _require_identity(entry: catalogue.Entry, live: Now) -> None:
    ours, theirs = entry.manifest["identity"], live.identity
    for code, key, summary in (
        ("other_cluster", "system_identifier", "It is of another cluster"),
        ("other_database", "database_oid", "It is of another database, or of one that was replaced since"),
    ):
        if not ours.get(key) or ours[key] != theirs[key]:
            raise _refusal(entry, code, summary, f"{key} {theirs[key]}", f"{key} {ours.get(key)}")
    timelines = ours.get("timeline"), theirs["timeline"]
    if None not in timelines and timelines[0] != timelines[1]:
        found, expected = f"timeline {timelines[1]}", f"timeline {timelines[0]}"
        raise _refusal(entry, "timeline_changed", "The server was failed over or recovered since", found, expected)
    lsn = entry.manifest["snapshot"].get("lsn")
    if lsn and live.lsn and position(lsn) > position(live.lsn):
        raise _refusal(
            entry,
            "lsn_ahead",
            "It is newer than the server: this server is an older copy of the one that was backed up",
            f"the server at {live.lsn}",
            f"a server that has reached {lsn}",
        )


def _require_age(entry: catalogue.Entry, asked: Gate, live: Now) -> None:
    if entry.at > live.at + CLOCK_TOLERANCE:
        raise _refusal(
            entry,
            "from_the_future",
            "Its snapshot lies in the future: the server's clock is or was wrong",
            f"a snapshot of {entry.at.isoformat()}",
            f"one before {live.at.isoformat()}, the server's time",
        )
    age = (live.at - entry.at).total_seconds()
    if age > asked.max_age_seconds:
        raise _refusal(
            entry,
            "too_old",
            "It is too old",
            f"{age:.0f} s by the server's clock",
            f"at most {asked.max_age_seconds} s",
        )


def _refusal(entry: catalogue.Entry, code: str, summary: str, found: str, expected: str) -> BackupError:
    return BackupError(
        code,
        f"Backup {entry.id} is no way back from here. {summary}",
        found=found,
        expected=expected,
        next_step="take a new backup, then repeat",
        details={"backup": entry.id},
    )
