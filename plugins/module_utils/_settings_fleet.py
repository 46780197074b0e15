# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only all hosts together can say wrongly: which environment a run touches, and whether its hosts make a whole."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ansible_collections.slipway.webapp.plugins.module_utils._derived import LOOPBACK
from ansible_collections.slipway.webapp.plugins.module_utils._frontend import INDEX
from ansible_collections.slipway.webapp.plugins.module_utils._settings import Problem, Setting, shown
from ansible_collections.slipway.webapp.plugins.module_utils._settings_analysis import check_log
from ansible_collections.slipway.webapp.plugins.module_utils._settings_frontend import has_backend
from ansible_collections.slipway.webapp.plugins.module_utils._settings_rollout import check_rollout_fleet
from ansible_collections.slipway.webapp.plugins.module_utils._settings_rules import (
    ARCHIVE,
    HIDDEN,
    check_rules,
)
from ansible_collections.slipway.webapp.plugins.module_utils._settings_swarm import check_swarm_fleet
from ansible_collections.slipway.webapp.plugins.module_utils._source import digest_of

# What may differ between the hosts of one environment; all else is the application's.
OF_A_HOST = ("webapp_host_roles", "webapp_address")
GIT = r"(https?://|ssh://|git://|file://|git@|[\w.-]+@[\w.-]+:).*"


@dataclass(frozen=True)
class Selection:
    """The hosts of a run and the groups they are in. ``members``: environment -> all its hosts in the inventory.

    ``partial``: the run may leave out hosts; ``way_to_a_part``: what an operator types to make it so, if anything.
    """

    hosts: tuple[str, ...]
    members: Mapping[str, tuple[str, ...]]
    partial: bool = False
    way_to_a_part: str = ""

    def environments_of(self, host: str) -> list[str]:
        return [name for name, hosts in self.members.items() if host in hosts]

    @property
    def touched(self) -> list[str]:
        return [name for name, hosts in self.members.items() if set(hosts) & set(self.hosts)]


def choose_environment(selection: Selection) -> tuple[str, list[Problem]]:
    """The one environment of a run, or ('', why not)."""
    advice = " or ".join(f"-l {name}" for name in selection.members) or "a group that webapp_environments names"
    if not selection.hosts:
        return "", [Problem("", "no host in this run", f"the hosts of one environment: {advice}")]
    problems = []
    for host in selection.hosts:
        names = selection.environments_of(host)
        if len(names) > 1:
            problems.append(Problem("", "it in " + " and ".join(names), "a host in one environment only", host))
        elif not names:
            problems.append(Problem("", "it in no environment", f"a host of an environment: {advice}", host))
    touched = selection.touched
    if len(touched) > 1 and not problems:
        advice = " or ".join(f"-l {name}" for name in touched)
        problems.append(Problem("", "hosts of " + " and ".join(touched), f"one environment in a run: {advice}"))
    if problems:
        return "", problems
    name = touched[0]
    missing = [host for host in selection.members[name] if host not in selection.hosts]
    if missing and not selection.partial:
        found = f"a run without {', '.join(missing)}"
        meant = f"; or {selection.way_to_a_part}, when a part is meant" if selection.way_to_a_part else ""
        return name, [Problem("", found, f"all hosts of {name}: -l {name}{meant}")]
    return name, []


def left_out(hosts: Mapping[str, Mapping[str, Any]], selected: Sequence[str]) -> list[str]:
    """The hosts that run the application and are not in this run: they go on with the release that they have."""
    ours = {"web", "worker", "beat"}
    return [name for name, values in hosts.items() if name not in selected and ours & set(values["webapp_host_roles"])]


def check_fleet(
    hosts: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Setting],
    *,
    selected: Sequence[str],
    partial: bool,
) -> list[Problem]:
    """What is wrong with the hosts of one environment together; ``hosts``: name -> typed values, in inventory order."""
    problems = _check_same(hosts, settings)
    first = next(iter(hosts.values()))
    by_role = {
        role: [name for name, values in hosts.items() if role in values["webapp_host_roles"]]
        for role in ("web", "worker", "beat", "database", "broker")
    }
    problems += _check_processes(first, by_role)
    problems += _check_primary(first, by_role, hosts, () if partial else selected)
    problems += _check_database(first, by_role["database"], alone=len(hosts) == 1)
    problems += _check_broker(first, by_role["broker"], alone=len(hosts) == 1)
    problems += check_rollout_fleet(first, {name: values["webapp_host_roles"] for name, values in hosts.items()})
    problems += check_swarm_fleet(first, {name: values["webapp_host_roles"] for name, values in hosts.items()})
    problems += check_log(first, by_role["web"])
    return problems


def _check_same(hosts: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Setting]) -> list[Problem]:
    problems = []
    for setting in settings.values():
        if setting.name in OF_A_HOST:
            continue
        seen: list[tuple[Any, str]] = []
        for name, values in hosts.items():
            if all(values.get(setting.name) != value for value, _host in seen):
                seen.append((values.get(setting.name), name))
        if len(seen) > 1:
            hide = setting.secret or setting.name in (*HIDDEN, "webapp_source")
            found = "; ".join(f"{host} has {shown(value, secret=hide)}" for value, host in seen)
            problems.append(Problem(setting.name, found, "the same on every host of the environment"))
    return problems


def _check_processes(values: Mapping[str, Any], by_role: Mapping[str, list[str]]) -> list[Problem]:
    problems = []
    if not by_role["web"]:
        problems.append(Problem("webapp_host_roles", "no host with the role web", "at least one"))
    if not values["webapp_celery"]:
        return problems
    beats = by_role["beat"]
    if values["webapp_beat"] and len(beats) > 1:
        problems.append(Problem("webapp_host_roles", "beat on " + ", ".join(beats), "beat on one host"))
    if values["webapp_beat"] and not beats:
        problems.append(Problem("webapp_host_roles", "no host with the role beat", "one, or webapp_beat: false"))
    if not by_role["worker"] and not (values["webapp_beat"] and beats):
        problems.append(Problem("webapp_celery", "no host with the role worker", "at least one, or webapp_celery: ''"))
    return problems


def _check_primary(
    values: Mapping[str, Any],
    by_role: Mapping[str, list[str]],
    hosts: Mapping[str, Any],
    selected: Sequence[str],
) -> list[Problem]:
    primary = values["webapp_primary"]
    if not by_role["web"] or (primary in by_role["web"] and (primary in selected or not selected)):
        return []
    wanted = "one of " + ", ".join(by_role["web"])
    if primary in hosts and primary not in by_role["web"]:
        return [Problem("webapp_primary", f"{primary!r} without the role web", wanted)]
    if primary in hosts:
        expected = "the primary in the run: it keeps the lease and runs the migrations"
        return [Problem("webapp_primary", f"{primary!r}, which is not in this run", expected)]
    return [Problem("webapp_primary", f"{primary!r}, which is no host of this environment", wanted)]


def _gives(values: Mapping[str, Any], name: str) -> bool:
    """Does the operator hand the application this variable himself?"""
    return name in values["webapp_environment"] or name in values["webapp_secrets"]


def _check_database(values: Mapping[str, Any], hosts: list[str], *, alone: bool) -> list[Problem]:
    if values["webapp_database_url"] or _gives(values, "DATABASE_URL") or not has_backend(values):
        return []
    if len(hosts) > 1:
        return [Problem("webapp_host_roles", "database on " + ", ".join(hosts), "database on one host")]
    place = values["webapp_database_host"]
    if not place:
        expected = "one, or the webapp_database_url of a managed one"
        return [Problem("webapp_host_roles", "no host with the role database", expected)]
    if place.startswith("/"):
        if not alone:
            return [Problem("webapp_database_host", shown(place), "an address that all hosts of the environment reach")]
        if values["webapp_database_user"] != values["webapp_name"]:
            expected = f"{values['webapp_name']}: a socket lets every user in under its own name only"
            return [Problem("webapp_database_user", shown(values["webapp_database_user"]), expected)]
    elif not values["webapp_database_password"]:
        expected = f"a password: the database is on another host ({place})"
        return [Problem("webapp_database_password", "nothing", expected)]
    return []


def _check_broker(values: Mapping[str, Any], hosts: list[str], *, alone: bool) -> list[Problem]:
    own = _gives(values, "REDIS_URL") or _gives(values, "CELERY_BROKER_URL")
    if values["webapp_redis_url"] or own or not has_backend(values):
        return []
    if len(hosts) > 1:
        return [Problem("webapp_host_roles", "broker on " + ", ".join(hosts), "broker on one host")]
    place = values["webapp_redis_host"]
    if not place:
        if not values["webapp_celery"]:
            return []
        expected = "one, or the webapp_redis_url of a managed one"
        return [Problem("webapp_host_roles", "no host with the role broker", expected)]
    if not alone and place in LOOPBACK:
        return [Problem("webapp_redis_host", shown(place), "an address that all hosts of the environment reach")]
    if place not in LOOPBACK and not values["webapp_redis_password"]:
        return [Problem("webapp_redis_password", "nothing", f"a password: the broker is on another host ({place})")]
    return []


def check_files(values: Mapping[str, Any], *, needs: Sequence[str], kind_of: Callable[[str], str]) -> list[Problem]:
    """What must exist on the controller. ``kind_of`` tells 'file', 'directory' or '' of a path."""
    problems = []
    for name in ("webapp_tls_certificate", "webapp_tls_key"):
        path = values[name]
        if values["webapp_tls"] == "given":
            if kind_of(path) != "file":
                found = f"{shown(path)}, which is no readable file" if path else "nothing"
                problems.append(Problem(name, found, "a file on the controller, as webapp_tls is given"))
        elif path:
            problems.append(Problem(name, "a file that nobody uses", "webapp_tls: given beside it"))
    report = values["webapp_smoke_junit"]
    if report and kind_of(os.path.dirname(report)) != "directory":
        problems.append(Problem("webapp_smoke_junit", shown(report), "a path in a directory that exists"))
    if "source" in needs and has_backend(values):
        problems += _check_source(values, kind_of)
    if "source" in needs:
        problems += _check_frontend_source(values, kind_of)
    if "image" in needs:
        problems += _check_image(values, kind_of)
    return problems


def _check_source(values: Mapping[str, Any], kind_of: Callable[[str], str]) -> list[Problem]:
    source, sha256 = values["webapp_source"], values["webapp_source_sha256"]
    if values["webapp_runtime"] != "systemd":
        because = f"because webapp_runtime is {values['webapp_runtime']}"
        expected = f"an image by its digest (NAME@sha256:...), as build.yml prints it, {because}"
        return [] if digest_of(source) else [Problem("webapp_source", shown(source), expected)]
    if digest_of(source):
        expected = "webapp_runtime: docker or swarm beside an image, or source code"
        return [Problem("webapp_source", shown(source), expected)]
    return _check_code("webapp_source", source, sha256, kind_of)


def _check_frontend_source(values: Mapping[str, Any], kind_of: Callable[[str], str]) -> list[Problem]:
    """Files that a build has written, or an image that holds them."""
    name, source, sha256 = "webapp_frontend_source", values["webapp_frontend_source"], values["webapp_frontend_sha256"]
    if digest_of(source) or not source:
        return [Problem("webapp_frontend_sha256", "the SHA-256 of no archive", f"{name}: a .tar.gz")] if sha256 else []
    if re.fullmatch(GIT, source) and not re.fullmatch(ARCHIVE, source):
        expected = "what a build has written: a directory, a .tar.gz of it, or an image by its digest"
        return [Problem(name, shown(source), expected)]
    problems = _check_code(name, source, sha256, kind_of, of_sha256="webapp_frontend_sha256")
    place = os.path.join(source, INDEX)
    if not problems and kind_of(source) == "directory" and kind_of(place) != "file":
        expected = f"{INDEX} at its top: name what the build has written, such as dist or build"
        problems.append(Problem(name, f"no {shown(place)}", expected))
    return problems


def _check_image(values: Mapping[str, Any], kind_of: Callable[[str], str]) -> list[Problem]:
    """What a build needs: source code, and a registry to push to."""
    problems = []
    if not values["webapp_image_repository"]:
        expected = "where the image is pushed to, such as registry.example.org/shop"
        problems.append(Problem("webapp_image_repository", "nothing", expected))
    source = values["webapp_image_source"]
    if not source:
        return [*problems, Problem("webapp_image_source", "nothing", "the source code that is built")]
    return problems + _check_code("webapp_image_source", source, values["webapp_source_sha256"], kind_of)


def _check_code(
    name: str, source: str, sha256: str, kind_of: Callable[[str], str], *, of_sha256: str = "webapp_source_sha256"
) -> list[Problem]:
    remote = re.fullmatch(GIT, source)
    if re.fullmatch(ARCHIVE, source):
        if remote and not sha256:
            return [Problem(of_sha256, "nothing", f"the SHA-256 of the archive that {name} names")]
        if not remote and kind_of(source) != "file":
            return [Problem(name, shown(source), "an archive that exists on the controller")]
        return []
    problems = []
    if sha256:
        problems.append(Problem(of_sha256, "the SHA-256 of no archive", f"{name} to be a .tar.gz"))
    if not remote and not source.startswith(("/", "~")):
        problems.append(Problem(name, shown(source), "a URL, or an absolute path on the controller"))
    elif not remote and kind_of(source) != "directory":
        problems.append(Problem(name, shown(source), "a directory that exists on the controller"))
    return problems


def check_controller(*, core: Sequence[int], python: Sequence[int]) -> list[Problem]:
    """Are Ansible and Python on the controller of the versions that we test?"""
    problems = []
    if not (2, 19) <= tuple(core[:2]) <= (2, 21):
        found = ".".join(str(part) for part in core)
        problems.append(Problem("", f"ansible-core {found} on the controller", "2.19, 2.20 or 2.21"))
    if tuple(python[:2]) < (3, 11):
        found = ".".join(str(part) for part in python)
        problems.append(Problem("", f"Python {found} on the controller", "3.11 or newer"))
    return problems


def first_words(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the few settings that ``init`` asks for, as lines; hosts and files are not looked at."""
    problems = check_rules(values, host="")
    source = values.get("webapp_source", "")
    if source and not re.fullmatch(GIT, source) and not source.startswith(("/", "~")):
        problems.append(Problem("webapp_source", shown(source), "a URL, or an absolute path on the controller"))
    return [f"{problem.name}: found {problem.found}; expected {problem.expected}" for problem in problems]
