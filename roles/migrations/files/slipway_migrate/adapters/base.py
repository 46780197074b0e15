# SPDX-License-Identifier: GPL-3.0-or-later
"""The one interface between this program and the tool that the migrations are written for."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable
from typing import Any

from slipway_migrate.errors import MigrateError
from slipway_migrate.model import Migration

Rows = list[tuple[Any, ...]]  # of a query
Fetch = Callable[..., "list[tuple[Any, ...]]"]  # (sql, params=()) -> rows
Prepare = Callable[[Fetch], None]
Listener = Callable[[str, int, float, Fetch], None]  # (sql, rowcount, seconds, fetch on the same connection)


class NotReversibleError(Exception):
    """The migration has no way back; the text says why."""


class Adapter(abc.ABC):
    """A tool for migrations. All of its connections are direct ones to one PostgreSQL database.

    ``limits`` names the guarantees that it cannot give; the result carries them.
    """

    name: str
    limits: tuple[str, ...] = ()

    @abc.abstractmethod
    def pending(self) -> list[Migration]:
        """What is to be applied, in order, each with its SQL and effects."""

    @abc.abstractmethod
    def applied(self) -> list[list[str]]:
        """[app, name] of what the database says is applied, read now."""

    @abc.abstractmethod
    def is_applied(self, migration: Migration) -> bool:
        """Whether the database has it recorded, read now: after a cut connection nothing remembered counts."""

    @abc.abstractmethod
    def apply(self, migration: Migration) -> None:
        """Run this one and record it. An atomic one is recorded in its own transaction."""

    @abc.abstractmethod
    def reverse(self, migration: Migration) -> None:
        """Undo this one, the last applied; NotReversibleError if it has no way back."""

    @abc.abstractmethod
    def arm(self, prepare: Prepare) -> None:
        """Call ``prepare`` on the connection that migrates, before each use and after each reconnection."""

    @abc.abstractmethod
    def fetch(self, sql: str, params: tuple[Any, ...] = ()) -> Rows:
        """A query on the adapter's own connection; parameters are written %s."""

    @abc.abstractmethod
    def connect(self) -> Direct:
        """A new connection to the same database, independent of all others, usable in another thread."""

    @abc.abstractmethod
    def disconnect(self) -> None:
        """Forget the connections that migrate, however broken; the next use opens new ones."""

    @abc.abstractmethod
    def trace(self, listener: Listener) -> contextlib.AbstractContextManager[None]:
        """Tell ``listener`` each statement that migrations run."""

    def discarded(self) -> contextlib.AbstractContextManager[None] | None:
        """A transaction around all that this adapter does, rolled back at its end; None if the tool has its own."""
        return None

    def finish(self) -> None:  # noqa: B027 - most tools have nothing to do here
        """What the tool does once after a run (Django: permissions and content types)."""


class Direct:
    """A psycopg or psycopg2 connection in autocommit mode that is known to end at the server itself."""

    def __init__(self, raw: Any) -> None:
        raw.autocommit = True
        self._raw = raw
        try:
            refuse_pooler(raw, self.fetch)
        except MigrateError:
            self.close()
            raise

    def fetch(self, sql: str, params: tuple[Any, ...] = ()) -> Rows:
        """The rows of a query, none if the statement returns none."""
        return fetch_raw(self._raw, sql, params)

    def close(self) -> None:
        """Close it, broken or not."""
        with contextlib.suppress(Exception):
            self._raw.close()


def fetch_raw(raw: Any, sql: str, params: tuple[Any, ...] = ()) -> Rows:
    """The rows of a query on a driver's connection."""
    with contextlib.closing(raw.cursor()) as cursor:
        cursor.execute(sql, params or None)
        return list(cursor.fetchall()) if cursor.description else []


def refuse_pooler(raw: Any, fetch: Fetch) -> None:
    """Refuse a connection through PgBouncer and its like: session settings and locks would not stay with us.

    A server tells its process id when a connection begins; a pooler makes one up, so the two answers differ.
    """
    told = getattr(getattr(raw, "info", None), "backend_pid", None)
    if told is None:
        raise MigrateError(
            "driver_unsupported",
            "The database driver does not tell which server process it talks to",
            found=type(raw).__module__,
            expected="psycopg or psycopg2",
            next_step="install psycopg in the release, and use it in the database URL",
        )
    server = fetch("SELECT pg_backend_pid()")[0][0]
    if told != server:
        raise MigrateError(
            "pooled_connection",
            "The connection does not end at PostgreSQL itself but at a pooler",
            found=f"process id {told} when it was opened, {server} now",
            expected="a direct connection: session settings and locks do not survive a pooler",
            next_step="give the migrations a database URL with the server's own host and port",
        )
