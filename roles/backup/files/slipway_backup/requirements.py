# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore needs of the server, asked before anything is changed, and all of it at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import psycopg

from .connection import Connection, Database, rows
from .errors import BackupError
from .source import quoted


@dataclass(frozen=True)
class Wish:
    """``live`` is the database that is replaced; '' : none."""

    manifest: dict[str, Any]
    database: Database
    live: str
    swap: bool
    other_cluster: bool


def missing(server: Connection, wish: Wish) -> list[dict[str, str]]:
    """``code``, ``found`` and ``expected`` of everything that stands in the way; nothing: the restore may begin."""
    found = [
        *_backup(server, wish),
        *_privileges(server, wish),
        *_roles(server, wish.manifest),
        *_extensions(server, wish.manifest),
        *_space(server, wish),
    ]
    if wish.live:
        found += [*_ownership(server, wish.live), *_users(server, wish.live)]
    return found


def refusal(backup: str, found: list[dict[str, str]]) -> BackupError:
    """One error for all; its code is that of a single reason, or requirements."""
    codes = {one["code"] for one in found}
    return BackupError(
        codes.pop() if len(codes) == 1 else "requirements",
        f"Backup {backup} can not be restored here",
        found="; ".join(one["found"] for one in found),
        expected="; ".join(one["expected"] for one in found),
        next_step="correct this, then repeat; nothing was changed",
        details={"missing": found},
    )


def _lacks(code: str, found: str, expected: str) -> list[dict[str, str]]:
    return [{"code": code, "found": found, "expected": expected}]


def _backup(server: Connection, wish: Wish) -> list[dict[str, str]]:
    """The backup is whole, of this database, and of a server that is not newer than this one."""
    manifest, found = wish.manifest, []
    if manifest["status"] != "verified":
        found += _lacks("not_verified", f"a backup whose status is {manifest['status']}", "a verified one")
        return found
    identity = manifest["identity"]
    if wish.swap and identity["database"] != wish.database.name:
        what = f"a backup of database {identity['database']}"
        found += _lacks("other_database", what, f"one of {wish.database.name}, or mode new")
    ours = rows(server, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()")[0][0]
    if wish.swap and not wish.other_cluster and identity["system_identifier"] != ours:
        what = f"a backup of cluster {identity['system_identifier']}"
        found += _lacks("other_cluster", what, f"one of {ours}; or -e other_cluster=true when the old server was lost")
    theirs, here = identity["server_version_num"] // 10000, server.info.server_version // 10000
    if theirs > here:
        found += _lacks("older_server", f"PostgreSQL {here}", f"{theirs} or newer, like the server of the backup")
    return found


def _privileges(server: Connection, wish: Wish) -> list[dict[str, str]]:
    owner = wish.manifest["database_properties"].get("owner", "")
    role, may_create, is_super = rows(
        server, "SELECT rolname, rolcreatedb, rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
    )[0]
    found = []
    if not (may_create or is_super):
        found += _lacks("no_createdb", f"role {role} may not create databases", f"ALTER ROLE {quoted(role)} CREATEDB")
    member = rows(
        server,
        "SELECT pg_catalog.pg_has_role(r.oid, 'MEMBER') FROM pg_catalog.pg_roles r WHERE r.rolname = %s",
        (owner,),
    )
    if member and not member[0][0]:
        found += _lacks(
            "not_owner",
            f"role {role} is no member of {owner}, the owner of the backup's database",
            f"GRANT {quoted(owner)} TO {quoted(role)}",
        )
    return found


def _ownership(server: Connection, live: str) -> list[dict[str, str]]:
    owner, owns = rows(
        server,
        """SELECT pg_catalog.pg_get_userbyid(datdba), pg_catalog.pg_has_role(datdba, 'USAGE')
        FROM pg_catalog.pg_database WHERE datname = %s""",
        (live,),
    )[0]
    if owns:
        return []
    return _lacks("not_owner", f"database {live} belongs to {owner}", "to be its owner: only the owner may rename it")


def _roles(server: Connection, manifest: dict[str, Any]) -> list[dict[str, str]]:
    present = {name for (name,) in rows(server, "SELECT rolname FROM pg_catalog.pg_roles")}
    properties = manifest["database_properties"]
    named = {*manifest["roles"], *(one["role"] for one in properties.get("settings", []) if one["role"])}
    lacking = sorted(named - present - {"pg_database_owner"})
    if lacking:
        commands = "; ".join(f"CREATE ROLE {quoted(name)}" for name in lacking)
        return _lacks("roles_missing", f"no role {', '.join(lacking)}", f"the roles of the backup: {commands}")
    try:
        rows(server, "SELECT %s::aclitem[]", (properties.get("acl"),))
    except psycopg.errors.UndefinedObject as error:
        return _lacks("roles_missing", str(error).strip(), "the roles that the database's privileges name")
    return []


def _extensions(server: Connection, manifest: dict[str, Any]) -> list[dict[str, str]]:
    """An archive names no versions: the server's own one is made."""
    present = {name for (name,) in rows(server, "SELECT name FROM pg_catalog.pg_available_extensions")}
    lacking = [one["name"] for one in manifest["extensions"] if one["name"] not in present]
    if not lacking:
        return []
    return _lacks("extension_missing", f"no extension {', '.join(lacking)}", "their packages on the database's host")


def _space(server: Connection, wish: Wish) -> list[dict[str, str]]:
    """Where the server's files are here and the role may know where: a full disk would stop the live database too."""
    host = dict(wish.database.parameters).get("host", "/")
    try:
        path = str(rows(server, "SHOW data_directory")[0][0])
    except psycopg.errors.InsufficientPrivilege:
        return []
    if not host.startswith("/") or not os.path.isdir(path):
        return []
    status = os.statvfs(path)
    free, needed = status.f_bavail * status.f_frsize, wish.manifest["database_bytes"]
    if free >= needed:
        return []
    return _lacks("no_space", f"{free} bytes free in {path}", f"{needed} bytes, the size of the backup's database")


def _users(server: Connection, live: str) -> list[dict[str, str]]:
    """What of the live database a rename would break, or what would break the rename."""
    found = _subscribers(server, live)
    prepared = rows(server, "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = %s", (live,))
    if prepared:
        names = ", ".join(str(gid) for (gid,) in prepared)
        found += _lacks(
            "prepared_transactions", f"prepared transactions {names}", "COMMIT PREPARED or ROLLBACK PREPARED"
        )
    return found


def _subscribers(server: Connection, live: str) -> list[dict[str, str]]:
    """Slots and subscriptions follow the oid: they would stay with the replaced database and go on there."""
    slots = rows(
        server,
        "SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE database = %s AND active ORDER BY 1",
        (live,),
    )
    subscriptions = rows(
        server,
        """SELECT s.subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
        WHERE d.datname = %s AND s.subenabled ORDER BY 1""",
        (live,),
    )
    found = []
    if slots:
        names = ", ".join(str(name) for (name,) in slots)
        found += _lacks("slots_active", f"logical replication slots in use: {names}", "their subscribers stopped")
    if subscriptions:
        names = ", ".join(str(name) for (name,) in subscriptions)
        found += _lacks("subscriptions_active", f"enabled subscriptions: {names}", "ALTER SUBSCRIPTION ... DISABLE")
    return found


def require_no_subscribers(server: Connection, live: str) -> None:
    """Again, right before the swap: the restore may have taken hours. Raises BackupError slots_active or the like."""
    found = _subscribers(server, live)
    if found:
        raise refusal(live, found)
