# SPDX-License-Identifier: GPL-3.0-or-later
"""A real server for the backup program: made by initdb, on a socket only, without durability, gone at the end.

These tests also run on hosts, with the distribution's pytest and driver, so they need nothing else of the repository.
SLIPWAY_PG_BIN is the directory of the server's programs; without it, the newest below /usr/lib/postgresql.
SLIPWAY_BACKUP is the directory that holds the package; without it, the role's files.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

HERE = Path(__file__).resolve().parent
PACKAGE = os.environ.get("SLIPWAY_BACKUP") or str(HERE.parents[1] / "roles/backup/files")
sys.path.insert(0, PACKAGE)

from slipway_backup import take as taking  # noqa: E402 - the line above makes it importable

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "logical",
    "max_connections": "60",
    "max_replication_slots": "4",
    "lc_messages": "C",
    "shared_buffers": "32MB",
    "jit": "off",
}


def binaries() -> str:
    """The directory of the server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    directory = os.environ.get("SLIPWAY_PG_BIN") or (str(found[-1].parent) if found else "")
    if not directory:
        pytest.fail("no PostgreSQL server below /usr/lib/postgresql: install postgresql")
    return directory


def server_user() -> str:
    """The user that servers run as: root's are refused by PostgreSQL. '' is the one who runs the tests."""
    return "postgres" if os.geteuid() == 0 else ""


@dataclass
class Cluster:
    """A running server. Its superuser is ``admin``, so that no name is right by accident."""

    directory: Path
    binaries: str
    user: str
    server: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> str:
        return str(self.directory / "socket")

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def major(self) -> int:
        return int((self.data / "PG_VERSION").read_text())

    def run(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """A program of PostgreSQL as the server's user."""
        program = [os.path.join(self.binaries, argv[0]), *argv[1:]]
        return subprocess.run(program, check=True, capture_output=True, user=self.user or None, cwd="/", **options)

    def initialise(self) -> None:
        for path in (self.data, Path(self.socket)):
            path.mkdir(mode=0o755)
            if self.user:
                shutil.chown(path, self.user)
        self.run(
            "initdb", "--no-sync", "--auth=trust", "--username=admin", "--encoding=UTF8", "--locale=C.UTF-8",
            f"--pgdata={self.data}",
        )  # fmt: skip

    def start(self) -> None:
        argv = [os.path.join(self.binaries, "postgres"), "-D", str(self.data)]
        for name, value in {**SETTINGS, "unix_socket_directories": self.socket}.items():
            argv += ["-c", f"{name}={value}"]
        with open(self.directory / "log", "ab") as log:
            self.server = subprocess.Popen(argv, user=self.user or None, cwd="/", stdout=log, stderr=log)
        for _unused in range(1200):
            with contextlib.suppress(psycopg.OperationalError):
                self.connect("postgres").close()
                return
            if self.server.poll() is not None:
                break
            time.sleep(0.05)
        pytest.fail((self.directory / "log").read_text())

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        if self.server:
            self.server.send_signal(how)
            self.server.wait(60)
            self.server = None

    def url(self, database: str, role: str = "admin") -> str:
        """The URL of a database."""
        return psycopg.conninfo.make_conninfo("", host=self.socket, dbname=database, user=role)

    def connect(self, database: str, role: str = "admin") -> psycopg.Connection[Any]:
        """A connection that commits by itself."""
        return psycopg.connect(self.url(database, role), autocommit=True)

    def execute(self, database: str, *statements: str, role: str = "admin") -> list[tuple[Any, ...]]:
        """Statements one after the other; the rows of the last one."""
        with self.connect(database, role) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def load(self, database: str, script: Path) -> None:
        """A file through psql, which knows its own commands."""
        argv = [os.path.join(self.binaries, "psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
        with open(script, "rb") as file:
            subprocess.run([*argv, self.url(database)], check=True, stdin=file, stdout=subprocess.DEVNULL)

    def create(self, database: str, template: str = "template0") -> None:
        with self.connect("postgres") as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(database), sql.Identifier(template))
            )

    def drop(self, database: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A server of its own; for tests that break it."""
    # Not pytest's directory: the path of a socket has at most 107 bytes, and other users must come through.
    directory = Path(tempfile.mkdtemp(prefix="slipway-"))
    directory.chmod(0o755)
    cluster = Cluster(directory, binaries(), server_user())
    try:
        cluster.initialise()
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A server for all tests."""
    with running_cluster() as found:
        yield found


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A server for one test, which may break it."""
    with running_cluster() as found:
        yield found


@pytest.fixture(scope="session")
def hard(cluster: Cluster) -> str:
    """The database that is hard on purpose; tests change only copies of it."""
    cluster.create("hard")
    cluster.load("hard", HERE / "hard.sql")
    return "hard"


@pytest.fixture
def shop(cluster: Cluster, hard: str) -> Iterator[str]:
    """A copy of the hard database, for one test."""
    name = f"shop {secrets.token_hex(3)}"
    # A logical slot belongs to its database, so a copy has none, and the original cannot be dropped; it need not be.
    cluster.create(name, hard)
    yield name
    cluster.drop(name)


@pytest.fixture
def small(cluster: Cluster) -> Iterator[str]:
    """A database with two tables: enough for tests of what is around it."""
    name = f"small_{secrets.token_hex(3)}"
    cluster.create(name)
    cluster.execute(
        name,
        "CREATE TABLE author (id int PRIMARY KEY, name text NOT NULL)",
        "CREATE TABLE book (id int PRIMARY KEY, author int REFERENCES author, title text)",
        "CREATE INDEX ON book (title)",
        "INSERT INTO author SELECT n, 'author ' || n FROM generate_series(1, 500) n",
        "INSERT INTO book SELECT n, 1 + n % 500, repeat('title ' || n, 20) FROM generate_series(1, 5000) n",
    )
    yield name
    cluster.drop(name)


@dataclass
class Place:
    """Directories of an application's backups, and requests that use them."""

    cluster: Cluster
    root: Path

    @property
    def catalogue(self) -> Path:
        return self.root / "catalogue"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    def request(self, database: str, *, role: str = "admin", **options: Any) -> dict[str, Any]:
        """A request of the verb take."""
        return {
            "app": "shop",
            "database_url": self.cluster.url(database, role),
            "database_user": self.cluster.user,
            "scratch_user": self.cluster.user,
            "group": self.cluster.user,
            "directory": str(self.catalogue),
            "scratch_directory": str(self.scratch),
            "binaries": self.cluster.binaries,
            "level": "full",
            "jobs": 2,
            "seconds": 300,
            **options,
        }

    def take(self, database: str, **options: Any) -> dict[str, Any]:
        """The manifest of a new backup, in this process."""
        backup: dict[str, Any] = taking.run(self.request(database, **options))["backup"]
        return backup

    def entries(self) -> list[str]:
        """What the catalogue shows."""
        return sorted(path.name for path in self.catalogue.iterdir() if not path.name.startswith("."))


@pytest.fixture
def place(cluster: Cluster) -> Iterator[Place]:
    """Empty directories for backups."""
    with new_place(cluster) as found:
        yield found


@contextlib.contextmanager
def new_place(cluster: Cluster) -> Iterator[Place]:
    root = Path(tempfile.mkdtemp(prefix="slipway-"))
    root.chmod(0o755)
    found = Place(cluster, root)
    found.catalogue.mkdir(mode=0o750)
    found.scratch.mkdir(mode=0o711)
    if cluster.user:
        shutil.chown(found.catalogue, group=cluster.user)
    try:
        yield found
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def make_place() -> Callable[[Cluster], contextlib.AbstractContextManager[Place]]:
    """Directories for a cluster other than the shared one."""
    return new_place
