# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cluster is the application's, and what in it is somebody else's."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._postgresql import cluster, same, taken

OLD = "cluster 15 main 5432 online auto"
NEW = "cluster 17 main 5433 online auto"
PROGRAMS = ["programs 9.6", "programs 15", "programs 17"]


@pytest.mark.parametrize(
    ("lines", "version", "name", "online", "make"),
    [
        ([OLD, *PROGRAMS], "15", "main", True, False),
        # Upgraded from Debian 12: the data is where the old one still has the port.
        ([OLD, NEW, *PROGRAMS], "15", "main", True, False),
        # The old one was upgraded, its port went to the new one.
        (["cluster 15 main 5433 down manual", "cluster 17 main 5432 online auto"], "17", "main", True, False),
        # One of them has the port by right, the other only in its file.
        (["cluster 15 main 5432 down auto", "cluster 17 main 5432 online auto"], "17", "main", True, False),
        (["cluster 15 main 5432 online manual"], "15", "main", True, False),
        (["cluster 15 main 5432 down auto"], "15", "main", False, False),
        (["cluster 18 shop 5432 online auto", *PROGRAMS], "18", "shop", True, False),
        (PROGRAMS, "17", "main", False, True),
        (["cluster 17 managed 5544 online auto", *PROGRAMS], "17", "main", False, True),
    ],
)
def test_the_one_at_the_port(lines: list[str], version: str, name: str, online: bool, make: bool) -> None:
    wanted = {"version": version, "name": name, "online": online, "make": make, "problem": ""}
    assert cluster(lines) == wanted


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], ["none, and no programs"]),
        ([NEW, *PROGRAMS], ["17/main at port 5433 (online", "set port = 5432"]),
        (
            ["cluster 15 main 5432 down,binaries_missing auto", NEW],
            ["15/main at port 5432 (down, binaries_missing", "17/main at port 5433", "install postgresql-15 again"],
        ),
        (
            ["cluster 15 main 5432 down auto", "cluster 17 main 5432 down auto"],
            ["15/main", "17/main", "pg_dropcluster"],
        ),
        (["cluster 15 main 5432 online,recovery auto"], ["primary"]),
        (
            ["cluster 15 main 5432 down manual"],
            ["/etc/postgresql/15/main/start.conf", "systemctl start postgresql@15-main"],
        ),
        (["cluster 15 main 5432 down disabled"], ["start.conf: disabled"]),
    ],
)
def test_none_is_fit(lines: list[str], said: list[str]) -> None:
    found = cluster(lines)
    assert not found["make"]
    for words in (*said, "found: ", "expected: one cluster at port 5432", "next: "):
        assert words in found["problem"]


def test_the_server_at_the_socket_is_that_cluster() -> None:
    chosen = {"version": "15", "name": "main"}
    assert same({"config": "/etc/postgresql/15/main/postgresql.conf", "data": "/x"}, chosen) == []
    (problem,) = same({"config": "/opt/pg/postgresql.conf", "data": "/opt/pg"}, chosen)
    assert "found: the server of /opt/pg/postgresql.conf" in problem
    assert "expected: that of /etc/postgresql/15/main/postgresql.conf" in problem


def role(name: str, *rights: str) -> dict[str, Any]:
    known = ("rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls")
    return {"rolname": name, **{right: right in rights for right in known}}


def problems(*roles: dict[str, Any], owner: str | None = None, **wish: Any) -> list[str]:
    wished = {"app": "shop", "user": "shop", "backup_user": "shop_backup", "database": "shop", "network": True, **wish}
    return taken({"roles": list(roles), "owner": owner}, wished)


@pytest.mark.parametrize("right", ["rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls"])
def test_a_user_with_rights_over_others_is_somebody_else(right: str) -> None:
    (problem,) = problems(role("shop", right))
    word = right.removeprefix("rol").upper()
    assert word in problem.replace("SUPERUSER", "SUPER")
    assert problem.startswith("webapp_database_user names a user")


@pytest.mark.parametrize("right", ["rolsuper", "rolcreaterole", "rolreplication"])
def test_so_is_such_a_user_for_backups(right: str) -> None:
    (problem,) = problems(role("shop_backup", right, "rolcreatedb", "rolbypassrls"))
    assert problem.startswith("webapp_backup_database_url names a user")
    assert "BYPASSRLS" not in problem


def test_no_superuser_is_to_be_made_less() -> None:
    (problem,) = problems(role("postgres", "rolsuper"), user="postgres")
    assert "ALTER ROLE" not in problem
    (problem,) = problems(role("dba", "rolcreatedb"), user="dba")
    assert 'ALTER ROLE "dba" NOCREATEDB' in problem


def test_one_of_postgresqls_own() -> None:
    (problem,) = problems(role("pg_monitor"), backup_user="pg_monitor")
    assert "found: pg_monitor, one of PostgreSQL's own" in problem


def test_a_database_of_somebody_else() -> None:
    (problem,) = problems(owner="blog")
    assert "found: the owner blog" in problem
    assert 'ALTER DATABASE "shop" OWNER TO "shop"' in problem


def test_what_is_ours_is_fine() -> None:
    ours = (role("shop"), role("shop_backup", "rolcreatedb", "rolbypassrls"))
    assert problems() == []
    assert problems(*ours, owner="shop") == []
    assert problems(role("shop"), owner="shop", backup_user="", network=False) == []
