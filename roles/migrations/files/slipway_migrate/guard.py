# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of the very connection that migrates: set by SQL and read back.

Not by PGOPTIONS or connection options: settings of the application override these without a word.
"""

from __future__ import annotations

from .adapters.base import Fetch
from .errors import MigrateError
from .request import Request

PREFIX = "slipway-migrate:"
CHECK_CLIENT_MS = 500  # how soon the server notices that a killed client is gone, and frees its locks
NAME_BYTES = 63  # PostgreSQL cuts application_name here


def application_name(role: str, run: str) -> str:
    """The name a connection shows in pg_stat_activity; ``role`` is work, lock or watch."""
    ascii_only = (run or "unnamed").encode("ascii", "replace").decode()
    return f"{PREFIX}{role}:{ascii_only}"[:NAME_BYTES]


def wanted(request: Request, *, server_version: int, patient: bool) -> dict[str, str]:
    """PostgreSQL's settings (times in milliseconds) for one migration.

    A patient one (only CONCURRENTLY and the like) may wait the whole budget: nobody who reads or writes queues behind.
    """
    statement = round(request.statement_timeout_seconds * 1000)
    budget = max(round(request.lock_budget_seconds * 1000), request.lock_timeout_ms)
    settings = {
        "application_name": application_name("work", request.run),
        "lock_timeout": str(budget if patient else request.lock_timeout_ms),
        "statement_timeout": str(statement),
        "idle_in_transaction_session_timeout": str(statement),
    }
    if server_version >= 140000:
        settings["client_connection_check_interval"] = str(CHECK_CLIENT_MS)
    return settings


def enforce(fetch: Fetch, settings: dict[str, str]) -> None:
    """Set them for the session and read them back; MigrateError ``guard_not_in_force`` if one did not take."""
    for name, value in settings.items():
        fetch("SELECT set_config(%s, %s, false)", (name, value))
    found: dict[str, str] = dict(fetch("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(settings),)))
    wrong = {name: found.get(name) for name, value in settings.items() if found.get(name) != value}
    if wrong:
        raise MigrateError(
            "guard_not_in_force",
            "The connection that migrates does not keep the limits it was given",
            found=", ".join(f"{name} = {value}" for name, value in sorted(wrong.items())),
            expected=", ".join(f"{name} = {settings[name]}" for name in sorted(wrong)),
            next_step="look for code that sets these on new connections (connection_created), or for a pooler",
        )
