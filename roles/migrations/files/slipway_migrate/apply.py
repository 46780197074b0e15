# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply migrations one at a time, so that at every moment it is known what is applied and what is not."""

from __future__ import annotations

import random
import time
from typing import Any

from . import debris, guard
from .adapters.base import Adapter, Fetch, Prepare
from .catalog import Catalog
from .errors import (
    DEADLOCK,
    LOCK_NOT_AVAILABLE,
    QUERY_CANCELED,
    MigrateError,
    first_line,
    is_connection_lost,
    sqlstate,
)
from .lock import RunLock
from .model import Migration, Phase
from .plan import Plan, build, refuse_unsafe
from .report import Journal, say
from .request import Request
from .watch import Watcher

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.4, 5.0  # between attempts; users' queries pass meanwhile
SETTLE_SECONDS = 15.0  # how long to look for the truth after a connection was cut


def run(adapter: Adapter, request: Request) -> dict[str, Any]:
    """Apply the phase that the request names; MigrateError tells exactly what is applied and what is not."""
    with RunLock(adapter, run=request.run, wait_seconds=request.advisory_wait_seconds) as lock:
        plan = build(adapter, request)
        chosen = select(plan, request.phase)
        with Watcher(adapter, run=request.run, lock_timeout_ms=request.lock_timeout_ms) as watcher:
            run_ = Run(adapter, request, lock=lock, watcher=watcher)
            return run_.all(chosen)


def select(plan: Plan, phase: str) -> list[Migration]:
    """The migrations of a phase in the order of the graph; refuses unsafe ones, and an after that needs a before."""
    phases = {"before": {Phase.BEFORE}, "after": {Phase.AFTER}, "all": {Phase.BEFORE, Phase.AFTER}}[phase]
    refuse_unsafe(plan, [each.id for each in plan.migrations])
    chosen = [each for each in plan.migrations if each.effective in phases]
    ids = {each.id for each in chosen}
    pending = {each.id for each in plan.migrations}
    for migration in chosen:
        missing = [parent for parent in migration.parents if parent in pending - ids]
        if missing:
            raise MigrateError(
                "out_of_order",
                f"{migration.id} cannot run: it needs migrations of another phase",
                found=f"not applied: {', '.join(missing)}",
                expected="phase before is applied first",
                next_step="apply with phase before, then again",
                details={"applied": [], "failed": migration.id, "not_applied": sorted(pending)},
            )
    return chosen


class Run:
    """The migrations of one run and what became of them."""

    def __init__(self, adapter: Adapter, request: Request, *, lock: RunLock, watcher: Watcher) -> None:
        self._adapter = adapter
        self._request = request
        self._lock = lock
        self._watcher = watcher
        self._journal = Journal(request.journal, run=request.run)
        self._catalog = Catalog(adapter, limit=request.small_table_rows)
        self._version = int(adapter.fetch("SELECT current_setting('server_version_num')")[0][0])
        self._pids: set[int] = set()
        self._applied: list[dict[str, Any]] = []
        self._left: list[str] = []

    def all(self, migrations: list[Migration]) -> dict[str, Any]:
        """Apply them in order and report."""
        unfinished = self._journal.unfinished()
        if unfinished:
            say(f"run {unfinished.get('run')} was cut off in {unfinished.get('migration')}; this one resumes")
        self._left = [each.id for each in migrations]
        for migration in migrations:
            self._refuse_to_begin(migration)
            self._one(migration)
        self._finish()
        return {
            "applied": self._applied,
            "not_applied": [],
            "invalid_indexes": debris.invalid_indexes(self._adapter.fetch),
            "not_valid_constraints": debris.not_valid_constraints(self._adapter.fetch),
            "waited": self._watcher.waited,
            "limits": list(self._adapter.limits),
            "resumed_after": unfinished,
            "fingerprint": "",
        }

    def _refuse_to_begin(self, migration: Migration) -> None:
        try:
            self._lock.check()
            debris.refuse_half_applied(migration, self._catalog)
        except MigrateError as error:
            error.details = {**self._details(failed=migration.id, rolled_back=False, left=[]), **error.details}
            raise

    def _one(self, migration: Migration) -> None:
        began, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            self._journal.write("begin", migration=migration.id, attempt=attempt)
            try:
                self._adapter.arm(self._preparation(patient=migration.patient))
                self._adapter.apply(migration)
                break
            except (Exception, SystemExit) as error:
                if self._recorded_all_the_same(migration, error):
                    break
                if not self._wait_for_retry(migration, error, attempt=attempt, began=began):
                    raise self._failure(migration, error, attempt=attempt) from error
        seconds = round(time.monotonic() - began, 3)
        self._journal.write("applied", migration=migration.id, attempt=attempt, seconds=seconds)
        self._applied.append({"id": migration.id, "seconds": seconds, "attempts": attempt})
        self._left.remove(migration.id)
        say(f"applied {migration.id} in {seconds} s" + (f", attempt {attempt}" if attempt > 1 else ""))

    def _preparation(self, *, patient: bool) -> Prepare:
        settings = guard.wanted(self._request, server_version=self._version, patient=patient)

        def prepare(fetch: Fetch) -> None:
            guard.enforce(fetch, settings)
            self._pids.add(int(fetch("SELECT pg_backend_pid()")[0][0]))

        return prepare

    def _recorded_all_the_same(self, migration: Migration, error: BaseException) -> bool:
        """Whether it was committed although the answer was lost. Raises ``outcome_unknown`` if nobody can be asked."""
        lost = is_connection_lost(error)
        deadline = time.monotonic() + (SETTLE_SECONDS if lost else 0)
        while True:
            found, cause = self._look_up(migration, reconnect=lost, deadline=deadline)
            if found is not None:
                return found
            if time.monotonic() >= deadline:
                raise self._unknown(migration, error) from cause
            time.sleep(0.2)

    def _look_up(
        self, migration: Migration, *, reconnect: bool, deadline: float
    ) -> tuple[bool | None, Exception | None]:
        """Whether it is recorded, or why nobody can tell now: the server may be starting again."""
        try:
            if reconnect:
                self._adapter.disconnect()
                self._wait_until_gone(deadline)
            return self._adapter.is_applied(migration), None
        except MigrateError:
            raise
        except Exception as cause:  # noqa: BLE001 - each driver has errors of its own
            return None, cause

    def _wait_until_gone(self, deadline: float) -> None:
        """Our cut-off backend may still be committing: its end is the moment from which the answer is final."""
        # The server may have given the old process id to the connection that asks.
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE pid = ANY(%s) AND application_name = %s AND pid <> pg_backend_pid()"
        )
        name = guard.application_name("work", self._request.run)
        while self._adapter.fetch(query, (list(self._pids), name))[0][0]:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"the cut-off backend is still there: {sorted(self._pids)}")
            time.sleep(0.1)

    def _wait_for_retry(self, migration: Migration, error: BaseException, *, attempt: int, began: float) -> bool:
        """Pause before another attempt; False if it must not or may not be tried again.

        What is not atomic has done a part of its work already. The last attempt has the same lock timeout as the first.
        """
        if not migration.atomic or sqlstate(error) not in (LOCK_NOT_AVAILABLE, DEADLOCK):
            return False
        self._check_lock(migration)
        pause = min(FIRST_PAUSE_SECONDS * 1.5 ** (attempt - 1), LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1.5)
        left = began + self._request.lock_budget_seconds - time.monotonic() - self._request.lock_timeout_ms / 1000
        if left <= 0:
            return False
        self._journal.write("retry", migration=migration.id, attempt=attempt, why=first_line(error))
        time.sleep(min(pause, left))
        return True

    def _check_lock(self, migration: Migration) -> None:
        """Between two attempts of an atomic migration nothing of it is left."""
        try:
            self._lock.check()
        except MigrateError as error:
            error.details = {**self._details(failed=migration.id, rolled_back=True, left=[]), **error.details}
            raise

    def _finish(self) -> None:
        try:
            self._adapter.arm(self._preparation(patient=False))
            self._adapter.finish()
        except Exception as error:
            raise MigrateError(
                "finish_failed",
                "All migrations are applied, but what the application does after them failed (post_migrate)",
                found=first_line(error),
                expected="no error",
                next_step="repair it and run again; applied migrations stay applied",
                details=self._details(failed="", rolled_back=False, left=[]),
            ) from error

    def _failure(self, migration: Migration, error: BaseException, *, attempt: int) -> MigrateError:
        self._journal.write("failed", migration=migration.id, attempt=attempt, why=first_line(error))
        # What is atomic was rolled back by the server: objects of the same name are somebody else's.
        left = [] if migration.atomic else debris.left_by(migration, self._catalog)
        rolled_back = migration.atomic
        if isinstance(error, MigrateError):
            known = self._details(failed=migration.id, rolled_back=rolled_back, left=left)
            error.details = {**known, **error.details}
            return error
        code, expected, next_step = _advice(error, blocked=bool(self._watcher.blockers))
        if left:
            next_step = debris.repair(left)
        blockers = "; waited for " + ", ".join(each["for"] for each in self._watcher.waited)
        return MigrateError(
            code,
            f"{migration.id} failed and {'was rolled back whole' if rolled_back else 'may be half applied'}",
            found=first_line(error)
            + (blockers if self._watcher.waited and code in ("lock_timeout", "deadlock") else ""),
            expected=expected,
            next_step=next_step,
            details=self._details(failed=migration.id, rolled_back=rolled_back, left=left),
        )

    def _unknown(self, migration: Migration, error: BaseException) -> MigrateError:
        self._journal.write("unknown", migration=migration.id, why=first_line(error))
        details = {
            "applied": self._applied,
            "failed": migration.id,
            "not_applied": self._left[1:],
            "rolled_back": False,
        }
        return MigrateError(
            "outcome_unknown",
            f"The connection was lost in {migration.id}, and the server does not answer: it may be applied or not",
            found=first_line(error),
            expected="a server that answers",
            next_step="bring the server back and run again: the plan then says what is applied",
            details={**details, "unknown": [migration.id], "invalid_indexes": [], "debris": []},
        )

    def _details(self, *, failed: str, rolled_back: bool, left: list[str]) -> dict[str, Any]:
        """For an error that is being told already: what the database does not answer is left out, and said."""
        invalid, not_valid, unanswered = self._looked_up()
        return {
            "applied": self._applied,
            "failed": failed,
            "not_applied": list(self._left),
            "invalid_indexes": invalid,
            "not_valid_constraints": not_valid,
            "unanswered": unanswered,
            "rolled_back": rolled_back,
            "debris": left,
            "waited": self._watcher.waited,
            "blockers": self._watcher.blockers,
        }

    def _looked_up(self) -> tuple[list[str], list[str], str]:
        """(invalid indexes, constraints not valid, why nobody could tell)."""
        fetch = self._adapter.fetch
        try:
            return debris.invalid_indexes(fetch), debris.not_valid_constraints(fetch), ""
        except Exception as error:  # noqa: BLE001 - each driver has errors of its own
            return [], [], first_line(error)


def _advice(error: BaseException, *, blocked: bool) -> tuple[str, str, str]:
    """(code, expected, next step) of a failure."""
    state = sqlstate(error)
    if state in (LOCK_NOT_AVAILABLE, DEADLOCK):
        code = "lock_timeout" if state == LOCK_NOT_AVAILABLE else "deadlock"
        who = "end the sessions named in details.blockers" if blocked else "look for long transactions"
        return code, "the lock within the budget (lock_budget_seconds)", f"{who}, then run again"
    if state == QUERY_CANCELED:
        return (
            "statement_timeout",
            "each statement within statement_timeout_seconds",
            "rehearse it, then allow it more time",
        )
    if is_connection_lost(error):
        return "connection_lost", "a connection that lasts", "look at the server's log, then run again"
    return "migration_failed", "a migration that ends well", "repair the migration, and deploy again"
