# Copyright: the slipway.webapp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of slipway.webapp.preflight, and the only one: it reads variables and connects to nothing."""

from __future__ import annotations

import datetime
import getpass
import os
import re
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as core_version

from ansible_collections.slipway.webapp.plugins.module_utils._config import config_id
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._settings import (
    Host,
    Problem,
    Setting,
    check_host,
    check_names,
    read_specification,
    report,
)
from ansible_collections.slipway.webapp.plugins.module_utils._settings_fleet import (
    Selection,
    check_controller,
    check_files,
    check_fleet,
    choose_environment,
    left_out,
)
from ansible_collections.slipway.webapp.plugins.module_utils._settings_rules import check_rules

SPECIFICATION = Path(__file__).resolve().parents[2] / "roles" / "webapp" / "meta" / "argument_specs.yml"
PARTS = ("allow", "with_primary", "refuse")
DERIVED = ("__webapp_environment", "__webapp_secrets")
# A message of Jinja that names a variable and shows no value.
HARMLESS = re.compile(r"'[\w.\[\]' ]+' is undefined|no vault secrets", re.IGNORECASE)


def kind_of(path: str) -> str:
    """'file', 'directory' or '' for what this user can read at ``path`` on the controller."""
    place = os.path.expanduser(path)
    if not path or not os.access(place, os.R_OK):
        return ""
    return "directory" if os.path.isdir(place) else "file"


def read_settings() -> dict[str, Setting]:
    """The operator's interface, from its one home."""
    document = yaml.safe_load(SPECIFICATION.read_text(encoding="utf-8"))
    return read_specification(document["argument_specs"]["settings"]["options"])


def name_this_run(now: datetime.datetime) -> str:
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def name_this_user() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


class ActionModule(ActionBase):
    """Reads every host's variables in that host's own context, as its tasks will see them."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        _unused, params = self.validate_argument_spec(
            argument_spec={
                "needs": {"type": "list", "elements": "str", "choices": ["source", "image"], "default": []},
                "partial": {"type": "str", "choices": list(PARTS), "default": "refuse"},
                "accepts": {"type": "list", "elements": "str", "default": []},
            }
        )
        settings = read_settings()
        try:
            found, problems, hosts = self._examine(variables, settings, params)
        except SlipwayError as error:
            result.update(failed=True, msg=str(error))
            return result
        if problems:
            unique = list(dict.fromkeys(problems))
            result.update(
                failed=True,
                msg=report(unique, hosts=hosts),
                problems=[{"host": p.host, "name": p.name, "found": p.found, "expected": p.expected} for p in unique],
            )
            return result
        result.update(changed=False, **found)
        return result

    def _examine(
        self, variables: Mapping[str, Any], settings: Mapping[str, Setting], params: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[Problem], int]:
        """What to return, what is wrong, and how many hosts were looked at."""
        running = tuple(variables["ansible_play_hosts_all"])
        problems = check_controller(core=_numbers(core_version), python=sys.version_info[:3])
        environment, wrong = choose_environment(self._selection(variables, running, params))
        problems += wrong
        if not environment:
            return {}, problems, len(running)
        members = tuple(variables["groups"][environment])
        hosts = {name: self._host(variables["hostvars"], name, settings) for name in members}
        typed = {}
        for host in hosts.values():
            typed[host.name], wrong = check_host(host, settings)
            problems += wrong
            problems += check_names(
                host, known=settings, extra=_extra_variables(variables["hostvars"]), accepted=params["accepts"]
            )
            problems += check_rules(typed[host.name], host=host.name)
        if all(set(settings) <= set(values) for values in typed.values()):
            problems += check_fleet(typed, settings, selected=running, partial=params["partial"] == "allow")
            problems += check_files(typed[members[0]], needs=params["needs"], kind_of=kind_of)
        if problems:
            return {}, problems, len(members)
        found = self._answer(environment, running, hosts[members[0]], typed[members[0]])
        found["left_out"] = left_out(typed, running)
        return found, _broken(hosts), len(members)

    @staticmethod
    def _answer(environment: str, running: tuple[str, ...], host: Host, values: Mapping[str, Any]) -> dict[str, Any]:
        config = ""
        if not set(DERIVED) & set(host.broken):
            config = config_id(
                app=values["webapp_name"],
                environment=host.values["__webapp_environment"],
                secrets=host.values["__webapp_secrets"],
            )
        return {
            "environment": environment,
            "hosts": list(running),
            "primary": values["webapp_primary"],
            "config": config,
            "run": name_this_run(datetime.datetime.now(datetime.UTC)),
            "by": values["webapp_by"] or name_this_user(),
        }

    def _selection(
        self, variables: Mapping[str, Any], running: tuple[str, ...], params: Mapping[str, Any]
    ) -> Selection:
        """Where the run's hosts stand. Hosts that name other environments are refused later: they must not differ."""
        groups = variables["groups"]
        names = variables.get("webapp_environments") or []
        templated = self._templar.template(names)
        members = {name: tuple(groups[name]) for name in templated if isinstance(name, str) and name in groups}
        way = "-e partial=true" if "partial" in params["accepts"] else ""
        return Selection(hosts=running, members=members, partial=params["partial"] != "refuse", way_to_a_part=way)

    def _host(self, hostvars: Any, name: str, settings: Mapping[str, Setting]) -> Host:
        """A host's variables as its tasks in this very play see them.

        ``hostvars`` alone leaves out the defaults and variables of the play's roles.
        """
        try:
            manager = hostvars._variable_manager
            inventory_host = manager._inventory.get_host(name)
            raw = manager.get_vars(play=self._task.get_play(), host=inventory_host, task=self._task)
        except AttributeError as error:
            raise AnsibleError("This version of ansible-core hides its variables in another place") from error
        templar = self._templar.copy_with_new_env(available_variables=raw)
        values: dict[str, Any] = {}
        broken: dict[str, str] = {}
        for key in (*settings, *DERIVED):
            if key not in raw:
                continue
            try:
                values[key] = templar.template(raw[key])
            except Exception as error:  # noqa: BLE001 - whatever a template raises is the operator's to mend
                secret = key in DERIVED or settings[key].secret
                broken[key] = _say(error, secret=secret)
        return Host(
            name=name,
            groups=tuple(group.name for group in inventory_host.get_groups()),
            values=values,
            broken=broken,
            names=frozenset(str(key) for key in raw),
        )


def _broken(hosts: Mapping[str, Host]) -> list[Problem]:
    """Derived variables that cannot be worked out although every setting is good."""
    return [
        Problem(name, f"cannot be worked out: {why}", "a dictionary", host.name)
        for host in hosts.values()
        for name, why in host.broken.items()
    ]


def _say(error: Exception, *, secret: bool) -> str:
    """Why a template failed; of a secret only what surely shows no value."""
    text = " ".join(str(error).split())
    if not secret:
        return text
    harmless = HARMLESS.search(text)
    return harmless.group(0) if harmless else type(error).__name__


def _extra_variables(hostvars: Any) -> frozenset[str]:
    return frozenset(str(name) for name in hostvars._variable_manager.extra_vars)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]
