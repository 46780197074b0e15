# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused where the engine of a swarm moves the tasks."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._settings_swarm import check_swarm, check_swarm_fleet

HOSTS = {"app1": ["web", "worker", "beat"], "app2": ["web", "worker"], "app3": ["web"], "db1": ["database"]}
TOKEN = "planted-token-81c2-4f1a"


def values(**changes: Any) -> dict[str, Any]:
    given = {
        "runtime": "swarm",
        "primary": "app1",
        "celery": "shop",
        "canary_steps": [100],
        "batches": [1, "25%", "100%"],
        "bake_seconds": 0,
        "preview_token": "",
        "on_host_failure": "revert_fleet",
        "container_network": "host",
        "container_mounts": ["/srv/photos:/srv/photos:ro"],
        "swarm_managers": ["app1"],
        "swarm_web_replicas": 2,
        "swarm_worker_replicas": 2,
        **changes,
    }
    return {f"webapp_{name}": value for name, value in given.items()}


def test_a_good_one_is_good() -> None:
    good = values(swarm_managers=["app1", "app2", "app3"], batches=["100%"])
    assert check_swarm(good, "app1") + check_swarm_fleet(good, HOSTS) == []


def test_of_other_runtimes_nothing_is_asked() -> None:
    other = values(runtime="docker", canary_steps=[5, 100], swarm_managers=[])
    assert check_swarm(other, "app1") + check_swarm_fleet(other, HOSTS) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"canary_steps": [5, 100]}, "webapp_canary_steps"),
        ({"batches": [1, "100%"]}, "webapp_batches"),
        ({"bake_seconds": 30}, "webapp_bake_seconds"),
        ({"preview_token": TOKEN}, "webapp_preview_token"),
        ({"on_host_failure": "exclude_host"}, "webapp_on_host_failure"),
        ({"frontend_source": "~/src/front/dist"}, "webapp_frontend_source"),
        ({"server": "none"}, "webapp_server"),
        ({"container_network": "bridge"}, "webapp_container_network"),
        ({"container_no_new_privileges": False}, "webapp_container_no_new_privileges"),
        ({"container_mounts": ["photos"]}, "webapp_container_mounts"),
        ({"swarm_managers": []}, "webapp_swarm_managers"),
        ({"swarm_managers": ["app2"]}, "webapp_swarm_managers"),
        ({"swarm_managers": ["app1", "app2"]}, "webapp_swarm_managers"),
        ({"swarm_managers": ["app1", "db1", "app2"]}, "webapp_swarm_managers"),
        ({"swarm_web_replicas": 4}, "webapp_swarm_web_replicas"),
        ({"swarm_worker_replicas": 0}, "webapp_swarm_worker_replicas"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, Any], name: str) -> None:
    given = values(**changes)
    problems = check_swarm(given, "app1") + check_swarm_fleet(given, HOSTS)
    assert [problem.name for problem in problems] == [name]
    assert TOKEN not in str(problems)
