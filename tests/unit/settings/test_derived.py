# SPDX-License-Identifier: GPL-3.0-or-later
"""The URLs of database and broker, and which of the two dictionaries each variable goes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._derived import (
    carries_password,
    controller_path,
    host_address,
    hosts_with_role,
    process_environment,
    process_secrets,
    reachable_address,
    service_urls,
)

OWN = {
    "database": "",
    "database_name": "shop",
    "database_user": "shop",
    "database_password": "a/b@c:d é",
    "database_host": "10.0.0.6",
    "redis": "",
    "redis_password": "p@ss",
    "redis_host": "10.0.0.6",
    "redis_number": 0,
}


@pytest.mark.parametrize(
    ("changes", "name", "url"),
    [
        ({}, "DATABASE_URL", "postgres://shop:a%2Fb%40c%3Ad%20%C3%A9@10.0.0.6:5432/shop"),
        ({"database_host": "fd00::6"}, "DATABASE_URL", "postgres://shop:a%2Fb%40c%3Ad%20%C3%A9@[fd00::6]:5432/shop"),
        ({"database_host": "/run/postgresql"}, "DATABASE_URL", "postgres:///shop?host=/run/postgresql"),
        ({"database": "postgres://managed/x"}, "DATABASE_URL", "postgres://managed/x"),
        ({}, "REDIS_URL", "redis://:p%40ss@10.0.0.6:6379/0"),
        ({}, "CELERY_BROKER_URL", "redis://:p%40ss@10.0.0.6:6379/1"),
        ({"redis_host": "127.0.0.1"}, "REDIS_URL", "redis://127.0.0.1:6379/0"),
        ({"redis_number": 4}, "REDIS_URL", "redis://:p%40ss@10.0.0.6:6379/4"),
        ({"redis_number": "4"}, "CELERY_BROKER_URL", "redis://:p%40ss@10.0.0.6:6379/5"),
        ({"redis": "rediss://managed"}, "CELERY_BROKER_URL", "rediss://managed"),
    ],
)
def test_urls(changes: dict[str, Any], name: str, url: str) -> None:
    assert service_urls({**OWN, **changes})[name] == url


def test_a_service_that_is_nowhere_has_no_url() -> None:
    assert service_urls({**OWN, "database_host": "", "redis_host": ""}) == {}


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("postgres://u:p@h/d", True),
        ("redis://:p@h", True),
        ("postgres:///d?host=/run", False),
        ("postgres://u@h/d", False),
        ("redis://h:6379/0", False),
    ],
)
def test_which_urls_are_secret(url: str, secret: bool) -> None:
    assert carries_password(url) is secret


def test_a_url_with_a_password_goes_to_the_secrets_only() -> None:
    urls = {"DATABASE_URL": "postgres://u:p@h/d", "REDIS_URL": "redis://h"}
    assert process_environment({"A": 1}, urls, {}, {}) == {"A": "1", "REDIS_URL": "redis://h"}
    assert process_secrets({"KEY": "x"}, urls, {}) == {"DATABASE_URL": "postgres://u:p@h/d", "KEY": "x"}


def test_what_the_operator_sets_himself_wins() -> None:
    urls = {"DATABASE_URL": "postgres://u:p@h/d", "REDIS_URL": "redis://h"}
    own = {"ALLOWED_HOSTS": "a", "DJANGO_SETTINGS_MODULE": "s"}
    environment, secrets = {"DATABASE_URL": "sqlite://", "ALLOWED_HOSTS": "*"}, {"REDIS_URL": "redis://mine"}
    assert process_environment(own, urls, environment, secrets) == {
        "ALLOWED_HOSTS": "*",
        "DATABASE_URL": "sqlite://",
        "DJANGO_SETTINGS_MODULE": "s",
    }
    assert process_secrets(secrets, urls, environment) == {"REDIS_URL": "redis://mine"}


def test_hosts_by_role_and_their_address() -> None:
    hostvars: dict[str, dict[str, Any]] = {
        "a": {},
        "b": {"webapp_host_roles": ["web"], "ansible_host": "10.0.0.2"},
        "c": {"webapp_host_roles": ["database"], "ansible_host": "10.0.0.3", "webapp_address": "10.1.0.3"},
    }
    assert hosts_with_role(["a", "b", "c"], "web", hostvars) == ["a", "b"]
    assert [host_address([host], hostvars) for host in hostvars] == ["a", "10.0.0.2", "10.1.0.3"]
    assert host_address([], hostvars) == ""
    # The others may use a private network, to which the controller does not belong.
    assert [reachable_address([host], hostvars) for host in hostvars] == ["a", "10.0.0.2", "10.0.0.3"]
    assert reachable_address(["d"], {"d": {"webapp_address": "10.1.0.4"}}) == "10.1.0.4"
    assert reachable_address([], hostvars) == ""


def test_a_path_begins_where_the_run_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    found = [controller_path(path) for path in ("image.json", "../image.json", "/tmp/image.json", "~/image.json", ".")]
    there = str(tmp_path)
    assert found == [
        f"{there}/image.json",
        f"{tmp_path.parent}/image.json",
        "/tmp/image.json",
        "/home/ann/image.json",
        there,
    ]
