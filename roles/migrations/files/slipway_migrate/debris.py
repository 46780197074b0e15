# SPDX-License-Identifier: GPL-3.0-or-later
"""What failed migrations leave: INVALID indexes, constraints not valid, objects of a migration not recorded."""

from __future__ import annotations

from .adapters.base import Fetch
from .catalog import Catalog
from .errors import MigrateError
from .model import Created, Migration
from .names import last, quoted

# One that is being built right now is not debris.
_INVALID = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), i.indrelid::regclass::text
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
ORDER BY 1"""
_NOT_VALID = """
SELECT quote_ident(c.conname), c.conrelid::regclass::text FROM pg_constraint c
WHERE NOT c.convalidated AND c.conrelid <> 0 ORDER BY 1"""


def invalid_indexes(fetch: Fetch) -> list[str]:
    """Indexes that every write pays for and no query uses, as "schema.index on table"."""
    return [f"{index} on {table}" for index, table in fetch(_INVALID)]


def not_valid_constraints(fetch: Fetch) -> list[str]:
    """Constraints that were added NOT VALID and never validated, as "name on table"."""
    return [f"{name} on {table}" for name, table in fetch(_NOT_VALID)]


def left_by(migration: Migration, catalog: Catalog) -> list[str]:
    """What of this unrecorded migration exists already: the statements that remove it, for people to run."""
    created = [thing for operation in migration.operations for effect in operation.effects for thing in effect.creates]
    # IF NOT EXISTS runs again as it is, and says nothing of who made the object.
    there = [thing for thing in created if not thing.if_absent and catalog.exists(thing)]
    tables = {thing.table for thing in there if thing.kind == "table"}
    return [_removal(thing) for thing in reversed(there) if thing.kind == "table" or thing.table not in tables]


def refuse_half_applied(migration: Migration, catalog: Catalog) -> None:
    """A non-atomic migration that was cut off cannot simply run again: say what stands in its way, and the repair."""
    if migration.atomic:
        return
    debris = left_by(migration, catalog)
    if debris:
        raise MigrateError(
            "half_applied",
            f"{migration.id} is not recorded as applied, but parts of it exist",
            found=f"{len(debris)} of its objects exist already",
            expected="none, or the migration recorded",
            next_step=repair(debris),
            details={"failed": migration.id, "debris": debris},
        )


def repair(debris: list[str]) -> str:
    """What to do about objects that a migration left. An object of that name may be older and hold data."""
    return (
        "look first whether this migration made each of them (they may be older), undo what it made, then run again: "
        + " ".join(debris)
    )


def _removal(thing: Created) -> str:
    schema = "" if thing.table.count('"."') == 0 else thing.table.rsplit(".", 1)[0] + "."
    name = quoted(last(thing.name))
    return {
        "table": f"DROP TABLE {thing.table};",
        "column": f"ALTER TABLE {thing.table} DROP COLUMN {name};",
        "index": f"DROP INDEX CONCURRENTLY {schema}{name};",
        "constraint": f"ALTER TABLE {thing.table} DROP CONSTRAINT {name};",
    }[thing.kind]
