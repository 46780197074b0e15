# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes with a front end, and what with nothing but one."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._settings_rules import check_rules

IMAGE = "registry.example/front@sha256:" + "a" * 64
ALONE: dict[str, Any] = {
    "webapp_server": "none",
    "webapp_source": "",
    "webapp_settings_module": "",
    "webapp_wsgi": ".wsgi:application",
    "webapp_frontend_source": "/dist",
    "webapp_celery": "",
    "webapp_migrations": "none",
    "webapp_database_url": "",
    "webapp_redis_url": "",
}
BOTH: dict[str, Any] = {
    "webapp_server": "gunicorn",
    "webapp_source": "/src",
    "webapp_settings_module": "shop.settings",
    "webapp_frontend_source": "/dist",
    "webapp_backend_paths": ["/api/"],
    "webapp_static_url": "/static/",
}


@pytest.mark.parametrize("values", [ALONE, BOTH])
def test_what_goes_together(values: dict[str, Any]) -> None:
    assert check_rules(values, host="web1") == []


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (ALONE | {"webapp_source": "/src"}, "webapp_source"),
        (ALONE | {"webapp_settings_module": "shop.settings"}, "webapp_settings_module"),
        (ALONE | {"webapp_celery": "shop"}, "webapp_celery"),
        (ALONE | {"webapp_migrations": "django"}, "webapp_migrations"),
        (ALONE | {"webapp_database_url": "postgres://u:planted@h/n"}, "webapp_database_url"),
        (ALONE | {"webapp_redis_url": "redis://:planted@h/0"}, "webapp_redis_url"),
        (ALONE | {"webapp_frontend_source": ""}, "webapp_frontend_source"),
        (BOTH | {"webapp_source": ""}, "webapp_source"),
        (BOTH | {"webapp_settings_module": ""}, "webapp_settings_module"),
        (BOTH | {"webapp_frontend_source": IMAGE, "webapp_runtime": "systemd"}, "webapp_frontend_source"),
        (BOTH | {"webapp_backend_paths": ["/api/", "/api/"]}, "webapp_backend_paths"),
        (BOTH | {"webapp_backend_paths": ["/static/"]}, "webapp_backend_paths"),
    ],
)
def test_what_does_not(values: dict[str, Any], name: str) -> None:
    (problem,) = check_rules(values, host="web1")
    assert problem.name == name
    assert "planted" not in problem.found


def test_an_image_of_a_front_end_needs_an_engine() -> None:
    assert check_rules(BOTH | {"webapp_frontend_source": IMAGE, "webapp_runtime": "docker"}, host="web1") == []
