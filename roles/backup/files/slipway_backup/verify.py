# SPDX-License-Identifier: GPL-3.0-or-later
"""The levels of proof, each including the one before: archive, data, constraints, full, amcheck.

The chain of equality is source = archive = copy. Source and archive share one snapshot and are compared by the number
of rows; archive and copy byte for byte, since COPY prints a table that one COPY has loaded in the same order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from . import archive, compare, loading, rehearsal, toc
from .archive import Contents
from .errors import BackupError
from .processes import Command, Deadline, output
from .request import LEVELS, Rehearse
from .scratch import Scratch, no_space
from .source import Facts, quoted

T = TypeVar("T")
_SHOWN = 20  # differences in a message


@dataclass
class Proof:
    """What was checked, and how far it got."""

    level: str = ""
    checks: list[dict[str, Any]] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    restored_fingerprint: str = ""
    rehearsal: dict[str, Any] = field(default_factory=dict)

    def check(self, name: str, look: Callable[[], list[str]]) -> None:
        """Record a comparison; raises BackupError verification_failed when something differs."""
        began = time.monotonic()
        differences = look()
        self.checks.append(
            {
                "name": name,
                "ok": not differences,
                "seconds": round(time.monotonic() - began, 3),
                "found": "; ".join(differences[:_SHOWN]),
            }
        )
        if differences:
            raise BackupError(
                "verification_failed",
                f"The backup is not equal to the database: {name}",
                found="; ".join(differences[:_SHOWN]) + (" ..." if len(differences) > _SHOWN else ""),
                expected="no difference",
                next_step="look for errors of the disk and of memory (dmesg), then take another backup",
                details={"check": name, "differences": differences[:1000]},
            )

    def timed(self, name: str) -> _Timed:
        """``with proof.timed("data"):`` adds to the seconds of a phase."""
        return _Timed(self.seconds, name)


class _Timed:
    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds = seconds
        self._name = name

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        spent = time.monotonic() - self._began
        self._seconds[self._name] = round(self._seconds.get(self._name, 0.0) + spent, 3)


@dataclass
class Verification:
    """A dumped archive, what the source said of it, and where it is restored. ``scratch`` is not started yet."""

    facts: Facts
    archive: Path
    level: str
    jobs: int
    deadline: Deadline
    scratch: Scratch | None = None
    rehearse: Rehearse | None = None
    proof: Proof = field(default_factory=Proof)

    def wants(self, level: str) -> bool:
        """Whether that level is asked for."""
        return LEVELS.index(self.level) >= LEVELS.index(level)

    def run(self) -> Contents:
        """Prove the archive up to the level; raises BackupError at the first thing that is wrong."""
        try:
            return self._run()
        except psycopg.Error as error:  # only the throwaway server is asked anything here
            failure = BackupError(
                "scratch_failed",
                "The throwaway server did not do what it was told",
                found=str(error).strip(),
                next_step="see the message; repeat, and look for room and memory on this host if it comes again",
            )
            raise self._server.stopped() or no_space(failure, self._server.directory) from error

    def _run(self) -> Contents:
        self.proof.exceptions += self.facts.unusable_indexes
        with ThreadPoolExecutor(1) as pool:
            decoding = pool.submit(self._decode)
            if not self.scratch:
                return self._archive(decoding)
            self._load_data(decoding)
            contents = self._archive(decoding)
            self._data_and_rules(pool, contents)
        if self.wants("full"):
            self._full()
        if self.wants("amcheck"):
            self._amcheck()
        if self.rehearse:
            self._rehearse(self.rehearse)
        return contents

    def _decode(self) -> Contents:
        with self.proof.timed("decode"):
            return archive.decode(self.archive, jobs=self.jobs, deadline=self.deadline)

    def _archive(self, decoding: Future[Contents]) -> Contents:
        contents = self._result(decoding)
        self.proof.check("tables", lambda: compare.table_lists(self.facts, contents))
        self.proof.check("rows", lambda: compare.row_counts(self.facts, contents))
        self.proof.check("large object counts", lambda: compare.large_object_counts(self.facts, contents))
        self.proof.check("sequences", lambda: compare.sequences(self.facts, contents))
        self.proof.level = "archive"
        return contents

    def _result(self, future: Future[T]) -> T:
        try:
            return future.result(self.deadline.left())
        except FutureTimeout as error:
            raise self.deadline.passed() from error

    @property
    def _server(self) -> Scratch:
        assert self.scratch
        return self.scratch

    @property
    def _loader(self) -> loading.Loader:
        return loading.Loader(self._server, self.archive, self._name, self.jobs, self.deadline)

    @property
    def _name(self) -> str:
        return str(self.facts.identity["database"])

    def _load_data(self, decoding: Future[Contents]) -> None:
        """Restore up to the data while the archive is decoded. A damaged archive is the better reason for a failure."""
        with self.proof.timed("data"):
            loading.require_extensions(self._server, self.facts)
            self.proof.exceptions += loading.create_database(self._server, self.facts)
            try:
                self._restore(loading.passes(toc.read(self.archive))[0])
            except BackupError as error:
                if error.code == "restore_failed":
                    self._archive(decoding)
                raise

    def _restore(self, part: loading.Pass) -> None:
        if part.entries:
            with self._loader.start(part) as running:
                self._loader.finish(running)

    def _data_and_rules(self, pool: ThreadPoolExecutor, contents: Contents) -> None:
        """Hash the tables of the copy while keys and indexes are built: both leave a core idle at times."""
        hashing = pool.submit(self._hash, contents)
        try:
            self._rules(contents)
        except BackupError as error:
            if error.code == "restore_failed":
                self._data(contents, hashing)
            raise
        self._data(contents, hashing)
        if self.wants("constraints"):
            self.proof.level = "constraints"

    def _hash(self, contents: Contents) -> dict[tuple[str, str], str]:
        with self.proof.timed("compare"):
            hasher = compare.Hasher(self._server, self._name, jobs=self.jobs, deadline=self.deadline)
            return hasher.hash(self.facts.tables, contents.tables)

    def _rules(self, contents: Contents) -> None:
        if not self.wants("constraints"):
            return
        full = self.wants("full")
        with self.proof.timed("indexes" if full else "constraints"):
            for part in loading.passes(contents.entries, indexes=full)[1:]:
                self._restore(part)

    def _data(self, contents: Contents, hashing: Future[dict[tuple[str, str], str]]) -> None:
        self.proof.check("content", lambda: compare.streams(contents, self._result(hashing)))
        with self._server.connect(self._name) as connection:
            self.proof.check("restored sequences", lambda: compare.copied_sequences(connection, contents))
            self.proof.check("large objects", lambda: compare.large_objects(connection, contents))
            if self.facts.checksums:
                self.proof.check("checksums", lambda: compare.checksums(connection, self.facts))
        self.proof.level = "data"

    def _full(self) -> None:
        with self._server.connect(self._name, autocommit=False) as connection:
            differences, notes, self.proof.restored_fingerprint = compare.schema(connection, self.facts)
            self.proof.exceptions += notes
            self.proof.check("schema", lambda: differences)
            self.proof.check("ownership and privileges", lambda: compare.ownership(connection, self.facts))
        self.proof.level = "full"

    def _amcheck(self) -> None:
        target = self._server.database(self._name)
        argv = [
            self._server.binaries.path("pg_amcheck"),
            "--heapallindexed",
            "--install-missing",
            f"--jobs={self.jobs}",
            f"--database={quoted(self._name)}",  # a pattern, in which capitals and dots mean something
        ]
        environment = {key: value for key, value in target.environment().items() if key != "PGDATABASE"}
        with self.proof.timed("amcheck"):
            try:
                output(
                    Command(argv, {**environment, "PGDATABASE": "template1"}, target.account, polite=True),
                    self.deadline,
                    code="verification_failed",
                    summary="The restored copy has a damaged table or index",
                )
            except BackupError as error:
                raise self._server.stopped() or error from error
        self.proof.checks.append({"name": "amcheck", "ok": True, "seconds": self.proof.seconds["amcheck"], "found": ""})
        self.proof.level = "amcheck"

    def _rehearse(self, wanted: Rehearse) -> None:
        with self.proof.timed("rehearsal"):
            self.proof.rehearsal = rehearsal.run(self._server, self._name, wanted, self.deadline)
