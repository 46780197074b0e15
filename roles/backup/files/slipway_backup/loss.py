# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore would lose, in numbers: everything that was written since the snapshot of the backup."""

from __future__ import annotations

import contextlib
from typing import Any

import psycopg

from . import source
from .connection import Database
from .errors import BackupError
from .source import Source, Table

LOCK_WAIT_SECONDS = 5
_COUNT_LIMIT = "60s"  # for one table: a table that can not be counted must not stop the way back


def nothing(*, unknown: str = "") -> dict[str, Any]:
    """No live database, or one of which nothing can be told (``unknown`` says why)."""
    return {"seconds_since_snapshot": None, "wal_bytes": None, "tables": [], "unknown": unknown}


def lost(database: Database, manifest: dict[str, Any]) -> dict[str, Any]:
    """``seconds_since_snapshot`` by the server's clock, ``wal_bytes`` (null: another cluster or timeline), ``tables``.

    Tables whose number of rows is another one now, and those that only one side has (null on the other). Rows that were
    changed keep their number; the bytes of WAL, which are those of the whole server, are the bound for them.
    """
    with contextlib.closing(Source(database, lock_wait_seconds=LOCK_WAIT_SECONDS)) as live:
        seconds, lsn = live.rows(
            """SELECT extract(epoch FROM pg_catalog.clock_timestamp() - %s::timestamptz)::float8,
              CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL
              ELSE pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), %s::pg_lsn)::bigint END""",
            (manifest["snapshot"]["at"], manifest["snapshot"]["lsn"]),
        )[0]
        identity = source.identity(live)
        same = all(identity[key] == manifest["identity"][key] for key in ("system_identifier", "timeline"))
        found = source.tables(live)
        live.connection.rollback()
        now = {table.key: _rows(live, table) for table in found}
    return {
        "seconds_since_snapshot": round(seconds, 3),
        "wal_bytes": lsn if same else None,
        "tables": _changed({(one["schema"], one["name"]): one["rows"] for one in manifest["tables"]}, now),
        "unknown": "",
    }


def _rows(live: Source, table: Table) -> int | None:
    """None: it can not be counted, because it is damaged, locked or too large."""
    try:
        live.execute(f"SET LOCAL statement_timeout = '{_COUNT_LIMIT}'")
        live.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT_SECONDS}s'")
        (count,) = live.rows(f"SELECT count(*) FROM ONLY {table.sql} t {table.condition}")[0]
        return int(count)
    except BackupError:
        return None
    finally:
        with contextlib.suppress(psycopg.Error):
            live.connection.rollback()


def _changed(before: dict[tuple[str, str], int], now: dict[tuple[str, str], int | None]) -> list[dict[str, Any]]:
    return [
        {"schema": key[0], "name": key[1], "rows_backup": before.get(key), "rows_now": now.get(key)}
        for key in sorted({*before, *now})
        if key not in before or key not in now or before[key] != now[key]
    ]
