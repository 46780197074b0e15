# SPDX-License-Identifier: GPL-3.0-or-later
"""Which phase an operation and a migration belong to: locks by the size of the table, and who still needs what.

Three questions are kept apart: can users work while it runs (locks), can the running code work after it
(``old_code_ok``), and can it be undone (``reversible``).
"""

from __future__ import annotations

import dataclasses

from .advice import problem
from .catalog import Catalog
from .model import LOCKS, Effect, Migration, Operation, Phase, blocks_writers
from .names import shown


class Judge:
    """Judges operations in the order of the plan, because what the plan created itself is exempt."""

    def __init__(self, catalog: Catalog, *, small_table_rows: int) -> None:
        self._catalog = catalog
        self._small = small_table_rows
        self._created: set[str] = set()
        self._domains: set[str] = set()
        self._retyped: set[tuple[str, str]] = set()
        self._optional: set[tuple[str, str]] = set()

    def nobody_is_there(self) -> bool:
        """Whether the database holds no table of an application: no user and no running code can be hurt."""
        return self._catalog.is_empty()

    def migration(self, migration: Migration) -> None:
        """Fill in the phase and problems of the migration and of its operations."""
        for operation in migration.operations:
            self._operation(operation, atomic=migration.atomic)
        migration.problems += [each for operation in migration.operations for each in operation.problems]
        migration.phase = _phase(migration)
        codes = {each.code for each in migration.problems}
        only_new_code_minds = "drops_required" in codes and codes <= {"drops", "drops_required"}
        if migration.marker == "after_deploy" or only_new_code_minds:
            migration.accepted_as = Phase.AFTER
        if migration.atomic and self._works_under_lock(migration):
            migration.problems.append(problem("works_under_lock", migration.id))
            migration.phase = Phase.UNSAFE

    def _works_under_lock(self, migration: Migration) -> bool:
        """Whether one transaction locks a large table first and then goes through rows, keeping the lock meanwhile."""
        locked = False
        for effect in (effect for operation in migration.operations for effect in operation.effects):
            large = not self._exempt(effect) and self._rows(effect.table) > self._small
            if locked and (effect.kind == "run python" or (large and effect.lock == "ROW EXCLUSIVE")):
                return True
            locked = locked or (large and blocks_writers(effect.lock))
        return False

    def _operation(self, operation: Operation, *, atomic: bool) -> None:
        effects = [self._seen(effect) for effect in operation.effects]
        touched = [effect for effect in effects if not self._exempt(effect)]
        main = max(touched, key=lambda effect: LOCKS.index(effect.lock), default=effects[0] if effects else None)
        operation.table = shown(main.table) if main else ""
        operation.rows = max((self._rows(effect.table) for effect in touched), default=0)
        operation.lock = main.lock if main and main in touched else "none"
        operation.rewrites = any(effect.rewrites for effect in touched)
        operation.scans = any(effect.scans for effect in touched)
        operation.reversible = operation.reversible and all(effect.reversible for effect in touched)
        # Work on a table that the plan creates hurts nobody, but it cannot wait until after the switch either.
        exempted = any(self._exempt(effect) and effect.phase is not Phase.NEUTRAL for effect in effects)
        operation.phase = Phase.BEFORE if exempted else Phase.NEUTRAL
        for effect in touched:
            self._add(operation, effect.phase, effect.code if effect.phase is not Phase.BEFORE else "")
            if self._hurts(effect):
                self._add(operation, Phase.UNSAFE, effect.code or "table_scan")
            if atomic and effect.kind.endswith("concurrently"):
                self._add(operation, Phase.UNSAFE, "needs_no_transaction")
        # A foreign key to a new table does not make the operation's own table a new one.
        own = next((effect for effect in effects if effect.table and effect.kind != "references"), None)
        self._codes(operation, exempt=own is not None and self._exempt(own))
        operation.old_code_ok = operation.old_code_ok and all(effect.old_code_ok for effect in touched)

    def _seen(self, effect: Effect) -> Effect:
        """The effect with what only the database knows; tables that the plan creates are remembered."""
        self._remember(effect)
        if effect.kind == "add column" and (
            effect.new_type in self._domains or self._catalog.is_domain(effect.new_type)
        ):
            return dataclasses.replace(effect, rewrites=True)
        if effect.kind in ("drop not null", "set default"):
            self._optional.add((effect.table, effect.column))
        if effect.kind == "drop column":
            # It runs when the new code already writes rows without the column.
            known = (effect.table, effect.column) in self._optional
            if not known and self._catalog.is_required(effect.table, effect.column):
                return dataclasses.replace(effect, phase=Phase.UNSAFE, code="drops_required")
        if effect.kind == "set not null" and self._catalog.is_checked(effect.table, effect.column):
            return dataclasses.replace(effect, scans=False, code="tightens_column")
        if effect.kind == "change type":
            # The catalogue does not know what an earlier migration of this plan will have made of the column.
            again = (effect.table, effect.column) in self._retyped
            self._retyped.add((effect.table, effect.column))
            if not again and self._catalog.keeps_rows(effect.table, effect.column, effect.new_type):
                return dataclasses.replace(effect, rewrites=False, scans=False, phase=Phase.BEFORE, old_code_ok=True)
        return effect

    def _remember(self, effect: Effect) -> None:
        tables = [thing for thing in effect.creates if thing.kind == "table"]
        self._created |= {thing.table for thing in tables if not (thing.if_absent and self._catalog.exists(thing))}
        if effect.renamed_to and effect.table in self._created:
            self._created.add(effect.renamed_to)
        if effect.kind == "create domain":
            self._domains.add(effect.new_type)

    def _exempt(self, effect: Effect) -> bool:
        return effect.table in self._created and effect.kind != "create table"

    def _rows(self, table: str) -> int:
        return 0 if table in self._created else self._catalog.rows(table)

    def _hurts(self, effect: Effect) -> bool:
        works_long = effect.rewrites or effect.scans
        return works_long and blocks_writers(effect.lock) and self._rows(effect.table) > self._small

    def _codes(self, operation: Operation, *, exempt: bool) -> None:
        for code in operation.codes:
            if code == "tightens":
                if not exempt:
                    operation.problems.append(problem(code, operation.describes))
            elif not (exempt and code == "not_null_without_db_default"):
                self._add(operation, Phase.UNSAFE, code)
                operation.old_code_ok = False

    def _add(self, operation: Operation, phase: Phase, code: str) -> None:
        operation.phase = worse(operation.phase, phase)
        if code and code not in {each.code for each in operation.problems}:
            operation.problems.append(problem(code, operation.describes))


def worse(first: Phase, second: Phase) -> Phase:
    """The phase of two things that run together: what must run before and after at once is unsafe."""
    if Phase.UNSAFE in (first, second):
        return Phase.UNSAFE
    if Phase.NEUTRAL in (first, second):
        return second if first is Phase.NEUTRAL else first
    return first if first is second else Phase.UNSAFE


def _phase(migration: Migration) -> Phase:
    phases = {operation.phase for operation in migration.operations} - {Phase.NEUTRAL}
    if Phase.UNSAFE in phases:
        return Phase.UNSAFE
    marker = migration.marker
    if marker == "after_deploy":
        return Phase.AFTER
    if marker and Phase.AFTER in phases:
        migration.problems.append(problem("marker_contradicts", f"{migration.id}, {marker},"))
        return Phase.UNSAFE
    if len(phases) > 1:
        migration.problems.append(problem("split", migration.id))
        return Phase.UNSAFE
    return phases.pop() if phases else Phase.BEFORE


# What PostgreSQL refuses, or what would undo our guards, wherever it runs.
_ANYWHERE = frozenset(("needs_no_transaction", "transaction_control", "overrides_guard"))


def welcome(migrations: list[Migration]) -> None:
    """The first deploy to an empty database: nobody uses it, so all runs before the switch."""
    for migration in migrations:
        migration.problems = [each for each in migration.problems if each.code in _ANYWHERE]
        if not migration.problems:
            migration.phase, migration.accepted = Phase.BEFORE, False


def order(migrations: list[Migration]) -> None:
    """Refuse what must run before the switch but needs, directly or not, what runs after it; the chain is told.

    What does nothing in the database (other options of a model, a merge of two branches) goes with what it needs.
    """
    known = {migration.id: migration for migration in migrations}
    for migration in migrations:
        if migration.effective is Phase.AFTER:
            continue
        chain = _chain(migration, known)
        if not chain:
            continue
        if all(operation.phase is Phase.NEUTRAL for operation in migration.operations) and not migration.marker:
            migration.phase = Phase.AFTER
            continue
        migration.phase, migration.accepted = Phase.UNSAFE, False
        found = problem("depends_on_after", migration.id)
        text = f"{found.message}: {' -> '.join(chain)}"
        migration.problems.append(dataclasses.replace(found, message=text))


def _chain(migration: Migration, known: dict[str, Migration]) -> list[str]:
    """The way from a migration to the nearest pending one of phase after, itself first; empty if there is none."""
    paths, seen = [[migration.id]], {migration.id}
    while paths:
        path = paths.pop(0)
        for parent in known[path[-1]].parents:
            if parent in known and parent not in seen:
                if known[parent].effective is Phase.AFTER:
                    return [*path, parent]
                seen.add(parent)
                paths.append([*path, parent])
    return []
