# SPDX-License-Identifier: GPL-3.0-or-later
"""The database that is backed up: who it is, what is in it, and one snapshot in which all of this is looked at.

What this asks of the server is short: the catalogues, and of the tables no more than ``counting`` cannot avoid.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from . import fingerprint
from .connection import Connection, Database, rows
from .errors import BackupError

OLDEST, NEWEST = 14, 18  # major versions that were looked at
_BATCH = 50  # tables in one statement
_LOCK_SECONDS = 2  # to wait for a lock at a time: who waits holds up all that come after him
_ATTEMPTS = 5  # to lock all tables before the snapshot, while others create some


def quoted(*names: str) -> str:
    """A qualified name in SQL."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


@dataclass(frozen=True)
class Table:
    """A table whose rows pg_dump reads. ``condition`` (``WHERE ...`` or '') is that of an extension's own table."""

    schema: str
    name: str
    columns: tuple[str, ...] = ()
    condition: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Schema and name."""
        return self.schema, self.name

    @property
    def sql(self) -> str:
        """Its name in SQL."""
        return quoted(self.schema, self.name)


@dataclass(frozen=True)
class SequenceValue:
    """A sequence as it stands; sequences know no snapshot."""

    schema: str
    name: str
    last_value: int
    is_called: bool
    ascends: bool = field(default=True, compare=False)


@dataclass
class Facts:
    """What was seen in the snapshot."""

    identity: dict[str, Any]
    snapshot: dict[str, Any]
    tables: list[Table] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    checksums: dict[tuple[str, str], str] = field(default_factory=dict)
    sequences: list[SequenceValue] = field(default_factory=list)
    sequences_after: list[SequenceValue] = field(default_factory=list)
    large_objects: int = 0
    schema: list[str] = field(default_factory=list)
    unusable_indexes: list[str] = field(default_factory=list)
    ownership: list[str] = field(default_factory=list)
    migrations: dict[str, Any] = field(default_factory=dict)
    extensions: list[dict[str, str]] = field(default_factory=list)
    roles: list[dict[str, Any]] = field(default_factory=list)
    memberships: list[tuple[str, str]] = field(default_factory=list)
    properties: dict[str, Any] = field(default_factory=dict)
    lc_monetary: str = "C"
    database_bytes: int = 0


class Source:
    """A connection to the database, with what was asked of the server counted."""

    def __init__(self, database: Database, *, lock_wait_seconds: int) -> None:
        self.database = database
        self.statements = 0
        self.seconds_busy = 0.0
        self.tables_counted = 0
        self._lock_wait = lock_wait_seconds
        self.connection: Connection = database.connect()
        # One processor of the server's at most: users are in no hurry that we finish.
        self.connection.execute("SET max_parallel_workers_per_gather = 0")
        self.connection.commit()
        self.version = self.connection.info.server_version
        self._opened = 0.0

    @property
    def major(self) -> int:
        """15 of 15.18."""
        return self.version // 10000

    @contextlib.contextmanager
    def asking(self, statements: int = 1) -> Iterator[Connection]:
        """The connection, for so many statements; raises BackupError with the server's own words."""
        began = time.monotonic()
        try:
            yield self.connection
        except psycopg.Error as error:
            raise _failed(error) from error
        finally:
            self.statements += statements
            self.seconds_busy += time.monotonic() - began

    def rows(self, query: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.asking() as connection:
            return rows(connection, query, parameters)

    def execute(self, query: str) -> None:
        """A statement without rows."""
        with self.asking() as connection:
            connection.execute(query)

    def open_snapshot(self) -> str:
        """Begin the transaction that everything is read in, and export its snapshot; returns the snapshot's id.

        All tables are locked (ACCESS SHARE, like any reader) before the snapshot is taken: TRUNCATE ignores snapshots,
        so one that came between could empty a table for some of the readers and not for others.
        """
        wanted = _table_names(self)
        for _unused in range(_ATTEMPTS):
            self.connection.rollback()
            self.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self.connection.read_only = True
            locked = self._lock(wanted)
            if not locked:
                self.connection.rollback()
            found = _table_names(self)
            if locked and set(found) <= set(wanted):
                self._opened = time.monotonic()
                return str(self.rows("SELECT pg_catalog.pg_export_snapshot()")[0][0])
            wanted = found
        raise BackupError(
            "schema_changes",
            "The schema changes all the time",
            expected="no new tables for a moment",
            next_step="repeat",
        )

    def _lock(self, names: Sequence[str]) -> bool:
        """Lock tables in short rounds that let others pass; False when one of them is gone since it was listed."""
        end = time.monotonic() + self._lock_wait
        while True:
            try:
                return self._lock_once(names)
            except BackupError as error:
                if error.code != "lock_not_available" or time.monotonic() >= end:
                    raise
                self.connection.rollback()

    def _lock_once(self, names: Sequence[str]) -> bool:
        self.execute(f"SET LOCAL lock_timeout = '{min(_LOCK_SECONDS, self._lock_wait)}s'")
        for start in range(0, len(names), _BATCH):
            batch = ", ".join(f"ONLY {name}" for name in names[start : start + _BATCH])
            try:
                self.execute(f"LOCK TABLE {batch} IN ACCESS SHARE MODE")
            except BackupError as error:
                if isinstance(error.__cause__, psycopg.errors.UndefinedTable):
                    return False
                raise
        return True

    def facts(self, before: list[SequenceValue], *, checksums: bool = False) -> Facts:
        """Look at everything but sequences and numbers of rows. Inside the snapshot.

        ``before``: their values, read before pg_dump was started. They know no snapshot, so it may not read them first.
        """
        facts = Facts(identity=identity(self), snapshot=_snapshot(self))
        facts.tables = tables(self)
        facts.database_bytes = self.rows("SELECT pg_catalog.pg_database_size(pg_catalog.current_database())")[0][0]
        facts.sequences = before
        facts.large_objects = self.rows("SELECT count(*) FROM pg_catalog.pg_largeobject_metadata")[0][0]
        with self.asking(statements=3) as connection:
            facts.schema = fingerprint.lines(connection)
            facts.unusable_indexes = fingerprint.unusable_indexes(connection)
            facts.ownership = fingerprint.ownership(connection)
        facts.migrations = _migrations(self)
        facts.extensions = _extensions(self)
        facts.roles, facts.memberships = _roles(self)
        facts.properties = _properties(self)
        facts.lc_monetary = self.rows("SELECT pg_catalog.current_setting('lc_monetary')")[0][0]
        if checksums:
            facts.checksums = per_table(self.rows, facts.tables, CHECKSUM)
        return facts

    def close_snapshot(self) -> float:
        """End the transaction; returns how many seconds it was open. Sequences can be read afterwards."""
        self.connection.rollback()
        self.connection.read_only = False
        self.connection.isolation_level = None
        return round(time.monotonic() - self._opened, 3)

    def close(self) -> None:
        """Disconnect."""
        self.connection.close()


def _failed(error: psycopg.Error) -> BackupError:
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return BackupError(
            "lock_not_available",
            "A table is locked by somebody else",
            found=str(error).strip(),
            next_step="see pg_locks and pg_stat_activity for the one who holds it, then repeat",
        )
    gone = isinstance(error, psycopg.OperationalError) and not isinstance(error, psycopg.errors.QueryCanceled)
    return BackupError(
        "server_gone" if gone else "source_failed",
        "The database could not be read",
        found=str(error).strip(),
        next_step="see the server's log, then repeat",
    )


# Order-free, so that it needs no key and no memory; a sum, because in an exclusive or two equal rows cancel out.
# ROW(t.*), because t alone is the column in a table that has one of this name.
CHECKSUM = "coalesce(sum(pg_catalog.hashtextextended(ROW(t.*)::text, 0)::numeric), 0)::text"

# What pg_dump reads rows of: ordinary tables and partitions, not those of the system; of an extension's tables only
# those that it has marked as configuration. A standby cannot read unlogged tables.
_TABLES = """
SELECT n.nspname, c.relname,
  ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
        AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum),
  coalesce(e.condition, '')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
  AND d.deptype = 'e' AND d.objsubid = 0
LEFT JOIN LATERAL (SELECT x.condition FROM pg_catalog.pg_extension x0,
    LATERAL ROWS FROM (pg_catalog.unnest(x0.extconfig), pg_catalog.unnest(x0.extcondition)) x(config, condition)
  WHERE x0.oid = d.refobjid AND x.config = c.oid) e ON true
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (d.objid IS NULL OR e.condition IS NOT NULL)
  AND NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery())
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""


def tables(source: Source) -> list[Table]:
    """Tables whose rows a dump must hold, by name."""
    return [Table(schema, name, tuple(columns), condition) for schema, name, columns, condition in source.rows(_TABLES)]


def _table_names(source: Source) -> list[str]:
    return [table.sql for table in tables(source)]


def per_table(ask: Any, found: Sequence[Table], what: str) -> dict[tuple[str, str], Any]:
    """An aggregate over each table, by schema and name. ``ask`` runs a query."""
    values: dict[tuple[str, str], Any] = {}
    for start in range(0, len(found), _BATCH):
        batch = found[start : start + _BATCH]
        parts = [
            f"SELECT {index}, (SELECT {what} FROM ONLY {table.sql} t {table.condition})"
            for index, table in enumerate(batch)
        ]
        values.update({batch[index].key: value for index, value in ask(" UNION ALL ".join(parts))})
    return values


def sequences(source: Source) -> list[SequenceValue]:
    """All sequences with the values that they have now."""
    names = source.rows(
        """SELECT n.nspname, c.relname, s.seqincrement > 0 AND NOT s.seqcycle FROM pg_catalog.pg_sequence s
        JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname !~ '^pg_' AND c.relpersistence <> 't' AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
            AND d.classid = 'pg_catalog.pg_class'::regclass)
        ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C" """
    )
    return sequence_values(source.rows, names)


def sequence_values(ask: Any, names: Sequence[tuple[str, str, bool]]) -> list[SequenceValue]:
    """The values of named sequences. ``ask`` runs a query."""
    found: list[SequenceValue] = []
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        query = " UNION ALL ".join(
            f"SELECT {index}, last_value, is_called FROM {quoted(schema, name)}"
            for index, (schema, name, _unused) in enumerate(batch)
        )
        for index, last_value, is_called in sorted(ask(query)):
            schema, name, ascends = batch[index]
            found.append(SequenceValue(schema, name, last_value, is_called, ascends))
    return found


def identity(source: Source) -> dict[str, Any]:
    """Which database of which cluster this is: never its name alone. On a standby the timeline is the primary's.

    The control file knows a new timeline only from the first checkpoint on, which may be minutes after a failover; the
    name of the file that is being written tells it at once.
    """
    found = source.rows(
        """SELECT s.system_identifier::text,
          CASE WHEN pg_catalog.pg_is_in_recovery() THEN c.timeline_id ELSE ('x' || pg_catalog.substr(
            pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
          d.datname, d.oid::bigint,
          pg_catalog.current_setting('server_version_num')::int, pg_catalog.pg_encoding_to_char(d.encoding),
          coalesce(j.d->>'datlocprovider', 'c'), d.datcollate, d.datctype,
          coalesce(j.d->>'datlocale', j.d->>'daticulocale'), j.d->>'daticurules'
        FROM pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_database d,
          LATERAL (SELECT pg_catalog.to_jsonb(d)) j(d) WHERE d.datname = pg_catalog.current_database()"""
    )[0]
    keys = ("system_identifier", "timeline", "database", "database_oid", "server_version_num", "encoding")
    return dict(zip((*keys, "locale_provider", "collate", "ctype", "icu_locale", "icu_rules"), found, strict=True))


def _snapshot(source: Source) -> dict[str, Any]:
    lsn, at = source.rows(
        """SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
          ELSE pg_catalog.pg_current_wal_lsn() END::text,
          pg_catalog.to_char(pg_catalog.transaction_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    )[0]
    return {"lsn": lsn, "at": at, "seconds_open": 0.0}


def _migrations(source: Source) -> dict[str, Any]:
    """What the tables of Django and Alembic say, of the first schema that has them; ``public`` comes first."""
    found: dict[str, Any] = {}
    for kind, name, columns in (
        ("django", "django_migrations", "app, name"),
        ("alembic", "alembic_version", "version_num"),
    ):
        schemas = source.rows(
            """SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relname = %s AND c.relkind = 'r' AND c.relpersistence <> 't'
            ORDER BY n.nspname <> 'public', n.nspname LIMIT 1""",
            (name,),
        )
        for (schema,) in schemas:
            order = "id" if kind == "django" else columns
            values = source.rows(f"SELECT {columns} FROM {quoted(schema, name)} ORDER BY {order}")
            found[kind] = [list(value) if kind == "django" else value[0] for value in values]
    return found


def _extensions(source: Source) -> list[dict[str, str]]:
    return [
        {"name": name, "version": version, "schema": schema}
        for name, version, schema in source.rows(
            """SELECT e.extname, e.extversion, n.nspname FROM pg_catalog.pg_extension e
            JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY e.extname"""
        )
    ]


def _roles(source: Source) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Roles that own something here or are granted something, those that they are members of, and these memberships.

    ``superuser`` is also said of the owners of what only a superuser may own in a community server: managed servers
    have ways of their own.
    """
    found = source.rows(
        """WITH RECURSIVE used AS (
          SELECT d.refobjid AS oid FROM pg_catalog.pg_shdepend d WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass
            AND d.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
          UNION SELECT datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
          UNION SELECT 10::oid
          UNION SELECT m.roleid FROM used JOIN pg_catalog.pg_auth_members m ON m.member = used.oid)
        SELECT r.rolname, r.rolinherit, r.rolsuper
          OR EXISTS (SELECT FROM pg_catalog.pg_event_trigger e WHERE e.evtowner = r.oid)
          OR EXISTS (SELECT FROM pg_catalog.pg_foreign_data_wrapper f WHERE f.fdwowner = r.oid)
        FROM pg_catalog.pg_roles r JOIN used USING (oid) ORDER BY r.rolname"""
    )
    roles = [{"name": name, "inherit": inherit, "superuser": superuser} for name, inherit, superuser in found]
    memberships = source.rows(
        """SELECT g.rolname, m.rolname FROM pg_catalog.pg_auth_members a JOIN pg_catalog.pg_roles g ON g.oid = a.roleid
        JOIN pg_catalog.pg_roles m ON m.oid = a.member WHERE m.rolname = ANY(%s) ORDER BY 1, 2""",
        ([role["name"] for role in roles],),
    )
    return roles, [(str(group), str(member)) for group, member in memberships]


def _properties(source: Source) -> dict[str, Any]:
    """What belongs to the database itself, which an archive of its contents does not hold."""
    owner, acl, limit, comment, settings = source.rows(
        """SELECT pg_catalog.pg_get_userbyid(datdba), datacl::text[], datconnlimit,
          pg_catalog.shobj_description(d.oid, 'pg_database'),
          (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('role',
              CASE setrole WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(setrole) END, 'settings', setconfig))
            FROM pg_catalog.pg_db_role_setting s WHERE s.setdatabase = d.oid)
        FROM pg_catalog.pg_database d WHERE datname = pg_catalog.current_database()"""
    )[0]
    return {"owner": owner, "acl": acl, "connection_limit": limit, "comment": comment, "settings": settings or []}
