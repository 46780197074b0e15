# SPDX-License-Identifier: GPL-3.0-or-later
"""What a setting may be: each rule with what it refuses and what it must not refuse."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._settings_database import RULES as DATABASE_RULES
from ansible_collections.slipway.webapp.plugins.module_utils._settings_rules import (
    RULES,
    check_rules,
    is_address,
    is_placeholder,
)
from ansible_collections.slipway.webapp.plugins.module_utils._settings_smoke import RULES as SMOKE_RULES

# name: (refused, accepted); every rule is in the table.
TABLE: dict[str, tuple[list[Any], list[Any]]] = {
    "webapp_name": (["", "Shop", "1shop", "shop_x", "x" * 31, "root", "postgres"], ["shop", "shop-2", "a"]),
    "webapp_domain": (
        ["", "shop", "Shop.example.org", "shop..org", "10.0.0.1", "-a.org", "a-.org", "http://a.org", "change-me.org"],
        ["shop.example.org", "a.b", "xn--bcher-kva.example"],
    ),
    "webapp_settings_module": (
        ["", "shop/settings.py", "shop.", "2.settings"],
        ["settings", "shop.settings.production"],
    ),
    "webapp_source": (["", "  "], ["/src", "https://git.example/x.git"]),
    "webapp_source_ref": (["-x", "a b"], ["", "main", "v1.0", "feature/x"]),
    "webapp_source_sha256": (["abc", "A" * 64], ["", "a" * 64]),
    "webapp_source_subdirectory": (["/etc", "a/../../b", "~"], ["", "src", "a/b"]),
    "webapp_version": (["-1", "1 0", "x" * 41, "a/b"], ["", "1.10", "2.0.0+build"]),
    "webapp_artifact_directory": (["cache"], ["~/.cache", "/var/cache"]),
    "webapp_python": (["python3", ""], ["/usr/bin/python3"]),
    "webapp_stage_timeout": ([0, 86401], [1, 900]),
    "webapp_wsgi": (["shop.wsgi", "shop:", ""], ["shop.wsgi:application"]),
    "webapp_asgi": (["shop.asgi", ":x"], ["shop.asgi:application"]),
    "webapp_web_workers": ([0, 257, -1], [1, 16]),
    "webapp_web_threads": ([0, 513], [1, 8]),
    "webapp_web_timeout": ([0, 3601], [30]),
    "webapp_celery": (["shop app", "-A shop"], ["", "shop", "shop.celery:app"]),
    "webapp_worker_concurrency": ([0, 257], [1]),
    "webapp_stop_seconds": ([0], [1, 60]),
    "webapp_worker_drain_seconds": ([0, 86401], [1, 300]),
    "webapp_image_repository": (
        ["shop", "r.example/Shop", "r.example/shop:1"],
        ["", "r.example:5000/a/shop", "acme/shop"],
    ),
    "webapp_image_dockerfile": (["../Dockerfile", "/Dockerfile"], ["Dockerfile", "deploy/Dockerfile"]),
    "webapp_container_network": (["", "a b", "-x"], ["host", "shop_net"]),
    "webapp_container_memory": (["1", "g", "0g", "1.5g"], ["", "512m", "2g"]),
    "webapp_container_cpus": ([-1, 1025], [0, 0.5, 2]),
    "webapp_container_pids": ([-1], [0, 512]),
    "webapp_host_roles": ([[]], [["web"]]),
    "webapp_address": (["", "a b", "10.0.0.300", "CHANGE-ME"], ["10.0.0.1", "::1", "web1", "web1.internal"]),
    "webapp_environments": ([[]], [["production"]]),
    "webapp_health_path": (
        [
            "health",
            "",
            "/a b",
            "/a;",
            "/a{b}",
            "/$uri",
            "/it's",
            '/"a"',
            "/a\\b",
            "/%20",
            "/ä",
            "/a\n",
            "/a?b#",
            "/a?b;",
        ],
        ["/health", "/health?deep=1", "/health?a=b&c=%20?d", "/", "/api/v1.0/~health_check/"],
    ),
    "webapp_health_status": ([[], [99], [200, 600]], [[200], [200, 204]]),
    "webapp_health_successes": ([0, 101], [1]),
    "webapp_health_interval": ([0, 61], [0.2]),
    "webapp_health_deadline": ([0, 3601], [60]),
    "webapp_warm_seconds": ([-1], [0, 300]),
    "webapp_retain": ([0, 101], [1, 5]),
    "webapp_lease_seconds": ([59], [60, 900]),
    "webapp_lease_wait": ([-1, 86401], [0, 600]),
    "webapp_by": (["a\nb", "x" * 201], ["", "anna@ci"]),
    "webapp_hsts_seconds": ([-1], [0, 31536000]),
    "webapp_preview_token": (["short", "with space in the token", "x" * 20, "x;y" * 8], ["", "3f9c_A-7" * 3]),
    "webapp_max_body_size": (["25 m", "", "lots"], ["25m", "1G", "0"]),
    "webapp_bake_seconds": ([-1, 86401], [0, 30]),
    "webapp_analysis_minimum": ([0, -5], [1, 100]),
    "webapp_analysis_seconds": ([-1, 3601], [0, 60]),
    "webapp_analysis_probe_paths": ([["health"], ["/a b"], ["/x"] * 21], [[], ["/", "/notes?token=x"]]),
    "webapp_analysis_errors": ([0.0, -0.1, 0.6], [0.005, 0.5]),
    "webapp_analysis_latency": ([1.0, 0.5, -1, 101], [1.5, 2]),
    "webapp_frontend_sha256": (["abc", "A" * 64], ["", "a" * 64]),
    "webapp_frontend_image_path": (["", "/", "html", "/a/../b", "/a b"], ["/usr/share/nginx/html", "/dist"]),
    "webapp_frontend_hashed": ([["("], [""]], [[], [r"[.-][0-9a-f]{8}[.]js$"]]),
    "webapp_backend_paths": (
        [["/"], ["api/"], ["/a/../b"], ["/a b/"], ["/api//"]],
        [[], ["/api/", "/graphql", "/v1/x/"]],
    ),
    "webapp_static_url": (["static/", "/static", "/", "/../x/"], ["", "/static/", "/a/b/"]),
    "webapp_media_url": (["media"], ["", "/media/"]),
    "webapp_public_address": (["a b"], ["", "10.0.0.1", "edge1"]),
    "webapp_database_url": (["mysql://x", "postgres://"], ["", "postgres://u:p@h/d", "postgresql:///d"]),
    "webapp_redis_url": (["http://x"], ["", "redis://h/0", "rediss://:p@h:6380/0"]),
    "webapp_redis_number": ([-1, 15], [0, 2, 14]),
    "webapp_image_scan_timeout": ([0, 86401], [1, 600]),
    "webapp_database_name": (["", "Shop", "a b", "1a", "postgres", "template1"], ["shop", "shop_2", "pg_shop"]),
    "webapp_database_user": (["", "Shop", "postgres", "public", "pg_monitor"], ["shop", "shop-2", "postgres2"]),
    "webapp_swarm_web_replicas": ([0, 1001], [1, 3]),
    "webapp_swarm_worker_replicas": ([-1, 1001], [0, 3]),
    "webapp_swarm_monitor_seconds": ([0, 3601], [1, 5]),
}


def test_the_table_holds_every_rule() -> None:
    assert set(TABLE) | set(DATABASE_RULES) | set(SMOKE_RULES) | {"webapp_prometheus_url"} == set(RULES)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (bad, _good) in TABLE.items() for value in bad])
def test_refused(name: str, value: Any) -> None:
    problems = check_rules({name: value}, host="web1")
    assert [(problem.name, problem.host, problem.expected) for problem in problems] == [(name, "web1", RULES[name][1])]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (_bad, good) in TABLE.items() for value in good])
def test_accepted(name: str, value: Any) -> None:
    assert check_rules({name: value}, host="web1") == []


@pytest.mark.parametrize(
    ("values", "name", "found"),
    [
        ({"webapp_environment": {"debug": "1"}}, "webapp_environment.debug", "a name that no shell accepts"),
        ({"webapp_environment": {"A-B": "1"}}, "webapp_environment.A-B", "a name that no shell accepts"),
        ({"webapp_environment": {7: "1"}}, "webapp_environment.7", "a name that no shell accepts"),
        ({"webapp_environment": {"SLIPWAY_X": "1"}}, "webapp_environment.SLIPWAY_X", "a name that is reserved"),
        ({"webapp_environment": {"STATIC_ROOT": "1"}}, "webapp_environment.STATIC_ROOT", "a name that is reserved"),
        ({"webapp_secrets": {"MEDIA_ROOT": "12345678x"}}, "webapp_secrets.MEDIA_ROOT", "a name that is reserved"),
        ({"webapp_environment": {"DEBUG": True}}, "webapp_environment.DEBUG", "true or false"),
        ({"webapp_environment": {"RATE": 1.5}}, "webapp_environment.RATE", "the number 1.5"),
        ({"webapp_environment": {"NAMES": ["a"]}}, "webapp_environment.NAMES", "a list"),
        ({"webapp_environment": {"NONE": None}}, "webapp_environment.NONE", "nothing"),
        ({"webapp_environment": {"ZERO": "a\0b"}}, "webapp_environment.ZERO", "a NUL character"),
        ({"webapp_environment": {"URL": "x://u:pw@h"}}, "webapp_environment.URL", "a URL with a password"),
        (
            {"webapp_build_environment": {"INDEX": "https://u:pw@h"}},
            "webapp_build_environment.INDEX",
            "a URL with a password",
        ),
        ({"webapp_secrets": {"KEY": "short"}}, "webapp_secrets.KEY", "a secret of 5 characters"),
        ({"webapp_secrets": {"KEY": "changeme-please"}}, "webapp_secrets.KEY", "a placeholder"),
        ({"webapp_secrets": {"KEY": 123456789}}, "webapp_secrets.KEY", "a secret value (not shown)"),
        ({"webapp_build_secrets": {"TOKEN": "x" * 20}}, "webapp_build_secrets.TOKEN", "a placeholder"),
        (
            {"webapp_environment": {"KEY": "a"}, "webapp_secrets": {"KEY": "f8Gk2m9Qz1"}},
            "webapp_environment.KEY",
            "it in webapp_secrets too",
        ),
        ({"webapp_database_password": "short"}, "webapp_database_password", "a secret of 5 characters"),
        ({"webapp_redis_password": "two words are"}, "webapp_redis_password", "white space in a password"),
        ({"webapp_source": "https://u:token@git.example/x.git"}, "webapp_source", "a URL with a password"),
        (
            {"webapp_source": "https://ghp_token@github.com/a/x.git"},
            "webapp_source",
            "a URL with a user, which may be a token",
        ),
        (
            {"webapp_source": "git+HTTPS://t%40x@git.example/x"},
            "webapp_source",
            "a URL with a user, which may be a token",
        ),
        ({"webapp_frontend_source": "https://u:t@h/x.tar.gz"}, "webapp_frontend_source", "a URL with a password"),
        (
            {"webapp_frontend_source": "http://token@h/x.tar.gz"},
            "webapp_frontend_source",
            "a URL with a user, which may be a token",
        ),
        ({"webapp_database_url": "postgres://u:changeme@h/d"}, "webapp_database_url", "a placeholder"),
        ({"webapp_aliases": ["www"]}, "webapp_aliases", "'www'"),
        ({"webapp_aliases": ["a.b"], "webapp_domain": "a.b"}, "webapp_aliases", "'a.b'"),
        ({"webapp_host_roles": ["web", "web"]}, "webapp_host_roles", "web twice"),
        ({"webapp_static_url": "/a/", "webapp_media_url": "/a/"}, "webapp_media_url", "'/a/'"),
    ],
)
def test_rules_of_several_values(values: dict[str, Any], name: str, found: str) -> None:
    problems = check_rules(values, host="web1")
    assert [(problem.name, problem.found) for problem in problems] == [(name, found)]


def test_numbers_and_odd_texts_are_good_in_an_environment() -> None:
    values = {
        "webapp_environment": {"PORT": 8000, "EMPTY": "", "LINES": "a\nb", "_X": "ü $HOME \"'"},
        "webapp_secrets": {"SECRET_KEY": "f8Gk2m9Qz1 mit Wörtern"},
    }
    assert check_rules(values, host="web1") == []


@pytest.mark.parametrize(
    "text",
    [
        "changeme",
        "Change-Me-now",
        "REPLACE_ME",
        "replace this key",
        "placeholder1",
        "your-secret-key",
        "todo: fill in",
        "django-insecure-abcdefghijklmnop",
        "<secret key>",
        "aaaaaaaaaa",
        "password123",
        "12345678",
    ],
)
def test_placeholders(text: str) -> None:
    assert is_placeholder(text)


@pytest.mark.parametrize("text", ["9fj3f93jf93jf9", "correct horse battery", "aB3$dE6&gH9(", "exchange-memory-81"])
def test_real_secrets(text: str) -> None:
    assert not is_placeholder(text)


@pytest.mark.parametrize(
    ("text", "good"), [("10.0.0.1", True), ("fe80::1", True), ("db1", True), ("1.2.3", False), ("", False)]
)
def test_addresses(text: str, good: bool) -> None:
    assert is_address(text) is good


def test_no_message_shows_a_secret() -> None:
    values = {
        "webapp_secrets": {"A": "planted", "B": 99999999999, "c": "planted-too-long"},
        "webapp_database_password": "planted",
        "webapp_database_url": "mysql://planted",
        "webapp_redis_url": "planted",
        "webapp_source": "https://u:planted@git.example/x",
        "webapp_environment": {"URL": "https://u:planted@h"},
    }
    problems = check_rules(values, host="web1")
    assert len(problems) == 8
    assert "planted" not in str(problems)
    assert "99999999999" not in str(problems)
