# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a restored database holds what its manifest says, row by row: asked before it takes the live one's place."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import Any

import psycopg

from . import compare, fingerprint
from .archive import large_objects_digest
from .connection import Database
from .errors import BackupError
from .processes import Deadline
from .source import Source, Table, quoted, sequence_values, tables

LOCK_WAIT_SECONDS = 30


@dataclass(frozen=True)
class Likeness:
    """How many ``rows`` were compared, and what is only worth a note."""

    rows: int
    notes: list[str]


def require(database: Database, manifest: dict[str, Any], deadline: Deadline) -> Likeness:
    """Raises BackupError restored_differs naming each thing that differs."""
    with contextlib.closing(Source(database, lock_wait_seconds=LOCK_WAIT_SECONDS)) as restored:
        found = [
            *_tables(restored, manifest, deadline),
            *_sequences(restored, manifest),
            *_large_objects(restored, manifest, deadline),
            *_schema(restored, manifest),
        ]
        notes = _versions(restored, manifest)
    if found:
        raise BackupError(
            "restored_differs",
            f"What was restored from backup {manifest['id']} is not what was verified",
            found="; ".join(found[:10]),
            expected="rows, their hashes, sequences, large objects and the schema as in the manifest",
            next_step="use another backup; the live database is as it was",
            details={"differences": found[:1000]},
        )
    return Likeness(sum(table["rows"] for table in manifest["tables"]), notes)


def _tables(restored: Source, manifest: dict[str, Any], deadline: Deadline) -> list[str]:
    present = {table.key: table for table in tables(restored)}
    differences = []
    # The archive holds rows in the database's own encoding.
    restored.execute("SELECT pg_catalog.set_config('client_encoding', pg_catalog.getdatabaseencoding(), false)")
    for expected in manifest["tables"]:
        key, name = (expected["schema"], expected["name"]), quoted(expected["schema"], expected["name"])
        if key not in present:
            differences.append(f"{name}: there is no such table")
            continue
        rows, digest = hash_rows(restored, present[key], deadline)
        if rows != expected["rows"]:
            differences.append(f"{name}: {rows} rows instead of {expected['rows']}")
        elif digest != expected["sha256"]:
            differences.append(f"{name}: rows with other contents")
    restored.execute("SET client_encoding TO 'UTF8'")
    return differences


def hash_rows(restored: Source, table: Table, deadline: Deadline) -> tuple[int, str]:
    """Number of rows and SHA-256 of the table's COPY stream, read in pieces."""
    digest, rows = hashlib.sha256(), 0
    try:
        with (
            restored.connection.cursor() as cursor,
            cursor.copy(f"COPY {compare.copy_source(table)} TO STDOUT") as stream,
        ):
            for piece in stream:
                deadline.left()
                digest.update(piece)
                rows += bytes(piece).count(b"\n")
    except psycopg.Error as error:
        raise BackupError(
            "restored_differs",
            f"{table.sql} could not be read",
            found=str(error).strip(),
            next_step="use another backup; the live database is as it was",
        ) from error
    return rows, digest.hexdigest()


def _sequences(restored: Source, manifest: dict[str, Any]) -> list[str]:
    """A sequence that is missing makes the query fail: no table of it could have been restored without."""
    expected = {(one["schema"], one["name"]): (one["last_value"], one["is_called"]) for one in manifest["sequences"]}
    found = sequence_values(restored.rows, [(schema, name, True) for schema, name in expected])
    return [
        f"{quoted(one.schema, one.name)}: {(one.last_value, one.is_called)} instead of {expected[one.schema, one.name]}"
        for one in found
        if (one.last_value, one.is_called) != expected[one.schema, one.name]
    ]


def _large_objects(restored: Source, manifest: dict[str, Any], deadline: Deadline) -> list[str]:
    hashes = {}
    for (oid,) in restored.rows("SELECT oid::bigint FROM pg_catalog.pg_largeobject_metadata"):
        deadline.left()
        hashes[oid] = compare.large_object_hash(restored.connection, oid)
    expected = manifest["large_objects"]
    if (len(hashes), large_objects_digest(hashes)) == (expected["count"], expected["sha256"]):
        return []
    return [f"{len(hashes)} large objects, their contents or number are not those of the {expected['count']} expected"]


def _schema(restored: Source, manifest: dict[str, Any]) -> list[str]:
    """Only a backup of level full knows how its schema prints after a restore.

    Another version of an extension is no reason to refuse: this server has no other one.
    """
    known = {manifest["schema_fingerprint"], manifest["restored_fingerprint"]}
    if not manifest["restored_fingerprint"]:
        return []
    lines = fingerprint.lines(restored.connection)
    found = fingerprint.digest(lines)
    if {found, fingerprint.digest(fingerprint.as_if(lines, manifest["extensions"]))} & known:
        return []
    return [f"a schema with fingerprint {found} instead of {' or '.join(sorted(known))}"]


def _versions(restored: Source, manifest: dict[str, Any]) -> list[str]:
    installed = dict(restored.rows("SELECT extname, extversion FROM pg_catalog.pg_extension"))
    return [
        f"extension {one['name']}: {one['version']} in the backup, {installed[one['name']]} here"
        for one in manifest["extensions"]
        if installed.get(one["name"], one["version"]) != one["version"]
    ]
