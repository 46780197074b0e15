# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which PostgreSQL cluster of a host is the application's, and what in it is somebody else's.

Pure: nothing here asks a host or a server. A host may have several clusters, of several versions, and a server may have
other users than us: what they have is neither taken nor narrowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._derived import DATABASE_PORT
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

# The name that the distribution gives the cluster that it makes by itself.
MAIN = "main"
PLACE = "/etc/postgresql"
# What `pg_roles` calls a right, and what SQL calls it.
RIGHTS = {
    "rolsuper": "SUPERUSER",
    "rolcreaterole": "CREATEROLE",
    "rolcreatedb": "CREATEDB",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}
# Who makes backups has these: it makes databases to restore into, and reads all rows.
OF_BACKUPS = ("rolcreatedb", "rolbypassrls")


@dataclass(frozen=True)
class Cluster:
    """A cluster as ``pg_lsclusters`` and its start.conf describe it."""

    version: str
    name: str
    port: int
    status: tuple[str, ...]
    start: str

    @property
    def online(self) -> bool:
        return "online" in self.status

    def __str__(self) -> str:
        return f"{self.version}/{self.name} at port {self.port} ({', '.join(self.status)}; start.conf: {self.start})"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def read(lines: Sequence[str]) -> tuple[list[Cluster], list[str]]:
    """The clusters, and the versions whose programs are there, from what the role's look prints.

    Lines are ``cluster VERSION NAME PORT STATUS START`` and ``programs VERSION``.
    """
    clusters, programs = [], []
    for kind, *words in (line.split() for line in lines):
        if kind == "cluster":
            version, name, port, status, start = words
            state = tuple(status.split(","))
            clusters.append(Cluster(version=version, name=name, port=int(port), status=state, start=start))
        else:
            programs += words
    return clusters, sorted(programs, key=_number)


def cluster(lines: Sequence[str]) -> dict[str, Any]:
    """The application's cluster: the one at the port where it looks, or a new one where nobody is.

    Keys: version, name, online (it runs already), make (it is not there yet), problem ('' or why there can be none).
    """
    clusters, programs = read(lines)
    here = [one for one in clusters if one.port == DATABASE_PORT]
    at_work = [one for one in here if one.online] or here
    if not here and programs and not any((one.version, one.name) == (programs[-1], MAIN) for one in clusters):
        return {"version": programs[-1], "name": MAIN, "online": False, "make": True, "problem": ""}
    chosen = at_work[0] if len(at_work) == 1 else None
    return {
        "version": chosen.version if chosen else "",
        "name": chosen.name if chosen else "",
        "online": chosen is not None and chosen.online,
        "make": False,
        "problem": _unfit(chosen, clusters),
    }


def _unfit(chosen: Cluster | None, clusters: Sequence[Cluster]) -> str:
    """Why the application cannot have its database there, or ''."""
    found = ", ".join(map(str, clusters)) or "none, and no programs to make one with"
    if chosen is None:
        next_step = (
            f"set port = {DATABASE_PORT} in the postgresql.conf of the one that is meant, restart it, drop the others"
            " that have this port (pg_dropcluster), or name another server in webapp_database_url"
        )
    elif "binaries_missing" in chosen.status:
        next_step = (
            f"install postgresql-{chosen.version} again; or, when nobody needs its data any more, pg_dropcluster"
            f" {chosen.version} {chosen.name}, and set port = {DATABASE_PORT} for another one"
        )
    elif "recovery" in chosen.status:
        next_step = "give the role database to the host of its primary, or promote it (pg_ctlcluster ... promote)"
    elif not chosen.online and chosen.start != "auto":
        # Somebody keeps it from starting: it may be what a failover has left.
        next_step = (
            f"if it is the one: write auto into {PLACE}/{chosen.version}/{chosen.name}/start.conf, systemctl start"
            f" postgresql@{chosen.version}-{chosen.name}, and provision again; else give it another port"
        )
    else:
        return ""
    expected = f"one cluster at port {DATABASE_PORT}, where the application looks, that runs and can be written to"
    return str(
        SlipwayError(
            "No PostgreSQL cluster of this host can hold the application's database",
            found=found,
            expected=expected,
            next_step=next_step,
        )
    )


def same(server: Mapping[str, Any], chosen: Mapping[str, Any]) -> list[str]:
    """A problem, when the server at the socket is none of the distribution's clusters, or another one."""
    wanted = f"{PLACE}/{chosen['version']}/{chosen['name']}/postgresql.conf"
    if server["config"] == wanted:
        return []
    return [
        str(
            SlipwayError(
                "Another PostgreSQL server answers at the socket than the cluster of this host",
                found=f"the server of {server['config']}, data in {server['data']}",
                expected=f"that of {wanted}",
                next_step=f"give one of the two another port than {DATABASE_PORT}, or name it in webapp_database_url",
            )
        )
    ]


def taken(server: Mapping[str, Any], wish: Mapping[str, Any]) -> list[str]:
    """Problems with users and a database of the wished names that are somebody else's."""
    roles = {role["rolname"]: role for role in server["roles"]}
    setting = "webapp_database_user" if wish["network"] else "webapp_name"
    problems = _taken_role(setting, wish["user"], roles, but=())
    if wish["backup_user"]:
        problems += _taken_role("webapp_backup_database_url", wish["backup_user"], roles, but=OF_BACKUPS)
    if server["owner"] not in (None, wish["user"]):
        error = SlipwayError(
            f"The database {wish['database']} belongs to somebody else; it is left as it is",
            found=f"the owner {server['owner']}",
            expected=f"no such database, or one of {wish['user']}",
            next_step=(
                "choose another webapp_database_name; if it is the application's, as postgres:"
                f' ALTER DATABASE "{wish["database"]}" OWNER TO "{wish["user"]}"'
            ),
        )
        problems.append(str(error))
    return problems


def _taken_role(setting: str, name: str, roles: Mapping[str, Mapping[str, Any]], *, but: Sequence[str]) -> list[str]:
    rights = [word for right, word in RIGHTS.items() if right not in but and roles.get(name, {}).get(right)]
    if not rights and not name.startswith("pg_"):
        return []
    words = " ".join(f"NO{word}" for word in rights)
    less = f'; if it is this application\'s alone, as postgres: ALTER ROLE "{name}" {words}'
    error = SlipwayError(
        f"{setting} names a user of this server who is somebody else; {name} is left as it is",
        found=f"{name} with {', '.join(rights)}" if rights else f"{name}, one of PostgreSQL's own",
        expected="no such user yet, or one of this application alone, without rights over others",
        next_step=f"use another name in {setting}{less if rights and 'SUPERUSER' not in rights else ''}",
    )
    return [str(error)]
