# SPDX-License-Identifier: GPL-3.0-or-later
"""Schema and contents as digests, to see whether undoing a migration brings everything back."""

from __future__ import annotations

from .adapters.base import Adapter
from .names import quoted

_USER = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
# Not the order of columns: one that was dropped and added again comes last, and nobody minds.
_SCHEMA = f"""
SELECT 'column ' || c.oid::regclass || '.' || quote_ident(a.attname),
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                 pg_get_expr(d.adbin, d.adrelid))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm') AND {_USER}
UNION ALL
SELECT 'constraint ' || conrelid::regclass || '.' || quote_ident(conname),
       pg_get_constraintdef(c.oid) || CASE WHEN convalidated THEN '' ELSE ' not valid' END
FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace WHERE conrelid <> 0 AND {_USER}
UNION ALL
SELECT 'index ' || i.indexrelid::regclass, pg_get_indexdef(i.indexrelid) || ' ' || indisvalid
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_USER}"""
_TABLES = f"""
SELECT c.oid::regclass::text, array_agg(a.attname::text ORDER BY a.attname::text)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind = 'r' AND {_USER} GROUP BY 1"""
# They tell of the run itself.
_LEFT_OUT = ("django_migrations", "alembic_version")


class Snapshot:
    """Digests by name. Tables that nobody wrote to since are not read again."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._contents: dict[str, str] = {}

    def forget(self, tables: set[str]) -> None:
        """These were written to."""
        for table in tables:
            self._contents.pop(table, None)

    def forget_all(self) -> None:
        """What was read is no longer so."""
        self._contents = {}

    def take(self) -> dict[str, str]:
        """Name -> digest of every column, constraint, index, and of the rows of every table."""
        found = {str(name): str(definition) for name, definition in self._adapter.fetch(_SCHEMA)}
        tables = {str(table): list(columns) for table, columns in self._adapter.fetch(_TABLES)}
        self._contents = {table: digest for table, digest in self._contents.items() if table in tables}
        for table, columns in tables.items():
            if table.split(".")[-1] not in _LEFT_OUT:
                if table not in self._contents:
                    self._contents[table] = self._digest(table, columns)
                found[f"rows of {table}"] = self._contents[table]
        return found

    def differences(self, before: dict[str, str]) -> list[str]:
        """What is not as it was, everything read anew; a few words each, at most ten."""
        self.forget_all()
        now = self.take()
        words = [f"{name} is gone" for name in before if name not in now]
        words += [f"{name} is new" for name in now if name not in before]
        words += [f"{name} differs" for name in before if name in now and before[name] != now[name]]
        return sorted(words)[:10]

    def _digest(self, table: str, columns: list[str]) -> str:
        row = ", ".join(quoted(name) for name in columns)
        # A sum does not depend on the order of rows, and equal rows do not cancel each other as with XOR.
        query = f"SELECT count(*), coalesce(sum(hashtextextended(ROW({row})::text, 0)::numeric), 0) FROM ONLY {table}"
        rows, total = self._adapter.fetch(query)[0]
        return f"{rows} {total}"
