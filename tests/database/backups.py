# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups for tests: made up where no server is needed, and of a small database of the test cluster elsewhere."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from slipway_backup import manifest as manifests
from slipway_backup import take

APP = "shop"
FINGERPRINT = "5" * 64
CONTENT = {"archive/toc.dat": b"PGDMP" * 100, "archive/3739.dat.gz": bytes(range(256)) * 900, "archive/blobs.toc": b""}


def stamp(at: datetime.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(**span: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(**span)


def manifest_of(id_: str, at: datetime.datetime, content: dict[str, bytes], **given: Any) -> dict[str, Any]:
    files = [
        {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for path, data in content.items()
    ]
    made = manifests.Manifest(
        id=id_,
        app=APP,
        who="anna",
        why="a test",
        run="1",
        begun=stamp(at),
        ended=stamp(at),
        status="verified",
        level="full",
        identity={"system_identifier": "1", "timeline": 1, "database": "shop", "database_oid": 5},
        snapshot={"lsn": "0/1", "at": at.isoformat(), "seconds_open": 0.1},
        schema_fingerprint=FINGERPRINT,
        files=files,
        archive_bytes=sum(len(data) for data in content.values()),
    )
    return {**made.as_dict(), **given}


def put(directory: Path, at: datetime.datetime, content: dict[str, bytes] | None = None, **given: Any) -> Path:
    """A backup in the catalogue ``directory``; ``given`` replaces keys of its manifest."""
    content = CONTENT if content is None else content
    entry = directory / manifests.new_id(stamp(at))
    for path, data in content.items():
        (entry / path).parent.mkdir(parents=True, exist_ok=True)
        (entry / path).write_bytes(data)
    entry.mkdir(exist_ok=True)
    manifests.write(entry, manifest_of(entry.name, at, content, **given))
    return entry


def connect(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url, autocommit=True)


def run_sql(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Rows of the last statement, if it has any."""
    with contextlib.closing(connect(url)) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@dataclass
class Shop:
    """A database of the test cluster with a catalogue of its own."""

    cluster: Any
    name: str
    directory: Path

    @property
    def url(self) -> str:
        return str(self.cluster.url(self.name))

    @property
    def server(self) -> str:
        return str(self.cluster.url("postgres"))

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        return run_sql(self.url, *statements)

    def oid(self, name: str = "") -> int | None:
        found = run_sql(
            self.server, f"SELECT oid::bigint FROM pg_database WHERE datname = {psycopg.sql.quote(name or self.name)}"
        )
        return int(found[0][0]) if found else None

    def databases(self) -> set[str]:
        return {name for (name,) in run_sql(self.server, "SELECT datname FROM pg_database")}

    def request(self, **more: Any) -> dict[str, Any]:
        return {
            "app": APP,
            "database_url": self.url,
            "database_user": self.cluster.user,
            "directory": str(self.directory),
            **more,
        }

    def take(self, **more: Any) -> Path:
        """A backup that was really taken, at the level that needs no second server."""
        common = {"level": "archive", "jobs": 1, "binaries": self.cluster.binaries, "group": self.cluster.user}
        scratch = {"scratch_directory": str(self.directory / ".scratch")}
        return self.directory / str(take.run(self.request(**common, **scratch, **more))["backup"]["id"])

    def backup(self, **given: Any) -> Path:
        """The same, said to be of level full, because that is what gates want; ``given`` replaces manifest keys."""
        entry = self.take()
        manifests.write(entry, {**manifests.read(entry), "level": "full", **given})
        return entry
