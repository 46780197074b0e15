# SPDX-License-Identifier: GPL-3.0-or-later
"""Run what is pending on a scratch copy of the real data, and measure what it really did.

Durations on an idle copy without fsync are a lower bound; locks, rewrites and reversibility are facts.
"""

from __future__ import annotations

import os
import time
from typing import Any

from . import guard
from .adapters.base import Adapter, Fetch, NotReversibleError
from .errors import MigrateError, first_line
from .lock import RunLock
from .model import Migration
from .plan import build
from .report import say
from .request import Request, Scratch
from .snapshot import Snapshot
from .trace import Tracer


def run(adapter: Adapter, request: Request) -> dict[str, Any]:
    """Rehearse every pending migration, unsafe ones too; MigrateError ``rehearsal_failed`` names the one that fails."""
    assert request.scratch is not None
    _refuse_another_database(adapter, request.scratch)
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


def impossible() -> dict[str, Any]:
    """The answer for a tool whose connections cannot be seen: nothing is run."""
    return {"migrations": [], "seconds": 0.0, "limits": ["a command of its own cannot be rehearsed"]}


def _refuse_another_database(adapter: Adapter, scratch: Scratch) -> None:
    """The redirection worked: we are on the scratch server's socket, in its database.

    Port and database may be the same on the real server; the directory of the socket is the scratch server's alone.
    """
    local, database, port = adapter.fetch(
        "SELECT inet_server_addr() IS NULL, current_database(), current_setting('port')"
    )[0]
    sockets = _sockets(adapter)
    here = os.path.realpath(scratch.host) in {os.path.realpath(each) for each in sockets}
    if not here or (local, database, port) != (True, scratch.database or database, str(scratch.port)):
        raise MigrateError(
            "not_scratch",
            "The rehearsal is not connected to the scratch server; nothing was run",
            found=f"database {database}, port {port}, {'a socket' if local else 'a network connection'},"
            f" the server's sockets are in {', '.join(sockets) or 'places that it does not tell'}",
            expected=f"the socket and database of {scratch}",
            next_step="let the application take its database from its settings alone",
        )


def _sockets(adapter: Adapter) -> list[str]:
    """Where the server listens. Only a superuser is told, as whom the scratch server is used."""
    query = (
        "SELECT current_setting('unix_socket_directories')"
        " WHERE pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')"
    )
    return [each.strip() for (told,) in adapter.fetch(query) for each in str(told).split(",") if each.strip()]


class _Rehearsal:
    """The migrations so far, and the state of the data between two of them."""

    def __init__(self, adapter: Adapter, request: Request) -> None:
        self._adapter = adapter
        self._request = request
        self._version = int(adapter.fetch("SELECT current_setting('server_version_num')")[0][0])
        self._data = Snapshot(adapter)
        self.results: list[dict[str, Any]] = []

    def one(self, migration: Migration) -> None:
        """Forward with the tracer; then back and forward again in a transaction that is rolled back, and compare."""
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
        result["reversible"], result["why"] = self._back_and_forth(migration, before)
        self.results.append(result)

    def _prepare(self, fetch: Fetch) -> None:
        guard.enforce(fetch, guard.wanted(self._request, server_version=self._version, patient=True))

    def _back_and_forth(self, migration: Migration, before: dict[str, str]) -> tuple[str, str]:
        """('proven' | 'disproved' | 'no' | 'not tried', why). The copy stays as it is: the next migration needs it."""
        if not all(operation.reversible or operation.effects for operation in migration.operations):
            return "no", "an operation has no way back"
        transaction = self._adapter.discarded() if migration.atomic else None
        if transaction is None:
            return "not tried", "what undoing it changes could not be taken back"
        try:
            with transaction:
                why = self._undone(migration, before)
        except NotReversibleError as error:
            return "no", str(error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the application's code
            return "disproved", f"undoing it fails: {first_line(error)}"
        finally:
            self._data.forget_all()
        return ("disproved", why) if why else ("proven", "")

    def _undone(self, migration: Migration, before: dict[str, str]) -> str:
        """Undo it and run it again, inside a transaction; what shows that this is no way back, or ''."""
        self._adapter.reverse(migration)
        self._settle()
        differences = self._data.differences(before)
        if differences:
            return "after undoing it: " + "; ".join(differences)
        try:
            self._adapter.apply(migration)
            self._settle()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the application's code
            return f"after undoing it, it fails: {first_line(error)}"
        return ""

    def _settle(self) -> None:
        """Check deferred constraints as a commit would: ALTER TABLE refuses a table with checks that are pending."""
        self._adapter.fetch("SET CONSTRAINTS ALL IMMEDIATE")
        self._adapter.fetch("SET CONSTRAINTS ALL DEFERRED")

    def _failed(self, migration: Migration, error: BaseException) -> MigrateError:
        return MigrateError(
            "rehearsal_failed",
            f"{migration.id} fails on a copy of the data",
            found=first_line(error),
            expected="migrations that end well",
            next_step="repair the migration; the real database was not touched",
            details={"failed": migration.id, "migrations": self.results},
        )
