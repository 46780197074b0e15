# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: what is pending, in which phase, why, and what it does. Changes nothing."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from . import classify, squawk
from .adapters.base import Adapter
from .catalog import Catalog
from .errors import MigrateError
from .model import Migration, Phase
from .request import Request


@dataclasses.dataclass
class Plan:
    """Pending migrations in the order of the graph, each judged."""

    migrations: list[Migration]
    applied: list[list[str]]

    def ids(self, phase: Phase) -> list[str]:
        """Of phase before (with what was accepted), after, or unsafe (what was not accepted)."""
        return [each.id for each in self.migrations if each.effective is phase]

    def document(self) -> dict[str, Any]:
        """The plan as the program prints it."""
        return {
            "pending": [_document(each) for each in self.migrations],
            "before": self.ids(Phase.BEFORE),
            "after": self.ids(Phase.AFTER),
            "unsafe": self.ids(Phase.UNSAFE),
            "applied": self.applied,
            "table": table(self.migrations),
        }


def build(adapter: Adapter, request: Request) -> Plan:
    """Judge what is pending; MigrateError if ``accept`` names something that the release does not have."""
    migrations = adapter.pending()
    applied = adapter.applied()
    if migrations:
        version = int(adapter.fetch("SELECT current_setting('server_version_num')")[0][0])
        judge = classify.Judge(
            Catalog(adapter, limit=request.small_table_rows), small_table_rows=request.small_table_rows
        )
        for migration in migrations:
            judge.migration(migration)
            if request.squawk:
                squawk.lint(migration, program=request.squawk, server_version=version)
            migration.accepted = migration.phase in (Phase.UNSAFE, Phase.AFTER) and migration.id in request.accept
        if not applied and judge.nobody_is_there():
            classify.welcome(migrations)
        else:
            classify.order(migrations)
    return Plan(migrations, applied)


def refuse_unsafe(plan: Plan, ids: list[str]) -> None:
    """Stop before anything runs if one of ``ids`` is unsafe and nobody accepted it."""
    unsafe = [each for each in plan.migrations if each.id in ids and each.effective is Phase.UNSAFE]
    if unsafe:
        reasons = [f"{each.message} (safe: {each.advice})" for one in unsafe for each in one.problems
                   if each.source == "slipway"]  # fmt: skip
        raise MigrateError(
            "unsafe_migrations",
            f"Unsafe migrations are pending: {', '.join(each.id for each in unsafe)}",
            found="; ".join(reasons) or "see the plan",
            expected="migrations that users do not notice and running code survives",
            next_step="rewrite them as told, or accept each by its name (`accept`)",
            details={"unsafe": [each.id for each in unsafe]},
        )


def _document(migration: Migration) -> dict[str, Any]:
    return {
        "id": migration.id,
        "app": migration.app,
        "name": migration.name,
        "atomic": migration.atomic,
        "class": migration.phase.value,
        "marker": migration.marker,
        "operations": [operation.document() for operation in migration.operations],
        "sql": migration.sql,
        "sql_sha256": hashlib.sha256(migration.sql.encode()).hexdigest(),
        "old_code_ok": migration.old_code_ok,
        "reversible": all(operation.reversible for operation in migration.operations),
        "problems": [dataclasses.asdict(each) for each in migration.problems],
        "accepted": migration.accepted,
    }


def table(migrations: list[Migration]) -> str:
    """The plan for people, one line for each operation."""
    head = ("migration", "class", "operation", "table", "rows", "lock", "old code", "undo")
    lines = [head]
    for migration in migrations:
        phase = "accepted" if migration.accepted else migration.phase.value
        lines += [
            (
                migration.id if first else "", phase if first else "", operation.describes[:60], operation.table,
                str(operation.rows), operation.lock.lower() + (", rewrite" if operation.rewrites else ""),
                "runs" if operation.old_code_ok else "breaks", "yes" if operation.reversible else "no",
            )
            for first, operation in zip([True] + [False] * len(migration.operations), migration.operations)
        ]  # fmt: skip
        if not migration.operations:
            lines.append((migration.id, phase, "nothing", "", "", "", "runs", "yes"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = ["  ".join(word.ljust(width) for word, width in zip(line, widths)).rstrip() for line in lines]
    reasons = [
        f"{each.id}: {found.message}. {'Safe' if each.phase is Phase.UNSAFE else 'Note'}: {found.advice}"
        for each in migrations
        for found in each.problems
    ]
    return "\n".join([*text, *reasons]) if migrations else "nothing is pending"
