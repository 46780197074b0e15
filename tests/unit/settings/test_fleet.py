# SPDX-License-Identifier: GPL-3.0-or-later
"""One environment in a run, and hosts that make a whole: each refusal, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._settings import Setting, shown
from ansible_collections.slipway.webapp.plugins.module_utils._settings_fleet import (
    Selection,
    check_controller,
    check_files,
    check_fleet,
    choose_environment,
    first_words,
    left_out,
)

MEMBERS = {"production": ("web1", "web2"), "staging": ("stage1",)}
NAMES = ("webapp_name", "webapp_domain", "webapp_source")
SETTINGS = {name: Setting(name, "str") for name in NAMES} | {
    "webapp_secrets": Setting("webapp_secrets", "dict", secret=True),
    "webapp_host_roles": Setting("webapp_host_roles", "list"),
}
EVERYTHING = ["edge", "web", "worker", "beat", "database", "broker"]


@pytest.mark.parametrize(
    ("hosts", "partial", "environment", "found", "expected"),
    [
        ((), False, "", "no host in this run", "the hosts of one environment: -l production or -l staging"),
        (
            ("web1", "web2", "stage1"),
            False,
            "",
            "hosts of production and staging",
            "one environment in a run: -l production or -l staging",
        ),
        (("web1",), False, "production", "a run without web2", "all hosts of production: -l production"),
        (("lost",), False, "", "it in no environment", "a host of an environment: -l production or -l staging"),
    ],
)
def test_a_run_that_does_not_touch_exactly_one_whole_environment(
    hosts: tuple[str, ...], partial: bool, environment: str, found: str, expected: str
) -> None:
    chosen, problems = choose_environment(Selection(hosts, MEMBERS, partial))
    assert chosen == environment
    assert [(problem.found, problem.expected) for problem in problems] == [(found, expected)]


def test_a_host_in_two_environments() -> None:
    chosen, problems = choose_environment(Selection(("a",), {"production": ("a",), "staging": ("a",)}))
    assert (chosen, problems[0].found, problems[0].host) == ("", "it in production and staging", "a")


def test_a_part_that_is_meant_is_said_where_it_is_possible() -> None:
    _chosen, problems = choose_environment(Selection(("web1",), MEMBERS, way_to_a_part="-e partial=true"))
    assert [problem.expected for problem in problems] == [
        "all hosts of production: -l production; or -e partial=true, when a part is meant"
    ]


@pytest.mark.parametrize(("hosts", "partial"), [(("web1", "web2"), False), (("web2",), True)])
def test_a_good_selection(hosts: tuple[str, ...], partial: bool) -> None:
    assert choose_environment(Selection(hosts, MEMBERS, partial)) == ("production", [])


def values(**changes: Any) -> dict[str, Any]:
    """The settings of a good host, changed."""
    return {
        "webapp_name": "shop",
        "webapp_domain": "shop.example.org",
        "webapp_source": "/src",
        "webapp_runtime": "systemd",
        "webapp_image_source": "",
        "webapp_image_repository": "",
        "webapp_source_sha256": "",
        "webapp_frontend_source": "",
        "webapp_frontend_sha256": "",
        "webapp_smoke_junit": "",
        "webapp_secrets": {"SECRET_KEY": "planted"},
        "webapp_environment": {},
        "webapp_host_roles": EVERYTHING,
        "webapp_primary": "web1",
        "webapp_celery": "shop",
        "webapp_beat": True,
        "webapp_database_url": "",
        "webapp_database_host": "/run/postgresql",
        "webapp_database_user": "shop",
        "webapp_database_password": "",
        "webapp_redis_url": "",
        "webapp_redis_host": "127.0.0.1",
        "webapp_redis_password": "",
        "webapp_tls": "private",
        "webapp_tls_certificate": "",
        "webapp_tls_key": "",
    } | {f"webapp_{name}": value for name, value in changes.items()}


OVER_THE_NETWORK = {
    "database_host": "10.0.0.6",
    "database_password": "f8Gk2m9Qz1",
    "redis_host": "10.0.0.6",
    "redis_password": "f8Gk2m9Qz1",
}


def fleet(roles: Mapping[str, list[str]], **changes: Any) -> dict[str, dict[str, Any]]:
    """Hosts by their roles, with the same settings otherwise."""
    return {host: values(**{**OVER_THE_NETWORK, **changes, "host_roles": own}) for host, own in roles.items()}


def say(
    hosts: Mapping[str, Mapping[str, Any]], *, selected: tuple[str, ...] | None = None, partial: bool = False
) -> list[str]:
    problems = check_fleet(hosts, SETTINGS, selected=selected or tuple(hosts), partial=partial)
    return [f"{problem.name}: {problem.found}" for problem in problems]


WEB_AND_DATA = {"web1": ["web"], "db1": ["database", "broker", "worker", "beat"]}


def test_one_host_and_a_fleet_are_good() -> None:
    assert say({"web1": values()}) == []
    assert say(fleet(WEB_AND_DATA)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"host_roles": ["database", "broker", "worker", "beat"]}, ["webapp_host_roles: no host with the role web"]),
        (
            {"host_roles": ["database", "broker", "worker", "beat"], "canary_analysis": True, "bake_seconds": 30},
            [
                "webapp_host_roles: no host with the role web",
                "webapp_canary_analysis: true, which is an analysis without a log",
                "webapp_bake_seconds: the number 30, which is an analysis without a log",
            ],
        ),
        (
            {"host_roles": ["web", "worker", "beat", "broker"], "database_host": ""},
            ["webapp_host_roles: no host with the role database"],
        ),
        (
            {"host_roles": ["web", "worker", "beat", "database"], "redis_host": ""},
            ["webapp_host_roles: no host with the role broker"],
        ),
        ({"host_roles": ["web", "worker", "database", "broker"]}, ["webapp_host_roles: no host with the role beat"]),
        ({"host_roles": ["web", "database", "broker"], "beat": False}, ["webapp_celery: no host with the role worker"]),
        ({"primary": "web9"}, ["webapp_primary: 'web9', which is no host of this environment"]),
        ({"database_user": "other"}, ["webapp_database_user: 'other'"]),
        ({"database_host": "10.0.0.9"}, ["webapp_database_password: nothing"]),
        ({"redis_host": "10.0.0.9"}, ["webapp_redis_password: nothing"]),
    ],
)
def test_what_one_host_lacks(changes: dict[str, Any], said: list[str]) -> None:
    assert say({"web1": values(**changes)}) == said


@pytest.mark.parametrize(
    "changes",
    [
        {"host_roles": ["web", "worker", "beat"], "database_url": "postgres://h/d", "redis_url": "redis://h"},
        {
            "host_roles": ["web"],
            "celery": "",
            "database_host": "",
            "redis_host": "",
            "environment": {"DATABASE_URL": "x"},
        },
        {"host_roles": ["web", "beat", "database", "broker"]},
        {"host_roles": ["web", "worker", "database", "broker"], "beat": False},
        {"host_roles": ["web", "database"], "celery": "", "redis_host": ""},
        {"database_host": "", "secrets": {"DATABASE_URL": "x"}},
    ],
)
def test_what_one_host_may_lack(changes: dict[str, Any]) -> None:
    assert say({"web1": values(**changes)}) == []


@pytest.mark.parametrize(
    ("roles", "changes", "said"),
    [
        ({"web1": EVERYTHING, "web2": EVERYTHING}, {}, 3),
        (WEB_AND_DATA, {"database_password": ""}, "webapp_database_password: nothing"),
        (WEB_AND_DATA, {"redis_password": ""}, "webapp_redis_password: nothing"),
        (WEB_AND_DATA, {"database_host": "/run/postgresql"}, "webapp_database_host: '/run/postgresql'"),
        (WEB_AND_DATA, {"redis_host": "127.0.0.1"}, "webapp_redis_host: '127.0.0.1'"),
        (WEB_AND_DATA, {"primary": "db1"}, "webapp_primary: 'db1' without the role web"),
    ],
)
def test_what_a_fleet_lacks(roles: dict[str, list[str]], changes: dict[str, Any], said: str | int) -> None:
    found = say(fleet(roles, **changes))
    if isinstance(said, int):
        assert found == [f"webapp_host_roles: {role} on web1, web2" for role in ("beat", "database", "broker")]
        assert len(found) == said
    else:
        assert found == [said]


def test_the_primary_must_be_in_the_run_unless_it_only_reads() -> None:
    hosts = fleet(WEB_AND_DATA)
    assert say(hosts, selected=("db1",)) == ["webapp_primary: 'web1', which is not in this run"]
    assert say(hosts, selected=("db1",), partial=True) == []


def test_settings_of_the_application_must_not_differ() -> None:
    hosts = fleet(WEB_AND_DATA)
    hosts["db1"]["webapp_domain"] = "other.example.org"
    hosts["db1"]["webapp_secrets"] = {"SECRET_KEY": "planted too"}
    found = say(hosts)
    assert found == [
        "webapp_domain: web1 has 'shop.example.org'; db1 has 'other.example.org'",
        "webapp_secrets: web1 has a secret value (not shown); db1 has a secret value (not shown)",
    ]


def test_two_primaries() -> None:
    hosts = fleet({"web1": ["web"], "web2": ["web"], "db1": ["database", "broker", "worker", "beat"]})
    hosts["web2"]["webapp_primary"] = "web2"
    settings = {**SETTINGS, "webapp_primary": Setting("webapp_primary", "str")}
    problems = check_fleet(hosts, settings, selected=tuple(hosts), partial=False)
    assert [(problem.name, problem.found, problem.expected) for problem in problems] == [
        ("webapp_primary", "web1 has 'web1'; web2 has 'web2'", "the same on every host of the environment")
    ]


def test_who_goes_on_with_the_old_release() -> None:
    hosts = fleet({"edge1": ["edge"], "web1": ["web"], "web2": ["web"], "db1": ["database"], "worker1": ["worker"]})
    assert left_out(hosts, ["web1"]) == ["web2", "worker1"]
    assert left_out(hosts, list(hosts)) == []


IMAGE = "registry.example:5000/shop@sha256:" + "a" * 64
FILES = {
    **dict.fromkeys(("/src", "/dist", "/empty"), "directory"),
    **dict.fromkeys(("/a.tar.gz", "/cert", "/key", "/dist/index.html"), "file"),
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tls": "given"}, ["webapp_tls_certificate: nothing", "webapp_tls_key: nothing"]),
        (
            {"tls": "given", "tls_certificate": "/cert", "tls_key": "/none"},
            ["webapp_tls_key: '/none', which is no readable file"],
        ),
        (
            {"tls": "given", "tls_certificate": "/src", "tls_key": "/key"},
            ["webapp_tls_certificate: '/src', which is no readable file"],
        ),
        ({"tls_certificate": "/cert"}, ["webapp_tls_certificate: a file that nobody uses"]),
        ({"smoke_junit": "/none/smoke.xml"}, ["webapp_smoke_junit: '/none/smoke.xml'"]),
        ({"source": "/nowhere"}, ["webapp_source: '/nowhere'"]),
        ({"source": "src"}, ["webapp_source: 'src'"]),
        ({"source": "/b.tar.gz"}, ["webapp_source: '/b.tar.gz'"]),
        ({"source": "https://h/a.tar.gz"}, ["webapp_source_sha256: nothing"]),
        ({"source": "/src", "source_sha256": "a" * 64}, ["webapp_source_sha256: the SHA-256 of no archive"]),
        ({"source": IMAGE}, [f"webapp_source: {shown(IMAGE)}"]),
        ({"source": "/src", "runtime": "docker"}, ["webapp_source: '/src'"]),
        ({"source": "r.example/shop:1.0", "runtime": "docker"}, ["webapp_source: 'r.example/shop:1.0'"]),
        ({"frontend_source": "/nowhere"}, ["webapp_frontend_source: '/nowhere'"]),
        ({"frontend_source": "dist"}, ["webapp_frontend_source: 'dist'"]),
        ({"frontend_source": "/empty"}, ["webapp_frontend_source: no '/empty/index.html'"]),
        ({"frontend_source": "/b.tar.gz"}, ["webapp_frontend_source: '/b.tar.gz'"]),
        ({"frontend_source": "https://h/a.tar.gz"}, ["webapp_frontend_sha256: nothing"]),
        ({"frontend_source": "https://h/x.git"}, ["webapp_frontend_source: 'https://h/x.git'"]),
        ({"frontend_source": "r.example/front:1.0"}, ["webapp_frontend_source: 'r.example/front:1.0'"]),
        ({"frontend_sha256": "a" * 64}, ["webapp_frontend_sha256: the SHA-256 of no archive"]),
    ],
)
def test_what_must_exist_on_the_controller(changes: dict[str, Any], said: list[str]) -> None:
    problems = check_files(values(**changes), needs=["source"], kind_of=lambda path: FILES.get(path, ""))
    assert [f"{problem.name}: {problem.found}" for problem in problems] == said


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tls": "given", "tls_certificate": "/cert", "tls_key": "/key"},
        {"source": "/a.tar.gz"},
        {"source": "https://h/a.tar.gz", "source_sha256": "a" * 64},
        {"source": "https://git.example/x.git"},
        {"source": "git@git.example:x.git"},
        {"source": "deploy@git.example:x.git"},
        {"source": IMAGE, "runtime": "docker"},
        {"frontend_source": "/dist"},
        {"frontend_source": "/a.tar.gz"},
        {"frontend_source": "https://h/a.tar.gz", "frontend_sha256": "a" * 64},
        {"frontend_source": IMAGE, "source": IMAGE, "runtime": "docker"},
        {"frontend_source": "/dist", "source": "", "server": "none"},
    ],
)
def test_good_sources_and_certificates(changes: dict[str, Any]) -> None:
    assert check_files(values(**changes), needs=["source"], kind_of=lambda path: FILES.get(path, "")) == []


def test_the_source_is_not_looked_for_where_nobody_needs_it() -> None:
    assert check_files(values(source="/nowhere"), needs=[], kind_of=lambda _path: "") == []


@pytest.mark.parametrize(
    ("core", "python", "problems"),
    [
        ((2, 18, 9), (3, 12, 0), 1),
        ((2, 19, 0), (3, 11, 0), 0),
        ((2, 21, 5), (3, 13, 0), 0),
        ((2, 22, 0), (3, 13, 0), 1),
        ((2, 17, 0), (3, 10, 1), 2),
    ],
)
def test_the_controller(core: tuple[int, ...], python: tuple[int, ...], problems: int) -> None:
    assert len(check_controller(core=core, python=python)) == problems


def test_the_first_words_of_an_operator() -> None:
    said = first_words({"webapp_name": "Shop", "webapp_domain": "shop", "webapp_source": "../x"})
    assert [line.split(":")[0] for line in said] == ["webapp_name", "webapp_domain", "webapp_source"]
    assert first_words({"webapp_name": "shop", "webapp_domain": "a.b", "webapp_source": "~/src"}) == []
