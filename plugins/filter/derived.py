# Copyright: the slipway.webapp contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters by which the role webapp derives its internal variables, and those of init."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import (
    _derived,
    _migrations,
    _report,
    _scaffold,
    _settings_rollout,
)
from ansible_collections.slipway.webapp.plugins.module_utils._settings_fleet import first_words

# What the report of a run that went back reads of each host.
REPORTED = ("__run_before", "__run_returned", "ansible_failed_result", "ansible_failed_task")


def collection_places(searched: list[str], usual: list[str]) -> list[str]:
    """As in ``_scaffold``; Ansible also looks where Python does."""
    return _scaffold.collection_places(searched, [*usual, *sys.path])


def rollout_steps(hosts: list[str], web: list[str], batches: list[Any], canary: list[Any]) -> list[dict[str, Any]]:
    """As in ``_settings_rollout``."""
    return _settings_rollout.steps(hosts, web=web, batches_wish=batches, canary=canary)


def excludable_hosts(hosts: list[str], hostvars: Any, primary: str, web: list[str]) -> list[str]:
    """As in ``_report``."""
    seen = {host: {name: hostvars[host].get(name) for name in REPORTED} for host in hosts}
    return _report.excludable(seen, primary=primary, web=web)


def returned_report(
    hosts: list[str], hostvars: Any, action: str, release: str, hold: int, next_step: str, put_back: str = ""
) -> str:
    """As in ``_report``."""
    seen = {host: {name: hostvars[host].get(name) for name in REPORTED} for host in hosts}
    return _report.returned(
        seen, action=action, release=release, hold=hold, next_step=next_step.strip(), put_back=put_back
    )


class FilterModule:
    """Most filters are the function of the same name in ``_derived``."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "collection_places": collection_places,
            "controller_path": _derived.controller_path,
            "every_host": _derived.every_host,
            "excludable_hosts": excludable_hosts,
            "host_address": _derived.host_address,
            "hosts_with_role": _derived.hosts_with_role,
            "init_problems": first_words,
            "migration_effect": _migrations.effect_of,
            "process_environment": _derived.process_environment,
            "process_secrets": _derived.process_secrets,
            "reachable_address": _derived.reachable_address,
            "returned_report": returned_report,
            "rollout_steps": rollout_steps,
            "service_urls": _derived.service_urls,
        }
