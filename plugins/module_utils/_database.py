# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of an application's database, and restores: what slipway-backup is asked, and what a module says of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Runner
from ansible_collections.slipway.webapp.plugins.module_utils._program import Program

LEVELS = ("archive", "data", "constraints", "full", "amcheck")
# The program ends by itself first, and tidies up.
GRACE = 60


def options() -> dict[str, Any]:
    """The option ``database`` of every module that reaches one: its suboptions are the request's."""
    inner = {
        "database_url": {"type": "str", "required": True, "no_log": True},
        "database_user": {"type": "str", "default": ""},
        "scratch_user": {"type": "str", "default": ""},
        "group": {"type": "str", "default": ""},
        "directory": {"type": "str", "required": True},
        "scratch_directory": {"type": "str", "default": ""},
    }
    return {"database": {"type": "dict", "required": True, "options": inner}}


def program(layout: Layout, runner: Runner, database: Mapping[str, Any], *, timeout: float) -> Program:
    """slipway-backup, for a work of ``timeout`` seconds."""
    if not str(database["database_url"]).startswith(("postgres://", "postgresql://")):
        raise SlipwayError(
            f"It is not known how to back up the database of {layout.app}",
            found="no URL of a PostgreSQL database in the application's environment (DATABASE_URL)",
            next_step="set webapp_backup_database_url; or, when there can be no backup and you take the risk that a bad"
            " migration destroys data for good, webapp_accept_migrations_without_backup: true",
        )
    return Program(
        runner=runner,
        words=["/usr/bin/python3", "-I", os.path.join(layout.library, "slipway-backup")],
        timeout=timeout + GRACE,
        secrets=[str(database["database_url"])],
    )


def reach(layout: Layout, database: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a request that says which database and which catalogue."""
    wanted = ("database_url", "database_user", "directory")
    return {"app": layout.app, **{name: str(database[name]) for name in wanted}}


def summary(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What an operator and the ledger need of a manifest."""
    tables = manifest.get("tables") or []
    return {
        "id": manifest["id"],
        "status": manifest["status"],
        "level": manifest["level"],
        "at": manifest["snapshot"]["at"],
        "tables": len(tables),
        "rows": sum(int(table["rows"]) for table in tables),
        "database_bytes": manifest["database_bytes"],
        "archive_bytes": manifest["archive_bytes"],
        "seconds": manifest["seconds"],
        "exceptions": manifest["exceptions"],
        "rehearsal": manifest.get("rehearsal") or {},
    }


def told(backup: Mapping[str, Any]) -> str:
    """The summary of a backup for people: what it is, and what each rehearsed migration did to the copy."""
    size, seconds = float(backup["database_bytes"]) / 1e6, float(backup["seconds"].get("total", 0))
    what = f"{backup['tables']} tables, {backup['rows']} rows, {size:.1f} MB, in {seconds:.1f} s"
    lines = [f"backup {backup['id']}: {backup['status']}, {backup['level']}; {what}"]
    lines += [f"  not proven: {one}" for one in backup["exceptions"]]
    return "\n".join([*lines, *map(_rehearsed, backup["rehearsal"].get("migrations") or [])])


def _rehearsed(migration: Mapping[str, Any]) -> str:
    locks = [f"{lock['mode'].lower()} on {lock['table']} {lock['seconds']:.2f} s" for lock in migration["locks"]]
    rewrites = [f"rewrites {table}" for table in migration["rewrites"]]
    undo = f"undo {migration['reversible']}"
    return f"rehearsed {migration['id']}: " + "; ".join([f"{migration['seconds']:.2f} s", *locks, *rewrites, undo])


def loss(backup: str, looked: Mapping[str, Any]) -> str:
    """What a restore would lose, and what stands in its way, for people."""
    lost = looked["lost"]
    lines = [f"restoring backup {backup} loses what was written since its snapshot"]
    if lost.get("unknown"):
        lines.append(f"  how much that is cannot be told: {lost['unknown']}")
    if lost["seconds_since_snapshot"] is not None:
        lines[0] += f", {float(lost['seconds_since_snapshot']):.0f} s ago"
    if lost["wal_bytes"] is not None:
        lines.append(f"  the server has written {float(lost['wal_bytes']) / 1e6:.1f} MB since, for all its databases")
    for table in lost["tables"]:
        now, then = (_count(table[name]) for name in ("rows_now", "rows_backup"))
        lines.append(f"  {table['schema']}.{table['name']}: {now} now, {then} in the backup")
    lines += [f"  in the way: {one}" for one in map(_obstacle, looked.get("missing") or [])]
    return "\n".join(lines)


def restored(done: Mapping[str, Any]) -> str:
    """What a restore did, for people."""
    lines = [f"{done['restored']} is backup {done['backup']}: {done['rows']} rows, compared"]
    if done["kept"]:
        users = f"{done['connections_ended']} connections ended"
        lines.append(f"  out of reach for {float(done['swap_seconds']):.2f} s, {users}")
        lines.append(f"  what was live is kept as {done['kept']}, until you drop it")
    return "\n".join([*lines, *(f"  note: {note}" for note in done["notes"])])


def _count(rows: Any) -> str:
    return "no table" if rows is None else f"{rows} rows"


def _obstacle(missing: Mapping[str, Any]) -> str:
    return ": ".join(str(text) for text in missing.values() if text)
