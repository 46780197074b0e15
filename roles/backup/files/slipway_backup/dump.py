# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_dump and the other programs of the server's major version."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .connection import Database
from .errors import BackupError
from .processes import Command, Deadline, Running, output

_LOCK_WAIT = 2000  # milliseconds; who waits for a lock holds up all that come after him
_DEFAULT = "/usr/lib/postgresql/{major}/bin"
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")
# Pinned where pg_dump does not do it itself: a stream must not depend on ALTER ROLE or ALTER DATABASE ... SET.
_OPTIONS = "-c bytea_output=hex -c TimeZone=UTC -c xmlbinary=base64 -c jit=off"


@dataclass(frozen=True)
class Binaries:
    """Where the programs are and which version they have (15.18)."""

    directory: str
    version: str

    def path(self, name: str) -> str:
        """The path of a program."""
        return os.path.join(self.directory, name)

    @property
    def major(self) -> int:
        """15 of 15.18."""
        return int(self.version.split(".")[0])


def find(directory: str, major: int, names: tuple[str, ...], deadline: Deadline) -> Binaries:
    """The programs of that major version, each asked for it; raises BackupError programs_missing or wrong_major.

    An older pg_dump cannot read a newer server. A newer one writes what the server cannot restore.
    """
    directory = directory or _DEFAULT.format(major=major)
    found = {name: _version(os.path.join(directory, name), major, deadline) for name in names}
    wrong = {name: version for name, version in found.items() if version.split(".")[0] != str(major)}
    if wrong:
        raise BackupError(
            "wrong_major",
            "The programs on this host are of another major version than the server",
            found=", ".join(f"{os.path.join(directory, name)} {version}" for name, version in wrong.items()),
            expected=f"PostgreSQL {major}",
            next_step=f"install postgresql-{major} and postgresql-client-{major}",
        )
    return Binaries(directory, found["pg_dump"])


def _version(path: str, major: int, deadline: Deadline) -> str:
    if not os.access(path, os.X_OK):
        raise BackupError(
            "programs_missing",
            f"There is no {path}",
            expected=f"the programs of PostgreSQL {major}",
            next_step=f"install postgresql-{major} and postgresql-client-{major}",
        )
    said = output(Command([path, "--version"]), deadline, code="programs_missing", summary=f"{path} does not run")
    match = _VERSION.search(said)
    if not match:
        raise BackupError(
            "wrong_major",
            f"{path} does not say its version",
            found=said.strip()[:200],
            next_step="reinstall PostgreSQL's client programs",
        )
    return ".".join(part for part in match.groups() if part)


# Level 1 costs half of the default and 5 % more room. Not zstd, though it decodes six times faster: pg_dump writes it
# without checksums, so that a byte that flips before we have hashed the file goes unnoticed (seen with PostgreSQL 17).
COMPRESSION = "gzip:1"


def start(database: Database, binaries: Binaries, *, snapshot: str, archive: Path, jobs: int, name: str) -> Running:
    """pg_dump at work, in the exported snapshot; ``archive`` is an empty directory that its user may write to.

    ``name`` is what its sessions are called in the server's views.
    """
    environment = {**database.environment(), "PGAPPNAME": name}
    environment["PGOPTIONS"] = f"{environment.get('PGOPTIONS', '')} {_OPTIONS}".strip()
    argv = [
        binaries.path("pg_dump"),
        "--format=directory",
        f"--file={archive}",
        f"--jobs={jobs}",
        f"--compress={COMPRESSION.partition(':')[2]}",  # a number alone is gzip, for every version
        f"--snapshot={snapshot}",
        "--no-sync",  # we write the files through to disk when we read them
        f"--lock-wait-timeout={_LOCK_WAIT}",
        "--no-password",
    ]
    return Running(Command(argv, environment, database.account, polite=True))


def finish(running: Running, deadline: Deadline) -> None:
    """Wait for pg_dump; raises BackupError with a code that tells what stopped it."""
    status = running.wait(deadline)
    if not status:
        return
    said = running.words()
    for text, code, next_step in _REASONS:
        if text in said:
            raise running.failure(status, code, "The database could not be dumped", next_step=next_step)
    raise running.failure(status, "dump_failed", "The database could not be dumped", next_step="see its message")


_REASONS = (
    ("No space left on device", "no_space", "free space in the catalogue's directory, or enlarge it"),
    ("could not obtain lock", "lock_not_available", "a schema change was waiting for a table: repeat after it"),
    ("canceling statement due to statement timeout", "lock_not_available", "find who holds the lock, then repeat"),
    ("canceling statement due to lock timeout", "lock_not_available", "find who holds the lock, then repeat"),
    ("permission denied", "not_readable", "give the role pg_read_all_data, or use one that owns the database"),
    ("row-level security", "not_readable", "use a role with BYPASSRLS"),
    ("Read-only file system", "catalogue_read_only", "make the catalogue's directory writable"),
    ("terminating connection", "server_gone", "see the server's log, then repeat"),
    ("server closed the connection", "server_gone", "see the server's log, then repeat"),
    ("the database system is", "server_gone", "see the server's log, then repeat"),
)
