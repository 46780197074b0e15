# SPDX-License-Identifier: GPL-3.0-or-later
"""The swap: the live database gets a dated name, the restored one the live name, in one transaction of the server.

ALTER DATABASE ... RENAME may run inside a transaction. The first rename takes the lock that every new connection to the
live database needs, and then waits up to five seconds until no session is left in it (CountOtherDBBackends in
PostgreSQL's procarray.c); meanwhile a second connection ends those sessions. New ones wait at that lock and see the new
database a moment later. So, unlike with ALLOW_CONNECTIONS false and two single renames, there is no state in between
that a kill, a lost connection or a crash of the server could leave behind.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass

import psycopg

from . import settle
from .connection import Connection, Database, rows
from .errors import BackupError
from .properties import literal
from .source import quoted

# The swap either is quick or is given up: application requests wait for it.
_LIMITS = {"lock_timeout": "3s", "statement_timeout": "20s", "idle_in_transaction_session_timeout": "20s"}
_LOOK_EVERY = 0.01  # seconds


@dataclass(frozen=True)
class Swapped:
    """``seconds``: from the first lock to the commit."""

    seconds: float
    connections_ended: int


@dataclass(frozen=True)
class Names:
    """``live`` becomes ``kept`` ('' : there is no live one), ``fresh`` becomes ``live``."""

    fresh: str
    live: str
    kept: str = ""


def swap(database: Database, names: Names, comment: str | None, *, terminate: bool) -> Swapped:
    """Raises BackupError swap_failed or connections_open; each name then leads to the database that it did before."""
    with (
        contextlib.closing(settle.maintenance(database)) as watcher,
        contextlib.closing(settle.maintenance(database)) as swapper,
    ):
        if not terminate:
            require_nobody(watcher, names.live)
        for name, value in _LIMITS.items():
            swapper.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
        failures: list[psycopg.Error] = []
        began = time.monotonic()
        renaming = threading.Thread(target=_rename, args=(swapper, names, comment, failures), daemon=True)
        renaming.start()
        ended: set[tuple[int, object]] = set()
        while renaming.is_alive():
            if terminate and names.kept:
                # Without this connection the rename fails soon, or is done: its end decides, not this one.
                with contextlib.suppress(psycopg.Error):
                    ended |= _end_sessions(watcher, names.live)
            renaming.join(_LOOK_EVERY)
        seconds = round(time.monotonic() - began, 4)
        if failures:
            with settle.answered():
                raise _failed(names, failures[0], sessions(watcher, names.live)) from failures[0]
        return Swapped(seconds, len(ended))


def _rename(swapper: Connection, names: Names, comment: str | None, failures: list[psycopg.Error]) -> None:
    try:
        with swapper.transaction():
            if names.kept:
                swapper.execute(f"ALTER DATABASE {quoted(names.live)} RENAME TO {quoted(names.kept)}")
            swapper.execute(f"ALTER DATABASE {quoted(names.fresh)} RENAME TO {quoted(names.live)}")
            # Until here a comment said that it is a restore's.
            swapper.execute(f"COMMENT ON DATABASE {quoted(names.live)} IS {literal(comment)}")
    except psycopg.Error as error:
        failures.append(error)


def _end_sessions(watcher: Connection, live: str) -> set[tuple[int, object]]:
    """End the sessions that this role may end. Others make the rename fail, and are named then.

    The kind of a session is null for who may not see it.
    """
    found = rows(
        watcher,
        """SELECT a.pid, a.backend_start, pg_catalog.pg_terminate_backend(a.pid)
        FROM pg_catalog.pg_stat_activity a LEFT JOIN pg_catalog.pg_roles t ON t.oid = a.usesysid
        WHERE a.datname = %s AND coalesce(a.backend_type, '') NOT IN ('autovacuum worker', 'walsender') AND (
          (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
          OR pg_catalog.pg_has_role(a.usesysid, 'USAGE')
          OR (pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AND NOT t.rolsuper))""",
        (live,),
    )
    return {(pid, started) for pid, started, ended in found if ended}


def sessions(server: Connection, name: str) -> list[dict[str, object]]:
    """Who is connected to a database: ``pid``, ``user``, ``application``, ``address``, ``kind``."""
    keys = ("pid", "user", "application", "address", "kind")
    found = rows(
        server,
        """SELECT pid, usename, application_name, client_addr::text, backend_type FROM pg_catalog.pg_stat_activity
        WHERE datname = %s AND backend_type IS DISTINCT FROM 'autovacuum worker' ORDER BY pid""",
        (name,),
    )
    return [dict(zip(keys, line, strict=True)) for line in found]


def require_nobody(server: Connection, name: str) -> None:
    """Raises BackupError connections_open, naming who is connected."""
    connected = sessions(server, name)
    if connected:
        raise BackupError(
            "connections_open",
            f"Somebody is connected to database {name}, and nobody is to be disconnected",
            found=_told(connected),
            expected="no connection",
            next_step="stop the application, or set terminate",
            details={"connections": connected},
        )


def _failed(names: Names, error: psycopg.Error, connected: list[dict[str, object]]) -> BackupError:
    return BackupError(
        "swap_failed",
        f"Database {names.live} could not be replaced; it is as it was",
        found="; ".join(part for part in (str(error).strip(), _told(connected)) if part),
        expected="a moment without a session in it",
        next_step="end these sessions (a superuser, or a member of pg_signal_backend, may), then repeat",
        details={"connections": connected},
    )


def _told(connected: list[dict[str, object]]) -> str:
    return "; ".join(
        f"pid {one['pid']}: {one['user']} {one['application']!r} from {one['address'] or 'this host'}"
        for one in connected[:10]
    )
