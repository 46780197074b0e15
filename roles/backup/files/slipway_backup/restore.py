# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb ``restore``: a backup back into a server, beside the live database, which is replaced at the very end.

Everything that can go wrong goes wrong beside the live database: the backup's bytes are read again, what the server
lacks is named, the backup is restored into a database of its own, and compared with the manifest row by row. Only then
the two change names, in one transaction (swap.py). The replaced database is kept under a dated name.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from . import (
    catalogue,
    dump,
    encryption,
    integrity,
    likeness,
    loading,
    loss,
    properties,
    request,
    requirements,
    settle,
    swap,
    toc,
    workspace,
)
from .connection import Connection, Database, rows
from .errors import BackupError
from .processes import Command, Deadline, Running
from .source import quoted

MODES = ("swap", "new")
LONGEST_NAME = 63  # bytes; PostgreSQL cuts longer ones without an error
MOST_JOBS = 8

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Restore:
    """``confirm`` repeats the name of the database that is replaced or made. ``check``: only say what would be lost.

    ``other_cluster``: the backup may be one of another server, after the old one was lost.
    """

    app: str
    database_url: str
    directory: str
    backup: str
    confirm: str = ""
    database_user: str = ""
    mode: str = "swap"
    target: str = ""
    jobs: int = 0
    seconds: int = 6 * 3600
    who: str = ""
    why: str = ""
    run: str = ""
    kept_name: str = ""
    terminate: bool = True
    check: bool = False
    identity_file: str = ""
    other_cluster: bool = False
    binaries: str = ""

    def __post_init__(self) -> None:
        request.check_app(self.app)
        request.check_absolute(directory=self.directory)
        request.check_one_of("mode", self.mode, MODES)
        request.check_range("jobs", self.jobs, 0, 64)
        request.check_range("seconds", self.seconds, 1, 7 * 86400)
        if (self.mode == "new") != bool(self.target):
            raise request.refused("target", found=repr(self.target), expected="a name in mode new, none in mode swap")
        for name in (self.target, self.kept_name):
            if len(name.encode()) > LONGEST_NAME or name.startswith(settle.PREFIX):
                raise request.refused("target or kept_name", found=repr(name), expected=f"up to {LONGEST_NAME} bytes")


def run(given: dict[str, Any]) -> dict[str, Any]:
    """See docs/database.md. Raises BackupError, and then the live database is as it was."""
    asked = request.parse(Restore, given)
    database = Database.parse(asked.database_url, asked.database_user)
    entry = catalogue.load(Path(asked.directory), asked.app, now=catalogue.now()).entry(asked.backup)
    work = Work(asked, database, entry, Deadline(asked.seconds))
    if asked.check:
        return work.check()
    work.require_confirmation()
    directory = Path(asked.directory)
    with (
        settle.answered(),
        settle.held(directory) as journal,
        contextlib.closing(settle.maintenance(database)) as server,
    ):
        settle.remove_plain_files(directory, asked.app)
        _hold_server(server, work.target)
        settled = settle.end(server, journal)
        settled += [
            {"database": name, "what": "dropped", "kept": ""} for name in settle.drop_marked(server, work.target)
        ]
        with catalogue.lock(entry.directory, exclusive=False):
            return {**work.carry_out(server, journal), "settled": settled}


def _hold_server(server: Connection, target: str) -> None:
    """One restore of a database at a time, from whatever host. The server releases it when we are gone."""
    query = "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended(%s, 0))"
    if not rows(server, query, (settle.MARKER + target,))[0][0]:
        raise settle.busy(f"another session of this server restores {target}")


@dataclass
class Work:
    """One restore. ``seconds`` of each step; ``server`` is connected to a maintenance database."""

    asked: Restore
    database: Database
    entry: catalogue.Entry
    deadline: Deadline
    fresh: str = field(default_factory=lambda: settle.PREFIX + secrets.token_hex(6))
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def manifest(self) -> dict[str, Any]:
        return self.entry.manifest

    @property
    def target(self) -> str:
        """The name that the restored database gets."""
        return self.asked.target or self.database.name

    def check(self) -> dict[str, Any]:
        """What would be lost, and what stands in the way. Changes nothing."""
        with settle.answered(), contextlib.closing(settle.maintenance(self.database)) as server:
            return {"lost": self._lost(server), "missing": self._missing(server), "begun": self.manifest["begun"]}

    def require_confirmation(self) -> None:
        """Nobody restores by accident: neither this database nor another one's backup."""
        if self.asked.confirm != self.target:
            raise BackupError(
                "not_confirmed",
                f"The restore of backup {self.entry.id} is not confirmed",
                found=f"confirm: {self.asked.confirm!r}",
                expected=f"confirm: {self.target!r}, the name of the database that gets its contents",
                next_step="look at what would be lost (check: true), then repeat the name",
            )

    def carry_out(self, server: Connection, journal: settle.Journal) -> dict[str, Any]:
        """All of it. Whatever fails, the half restored database is dropped and the live one has not been touched."""
        kept = self._kept_name(server)
        missing = self._missing(server)
        if missing:
            raise requirements.refusal(self.entry.id, missing)
        lost = self._timed("lost", lambda: self._lost(server))
        with self._plain_files() as archive:
            journal.write(fresh=self.fresh, target=self.target, oid=0, kept=kept, backup=self.entry.id, **self._who())
            try:
                self._timed("create", lambda: self._create(server, journal))
                self._timed("load", lambda: self._load(server, archive))
                compared = self._timed("compare", self._compare)
                self._timed("analyze", self._analyze)
                self._timed("properties", lambda: self._replay(server))
                swapped = self._timed("swap", lambda: self._swap(server, kept))
            except BaseException as error:  # noqa: BLE001 - raised again, unless the swap was done
                swapped = self._abandon(journal, error)
                compared = sum(table["rows"] for table in self.manifest["tables"])
        journal.clear()
        return {
            "restored": self.target,
            "backup": self.entry.id,
            "begun": self.manifest["begun"],
            "kept": kept,
            "swap_seconds": swapped.seconds,
            "connections_ended": swapped.connections_ended,
            "lost": lost,
            "verified": True,
            "rows": compared,
            "notes": self.notes,
            "seconds": self.seconds,
        }

    def _who(self) -> dict[str, str]:
        return {"who": self.asked.who, "why": self.asked.why, "run": self.asked.run}

    def _timed(self, name: str, step: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return step()
        finally:
            self.seconds[name] = round(time.monotonic() - began, 3)

    def _exists(self, server: Connection, name: str) -> bool:
        return bool(rows(server, "SELECT FROM pg_catalog.pg_database WHERE datname = %s", (name,)))

    def _kept_name(self, server: Connection) -> str:
        """The dated name; empty: there is no live database, it was dropped. Raises BackupError name_taken."""
        exists = self._exists(server, self.target)
        if not exists:
            return ""
        if self.asked.mode == "new":
            raise _taken(self.target)
        names = [self.asked.kept_name] if self.asked.kept_name else dated(self.target)
        for name in names:
            if not self._exists(server, name):
                return name
        raise _taken(names[0])

    def _missing(self, server: Connection) -> list[dict[str, str]]:
        wish = requirements.Wish(
            self.manifest,
            database=self.database,
            live=self.target if self.asked.mode == "swap" and self._exists(server, self.target) else "",
            swap=self.asked.mode == "swap",
            other_cluster=self.asked.other_cluster,
        )
        return requirements.missing(server, wish)

    def _lost(self, server: Connection) -> dict[str, Any]:
        if self.asked.mode == "new" or not self._exists(server, self.target):
            return loss.nothing()
        try:
            return loss.lost(self.database, self.manifest)
        except BackupError as error:  # a database that can not even be read is what restores are for
            return loss.nothing(unknown=str(error))

    @contextlib.contextmanager
    def _plain_files(self) -> Iterator[Path]:
        """The archive's directory; of an encrypted backup a decrypted one, gone at the end. pg_restore may read it."""
        directory, gid = self.entry.directory, self._reader()
        self._timed("check_files", lambda: integrity.require(self.entry))
        if not self.manifest["encryption"]:
            if gid >= 0:
                workspace.give(directory, [one["path"] for one in integrity.files(self.manifest)], gid)
            yield directory / "archive"
            return
        target = directory.with_name(f"{directory.name}.restoring")
        identity = self.asked.identity_file
        with encryption.decrypted(directory, self.manifest, identity, target, self.deadline, gid=gid) as plain:
            yield plain / "archive"

    def _reader(self) -> int:
        """The number of the group by which another user than ours reads the archive; -1: there is none such.

        It is that of the catalogue: an entry that was fetched from elsewhere has the group that it had there, or that
        of whoever fetched it. Root's is given to nobody: then it is the user's own.
        """
        account = self.database.account
        if not account.other:
            return -1
        return Path(self.asked.directory).stat().st_gid or account.entry.pw_gid

    def _create(self, server: Connection, journal: settle.Journal) -> None:
        """An empty database with a comment that says whose it is."""
        version = server.info.server_version
        owner = self.manifest["database_properties"]["owner"]
        try:
            server.execute(properties.creation(self.fresh, self.manifest["identity"], owner, version=version))
            comment = properties.literal(settle.MARKER + self.target)
            server.execute(f"COMMENT ON DATABASE {quoted(self.fresh)} IS {comment}")
            if locale := self.manifest["database_properties"].get("lc_monetary"):
                self.notes += loading.set_monetary_locale(server, self.fresh, locale)
        except psycopg.Error as error:
            raise _failed("A database to restore into could not be made", error) from error
        query = "SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = %s"
        journal.write(oid=rows(server, query, (self.fresh,))[0][0])

    def _load(self, server: Connection, archive: Path) -> None:
        """pg_restore in the order that the proof was made with; it stops at the first error."""
        major = server.info.server_version // 10000
        binaries = dump.find(self.asked.binaries, major, ("pg_dump", "pg_restore"), self.deadline)
        with tempfile.TemporaryDirectory(prefix="slipway-restore-") as name:
            os.chmod(name, 0o755)  # only the ids of entries are in it, and pg_restore may be another user
            contents = toc.read(archive)
            self.notes += loading.left_out(contents)
            for one in loading.passes(contents):
                wanted = Path(name) / f"{one.name}.list"
                wanted.write_text("".join(f"{entry.id};\n" for entry in one.entries))
                wanted.chmod(0o644)
                if one.entries:
                    self._pg_restore(binaries.path("pg_restore"), archive, wanted, parallel=one.parallel)

    def _pg_restore(self, program: str, archive: Path, wanted: Path, *, parallel: bool) -> None:
        """With two jobs at least: only then pg_restore truncates each table before it loads it, in one transaction,
        and the server puts rows down in the order in which they come: the order that the hashes are of."""
        jobs = max(2, self.asked.jobs or min(MOST_JOBS, os.cpu_count() or 1)) if parallel else 1
        options = ("--exit-on-error", "--no-password", "--format=directory", f"--use-list={wanted}", f"--jobs={jobs}")
        target = self._fresh_database()
        environment = {**target.environment(), "PGOPTIONS": "-c statement_timeout=0 -c row_security=off"}
        command = Command([program, *options, f"--dbname={self.fresh}", str(archive)], environment, target.account)
        with Running(command) as running:
            running.require_success(
                self.deadline,
                "restore_failed",
                f"Backup {self.entry.id} could not be restored",
                next_step="correct what the message names, then repeat; the live database is as it was",
            )

    def _fresh_database(self) -> Database:
        """Where to restore, as a user that may read the archive's files."""
        gid = self._reader()
        groups = (str(gid),) if gid >= 0 else ()
        return Database.parse(self.asked.database_url, self.asked.database_user, groups).with_name(self.fresh)

    def _compare(self) -> int:
        found = likeness.require(self._fresh_database(), self.manifest, self.deadline)
        self.notes += found.notes
        return found.rows

    def _analyze(self) -> None:
        """Without statistics the first requests after the swap would be slow."""
        with contextlib.closing(self._fresh_database().connect(autocommit=True)) as restored:
            try:
                restored.execute("ANALYZE")
            except psycopg.Error as error:
                raise _failed("The restored database could not be analyzed", error) from error

    def _replay(self, server: Connection) -> None:
        properties.replay(server, self.fresh, self.manifest["database_properties"])

    def _swap(self, server: Connection, kept: str) -> swap.Swapped:
        if kept:
            requirements.require_no_subscribers(server, self.target)
        self.deadline.left()
        names = swap.Names(self.fresh, self.target, kept)
        comment = self.manifest["database_properties"]["comment"]
        return swap.swap(self.database, names, comment, terminate=self.asked.terminate)

    def _abandon(self, journal: settle.Journal, error: BaseException) -> swap.Swapped:
        """Drop what was half restored. If the answer to the commit was lost, the state says that it was done."""
        try:
            with settle.answered(), contextlib.closing(settle.maintenance(self.database)) as server:
                done = settle.end(server, journal)
        except BackupError as again:
            if isinstance(error, BackupError):
                error.details["leftover"] = {"database": self.fresh, "reason": str(again)}
            raise error from again
        if any(one["what"] == "finished" for one in done):
            return swap.Swapped(self.seconds.get("swap", 0.0), 0)
        raise error


def dated(name: str) -> list[str]:
    """Names for a database that is replaced now; a second one within a second gets a number."""
    stamp = f"_before_{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}"
    endings = [stamp, *(f"{stamp}_{number}" for number in range(2, 10))]
    return [name.encode()[: LONGEST_NAME - len(ending)].decode(errors="ignore") + ending for ending in endings]


def _taken(name: str) -> BackupError:
    return BackupError(
        "name_taken",
        f"There is a database {name} already",
        found=f"a database called {name}",
        expected="a name that is free",
        next_step="choose another name, or drop that database after you have looked into it",
    )


def _failed(summary: str, error: psycopg.Error) -> BackupError:
    return BackupError(
        "restore_failed",
        summary,
        found=str(error).strip(),
        next_step="correct what the message names, then repeat; the live database is as it was",
    )
