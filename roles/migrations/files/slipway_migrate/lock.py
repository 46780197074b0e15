# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time in a database, and never beside what a killed run left behind."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from .adapters.base import Adapter, Direct
from .errors import MigrateError, first_line
from .guard import PREFIX, application_name, enforce

KEY = (0x534C4950, 1)  # "SLIP"; advisory locks belong to one database
POLL_SECONDS = 0.2
# A server notices within guard.CHECK_CLIENT_MS that a killed client is gone.
ORPHAN_SECONDS = 3.0

_HOLDER = """
SELECT a.pid, a.application_name, a.backend_start::text, coalesce(host(a.client_addr), 'local')
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = %s
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_ORPHANS = """
SELECT pid, application_name, backend_start::text, coalesce(host(client_addr), 'local') FROM pg_stat_activity
WHERE datname = current_database() AND starts_with(application_name, %s) AND state IS DISTINCT FROM 'idle'"""


class RunLock:
    """The advisory lock of a run, on its own connection, polled for: a waiting pg_advisory_lock would be a transaction
    that CREATE INDEX CONCURRENTLY of the other run waits for, a deadlock."""

    def __init__(self, adapter: Adapter, *, run: str, wait_seconds: float) -> None:
        self._adapter = adapter
        self._run = run
        self._wait = wait_seconds
        self._connection: Direct | None = None

    def __enter__(self) -> RunLock:
        """Take it, or raise ``locked`` (somebody holds it) or ``orphan_at_work`` (a killed run's backend works)."""
        self._connection = self._adapter.connect()
        try:
            # An idle session's end would be the lock's end.
            limits = {"application_name": application_name("lock", self._run), "idle_session_timeout": "0"}
            known = self._connection.fetch("SELECT name FROM pg_settings WHERE name = ANY(%s)", (list(limits),))
            enforce(self._connection.fetch, {name: limits[name] for (name,) in known})
            deadline = time.monotonic() + self._wait
            while not self._connection.fetch("SELECT pg_try_advisory_lock(%s, %s)", KEY)[0][0]:
                self._pause(deadline, "locked", "Another run migrates this database", self._found(_HOLDER, KEY))
            deadline = time.monotonic() + max(self._wait, ORPHAN_SECONDS)
            while orphans := self._found(_ORPHANS, (f"{PREFIX}work:",)):
                self._pause(deadline, "orphan_at_work", "A run that was cut off still works in this database", orphans)
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection:
            self._connection.close()

    def check(self) -> None:
        """Raise ``lock_lost`` unless it is still held: another run may have begun meanwhile."""
        query = f"SELECT EXISTS ({_HOLDER} AND l.pid = pg_backend_pid())"
        found = "nobody holds it"
        try:
            if self._connection and self._connection.fetch(query, KEY)[0][0]:
                return
        except Exception as error:  # noqa: BLE001 - whatever the driver raises, the lock is gone
            found = first_line(error)
        raise MigrateError(
            "lock_lost",
            "The lock of this run was lost, so it goes no further",
            found=found,
            expected="the connection that holds the advisory lock stays open",
            next_step="look at the server's log for ended connections, then run again",
        )

    def _found(self, query: str, params: tuple[Any, ...]) -> list[dict[str, Any]]:
        rows = self._connection.fetch(query, params) if self._connection else []
        return [dict(zip(("pid", "application_name", "since", "from"), row)) for row in rows]

    def _pause(self, deadline: float, code: str, summary: str, holders: list[dict[str, Any]]) -> None:
        if time.monotonic() >= deadline:
            who = "; ".join(
                f"{each['application_name']} (pid {each['pid']}, {each['from']}, since {each['since']})"
                for each in holders
            )
            raise MigrateError(
                code,
                summary,
                found=who or "it has just ended",
                expected="one run at a time",
                next_step="wait until it ends, then run again",
                details={"holders": holders},
            )
        time.sleep(POLL_SECONDS)
