# SPDX-License-Identifier: GPL-3.0-or-later
"""Run what is pending on a scratch copy of the real data, and measure what it really did.

Durations on an idle copy without fsync are a lower bound; locks, rewrites and reversibility are facts.
"""

from __future__ import annotations

import time
from typing import Any

from . import guard
from .adapters.base import Adapter, Fetch, NotReversibleError
from .errors import MigrateError, first_line
from .lock import RunLock
from .model import Migration
from .plan import build
from .report import say
from .request import Request
from .snapshot import Snapshot
from .trace import Tracer


def run(adapter: Adapter, request: Request) -> dict[str, Any]:
    """Rehearse every pending migration, unsafe ones too; MigrateError ``rehearsal_failed`` names the one that fails."""
    assert request.scratch is not None
    _refuse_another_database(adapter, request)
    began = time.monotonic()
    with RunLock(adapter, run=request.run, wait_seconds=request.advisory_wait_seconds):
        pending = build(adapter, request).migrations
        rehearsal = _Rehearsal(adapter, request)
        for migration in pending:
            rehearsal.one(migration)
    return {
        "migrations": rehearsal.results,
        "seconds": round(time.monotonic() - began, 3),
        "limits": list(adapter.limits),
    }


def _refuse_another_database(adapter: Adapter, request: Request) -> None:
    """The redirection worked: we are on the scratch server's socket, in its database."""
    scratch = request.scratch
    query = "SELECT inet_server_addr() IS NULL, current_database(), current_setting('port')"
    local, database, port = adapter.fetch(query)[0]
    expected = (True, scratch.database or database, str(scratch.port)) if scratch else ()
    if (local, database, port) != expected:
        raise MigrateError(
            "not_scratch",
            "The rehearsal is not connected to the scratch server; nothing was run",
            found=f"database {database}, port {port}, {'a socket' if local else 'a network connection'}",
            expected=f"the socket and database of {scratch}",
            next_step="let the application take its database from its settings alone",
        )


class _Rehearsal:
    """The migrations so far, and the state of the data between two of them."""

    def __init__(self, adapter: Adapter, request: Request) -> None:
        self._adapter = adapter
        self._request = request
        self._version = int(adapter.fetch("SELECT current_setting('server_version_num')")[0][0])
        self._data = Snapshot(adapter)
        self.results: list[dict[str, Any]] = []

    def one(self, migration: Migration) -> None:
        """Forward with the tracer; then back and forward again, and compare."""
        self._adapter.arm(self._prepare)
        before = self._data.take()
        tracer = Tracer(self._adapter, name=guard.application_name("work", self._request.run), atomic=migration.atomic)
        began = time.monotonic()
        try:
            with tracer, self._adapter.trace(tracer.statement):
                self._adapter.apply(migration)
        except (Exception, SystemExit) as error:
            raise self._failed(migration, error) from error
        seconds = round(time.monotonic() - began, 3)
        say(f"rehearsed {migration.id} in {seconds} s")
        result = {"id": migration.id, "seconds": seconds, **tracer.result()}
        self._data.forget(tracer.written())
        result["reversible"], result["why"] = self._back_and_forth(migration, before, tracer)
        self.results.append(result)

    def _prepare(self, fetch: Fetch) -> None:
        guard.enforce(fetch, guard.wanted(self._request, server_version=self._version, patient=True))

    def _back_and_forth(self, migration: Migration, before: dict[str, str], tracer: Tracer) -> tuple[str, str]:
        """('proven' | 'disproved' | 'no', why)."""
        if not all(operation.reversible or operation.effects for operation in migration.operations):
            return "no", "an operation has no way back"
        try:
            self._adapter.reverse(migration)
        except NotReversibleError as error:
            return "no", str(error)
        except (Exception, SystemExit) as error:
            if not migration.atomic:
                raise self._failed(migration, error) from error
            return "disproved", f"undoing it fails: {first_line(error)}"
        differences = self._data.differences(before)
        self._data.forget(tracer.written())
        try:
            self._adapter.apply(migration)
        except (Exception, SystemExit) as error:
            raise self._failed(migration, error) from error
        self._data.forget(tracer.written())
        return ("disproved", "after undoing it: " + "; ".join(differences)) if differences else ("proven", "")

    def _failed(self, migration: Migration, error: BaseException) -> MigrateError:
        return MigrateError(
            "rehearsal_failed",
            f"{migration.id} fails on a copy of the data",
            found=first_line(error),
            expected="migrations that end well",
            next_step="repair the migration; the real database was not touched",
            details={"failed": migration.id, "migrations": self.results},
        )
