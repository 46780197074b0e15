# SPDX-License-Identifier: GPL-3.0-or-later
"""What the database knows that a migration's text does not: sizes, types, what exists. Reads only."""

from __future__ import annotations

import re
from typing import Any, Protocol

from .model import Created
from .names import last


class Reads(Protocol):
    """Whatever runs a query."""

    def fetch(self, sql: str, params: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query; parameters are written %s."""


# A table and its partitions. The planner's own way to an estimate: rows a page at the last ANALYZE, times pages now.
_ROWS = """
WITH RECURSIVE tree(oid) AS (
  SELECT to_regclass(%s)::oid UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN tree t ON i.inhparent = t.oid)
SELECT c.oid::regclass::text,
       CASE WHEN c.reltuples >= 0 AND c.relpages > 0
            THEN ceil(c.reltuples / c.relpages * (pg_relation_size(c.oid) / current_setting('block_size')::int)) END
FROM tree JOIN pg_class c USING (oid) WHERE c.relkind IN ('r', 'm')"""
_EXISTS = {
    "table": "SELECT to_regclass(%(table)s) IS NOT NULL",
    "column": "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%(table)s) AND attname = %(name)s"
    " AND NOT attisdropped)",
    "index": "SELECT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " WHERE i.indrelid = to_regclass(%(table)s) AND c.relname = %(name)s)",
    "constraint": "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass(%(table)s)"
    " AND conname = %(name)s)",
}
# The type of a column. None if a change of type would check or sort its rows again: a CHECK, an index with an
# expression or a predicate, and a collation of its own, which a plain change of type takes away.
_CHANGEABLE = """
SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(%s) AND a.attname = %s AND NOT a.attisdropped AND a.attcollation = t.typcollation
  AND NOT EXISTS (SELECT FROM pg_constraint c
                  WHERE c.conrelid = a.attrelid AND c.contype = 'c' AND a.attnum = ANY (c.conkey))
  AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_index i ON i.indexrelid = d.objid
                  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                    AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
                    AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))"""
_ANY_TABLE = """
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))"""
_REQUIRED = """
SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped
  AND attnotnull AND NOT atthasdef AND attidentity = ''"""
_CHECKS = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = to_regclass(%s) AND contype = 'c' AND convalidated"""
_NOT_NULL = re.compile(r'CHECK \(\("?(?P<column>[^"() ]+)"? IS NOT NULL\)\)')
_SIZED = re.compile(r"^(?:varchar|character varying)\s*\((\d+)\)$")
_NUMERIC = re.compile(r"^(?:numeric|decimal)\s*\((\d+)(?:,\s*(\d+))?\)$")
_TEXT = re.compile(r"^(?:text|varchar|character varying)$")


class Catalog:
    """Questions to the database, each asked once; ``limit`` bounds the counting of a table without statistics."""

    def __init__(self, reads: Reads, *, limit: int) -> None:
        self._reads = reads
        self._limit = limit
        self._rows: dict[str, int] = {}

    def rows(self, table: str) -> int:
        """Estimated rows of a canonical name; counted up to ``limit`` + 1 without statistics.

        One that is absent is made by code that cannot be read, so it counts as large.
        """
        if table and table not in self._rows:
            absent = not self.exists(Created("table", table, table))
            found = [] if absent else self._reads.fetch(_ROWS, (table,))
            self._rows[table] = self._limit + 1 if absent else sum(self._estimate(*row) for row in found)
        return self._rows.get(table, 0)

    def _estimate(self, table: str, estimate: float | None) -> int:
        if estimate is not None:
            return int(estimate)
        bounded = f"SELECT count(*) FROM (SELECT FROM ONLY {table} LIMIT {int(self._limit) + 1}) AS bounded"
        return int(self._reads.fetch(bounded)[0][0])

    def exists(self, thing: Created) -> bool:
        """Whether the object is there."""
        query = _EXISTS[thing.kind].replace("%(table)s", "%s").replace("%(name)s", "%s")
        params = (thing.table,) if thing.kind == "table" else (thing.table, last(thing.name))
        return bool(self._reads.fetch(query, params)[0][0])

    def keeps_rows(self, table: str, column: str, new_type: str) -> bool:
        """Whether PostgreSQL changes the column's type without touching its rows (longer varchar, wider numeric)."""
        found = self._reads.fetch(_CHANGEABLE, (table, last(column)))
        return bool(found) and bool(new_type) and widens(str(found[0][0]).lower(), new_type)

    def is_empty(self) -> bool:
        """Whether there is no table or view but those of the system and of extensions."""
        return not self._reads.fetch(_ANY_TABLE)[0][0]

    def is_required(self, table: str, column: str) -> bool:
        """Whether an INSERT has to name the column: NOT NULL, without a default, an identity or an expression."""
        return bool(self._reads.fetch(_REQUIRED, (table, last(column))))

    def is_checked(self, table: str, column: str) -> bool:
        """Whether a validated CHECK already says that the column is not NULL: PostgreSQL then reads no row again."""
        found = (_NOT_NULL.fullmatch(text) for (text,) in self._reads.fetch(_CHECKS, (table,)))
        return any(match and match["column"] == last(column) for match in found)

    def is_domain(self, name: str) -> bool:
        """Whether a domain has this name, in any schema: PostgreSQL checks its rules for every row."""
        query = "SELECT EXISTS (SELECT FROM pg_type WHERE typtype = 'd' AND typname = %s)"
        return bool(name) and bool(self._reads.fetch(query, (name,))[0][0])


def widens(old: str, new: str) -> bool:
    """Whether every value of the type ``old`` is stored the same as ``new``."""
    if old == new:
        return True
    old_sized, new_sized = _SIZED.match(old), _SIZED.match(new)
    if _TEXT.match(new) and (old_sized or _TEXT.match(old)):
        return True
    if old_sized and new_sized:
        return int(new_sized[1]) >= int(old_sized[1])
    old_numeric, new_numeric = _NUMERIC.match(old), _NUMERIC.match(new)
    if old_numeric and new_numeric:
        same_scale = (old_numeric[2] or "0") == (new_numeric[2] or "0")
        return same_scale and int(new_numeric[1]) >= int(old_numeric[1])
    return False
