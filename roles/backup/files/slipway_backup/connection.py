# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections: one URL for the driver and for PostgreSQL's programs, its password never on a command line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import conninfo, pq

from .errors import BackupError
from .processes import Account, acting_as
from .request import refused

APPLICATION = "slipway-backup"
CONNECT_SECONDS = 30
# Text that the server prints (definitions, COPY) depends on these. A startup option wins over ALTER ROLE and DATABASE.
PINNED = {
    "search_path": "",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "quote_all_identifiers": "off",
    "synchronize_seqscans": "off",
    "row_security": "off",
    "jit": "off",  # compiling a query over the catalogues takes seconds, running it none
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
# They only say when a dead server is noticed, and have no environment variable.
_DRIVER_ONLY = ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Database:
    """Where a database is: libpq's parameters by keyword, and the system user to connect as."""

    parameters: tuple[tuple[str, str], ...]
    account: Account

    @classmethod
    def parse(cls, url: str, user: str = "", groups: Iterable[str] = ()) -> Database:
        """From a libpq URL; raises BackupError bad_request without repeating the URL, which may hold a password."""
        try:
            found = conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise refused("database_url", found="no connection URL", expected="postgresql://...") from error
        if not found.get("dbname"):
            raise refused("database_url", found="no database in it", expected="postgresql://.../DATABASE")
        parameters = {key: str(value) for key, value in found.items() if value is not None}
        parameters.pop("client_encoding", None)
        parameters.setdefault("connect_timeout", str(CONNECT_SECONDS))
        parameters.setdefault("application_name", APPLICATION)
        return cls(tuple(sorted(parameters.items())), Account(user, tuple(group for group in groups if group)))

    @property
    def name(self) -> str:
        """The database's name."""
        return dict(self.parameters)["dbname"]

    def with_name(self, name: str) -> Database:
        """Another database of the same server."""
        return replace(self, parameters=tuple(sorted({**dict(self.parameters), "dbname": name}.items())))

    def environment(self) -> dict[str, str]:
        """The parameters as PostgreSQL's programs read them. Raises BackupError for one that has no variable."""
        variables = {option.keyword.decode(): option.envvar for option in pq.Conninfo.get_defaults()}
        found: dict[str, str] = {}
        for keyword, value in self.parameters:
            if keyword in _DRIVER_ONLY:
                continue
            variable = variables.get(keyword)
            if not variable:
                raise refused("database_url", found=f"the parameter {keyword}", expected="one with a PG... variable")
            found[variable.decode()] = value
        return found

    def connect(self, *, autocommit: bool = False) -> Connection:
        """A connection with pinned settings and UTF-8; raises BackupError connection_failed.

        Never called while other threads work with files: it may change the effective user for a moment.
        """
        try:
            with acting_as(self.account):
                connection = psycopg.connect(
                    conninfo.make_conninfo("", **dict(self.parameters), client_encoding="utf8"),
                    autocommit=autocommit,
                    prepare_threshold=None,
                )
        except psycopg.Error as error:
            raise BackupError(
                "connection_failed",
                f"No connection to database {self.name}",
                found=str(error).strip(),
                next_step="check the address, the role, its password and pg_hba.conf",
            ) from error
        _refuse_pooler(connection)
        pin(connection)
        return connection


def _refuse_pooler(connection: Connection) -> None:
    """Settings, locks and snapshots of a session do not survive PgBouncer and its like.

    A server tells its process id when a connection begins; a pooler makes one up, so the two answers differ.
    """
    ((server,),) = rows(connection, "SELECT pg_catalog.pg_backend_pid()")
    told = connection.info.backend_pid
    if told != server:
        connection.close()
        raise BackupError(
            "pooled_connection",
            "The connection does not end at PostgreSQL itself but at a pooler",
            found=f"process id {told} when it was opened, {server} now",
            expected="a direct connection",
            next_step="set webapp_backup_database_url to a URL with the server's own host and port",
        )


def pin(connection: Connection) -> None:
    """Set what text output depends on, for the session."""
    values = list(PINNED.items())
    query = "SELECT " + ", ".join("pg_catalog.set_config(%s, %s, false)" for _unused in values)
    connection.execute(query, [part for pair in values for part in pair])
    connection.execute(
        "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout'"
    )
    if not connection.autocommit:
        connection.commit()


def rows(connection: Connection, query: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return connection.execute(query, tuple(parameters) or None).fetchall()


def row(connection: Connection, query: str, parameters: Iterable[Any] = ()) -> tuple[Any, ...]:
    """The only row of a query that always has one."""
    found = rows(connection, query, parameters)
    if len(found) != 1:
        raise BackupError(
            "unexpected_answer", "The server's answer is not one row", found=f"{len(found)} rows: {query}"
        )
    return found[0]
