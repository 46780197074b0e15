# SPDX-License-Identifier: GPL-3.0-or-later
"""How many rows the source has in the snapshot, without reading its tables a second time.

The server keeps for each table how often it was scanned and how many rows these scans have returned, and COPY, which
pg_dump uses, is such a scan. Where there was one scan between the begin of the dump and its end, it was the dump's, and
what it returned is what the server sent. Who else reads the table meanwhile makes it two: then it is counted, in the
snapshot. A session reports when its transaction ends, and at its own end before it is gone from pg_stat_activity; so
the dump's sessions are waited for.

TABLESAMPLE and ranges of ctid return rows without being scans. They make the figure larger than the archive's, never
equal to it by what is missing there; so when the two differ, all is done once more, with every table counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .source import Source, Table, per_table

_OLDEST = 15  # older servers tell their statistics by packets that may be lost, and late
_WAIT_SECONDS = 10.0  # for the dump's sessions to be gone; they need milliseconds
_LOOK_EVERY = 0.02
Key = tuple[str, str]


@dataclass(frozen=True)
class Scans:
    """Of a table since its statistics began: how often it was scanned, and the rows that were returned."""

    number: int
    rows: int


def scans(source: Source) -> dict[Key, Scans]:
    """Of all tables, as reported until now; nothing where the server does not keep them."""
    if source.major < _OLDEST or source.rows("SELECT pg_catalog.current_setting('track_counts')") != [("on",)]:
        return {}
    _look_anew(source)
    found = source.rows(
        """SELECT n.nspname, c.relname, pg_catalog.pg_stat_get_numscans(c.oid),
          pg_catalog.pg_stat_get_tuples_returned(c.oid)
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'"""
    )
    return {(schema, name): Scans(number, returned) for schema, name, number, returned in found}


def told(before: Mapping[Key, Scans], after: Mapping[Key, Scans], tables: Iterable[Table]) -> dict[Key, int]:
    """Rows of the tables that were scanned once in between. An extension's table is dumped by a query: never told."""
    found = {}
    for table in tables:
        first, last = before.get(table.key), after.get(table.key)
        if first and last and not table.condition and last.number - first.number == 1:
            found[table.key] = last.rows - first.rows
    return found


def rows(source: Source, tables: list[Table], before: Mapping[Key, Scans], dumper: str) -> dict[Key, int]:
    """Rows of every table in the snapshot: told where that can be, else counted.

    ``before`` was read before the dump began, and is empty when nothing can be told; ``dumper`` is the name of the
    dump's sessions, which have ended.
    """
    after = scans(source) if before and _gone(source, dumper) else {}
    found = told(before, after, tables)
    left = [table for table in tables if table.key not in found]
    source.tables_counted += len(left)
    return {**found, **per_table(source.rows, left, "count(*)")}


def _gone(source: Source, name: str) -> bool:
    end = time.monotonic() + _WAIT_SECONDS
    while True:
        _look_anew(source)
        ((number,),) = source.rows(
            """SELECT count(*) FROM pg_catalog.pg_stat_activity
            WHERE application_name = %s AND datname = pg_catalog.current_database()""",
            (name,),
        )
        if not number:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_EVERY)


def _look_anew(source: Source) -> None:
    """Statistics, and who is there, stand still inside a transaction otherwise."""
    source.rows("SELECT pg_catalog.pg_stat_clear_snapshot()")
