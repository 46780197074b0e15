# SPDX-License-Identifier: GPL-3.0-or-later
"""What a migration really did: the locks it held, the tables it rewrote, the rows it wrote."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any

from .adapters.base import Adapter, Fetch
from .model import LOCKS

# Relations of users: catalogues are locked by every statement.
_RELATIONS = """
SELECT c.oid, c.oid::regclass::text, c.relfilenode, c.relkind
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"""
_LOCKS = "SELECT relation, mode FROM pg_locks WHERE locktype = 'relation' AND granted AND pid = pg_backend_pid()"
_LOCKS_OF = """
SELECT l.relation, l.mode FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'relation' AND l.granted AND a.application_name = %s"""
SAMPLE_SECONDS = 0.002
_WRITES = ("insert", "update", "delete", "merge")
_BOOKKEEPING = ("django_migrations", "alembic_version")


class Tracer:
    """Context around one migration. An atomic one keeps its locks to its end, so asking after each statement is exact;
    one that is not is sampled from another connection, so a lock held for less than a few milliseconds may be missed.
    """

    def __init__(self, adapter: Adapter, *, name: str, atomic: bool) -> None:
        self._adapter = adapter
        self._name = name
        self._atomic = atomic
        self._existing: dict[int, tuple[str, int]] = {}
        self._seen: dict[tuple[str, str], list[float]] = {}  # (table, mode) -> [first, last]
        self._rewrites: list[str] = []
        self._rows = 0
        self._statements = 0
        self._stop = threading.Event()
        self._sampler: threading.Thread | None = None

    def __enter__(self) -> Tracer:
        self._existing = {oid: (name, node) for oid, name, node, _unused in self._adapter.fetch(_RELATIONS)}
        if not self._atomic:
            self._sampler = threading.Thread(target=self._sample, args=(self._adapter.connect(),), daemon=True)
            self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end = time.monotonic()
        if self._sampler:
            self._stop.set()
            self._sampler.join(timeout=5)
        else:
            for times in self._seen.values():
                times[1] = end
        if error is None:
            now = {oid: node for oid, _unused, node, kind_ in self._adapter.fetch(_RELATIONS) if kind_ != "p"}
            self._rewrites = sorted(
                name for oid, (name, node) in self._existing.items() if oid in now and now[oid] != node
            )

    def statement(self, sql: str, rows: int, seconds: float, fetch: Fetch) -> None:
        """Called after each statement, on its own connection."""
        self._statements += 1
        ours = any(name in sql for name in _BOOKKEEPING)
        if rows > 0 and sql.lstrip().lower().startswith(_WRITES) and not ours:
            self._rows += rows
        if self._atomic:
            self._note(fetch(_LOCKS), time.monotonic() - seconds)

    def result(self) -> dict[str, Any]:
        """For the report; locks of readers are left out, because nobody waits for them."""
        locks = [
            {"table": table, "mode": mode, "seconds": round(last - first, 4)}
            for (table, mode), (first, last) in sorted(self._seen.items())
            if mode != "ACCESS SHARE"
        ]
        return {"locks": locks, "rewrites": self._rewrites, "rows": self._rows, "statements": self._statements}

    def written(self) -> set[str]:
        """Tables that may hold other rows or columns now."""
        first = LOCKS.index("ROW EXCLUSIVE")
        return {table for table, mode in self._seen if LOCKS.index(mode) >= first} | set(self._rewrites)

    def _sample(self, connection: Any) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._note(connection.fetch(_LOCKS_OF, (self._name,)), time.monotonic())
        connection.close()

    def _note(self, rows: list[tuple[Any, ...]], at: float) -> None:
        now = time.monotonic()
        for oid, mode in rows:
            table = self._existing.get(oid, ("", 0))[0]
            if table and table.split(".")[-1] not in _BOOKKEEPING:
                self._seen.setdefault((table, _spaced(mode)), [at, at])[1] = now


def _spaced(mode: str) -> str:
    """pg_locks' AccessExclusiveLock as people write it: ACCESS EXCLUSIVE."""
    words = "".join(f" {letter}" if letter.isupper() else letter for letter in mode[: -len("Lock")])
    return words.strip().upper()
