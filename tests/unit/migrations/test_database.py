# SPDX-License-Identifier: GPL-3.0-or-later
"""What people are told of a backup and of a restore, and which database is none that can be backed up."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _database
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from tests.unit.fakes import FakeRunner

MANIFEST: dict[str, Any] = {
    "id": "b1",
    "status": "verified",
    "level": "full",
    "snapshot": {"at": "2026-11-21T11:05:12Z", "lsn": "0/1"},
    "tables": [{"rows": 3}, {"rows": 4}],
    "database_bytes": 8_000_000,
    "archive_bytes": 1_000,
    "seconds": {"dump": 0.7, "total": 2.04},
    "exceptions": [],
    "rehearsal": {
        "migrations": [
            {
                "id": "a.1",
                "seconds": 0.02,
                "locks": [{"table": "t", "mode": "ACCESS EXCLUSIVE", "seconds": 0.005}],
                "rewrites": ["t"],
                "reversible": "proven",
            }
        ]
    },
}


def test_a_backup_in_words() -> None:
    lines = _database.told(_database.summary(MANIFEST)).splitlines()
    assert lines[0] == "backup b1: verified, full; 2 tables, 7 rows, 8.0 MB, in 2.0 s"
    assert lines[1] == "rehearsed a.1: 0.02 s; access exclusive on t 0.01 s; rewrites t; undo proven"


def test_what_was_not_proven_is_said() -> None:
    assert "not proven: collation" in _database.told(_database.summary({**MANIFEST, "exceptions": ["collation"]}))


def test_what_a_restore_loses_in_words() -> None:
    tables = [{"schema": "public", "name": "t", "rows_backup": 7, "rows_now": 9}]
    tables.append({"schema": "public", "name": "u", "rows_backup": None, "rows_now": 1})  # type: ignore[dict-item]
    lost = {"seconds_since_snapshot": 812.4, "wal_bytes": 4_200_000, "tables": tables, "unknown": ""}
    missing = [{"code": "createdb", "found": "no CREATEDB", "expected": "CREATEDB"}]
    lines = _database.loss("b1", {"lost": lost, "missing": missing}).splitlines()
    assert lines[0].endswith("since its snapshot, 812 s ago")
    assert "4.2 MB" in lines[1]
    assert lines[2:4] == [
        "  public.t: 9 rows now, 7 rows in the backup",
        "  public.u: 1 rows now, no table in the backup",
    ]
    assert "no CREATEDB" in lines[4]


def test_what_cannot_be_told() -> None:
    lost = {"seconds_since_snapshot": None, "wal_bytes": None, "tables": [], "unknown": "no answer"}
    assert "cannot be told: no answer" in _database.loss("b1", {"lost": lost})


def test_what_a_restore_did() -> None:
    done = {"restored": "shop", "backup": "b1", "rows": 9, "kept": "shop_before", "swap_seconds": 0.041}
    told = _database.restored({**done, "connections_ended": 3, "notes": ["subscription s was not made"]})
    assert told.splitlines() == [
        "shop is backup b1: 9 rows, compared",
        "  out of reach for 0.04 s, 3 connections ended",
        "  what was live is kept as shop_before, until you drop it",
        "  note: subscription s was not made",
    ]
    beside = _database.restored({**done, "kept": "", "notes": []})
    assert beside == "shop is backup b1: 9 rows, compared"


@pytest.mark.parametrize("url", ["", "sqlite:///x", "mysql://a@b/c"])
def test_only_postgresql_is_backed_up(url: str) -> None:
    with pytest.raises(SlipwayError, match="webapp_accept_migrations_without_backup"):
        _database.program(Layout("shop"), FakeRunner(), {"database_url": url}, timeout=9)
