# SPDX-License-Identifier: GPL-3.0-or-later
"""Source, archive and restored copy against each other. Each function returns what differs; nothing means equal."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue

import psycopg

from . import fingerprint, toc
from .archive import Contents, Stream
from .connection import Connection, row, rows
from .errors import BackupError
from .processes import Deadline
from .scratch import Scratch
from .source import CHECKSUM, Facts, SequenceValue, Table, per_table, quoted, sequence_values

_SMALL = 1 << 16  # bytes of a stream that is hashed here; of a larger one, the server's own process is faster
_LARGE_OBJECT_PIECE = 4 << 20
_LONGEST_TIMEOUT = (1 << 31) - 1  # milliseconds
_LONGEST_HASH = 200  # bytes of a program's answer
_SETVAL = re.compile(r", (-?\d+), (true|false)\);\s*\Z")


def table_lists(facts: Facts, contents: Contents) -> list[str]:
    """Whether the archive has the rows of exactly the tables that the source has."""
    listed = [(entry.schema, entry.name) for entry in contents.entries if entry.kind == "TABLE DATA"]
    wanted = {table.key for table in facts.tables}
    found = [f"{quoted(*key)} is not in the archive" for key in sorted(wanted - set(contents.tables))]
    found += [f"{quoted(*key)} is in the archive only" for key in sorted(set(listed) - wanted)]
    if len(listed) != len(set(listed)):
        found.append("the archive holds a table twice")
    return found


def row_counts(facts: Facts, contents: Contents) -> list[str]:
    """Rows counted by the source in the snapshot against rows in the archive."""
    return [
        f"{quoted(*key)}: {count} rows in the source, {contents.tables[key].rows} in the archive"
        for key, count in facts.counts.items()
        if contents.tables[key].rows != count
    ]


def large_object_counts(facts: Facts, contents: Contents) -> list[str]:
    """Large objects counted by the source in the snapshot against those in the archive."""
    if facts.large_objects == len(contents.large_objects):
        return []
    return [f"{facts.large_objects} large objects in the source, {len(contents.large_objects)} in the archive"]


def archived_sequences(entries: Iterable[toc.Entry]) -> dict[tuple[str, str], tuple[int, bool]]:
    """Value and is_called of each sequence, from the archive's statements."""
    found = {}
    for entry in entries:
        if entry.kind == "SEQUENCE SET" and (match := _SETVAL.search(entry.definition)):
            found[entry.schema, entry.name] = (int(match[1]), match[2] == "true")
    return found


def sequences(facts: Facts, contents: Contents) -> list[str]:
    """Sequences of the archive against the source.

    They know no snapshot: pg_dump read each between our two looks. One that stood still must be equal; one that
    ascended must lie between. For one that was set back meanwhile nothing can be said.
    """
    archived, after = archived_sequences(contents.entries), {(s.schema, s.name): s for s in facts.sequences_after}
    found = []
    for before in facts.sequences:
        key = (before.schema, before.name)
        value, later = archived.get(key), after.get(key)
        if value is None:
            found.append(f"{quoted(*key)} has no value in the archive")
        elif not _plausible(before, value, later):
            found.append(f"{quoted(*key)} is {value} in the archive, {_pair(before)} in the source")
    return found


def _pair(value: SequenceValue) -> tuple[int, bool]:
    return value.last_value, value.is_called


def _plausible(before: SequenceValue, value: tuple[int, bool], later: SequenceValue | None) -> bool:
    if later is None:
        return True  # dropped after the snapshot
    if _pair(before) == _pair(later):
        return value == _pair(before)
    if not before.ascends or _pair(later) < _pair(before):
        return True
    return _pair(before) <= value <= _pair(later)


def copied_sequences(connection: Connection, contents: Contents) -> list[str]:
    """Sequences of the restored copy against the archive's statements."""
    archived = archived_sequences(contents.entries)
    names = [(schema, name, True) for schema, name in sorted(archived)]
    return [
        f"{quoted(value.schema, value.name)} is {_pair(value)} in the copy, {wanted} in the archive"
        for value in sequence_values(lambda query: rows(connection, query), names)
        if _pair(value) != (wanted := archived[value.schema, value.name])
    ]


class Hasher:
    """Hashes the tables of the copy, in several sessions at once, as COPY prints them."""

    def __init__(self, scratch: Scratch, database: str, *, jobs: int, deadline: Deadline) -> None:
        self._scratch = scratch
        self._database = database
        self._jobs = jobs
        self._deadline = deadline
        # openssl uses the processor's instructions for SHA-256; coreutils' program is five times slower.
        self._program = f"{openssl} dgst -sha256 -r" if (openssl := shutil.which("openssl")) else "sha256sum"
        self._directory = scratch.directory / "hashes"

    def hash(self, tables: Iterable[Table], streams: Mapping[tuple[str, str], Stream]) -> dict[tuple[str, str], str]:
        """The SHA-256 of each table; the largest are begun first."""
        self._directory.mkdir(exist_ok=True)
        if self._scratch.account.other:
            shutil.chown(self._directory, self._scratch.account.entry.pw_uid)
        queue: SimpleQueue[tuple[int, Table, int]] = SimpleQueue()
        ordered = sorted(tables, key=lambda table: -streams[table.key].bytes)
        for number, table in enumerate(ordered):
            queue.put((number, table, streams[table.key].bytes))
        with ThreadPoolExecutor(self._jobs) as pool:
            parts = [pool.submit(self._work, queue) for _unused in range(self._jobs)]
            found: dict[tuple[str, str], str] = {}
            for part in parts:
                found.update(part.result())
        return found

    def _work(self, queue: SimpleQueue[tuple[int, Table, int]]) -> dict[tuple[str, str], str]:
        found: dict[tuple[str, str], str] = {}
        with self._scratch.connect(self._database) as connection:
            # COPY to a program prints in this encoding; pg_dump has used the database's.
            connection.execute(
                "SELECT pg_catalog.set_config('client_encoding', pg_catalog.current_setting('server_encoding'), false)"
            )
            while True:
                try:
                    number, table, size = queue.get_nowait()
                except Empty:
                    return found
                # The server ends a statement that takes longer: nothing else could while it works.
                limit = min(int(self._deadline.left() * 1000) + 1000, _LONGEST_TIMEOUT)
                connection.execute(f"SET statement_timeout = {limit}")
                try:
                    found[table.key] = self._one(connection, number, table, size)
                except psycopg.errors.QueryCanceled as error:
                    raise self._deadline.passed() from error
                except psycopg.Error as error:
                    raise self._scratch.stopped() or _unreadable(table, error) from error

    def _one(self, connection: Connection, number: int, table: Table, size: int) -> str:
        what = copy_source(table)
        if size <= _SMALL:
            digest = hashlib.sha256()
            with connection.cursor().copy(f"COPY {what} TO STDOUT") as copy:
                for piece in copy:
                    digest.update(piece)
            return digest.hexdigest()
        path = self._directory / str(number)
        # The path is ours: letters, digits and slashes of a directory that the request names.
        program = f"{self._program} > {_shell(str(path))}"
        connection.execute(f"COPY {what} TO PROGRAM {_literal(program)}")
        return _first_word(path)


def _first_word(path: Path) -> str:
    """The hash in a program's answer. The server's user owns the directory, so it is no more trusted than the copy."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _no_hash(path, error.strerror or str(error)) from error
    with open(handle, "rb") as file:
        data = file.read(_LONGEST_HASH + 1) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    words = data.decode(errors="replace").split()
    if not words or len(data) > _LONGEST_HASH:
        raise _no_hash(path, f"{len(data)} bytes" if data else "no regular file with something in it")
    return words[0].lstrip("\\")


def _no_hash(path: Path, found: str) -> BackupError:
    return BackupError(
        "copy_unreadable",
        f"{path} does not hold the hash of a table",
        found=found,
        expected=f"a file of at most {_LONGEST_HASH} bytes, written by the throwaway server",
        next_step="look who else works as the server's user, then repeat",
    )


def _shell(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _literal(text: str) -> str:
    return " E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _unreadable(table: Table, error: psycopg.Error) -> BackupError:
    return BackupError(
        "copy_unreadable",
        f"Table {table.sql} of the restored copy cannot be read",
        found=str(error).strip(),
        next_step="the backup is not usable: see the message, then take another",
    )


def copy_source(table: Table) -> str:
    """What COPY shall print: the columns that pg_dump has printed, in its order."""
    columns = ", ".join(quoted(name) for name in table.columns)
    if table.condition:
        return f"(SELECT {columns} FROM ONLY {table.sql} {table.condition})"
    return f"{table.sql} ({columns})" if columns else table.sql


def streams(contents: Contents, hashes: dict[tuple[str, str], str]) -> list[str]:
    """The hash of each table of the copy against that of its stream in the archive."""
    return [
        f"{quoted(*key)}: SHA-256 {hashes.get(key, 'none')} in the copy, {stream.sha256} in the archive"
        for key, stream in contents.tables.items()
        if hashes.get(key) != stream.sha256
    ]


def checksums(connection: Connection, facts: Facts) -> list[str]:
    """Order-free sums of row hashes, computed by the source in the snapshot, against those of the copy."""
    copy = per_table(lambda query: rows(connection, query), facts.tables, CHECKSUM)
    return [
        f"{quoted(*key)}: checksum {value} in the source, {copy[key]} in the copy"
        for key, value in facts.checksums.items()
        if copy[key] != value
    ]


def large_objects(connection: Connection, contents: Contents) -> list[str]:
    """Content of each large object of the copy against the archive."""
    oids = [oid for (oid,) in rows(connection, "SELECT oid::bigint FROM pg_catalog.pg_largeobject_metadata")]
    found = [f"large object {oid} is in the copy only" for oid in sorted(set(oids) - set(contents.large_objects))]
    found += [f"large object {oid} is not in the copy" for oid in sorted(set(contents.large_objects) - set(oids))]
    for oid in sorted(set(oids) & set(contents.large_objects)):
        if large_object_hash(connection, oid) != contents.large_objects[oid]:
            found.append(f"large object {oid} differs")
    return found


def large_object_hash(connection: Connection, oid: int) -> str:
    """SHA-256 of a large object, read in pieces."""
    digest, offset = hashlib.sha256(), 0
    query = "SELECT pg_catalog.lo_get(%s::oid, %s::bigint, %s::int)"
    while piece := row(connection, query, (oid, offset, _LARGE_OBJECT_PIECE))[0]:
        digest.update(piece)
        offset += len(piece)
    return digest.hexdigest()


def schema(connection: Connection, facts: Facts) -> tuple[list[str], list[str], str]:
    """Differences of the schema, what is only worth a note, and the copy's own fingerprint.

    An extension of another version is a note: the archive names no version, so the restore takes the installed one.
    """
    copy = fingerprint.lines(connection)
    installed = {line.split("\t")[1]: line for line in copy if line.startswith("extension\t")}
    notes, source = [], []
    for line in facts.schema:
        name = line.split("\t")[1]
        if line.startswith("extension\t") and name in installed and installed[name] != line:
            notes.append(
                f"extension {name}: {line.split(chr(9))[2]} in the source, {installed[name].split(chr(9))[2]} here"
            )
            line = installed[name]
        source.append(line)
    return fingerprint.difference(source, copy), notes, fingerprint.digest(fingerprint.as_if(copy, facts.extensions))


def ownership(connection: Connection, facts: Facts) -> list[str]:
    """Differences of owners and privileges."""
    return fingerprint.difference(facts.ownership, fingerprint.ownership(connection))
