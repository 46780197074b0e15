# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the role may read everything: asked before the dump, because a dump that fails has cost its time.

And one case does not fail at all: rows that row security hides are missing without a word.
"""

from __future__ import annotations

from . import source as sources
from .errors import BackupError
from .source import Source

_NAMED = 20  # objects in a message

_OWN = """n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relpersistence <> 't'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
      AND c.oid <> ALL (coalesce(e.extconfig, '{}')))"""
_TABLES = f"""
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {_OWN} AND (CASE c.relkind WHEN 'S' THEN NOT pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
    WHEN 'r' THEN NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')
    WHEN 'p' THEN NOT pg_catalog.has_table_privilege(c.oid, 'SELECT') ELSE false END
  OR c.relkind IN ('r', 'p', 'S') AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE'))
ORDER BY 1"""
_ROW_SECURITY = f"""
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles r ON r.rolname = current_user
WHERE {_OWN} AND c.relkind IN ('r', 'p') AND c.relrowsecurity AND NOT (r.rolsuper OR r.rolbypassrls)
  AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(c.relowner, 'USAGE'))
ORDER BY 1"""
# The rule of pg_largeobject_aclcheck_snapshot: no function tells it before PostgreSQL 18.
_LARGE_OBJECTS = """
SELECT o.oid::text FROM pg_catalog.pg_largeobject_metadata o JOIN pg_catalog.pg_roles r ON r.rolname = current_user
WHERE NOT r.rolsuper AND pg_catalog.current_setting('lo_compat_privileges') = 'off'
  AND NOT EXISTS (
    SELECT FROM pg_catalog.aclexplode(coalesce(o.lomacl, pg_catalog.acldefault('L', o.lomowner))) a
    WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))
ORDER BY o.oid"""


def refuse_unreadable(source: Source) -> None:
    """Raises BackupError not_readable or row_security, naming what the role cannot read."""
    role = str(source.rows("SELECT current_user")[0][0])
    hidden = _names(source, _ROW_SECURITY)
    if hidden:
        raise _refusal(
            "row_security",
            f"Row security hides rows from the role {role}",
            hidden,
            f"ALTER ROLE {sources.quoted(role)} BYPASSRLS, or use the tables' owner where it is not forced",
        )
    closed = _names(source, _TABLES)
    if closed:
        raise _refusal(
            "not_readable",
            f"The role {role} may not read all tables",
            closed,
            f"GRANT pg_read_all_data TO {sources.quoted(role)}",
        )
    objects = _names(source, _LARGE_OBJECTS)
    if objects:
        raise _refusal(
            "large_objects_unreadable",
            f"The role {role} may not read all large objects",
            objects,
            f"use their owner, or GRANT SELECT ON LARGE OBJECT ... TO {sources.quoted(role)}",
        )


def _names(source: Source, query: str) -> list[str]:
    return [str(name) for (name,) in source.rows(query)]


def _refusal(code: str, summary: str, names: list[str], next_step: str) -> BackupError:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return BackupError(
        code,
        summary,
        found=", ".join(names[:_NAMED]) + more,
        expected="a role that reads everything: a dump without it would lack rows or fail half-way",
        next_step=next_step,
        details={"objects": names[:1000]},
    )
