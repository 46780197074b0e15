# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore's journal, and the end that the next run gives to a restore that was killed.

The swap itself needs no repair: both renames are one transaction of the server, so there is no moment in which the live
database is missing, and a killed program leaves either the old or the new state. What a killed program does leave is a
database that nobody needs, or an answer that nobody received. The journal, written through to disk before the first
statement, names the database that was being restored; its oid then tells what became of it: it has the live name (the
swap was done), still its own (it is dropped), or is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from . import catalogue, manifest, workspace
from .connection import Connection, Database, rows
from .errors import BackupError
from .source import quoted

PREFIX = "slipway_restore_"
MARKER = "slipway-backup restores "
MAINTENANCE = ("postgres", "template1")
_JOURNAL, _LOCK = ".restore.json", ".restore.lock"


class Journal:
    """What a restore is about to do, on disk. Only who holds the lock of the catalogue's restores has one."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _JOURNAL
        self.data: dict[str, Any] | None = self._read()

    def _read(self) -> dict[str, Any] | None:
        try:
            data = json.loads(self._path.read_bytes())
            return {**data, "fresh": str(data["fresh"]), "target": str(data["target"]), "oid": int(data["oid"])}
        except FileNotFoundError:
            return None
        except OSError as error:
            raise workspace.unusable(self._path, error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise BackupError(
                "journal_damaged",
                f"{self._path} is damaged",
                found=str(error),
                expected="the journal of a restore",
                next_step=f"look for databases called {PREFIX}... (\\l+), drop what is left over, then delete the file",
            ) from error

    def write(self, **data: Any) -> None:
        """Replace it, through to disk. Raises BackupError catalogue_read_only or catalogue_unusable."""
        self.data = {**(self.data or {}), **data}
        fresh = self._path.with_suffix(".fresh")
        try:
            with open(fresh, "w", encoding="utf-8", opener=_private) as file:
                json.dump(self.data, file)
                file.flush()
                os.fsync(file.fileno())
            os.rename(fresh, self._path)
            manifest.sync(self._path.parent)
        except OSError as error:
            raise workspace.unusable(self._path, error) from error

    def clear(self) -> None:
        """The restore has ended, one way or the other."""
        self.data = None
        try:
            self._path.unlink(missing_ok=True)
            manifest.sync(self._path.parent)
        except OSError as error:
            raise workspace.unusable(self._path, error) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextlib.contextmanager
def held(directory: Path) -> Iterator[Journal]:
    """The right to restore from this catalogue; raises BackupError restore_busy. It ends with the process."""
    try:
        handle = os.open(directory / _LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise workspace.unusable(directory, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy(f"another process holds {directory / _LOCK}") from None
        yield Journal(directory)
    finally:
        os.close(handle)


def busy(found: str) -> BackupError:
    """The error for a second restore at the same time."""
    return BackupError(
        "restore_busy",
        "Another restore is at work",
        found=found,
        expected="one restore at a time",
        next_step="wait until it has ended, then repeat",
    )


def settle(database: Database, directory: Path, app: str) -> list[dict[str, str]]:
    """End what a killed restore left; nothing to do costs one look at a file. Returns what was done.

    Every verb that touches the database calls this first. A restore that is at work is refused: its swap would change
    the database under the caller.
    """
    if not (directory / _JOURNAL).exists() and not any(directory.glob("*.restoring")):
        return []
    with held(directory) as journal:
        remove_plain_files(directory, app)
        if journal.data is None:
            return []
        with answered(), contextlib.closing(maintenance(database)) as server:
            return end(server, journal)


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Turn an error of the driver into one that says what to do."""
    try:
        yield
    except psycopg.Error as error:
        raise BackupError(
            "server_gone",
            "The database server did not answer as it should",
            found=str(error).strip(),
            expected="a server that stays up",
            next_step="see the server's log, then repeat: the next run ends what this one left",
        ) from error


def end(server: Connection, journal: Journal) -> list[dict[str, str]]:
    """Derive from the state of the server what became of the journal's restore, and end it."""
    if journal.data is None:
        return []
    fresh, target, oid = journal.data["fresh"], journal.data["target"], journal.data["oid"]
    finished = [{"database": target, "what": "finished", "kept": str(journal.data.get("kept", ""))}]
    names = _databases(server)
    if oid and names.get(target) == oid:
        done = finished
    elif fresh in names and fresh.startswith(PREFIX):
        drop(server, fresh)
        # A commit that was on its way when we looked made the drop wait, and then find nothing of that name.
        swapped = oid and _databases(server).get(target) == oid
        done = finished if swapped else [{"database": fresh, "what": "dropped", "kept": ""}]
    else:
        done = []
    journal.clear()
    return done


def _databases(server: Connection) -> dict[str, int]:
    return dict(rows(server, "SELECT datname, oid::bigint FROM pg_catalog.pg_database"))


def maintenance(database: Database) -> Connection:
    """A connection to the same server that is in no application's database; raises BackupError connection_failed."""
    names = [name for name in MAINTENANCE if name != database.name]
    try:
        return database.with_name(names[0]).connect(autocommit=True)
    except BackupError:
        if len(names) < 2:
            raise
        return database.with_name(names[1]).connect(autocommit=True)


def drop(server: Connection, name: str) -> None:
    """Drop a database that we made. FORCE: pg_restore's sessions of a killed run may still be about to end."""
    if not name.startswith(PREFIX):
        raise ValueError(name)
    try:
        server.execute(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")
    except psycopg.Error as error:
        raise BackupError(
            "leftover",
            f"The half restored database {name} could not be dropped",
            found=str(error).strip(),
            expected="DROP DATABASE succeeds",
            next_step=f"drop it by hand: DROP DATABASE {quoted(name)}; the live database is as it was",
        ) from error


def drop_marked(server: Connection, target: str, *, besides: str = "") -> list[str]:
    """Drop leftovers that no journal names (it was lost with its host). Only while holding the server's lock."""
    found = rows(
        server,
        """SELECT datname FROM pg_catalog.pg_database
        WHERE pg_catalog.starts_with(datname, %s) AND datname <> %s
          AND pg_catalog.shobj_description(oid, 'pg_database') = %s""",
        (PREFIX, besides, MARKER + target),
    )
    for (name,) in found:
        drop(server, name)
    return [name for (name,) in found]


def remove_plain_files(directory: Path, app: str) -> None:
    """Decrypted files of a killed restore: they are the reason why the backup was encrypted."""
    for problem in catalogue.load(directory, app, now=catalogue.now()).problems:
        if problem.code == "restoring":
            catalogue.remove(Path(problem.path))
