# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue: what backups of an application there are, and whether their bytes are still those that were verified.

The directory is the catalogue: an entry is a directory named like its id, with a manifest and the files that the
manifest names. What is no entry (torn, of somebody else, unfinished) is named as a problem and left alone: it never
counts as a backup and is never deleted. Each change of an entry happens under its lock and is one rename.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import manifest as manifests
from . import request, workspace
from .errors import BackupError
from .retention import CLOCK_TOLERANCE

ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
STATUSES = ("verified", "failed")
LEFTOVERS = {
    ".partial": ("unfinished", "a backup that is being taken, or one that was cut off"),
    ".deleting": ("deleting", "a backup whose deletion was cut off; `prune` ends it"),
    ".restoring": ("restoring", "decrypted files of a restore that is at work, or of one that was cut off"),
}


@dataclass(frozen=True)
class Problem:
    """Something in the catalogue's directory that is no backup, or one that needs a look."""

    path: str
    code: str  # missing_directory, unfinished, deleting, restoring, foreign, torn_manifest, future
    message: str


@dataclass(frozen=True)
class Entry:
    """A backup: ``directory`` holds what ``manifest`` names."""

    directory: Path
    manifest: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.manifest["id"])

    @property
    def verified(self) -> bool:
        return bool(self.manifest["status"] == "verified")

    @property
    def at(self) -> datetime.datetime:
        """When the snapshot was taken, by the database server's clock; if it came to none, when the work began."""
        return moment(self.manifest["snapshot"].get("at") or self.manifest["begun"])


@dataclass(frozen=True)
class Catalogue:
    """Entries newest first, and everything else that lies around."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]

    def entry(self, id_: str) -> Entry:
        """The entry of that id; raises BackupError no_backup."""
        for one in self.entries:
            if one.id == id_:
                return one
        raise BackupError(
            "no_backup",
            f"There is no backup {id_}.",
            found=", ".join(one.id for one in self.entries[:10]) or "an empty catalogue",
            expected="the id of a backup",
            next_step="Choose one that `list` shows.",
            details={"problems": [vars(problem) for problem in self.problems]},
        )


def moment(text: str) -> datetime.datetime:
    """ISO 8601 with a zone; a time without one is refused with ValueError."""
    at = datetime.datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return at


def now() -> datetime.datetime:
    """This host's clock."""
    return datetime.datetime.now(datetime.UTC)


def load(directory: Path, app: str, *, now: datetime.datetime) -> Catalogue:
    """Read the catalogue. ``now`` only serves to name entries from the future. Raises BackupError if unreadable."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    for path in _children(directory, problems):
        found = _look(path, app)
        if isinstance(found, Entry):
            entries.append(found)
            if found.at > now + CLOCK_TOLERANCE:
                text = f"its snapshot is of {found.at.isoformat()}, and it is {now.isoformat(timespec='seconds')} here"
                problems.append(Problem(str(path), "future", f"{text}: one of the two clocks is wrong"))
        elif found is not None:
            problems.append(found)
    entries.sort(key=lambda one: (one.at, one.id), reverse=True)
    return Catalogue(tuple(entries), tuple(problems))


def _children(directory: Path, problems: list[Problem]) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        problems.append(Problem(str(directory), "missing_directory", "there is no such directory; is it mounted?"))
        return []
    except OSError as error:
        raise workspace.unusable(directory, error) from error


def _look(path: Path, app: str) -> Entry | Problem | None:
    """The entry there, or what is wrong with it; None for files that are the catalogue's own."""
    for suffix, (code, message) in LEFTOVERS.items():
        if path.name.endswith(suffix):
            return Problem(str(path), code, message)
    if path.name.startswith("."):
        return None
    if not ID.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return Problem(str(path), "foreign", "no backup: its name is not that of one")
    try:
        found = manifests.read(path)
    except BackupError as error:
        return Problem(str(path), "torn_manifest", f"{error.summary} {error.found}".strip())
    if found["app"] != app or found["id"] != path.name:
        whose = f"{found['app']}'s backup {found['id']}"
        return Problem(str(path), "foreign", f"its manifest is that of {whose}, not of {app}'s {path.name}")
    return _sound(path, found)


def _sound(path: Path, found: dict[str, Any]) -> Entry | Problem:
    """An entry whose times can be read and whose files lie inside it: nobody is led elsewhere by a manifest."""
    entry = Entry(path, found)
    try:
        _unused = entry.at
        names = [one["path"] for one in found["files"]] + [found["encryption"].get("file", "archive.tar")]
        inside = all(not os.path.isabs(name) and ".." not in Path(name).parts for name in names)
        if inside and found["status"] in STATUSES:
            return entry
        message = "a status or a file name that no backup of ours has"
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"{type(error).__name__}: {error}"
    return Problem(str(path), "torn_manifest", f"{path / manifests.NAME} is damaged: {message}")


@dataclass(frozen=True, kw_only=True)
class List:
    """Request of ``list``. ``backup``: that one alone, with its whole manifest."""

    app: str
    directory: str
    backup: str = ""

    def __post_init__(self) -> None:
        request.check_app(self.app)
        request.check_absolute(directory=self.directory)


def run(given: dict[str, Any]) -> dict[str, Any]:
    """The verb ``list``: backups newest first, in short, and the problems of the catalogue. Changes nothing."""
    asked = request.parse(List, given)
    found = load(Path(asked.directory), asked.app, now=now())
    if asked.backup:
        return {"backup": found.entry(asked.backup).manifest}
    return {
        "backups": [summary(entry) for entry in found.entries],
        "problems": [vars(problem) for problem in found.problems],
    }


def summary(entry: Entry) -> dict[str, Any]:
    """What a person wants to know of a backup at a glance."""
    manifest = entry.manifest
    short = ("id", "status", "level", "why", "who", "run", "begun", "ended", "archive_bytes", "database_bytes")
    return {
        **{name: manifest[name] for name in short},
        "at": entry.at.isoformat(),
        "tables": len(manifest["tables"]),
        "rows": sum(int(table["rows"]) for table in manifest["tables"]),
        "seconds": manifest["seconds"],
        "exceptions": manifest["exceptions"],
        "database": manifest["identity"].get("database", ""),
        "failed": [check for check in manifest["checks"] if not check["ok"]],
        "encrypted": manifest["encryption"].get("tool", ""),
        "offsite": manifest["offsite"],
    }


@contextlib.contextmanager
def lock(entry: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold an entry: shared to read its files, exclusive to change or delete it. Waits for nobody: busy is an error."""
    try:
        handle = os.open(entry, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise workspace.unusable(entry, error) from error
    try:
        _flock(handle, entry, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def _flock(handle: int, entry: Path, kind: int) -> None:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
        # Deleted since it was opened: the name is gone, or leads to another one.
        held = os.path.samestat(os.fstat(handle), os.stat(entry))
    except (BlockingIOError, FileNotFoundError):
        held = False
    if not held:
        raise BackupError(
            "backup_busy",
            f"Backup {entry.name} is in use.",
            found="another process of slipway-backup reads, changes or deletes it",
            expected="nobody at work on it",
            next_step="Wait until the other one is done, then repeat.",
        )


def change(entry: Entry, how: Callable[[dict[str, Any]], dict[str, Any]]) -> Entry:
    """Replace the manifest by what ``how`` makes of the one on disk (it may be newer than ours), in one rename.

    Who reads the files meanwhile is not disturbed; who changes another manifest is waited for, which is a moment.
    """
    with lock(entry.directory, exclusive=False), _one_change(entry.directory.parent):
        changed = how(manifests.read(entry.directory))
        try:
            manifests.write(entry.directory, changed)
        except OSError as error:
            raise workspace.unusable(entry.directory, error) from error
    return Entry(entry.directory, changed)


@contextlib.contextmanager
def _one_change(directory: Path) -> Iterator[None]:
    try:
        handle = os.open(directory / ".change.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise workspace.unusable(directory, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def delete(entry: Path) -> None:
    """Remove an entry: after the rename it is none any more, so a deletion that is cut off leaves no half backup."""
    if entry.name.endswith(".deleting"):
        remove(entry)
        return
    doomed = entry.with_name(entry.name + ".deleting")
    with lock(entry, exclusive=True):
        try:
            entry.rename(doomed)
            manifests.sync(entry.parent)
        except OSError as error:
            raise workspace.unusable(entry.parent, error) from error
    remove(doomed)


def remove(tree: Path) -> None:
    """Delete a directory tree; raises BackupError catalogue_*."""
    try:
        shutil.rmtree(tree)
    except FileNotFoundError:
        return
    except OSError as error:
        raise workspace.unusable(tree, error) from error
