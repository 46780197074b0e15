# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the settings of a swarm may be, and what cannot be had where its engine moves the tasks and no bucket does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible_collections.slipway.webapp.plugins.module_utils._settings import Problem, shown

ALL_AT_ONCE = (["100%"], [1, "25%", "100%"])  # the second is the default, which says nothing
BECAUSE = "because webapp_runtime is swarm, whose engine replaces task by task"
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "webapp_swarm_web_replicas": (lambda value: 1 <= value <= 1000, "1 to 1000"),
    "webapp_swarm_worker_replicas": (lambda value: 0 <= value <= 1000, "0 to 1000"),
    "webapp_swarm_monitor_seconds": (lambda value: 1 <= value <= 3600, "1 to 3600 seconds"),
}
_MOUNT = r"/[^:]*:/[^:]*(:(ro|rw))?"
# name: (does it fit, what is expected instead)
_FITTING: dict[str, tuple[Callable[[Any], bool], str]] = {
    "webapp_canary_steps": (lambda value: list(value) == [100], "[100]"),
    "webapp_batches": (lambda value: list(value) in ALL_AT_ONCE, 'no word about it, or ["100%"]'),
    "webapp_bake_seconds": (lambda value: value == 0, "0"),
    "webapp_preview_token": (lambda value: value == "", "''"),
    "webapp_on_host_failure": (lambda value: value == "revert_fleet", "revert_fleet"),
    "webapp_frontend_source": (lambda value: value == "", "'', or a front end that is an application of its own"),
    "webapp_server": (lambda value: value != "none", "gunicorn or uvicorn"),
}


def check_swarm(values: Mapping[str, Any], host: str) -> list[Problem]:
    """What a single host's settings say that a swarm cannot do."""
    if values.get("webapp_runtime") != "swarm":
        return []
    problems = [
        Problem(name, shown(values[name], secret=name == "webapp_preview_token"), f"{expected}, {BECAUSE}", host)
        for name, (fits, expected) in _FITTING.items()
        if name in values and not fits(values[name])
    ]
    network = values.get("webapp_container_network", "host")
    if network in ("none", "bridge"):
        expected = "host, or the name of an attachable network of the swarm"
        problems.append(Problem("webapp_container_network", shown(network), expected, host))
    if not values.get("webapp_container_no_new_privileges", True):
        expected = (
            "true: a task of a swarm is as the engines have it, {no-new-privileges: false} in docker_host_settings"
        )
        problems.append(Problem("webapp_container_no_new_privileges", "false", expected, host))
    for mount in values.get("webapp_container_mounts", []):
        if not re.fullmatch(_MOUNT, str(mount)):
            found = f"the mount {shown(mount)}"
            problems.append(Problem("webapp_container_mounts", found, "SOURCE:TARGET, :ro or :rw behind it", host))
    return problems


def check_swarm_fleet(values: Mapping[str, Any], hosts: Mapping[str, Sequence[str]]) -> list[Problem]:
    """What the settings say wrongly for these hosts; ``hosts``: name -> its roles."""
    if values["webapp_runtime"] != "swarm":
        return []
    nodes = [name for name, roles in hosts.items() if {"web", "worker", "beat"} & set(roles)]
    return _check_managers(values, nodes) + _check_replicas(values, hosts)


def _check_managers(values: Mapping[str, Any], nodes: Sequence[str]) -> list[Problem]:
    name, managers = "webapp_swarm_managers", list(values["webapp_swarm_managers"])
    strangers = [one for one in managers if one not in nodes]
    if strangers:
        found = f"{', '.join(map(str, strangers))}, which runs nothing of the application"
        return [Problem(name, found, f"some of {', '.join(nodes)}")]
    if values["webapp_primary"] not in managers:
        found = ", ".join(managers) or "no host"
        return [Problem(name, found, f"{values['webapp_primary']} among them: the primary conducts the swarm")]
    if len(managers) % 2 == 0:
        expected = "an odd number: more than half of them must agree, so an even one is no safer than one less"
        return [Problem(name, f"{len(managers)} hosts", expected)]
    return []


def _check_replicas(values: Mapping[str, Any], hosts: Mapping[str, Sequence[str]]) -> list[Problem]:
    """One web task of a node is asked at a time, so a further one would idle."""
    name, web = "webapp_swarm_web_replicas", [one for one, roles in hosts.items() if "web" in roles]
    if web and values[name] > len(web):
        expected = f"at most {len(web)}, one for each web host; webapp_web_workers makes each of them do more"
        return [Problem(name, shown(values[name]), expected)]
    workers = [one for one, roles in hosts.items() if "worker" in roles]
    if values["webapp_celery"] and workers and values["webapp_swarm_worker_replicas"] < 1:
        return [Problem("webapp_swarm_worker_replicas", "0", "at least 1, as there are hosts with the role worker")]
    return []
