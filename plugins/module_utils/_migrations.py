# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pending migrations of a release: planned, rehearsed, and run only when there is a proven way back.

What knows Django, Alembic and SQL is slipway-migrate, which runs in the release's own environment as the application's
user; what knows backups is slipway-backup. This is where the two meet.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _database
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._manage import Manager
from ansible_collections.slipway.webapp.plugins.module_utils._program import Program

ADAPTERS = ("django", "alembic", "command")
PHASES = ("before", "after")
NOTHING: dict[str, Any] = {"pending": [], "before": [], "after": [], "unsafe": [], "table": ""}


def options() -> dict[str, Any]:
    """The option ``migrations`` of every module that plans, rehearses or runs them."""
    inner = {
        "adapter": {"type": "str", "default": "django", "choices": list(ADAPTERS)},
        "accept": {"type": "list", "elements": "str", "default": []},
        "lock_timeout": {"type": "float", "default": 0.5},
        "lock_budget": {"type": "int", "default": 120},
        "statement_timeout": {"type": "int", "default": 900},
        "small_table_rows": {"type": "int", "default": 10000},
        "alembic_config": {"type": "str", "default": "alembic.ini"},
        "command": {"type": "list", "elements": "str", "default": []},
        "pending_command": {"type": "list", "elements": "str", "default": []},
    }
    return {"migrations": {"type": "dict", "default": {}, "options": inner, "apply_defaults": True}}


def release_options() -> dict[str, Any]:
    """The options that name a release and its environment."""
    return {
        "release": {"type": "str", "required": True},
        "environment": {"type": "dict", "required": True},
        "secrets": {"type": "dict", "default": {}, "no_log": True},
    }


@dataclass(frozen=True)
class Migrator:
    """The migrations of one release. ``run`` names this run to the database and in the journal."""

    manager: Manager
    settings: Mapping[str, Any]
    run: str = ""

    def program(self, *, writable: Sequence[str] = ()) -> Program:
        """slipway-migrate in the release's own Python; ``writable`` are directories that it needs besides."""
        manager = replace(self.manager, needs=("code",))  # what is no Django has no manage.py
        if manager.problem():
            raise SlipwayError(
                f"The migrations of release {manager.release} cannot be read on this host",
                found=manager.problem(),
                next_step="build the release first with slipway.webapp.release",
            )
        words = [os.path.join(manager.layout.library, "slipway-migrate")]
        how = manager.runtime.command(
            words, environment=manager.variables(), seconds=manager.timeout, writable=writable
        )
        return Program(
            runner=manager.runner,
            words=how.words,
            timeout=manager.timeout,
            secrets=manager.secrets,
            user=how.user,
            environment=how.environment,
            cwd=how.cwd,
        )

    def request(self, *, phase: str = "all") -> dict[str, Any]:
        """What slipway-migrate is asked; times in milliseconds or seconds as the names say."""
        given, layout = self.settings, self.manager.layout
        squawk = os.path.join(layout.library, "squawk", "bin", "squawk")
        return {
            "app": layout.app,
            "release": self.manager.release,
            "adapter": given["adapter"],
            "phase": phase,
            "accept": list(given["accept"]),
            "squawk": squawk if os.path.exists(squawk) else "",
            "small_table_rows": given["small_table_rows"],
            "lock_timeout_ms": int(given["lock_timeout"] * 1000),
            "lock_budget_seconds": given["lock_budget"],
            "statement_timeout_seconds": given["statement_timeout"],
            "run": self.run,
            "journal": layout.migrations_journal,
            "alembic": {"config": given["alembic_config"]},
            "command": {"apply": list(given["command"]), "pending": list(given["pending_command"])},
        }

    def plan(self) -> dict[str, Any]:
        """All that is pending, with what it does to the database and to old code."""
        return self.program().ask("plan", self.request())

    def pending(self, phase: str) -> list[str]:
        """The ids that are pending in this phase, by the same judgement that applies them; unsafe ones come before."""
        plan = self.plan()
        return [str(name) for name in [*plan[phase], *(plan["unsafe"] if phase == "before" else [])]]

    def apply(self, phase: str) -> dict[str, Any]:
        """Run what is pending in this phase. A failure's details say what was applied and what failed."""
        try:
            return self.program().ask("apply", self.request(phase=phase))
        except SlipwayError as error:
            # A module's result has a `failed` of its own.
            error.details["failed_migration"] = error.details.pop("failed", "")
            raise

    def rehearsal(self, *, scratch: str) -> dict[str, Any]:
        """What slipway-backup runs against the restored copy, below ``scratch``, as the application's user."""
        program, secret = self.program(writable=[scratch]), set(self.manager.secrets)
        return {
            "secrets": sorted(name for name, value in self.manager.variables().items() if value in secret),
            "user": self.manager.layout.app,
            "as_root": not program.user,
            "cwd": program.cwd,
            "command": [*program.words, "rehearse"],
            "environment": dict(program.environment or {}),
            "request": {**self.request(), "journal": ""},
        }


def refusal(plan: Mapping[str, Any]) -> SlipwayError | None:
    """Why these migrations may not run, with the safe way to write each of them; None when they may."""
    unsafe = set(plan["unsafe"])
    if not unsafe:
        return None
    told = [migration for migration in plan["pending"] if migration["id"] in unsafe]
    return SlipwayError(
        f"{len(told)} pending migration{'s are' if len(told) > 1 else ' is'} not safe while users are served",
        found="\n".join(line for migration in told for line in _complaints(migration)),
        next_step="write them as advised, or name those that you accept in webapp_accepted_migrations",
        details={"migrations": list(plan["pending"]), "unsafe": sorted(unsafe)},
    )


def _complaints(migration: Mapping[str, Any]) -> list[str]:
    lines = [f"{migration['id']}:"]
    for problem in migration["problems"]:
        advice = f" -> {problem['advice']}" if problem.get("advice") else ""
        lines.append(f"  [{problem['code']}] {problem['message']}{advice}")
    return lines


@dataclass(frozen=True)
class Gate:
    """What a migration needs behind it: a backup of this very database, proven up to ``level`` and not too old.

    ``seconds`` is the oldest that it may be. ``backup`` is an id, or '' for the newest.
    """

    program: Program
    reach: Mapping[str, Any]
    backup: str
    level: str
    seconds: int

    def open(self) -> str:
        """The id of the backup, or the program's refusal."""
        request = {**self.reach, "backup": self.backup, "level": self.level, "max_age_seconds": self.seconds}
        return str(self.program.ask("gate", request)["backup"])

    def cover(self, backup: str, run: str) -> None:
        """The schema is now another one, made by us from the one in this backup: it still is the way back."""
        self.program.ask("covers", {**self.reach, "backup": backup, "run": run})


def migrate(migrator: Migrator, gate: Gate | None, *, phase: str, check_mode: bool = False) -> dict[str, Any]:
    """Run what is pending in a phase, behind the gate unless the inventory does without; a module's result."""
    pending = migrator.pending(phase)
    said = [f"Apply {name}" for name in pending]
    result = {
        "changed": bool(pending),
        "actions": said,
        "pending": pending,
        "applied": [],
        "backup": "",
        "diff": {"before": "", "after": "".join(f"{line}\n" for line in said)},
    }
    if not pending or check_mode:
        return result
    if gate is None:
        return {**result, **_applied(migrator, phase, pending)}
    backup = gate.open()
    try:
        done = _applied(migrator, phase, pending)
    except SlipwayError:
        # What was applied before it failed was made from this backup's schema, too.
        with contextlib.suppress(SlipwayError):
            gate.cover(backup, migrator.run)
        raise
    try:
        gate.cover(backup, migrator.run)
    except SlipwayError as error:
        error.details["applied"] = done["applied"]
        raise
    return {**result, **done, "backup": backup}


def _applied(migrator: Migrator, phase: str, pending: Sequence[str]) -> dict[str, Any]:
    """Apply them. A program that was killed, or took too long, says nothing: then the database is asked."""
    try:
        return migrator.apply(phase)
    except SlipwayError as error:
        if "applied" not in error.details:
            try:
                left = migrator.pending(phase)
            except SlipwayError:
                left = []  # all of it may be there
            error.details["applied"] = [{"id": name} for name in pending if name not in left]
        raise


def effect(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What the ledger keeps of a plan: what old code cannot live with, what cannot be undone, what comes last."""
    pending: Sequence[Mapping[str, Any]] = plan["pending"]
    return {
        "waiting": [str(one) for one in plan["after"]],
        "breaks_old_code": [str(one["id"]) for one in pending if not one["old_code_ok"]],
        "irreversible": [str(one["id"]) for one in pending if not one["reversible"]],
    }


def effect_of(variables: Mapping[str, Any], migrated: str = "__run_migrated") -> dict[str, Any]:
    """What a run has done to the database, for the ledger, from what the primary's tasks returned, also if they failed.

    A migration that failed and could not be rolled back counts as applied, because some of it is there, and as waiting.
    """
    plan = (variables.get("__run_migrations") or {}).get("effect") or {"waiting": []}
    # Of a backup that did not pass only the id is told, and it is no way back.
    backup = (variables.get("__run_backup") or {}).get("backup")
    done = variables.get(migrated) or {}
    applied = [str(one["id"]) for one in done.get("applied") or []]
    waiting = [one for one in plan["waiting"] if one not in applied]
    if done.get("failed_migration") and not done.get("rolled_back", True):
        applied.append(str(done["failed_migration"]))
    return {
        **plan,
        "waiting": waiting,
        "applied": applied,
        "backup": str(backup["id"]) if isinstance(backup, Mapping) else "",
    }


def describe(release: str, plan: Mapping[str, Any]) -> dict[str, Any]:
    """A module's result from a plan; ``diff`` is the SQL."""
    sql = "".join(f"-- {one['id']} ({one['class']})\n{one['sql']}\n" for one in plan["pending"])
    return {
        "changed": False,
        "release": release,
        **{name: plan[name] for name in NOTHING},
        "effect": effect(plan),
        "diff": {"before": "", "after": sql},
    }


def gate_of(
    manager: Manager, database: Mapping[str, Any], *, backup: str, level: str, max_age: int, timeout: float
) -> Gate:
    """The gate for a release's database."""
    return Gate(
        program=_database.program(manager.layout, manager.runner, database, timeout=timeout),
        reach=_database.reach(manager.layout, database),
        backup=backup,
        level=level,
        seconds=max_age,
    )
