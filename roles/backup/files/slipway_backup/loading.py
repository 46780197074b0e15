# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive into the throwaway server: roles, the database with the source's locale, then pg_restore in passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psycopg

from . import properties, toc
from .connection import Connection, rows
from .errors import BackupError
from .processes import Command, Deadline, Running
from .scratch import SUPERUSER, Scratch, no_space
from .source import Facts, quoted

_SIDE_BY_SIDE = ("data", "rules", "materialized-views")
# Debian's packages of extensions that are no part of postgresql-<major>.
_PACKAGES = {
    "postgis": "postgresql-{major}-postgis-3",
    "vector": "postgresql-{major}-pgvector",
    "pg_cron": "postgresql-{major}-cron",
    "pg_partman": "postgresql-{major}-partman",
    "pg_repack": "postgresql-{major}-repack",
    "hypopg": "postgresql-{major}-hypopg",
    "pgaudit": "postgresql-{major}-pgaudit",
    "plpython3u": "postgresql-plpython3-{major}",
    "plperl": "postgresql-plperl-{major}",
}


def require_extensions(scratch: Scratch, facts: Facts) -> None:
    """Raises BackupError extension_missing, naming each extension that cannot be made here, and its package."""
    with scratch.connect(SUPERUSER) as connection:
        available = {name for (name,) in rows(connection, "SELECT name FROM pg_catalog.pg_available_extensions")}
    missing = [item["name"] for item in facts.extensions if item["name"] not in available]
    if not missing:
        return
    major = scratch.binaries.major
    hints = [
        _PACKAGES[name].format(major=major)
        if name in _PACKAGES
        else f"the one that has {name}.control (apt-file search)"
        for name in missing
    ]
    raise BackupError(
        "extension_missing",
        "The database uses an extension that is not installed on this host, so it cannot be restored here",
        found=f"no {', '.join(missing)}",
        expected=f"the files of each extension for PostgreSQL {major}",
        next_step="install the package: " + ", ".join(hints).format(major=major),
        details={"extensions": missing},
    )


def create_roles(connection: Connection, facts: Facts) -> None:
    """Every role that the archive's owners and privileges name, without a login, and who is a member of whom."""
    present = {name for (name,) in rows(connection, "SELECT rolname FROM pg_catalog.pg_roles")}
    for role in facts.roles:
        if role["name"] in present or role["name"].startswith("pg_"):
            continue
        kind = "SUPERUSER" if role["superuser"] else "NOSUPERUSER"
        inherit = "INHERIT" if role["inherit"] else "NOINHERIT"
        connection.execute(f"CREATE ROLE {quoted(role['name'])} NOLOGIN {kind} {inherit}")
        present.add(role["name"])
    for group, member in facts.memberships:
        if {group, member} <= present and group != "pg_database_owner":
            connection.execute(f"GRANT {quoted(group)} TO {quoted(member)}")


def create_database(scratch: Scratch, facts: Facts) -> list[str]:
    """The empty database, named like the source's; returns what could not be as it is there."""
    name, owner = facts.identity["database"], facts.properties["owner"]
    version = scratch.binaries.major * 10000
    with scratch.connect("template1") as connection:
        create_roles(connection, facts)
        if name == SUPERUSER:
            connection.execute(f"DROP DATABASE {quoted(name)}")
        try:
            connection.execute(properties.creation(name, facts.identity, owner, version=version))
            notes = []
        except (psycopg.errors.WrongObjectType, psycopg.errors.InvalidParameterValue) as error:
            plain = {"locale_provider": "c", "collate": "C", "ctype": "C", "icu_locale": None, "icu_rules": None}
            connection.execute(properties.creation(name, {**facts.identity, **plain}, owner, version=version))
            notes = [f"locale: {str(error).strip()}; the copy has C, so the order in indexes on text is not proven"]
        return notes + set_monetary_locale(connection, name, facts.lc_monetary)


def set_monetary_locale(connection: Connection, name: str, locale: str) -> list[str]:
    """Values of type money are printed and read after it, and pg_dump does not pin it."""
    try:
        connection.execute(f"ALTER DATABASE {quoted(name)} SET lc_monetary = {properties.literal(locale)}")
    except psycopg.errors.InvalidParameterValue as error:
        return [f"lc_monetary: {str(error).strip()}"]
    return []


@dataclass(frozen=True)
class Loader:
    """pg_restore into one database of the throwaway server."""

    scratch: Scratch
    archive: Path
    database: str
    jobs: int
    deadline: Deadline

    def start(self, part: Pass) -> Running:
        """pg_restore at work on the entries of a pass; it stops at the first error."""
        wanted = self.scratch.directory / f"{part.name}.list"
        wanted.write_text("".join(f"{entry.id};\n" for entry in part.entries))
        wanted.chmod(0o644)
        options = "-c row_security=off -c statement_timeout=0"
        if self.scratch.binaries.major >= 17:
            options += " -c event_triggers=off"
        argv = [
            self.scratch.binaries.path("pg_restore"),
            "--exit-on-error",
            "--no-password",
            "--no-tablespaces",  # this server has none but its own
            "--format=directory",
            f"--dbname={_conninfo_name(self.database)}",
            f"--jobs={self.jobs if part.parallel else 1}",
            f"--use-list={wanted}",
            str(self.archive),
        ]
        target = self.scratch.database(self.database)
        environment = {**target.environment(), "PGOPTIONS": options}
        return Running(Command(argv, environment, target.account, polite=True))

    def finish(self, running: Running) -> None:
        """Wait for pg_restore; raises BackupError with the reason, which may be that the server was ended."""
        status = running.wait(self.deadline)
        if not status:
            return
        error = running.failure(
            status,
            "restore_failed",
            "The archive could not be restored",
            next_step="the backup is not usable: correct what the message names, then take another",
        )
        raise self.scratch.stopped() or no_space(error, self.scratch.directory)


def _conninfo_name(name: str) -> str:
    """A name that libpq takes for a name: one with ``=`` in it would be read as a connection string."""
    return "dbname='" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(frozen=True)
class Pass:
    """A run of pg_restore; ``parallel`` says whether its entries may run side by side."""

    name: str
    entries: list[toc.Entry]
    parallel: bool


def passes(entries: list[toc.Entry], *, indexes: bool = True) -> list[Pass]:
    """The order in which an archive is restored: first all tables with their rows, then what follows from them.

    pg_restore with several jobs knows which entries need which, but not all the locks that they take, nor that a
    privilege may be needed to grant another one. So what locks several partitions at once (two jobs would end in a
    deadlock) and privileges run one by one. Materialized views are filled after the privileges that their owners need.
    Event triggers come last, because they fire on the statements of the restore itself. Subscriptions are left out:
    they would connect to their publisher. Without ``indexes``, those that enforce nothing are left out; unique ones
    stay.
    """
    left = toc.without(entries, {entry.id for entry in entries if _is_left_out(entry, indexes=indexes)})
    rules = {entry.id for entry in left if entry.post_data}
    partitions = _lock_partitions(left)
    privileges = {entry.id for entry in left if entry.kind in ("ACL", "DEFAULT ACL")}
    views = {entry.id for entry in left if entry.kind == "MATERIALIZED VIEW DATA"}
    events = {entry.id for entry in left if entry.kind == "EVENT TRIGGER"}
    found = []
    for name, later in (
        ("data", rules | privileges),
        ("rules", partitions | privileges | views | events),
        ("partitions", privileges | views | events),
        ("privileges", views | events),
        ("materialized-views", events),
        ("event-triggers", set()),
    ):
        now = toc.without(left, later)
        found.append(Pass(name, now, name in _SIDE_BY_SIDE))
        done = {entry.id for entry in now}
        left = [entry for entry in left if entry.id not in done]
    return found


def left_out(entries: list[toc.Entry]) -> list[str]:
    """What a restore does not bring back, one line each."""
    return [
        f"subscription {entry.name} was not made, because it would connect to its publisher: make it by hand"
        for entry in entries
        if entry.kind == "SUBSCRIPTION"
    ]


def _is_left_out(entry: toc.Entry, *, indexes: bool) -> bool:
    return entry.kind.startswith("SUBSCRIPTION") or (not indexes and entry.kind == "INDEX" and not _is_unique(entry))


def _is_unique(index: toc.Entry) -> bool:
    return index.definition.lstrip().startswith("CREATE UNIQUE INDEX")


def _lock_partitions(entries: list[toc.Entry]) -> set[int]:
    """Attached indexes, and foreign keys from or to a table that is a partition or has some."""
    tables = {id_ for entry in entries if entry.kind == "TABLE ATTACH" for id_ in entry.depends}
    near = tables | {entry.id for entry in entries if tables.intersection(entry.depends)}
    return {
        entry.id
        for entry in entries
        if entry.kind == "INDEX ATTACH" or (entry.kind == "FK CONSTRAINT" and near.intersection(entry.depends))
    }
