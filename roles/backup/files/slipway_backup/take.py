# SPDX-License-Identifier: GPL-3.0-or-later
"""``take``: dump in one snapshot, prove the archive, and only then call it a backup."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any

from . import compare, counting, dump, fingerprint, privileges, scratch, settle, space, workspace
from .aftercare import Aftercare
from .archive import Contents, large_objects_digest
from .connection import APPLICATION, Database
from .dump import Binaries
from .errors import BackupError
from .manifest import Manifest, new_id
from .processes import Account, Deadline
from .request import Take, parse
from .scratch import Scratch
from .source import NEWEST, OLDEST, Facts, SequenceValue, Source, sequences
from .verify import Verification
from .workspace import Workspace

_CLIENT = ("pg_dump",)
_SERVER = ("pg_restore", "initdb", "postgres")
_MOST_JOBS = 8
_ATTEMPTS = 4  # to dump, while others want tables for themselves


def run(given: dict[str, Any]) -> dict[str, Any]:
    """The verb: the manifest of the new ``backup``, ``pruned`` old ones, and what killed runs had left (``reaped``)."""
    take = parse(Take, given, "take")
    run_ = Run(take)
    directory = Path(take.directory)
    with workspace.alone(directory):
        settled = settle.settle(run_.database, directory, take.app)
        reaped = workspace.remove_unfinished(directory) + scratch.reap(Path(take.scratch_directory))
        try:
            made = run_.take()
        except BackupError as error:
            if not run_.may_be_mistaken(error):
                raise
            say(f"{error.found}: the server's statistics may say more than the dump has read; once more, counting")
            run_ = Run(dataclasses.replace(take, source_check="counts", seconds=int(run_.deadline.left()) + 1))
            made = run_.take()
        return {**run_.aftercare.finish(made, run_.deadline), "reaped": reaped, "settled": settled}


def say(text: str) -> None:
    """A line for people."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Run:
    """One backup. Each step is a method, in the order they are called in."""

    def __init__(self, take: Take) -> None:
        self.request = take
        self.aftercare = Aftercare.parse(take)
        self.deadline = Deadline(take.seconds)
        self.database = Database.parse(take.database_url, take.database_user, (take.group,))
        self.scratch_account = Account(take.scratch_user, (take.group,) if take.group else ())
        # Two at least: only then pg_restore truncates a table before it loads it, and the order of its rows stays.
        self.jobs = max(2, take.jobs or min(os.cpu_count() or 1, _MOST_JOBS))
        self.began = time.monotonic()
        begun = _now()
        self.manifest = Manifest(id=new_id(begun), app=take.app, who=take.who, why=take.why, run=take.run, begun=begun)

    def take(self) -> dict[str, Any]:
        """The manifest of the verified backup. After a failure the catalogue holds a manifest that says why."""
        with contextlib.closing(Source(self.database, lock_wait_seconds=self.request.lock_wait_seconds)) as source:
            binaries = self._preflight(source)
            place = Workspace(
                Path(self.request.directory), self.manifest, account=self.database.account, group=self.request.group
            )
            try:
                with workspace.worded(place.path):
                    self._make(source, binaries, place)
            except BackupError as error:
                place.fail(error)
                error.details.setdefault("backup", self.manifest.id)
                raise
            except BaseException:
                place.fail(
                    BackupError(
                        "interrupted",
                        "The run was interrupted",
                        next_step="repeat; what it left is removed by the next run",
                    )
                )
                raise
        return self.manifest.as_dict()

    def may_be_mistaken(self, error: BackupError) -> bool:
        """Whether the numbers of rows differ, and they are what the server has told instead of counted."""
        return self.request.source_check == "statistics" and error.details.get("check") == "rows"

    def _preflight(self, source: Source) -> Binaries:
        """Refuse what cannot succeed before anything is written."""
        if not OLDEST <= source.major <= NEWEST:
            raise BackupError(
                "unsupported_version",
                "The server's version is not supported",
                found=str(source.major),
                expected=f"{OLDEST} to {NEWEST}",
                next_step="use a server of a version that is supported",
            )
        names: tuple[str, ...] = _CLIENT if self.request.level == "archive" else _CLIENT + _SERVER
        if self.request.level == "amcheck":
            names += ("pg_amcheck",)
        binaries = dump.find(self.request.binaries, source.major, names, self.deadline)
        privileges.refuse_unreadable(source)
        ((size,),) = source.rows("SELECT pg_catalog.pg_database_size(pg_catalog.current_database())")
        self.manifest.database_bytes = size
        copies = None if self.request.level == "archive" else Path(self.request.scratch_directory)
        size = self.manifest.database_bytes
        space.require(Path(self.request.directory), copies, size, archives=self.aftercare.archives)
        self.manifest.tools = {"pg_dump": binaries.version, "compression": dump.COMPRESSION}
        return binaries

    def _make(self, source: Source, binaries: Binaries, place: Workspace) -> None:
        with self._scratch(binaries) as server:
            facts = self._dump(source, binaries, place, server)
            self._remember(facts)
            say(f"Dumped {len(facts.tables)} tables in {self.manifest.seconds['dump']} s; proving the archive")
            verification = Verification(
                facts=facts,
                archive=place.archive,
                level=self.request.level,
                jobs=self.jobs,
                deadline=self.deadline,
                scratch=server,
                rehearse=self.request.rehearse,
            )
            try:
                contents = verification.run()
            finally:
                self._remember_proof(verification)
            self._remember_contents(facts, contents)
        self.aftercare.seal(place.path, self.manifest, self.deadline)
        self.manifest.status = "verified"
        self.manifest.ended = _now()
        self.manifest.seconds["total"] = round(time.monotonic() - self.began, 3)
        place.publish()
        say(f"Backup {self.manifest.id} is verified at level {self.manifest.level}")

    @contextlib.contextmanager
    def _scratch(self, binaries: Binaries) -> Iterator[Scratch | None]:
        if self.request.level == "archive":
            yield None
            return
        limits = scratch.Limits(
            bytes=space.scratch_limit(
                self.manifest.database_bytes, self.request.scratch_bytes, rehearse=bool(self.request.rehearse)
            ),
            jobs=self.jobs,
        )
        root = Path(self.request.scratch_directory)
        with scratch.prepared(root, binaries, self.scratch_account, limits=limits) as server:
            self.manifest.tools["scratch_network"] = "none" if server.isolated else "shared"
            yield server

    def _dump(self, source: Source, binaries: Binaries, place: Workspace, server: Scratch | None) -> Facts:
        """Dump in a snapshot, and look at the source in the same one.

        We hold every table, pg_dump asks for them a moment later. Whoever wants one for himself in between (ALTER,
        TRUNCATE) waits for us, and pg_dump for him: so pg_dump gives up soon, we let go, and begin again.
        """
        began = time.monotonic()
        for attempt in range(1, _ATTEMPTS + 1):
            snapshot = source.open_snapshot()  # it has a limit of its own for locks
            try:
                facts = self._dump_once(snapshot, source, binaries, place, server)
                break
            except BackupError as error:
                if error.code != "lock_not_available" or attempt == _ATTEMPTS:
                    raise
                say(f"Somebody waited for an exclusive lock of a table: let go, attempt {attempt + 1} follows")
                source.close_snapshot()
                place.empty()
        facts.snapshot["seconds_open"] = source.close_snapshot()
        facts.sequences_after = sequences(source)
        source.connection.rollback()
        self.manifest.seconds["dump"] = round(time.monotonic() - began, 3)
        self.manifest.source = {
            "seconds_busy": round(source.seconds_busy, 3),
            "statements": source.statements,
            "tables_counted": source.tables_counted,
        }
        source.close()
        place.claim()
        return facts

    def _dump_once(
        self, snapshot: str, source: Source, binaries: Binaries, place: Workspace, server: Scratch | None
    ) -> Facts:
        """Dump, look at the source and start the throwaway server, all at once."""
        before = sequences(source)
        scans = counting.scans(source) if self.request.source_check == "statistics" else {}
        name = f"{APPLICATION} {self.manifest.id}"
        with (
            dump.start(
                self.database, binaries, snapshot=snapshot, archive=place.archive, jobs=self.jobs, name=name
            ) as dumping,
            ThreadPoolExecutor(1) as pool,
        ):
            looking: Future[Any] = pool.submit(self._look, source, before, counted=not scans)
            try:
                self._start_scratch(server)
                dump.finish(dumping, self.deadline)
                facts: Facts = looking.result(self.deadline.left())
                if scans:
                    looking = pool.submit(counting.rows, source, facts.tables, scans, name)
                    facts.counts = looking.result(self.deadline.left())
                return facts
            except FutureTimeout as error:
                raise self.deadline.passed() from error
            except BackupError as error:
                # When our own look fails, its transaction ends, and pg_dump complains about the snapshot's end only.
                if looking.done() and (reason := looking.exception()):
                    raise reason from error
                raise
            finally:
                if not looking.done():
                    source.connection.cancel()

    def _look(self, source: Source, before: list[SequenceValue], *, counted: bool) -> Facts:
        """Everything but what can be told when the dump has ended only; ``counted``: nothing can be told."""
        facts = source.facts(before, checksums=self.request.source_check == "checksums")
        if counted:
            facts.counts = counting.rows(source, facts.tables, {}, "")
        return facts

    def _start_scratch(self, server: Scratch | None) -> None:
        if not server or server.running:
            return
        began = time.monotonic()
        server.initialise(self.deadline)
        server.start(self.deadline)
        self.manifest.seconds["scratch"] = round(time.monotonic() - began, 3)

    def _remember(self, facts: Facts) -> None:
        made = self.manifest
        made.identity, made.snapshot = facts.identity, facts.snapshot
        made.schema_fingerprint = fingerprint.digest(facts.schema)
        made.migrations, made.extensions = facts.migrations, facts.extensions
        made.roles = [role["name"] for role in facts.roles]
        made.database_properties = {**facts.properties, "lc_monetary": facts.lc_monetary}
        made.database_bytes = facts.database_bytes

    def _remember_proof(self, verification: Verification) -> None:
        proof = verification.proof
        self.manifest.level = proof.level
        self.manifest.checks, self.manifest.exceptions = proof.checks, proof.exceptions
        self.manifest.seconds.update(proof.seconds)
        self.manifest.restored_fingerprint = proof.restored_fingerprint
        self.manifest.rehearsal = proof.rehearsal

    def _remember_contents(self, facts: Facts, contents: Contents) -> None:
        made = self.manifest
        made.files, made.archive_bytes = contents.files, contents.bytes
        made.tables = [
            {"schema": table.schema, "name": table.name, **vars(contents.tables[table.key])} for table in facts.tables
        ]
        archived = compare.archived_sequences(contents.entries)
        made.sequences = [
            {"schema": schema, "name": name, "last_value": value, "is_called": called}
            for (schema, name), (value, called) in sorted(archived.items())
        ]
        digest = large_objects_digest(contents.large_objects)
        made.large_objects = {"count": len(contents.large_objects), "sha256": digest}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
