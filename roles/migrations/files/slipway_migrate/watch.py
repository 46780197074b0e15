# SPDX-License-Identifier: GPL-3.0-or-later
"""Who makes the migration wait: looked up while it waits, because afterwards nobody can tell."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any

from .adapters.base import Adapter, Direct
from .guard import application_name, enforce
from .report import say

# Matched by name: the connection that migrates may be opened anew, or belong to a command.
_BLOCKERS = """
SELECT b.pid, b.application_name, coalesce(b.usename, ''), coalesce(b.state, ''), left(coalesce(b.query, ''), 200),
       coalesce(extract(epoch FROM clock_timestamp() - b.xact_start), 0)::float
FROM pg_stat_activity w CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS blocker(pid)
JOIN pg_stat_activity b ON b.pid = blocker.pid
WHERE w.application_name = %s AND w.datname = current_database() AND w.wait_event_type = 'Lock'"""
_FIELDS = ("pid", "application_name", "user", "state", "query", "transaction_seconds")


class Watcher:
    """A thread with a connection of its own. ``waited`` and ``blockers`` may be read at any time."""

    def __init__(self, adapter: Adapter, *, run: str, lock_timeout_ms: int) -> None:
        self._adapter = adapter
        self._run = run
        # Often enough to look at least four times before the shortest wait is given up.
        self._interval = max(0.02, min(0.2, lock_timeout_ms / 4000))
        self._stop = threading.Event()
        self._seconds: dict[int, float] = {}
        self._blockers: dict[int, dict[str, Any]] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True, name="slipway-watch")
        self._connection: Direct | None = None

    def __enter__(self) -> Watcher:
        self._connection = self._connected()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        if self._connection:
            self._connection.close()

    @property
    def waited(self) -> list[dict[str, Any]]:
        """For whom, and how many seconds in all (to the precision of the interval)."""
        blockers = dict(self._blockers)
        return [{"for": _told(blockers[pid]), "seconds": round(self._seconds[pid], 2)} for pid in blockers]

    @property
    def blockers(self) -> list[dict[str, Any]]:
        """Everyone who was waited for, as last seen."""
        return list(self._blockers.values())

    def _connected(self) -> Direct:
        connection = self._adapter.connect()
        enforce(connection.fetch, {"application_name": application_name("watch", self._run)})
        return connection

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(self._interval):
            rows = self._look()
            now = time.monotonic()
            for row in rows:
                blocker = dict(zip(_FIELDS, row))
                if blocker["pid"] not in self._blockers:
                    say(f"waits for {_told(blocker)}")
                self._seconds[blocker["pid"]] = self._seconds.get(blocker["pid"], 0.0) + now - last
                self._blockers[blocker["pid"]] = blocker
            last = now

    def _look(self) -> list[tuple[Any, ...]]:
        """Who blocks now. Watching is a service: where it fails the migration itself will tell the reason."""
        try:
            if self._connection is None:
                self._connection = self._connected()
            return self._connection.fetch(_BLOCKERS, (application_name("work", self._run),))
        except Exception:  # noqa: BLE001 - the connection was cut; the next look opens another
            if self._connection:
                self._connection.close()
            self._connection = None
            return []


def _told(blocker: dict[str, Any]) -> str:
    who = blocker["application_name"] or blocker["user"] or "unknown"
    return f"{blocker['pid']}/{who}/{' '.join(blocker['query'].split())}"
