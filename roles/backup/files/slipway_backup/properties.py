# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs to a database itself and is in no archive of its contents: pg_dump writes it only with --create.

Owner, privileges, ALTER DATABASE ... SET, ALTER ROLE ... IN DATABASE ... SET, connection limit and comment: without
them a restored database runs, with other timeouts and with doors open that were shut.
"""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import sql

from .connection import Connection, rows
from .errors import BackupError
from .source import quoted

# Lists of names: the stored value is one text, and SET wants each name of its own (GUC_LIST_QUOTE in PostgreSQL's
# guc_tables.c; pg_dump's variable_is_guc_list_quote has the same list).
_LISTS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)
_NAME = re.compile(r'"((?:[^"]|"")*)"|([^",\s]+)')


def literal(text: str | None) -> str:
    """Text in SQL; None is NULL."""
    return sql.quote(text)


def creation(name: str, identity: dict[str, Any], owner: str, *, version: int) -> str:
    """CREATE DATABASE with the encoding and the locale that the backup's had, for a server of ``version`` (150018)."""
    parts = [
        f"CREATE DATABASE {quoted(name)} TEMPLATE template0",
        f"OWNER {quoted(owner)}",
        f"ENCODING {literal(identity['encoding'])}",
        f"LC_COLLATE {literal(identity['collate'])}",
        f"LC_CTYPE {literal(identity['ctype'])}",
    ]
    provider = {"c": "libc", "i": "icu", "b": "builtin"}[identity["locale_provider"]]
    if version >= 150000:
        parts.append(f"LOCALE_PROVIDER {provider}")
    if identity["icu_locale"]:
        parts.append(f"{'BUILTIN_LOCALE' if provider == 'builtin' else 'ICU_LOCALE'} {literal(identity['icu_locale'])}")
    if identity.get("icu_rules"):
        parts.append(f"ICU_RULES {literal(identity['icu_rules'])}")
    return " ".join(parts)


def replay(server: Connection, name: str, properties: dict[str, Any]) -> None:
    """Give a database the properties of the backup's; the comment is left to the swap. Raises BackupError."""
    try:
        server.execute(f"ALTER DATABASE {quoted(name)} RESET lc_monetary")  # it was set for the load
        for statement in [*_privileges(server, name, properties["acl"]), *_settings(name, properties["settings"])]:
            server.execute(statement)
        server.execute(f"ALTER DATABASE {quoted(name)} CONNECTION LIMIT {int(properties['connection_limit'])}")
    except psycopg.Error as error:
        raise BackupError(
            "properties_failed",
            f"A property of the backup's database could not be given to {name}",
            found=str(error).strip(),
            expected="owner, privileges, settings and connection limit as in the backup",
            next_step="give the role what it lacks (see the message), then repeat; the live database is as it was",
        ) from error


def _privileges(server: Connection, name: str, acl: list[str] | None) -> list[str]:
    """None is what a new database has. Else nobody keeps anything that is not in the list, the owner included."""
    if acl is None:
        return []
    found = rows(
        server,
        """SELECT CASE grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(grantee) END, privilege_type, is_grantable
        FROM pg_catalog.aclexplode(%s::aclitem[]) ORDER BY 1, 2""",
        (acl,),
    )
    owner = rows(
        server, "SELECT pg_catalog.pg_get_userbyid(datdba) FROM pg_catalog.pg_database WHERE datname = %s", (name,)
    )
    statements = [f"REVOKE ALL ON DATABASE {quoted(name)} FROM PUBLIC, {quoted(owner[0][0])}"]
    for grantee, privilege, grantable in found:
        to = quoted(grantee) if grantee else "PUBLIC"
        option = " WITH GRANT OPTION" if grantable and grantee != owner[0][0] else ""
        statements.append(f"GRANT {privilege} ON DATABASE {quoted(name)} TO {to}{option}")
    return statements


def _settings(name: str, settings: list[dict[str, Any]]) -> list[str]:
    statements = []
    for one in settings:
        subject = (
            f"ROLE {quoted(one['role'])} IN DATABASE {quoted(name)}" if one["role"] else f"DATABASE {quoted(name)}"
        )
        for line in one["settings"]:
            variable, _unused, value = line.partition("=")
            statements.append(f"ALTER {subject} SET {quoted(*variable.split('.'))} TO {_value(variable, value)}")
    return statements


def _value(variable: str, value: str) -> str:
    if variable.lower() not in _LISTS:
        return literal(value)
    return ", ".join(literal(name) for name in names_of(value)) or "''"


def names_of(value: str) -> list[str]:
    """The names in a stored list: ``"$user", public`` holds two; inside quotes, two quotes stand for one."""
    return [within.replace('""', '"') or plain for within, plain in _NAME.findall(value)]
