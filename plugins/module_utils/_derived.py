# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from the settings: the URLs of database and broker, and the environment that processes are given."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")
DATABASE_PORT = 5432
BROKER_PORT = 6379
# There our own Redis listens to this host only, and has no password.
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def every_host(hosts: Sequence[str], limit: str) -> str:
    """The pattern of all hosts, which there must be where a run is limited to some of them."""
    if limit and not hosts:
        raise SlipwayError(
            "The inventory has no host",
            found="none",
            expected=f"those of {limit}",
            next_step="look at -i and at the files that it names",
        )
    return "all"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def database_url(services: Mapping[str, Any]) -> str:
    """A URL as libpq reads it: ``database_host`` is an address, or a socket's directory (then peer authentication)."""
    host, name = str(services["database_host"]), quote(str(services["database_name"]), safe="")
    if services["database"] or not host:
        return str(services["database"])
    if host.startswith("/"):
        return f"postgres:///{name}?host={quote(host)}"
    user = quote(str(services["database_user"]), safe="")
    password = quote(str(services["database_password"]), safe="")
    return f"postgres://{user}:{password}@{_bracketed(host)}:{DATABASE_PORT}/{name}"


def broker_url(services: Mapping[str, Any], number: int) -> str:
    """The URL of one of our own Redis' databases, or the managed one as it is."""
    host = str(services["redis_host"])
    if services["redis"] or not host:
        return str(services["redis"])
    password = quote(str(services["redis_password"]), safe="")
    login = f":{password}@" if password and host not in LOOPBACK else ""
    return f"redis://{login}{_bracketed(host)}:{BROKER_PORT}/{number}"


def service_urls(services: Mapping[str, Any]) -> dict[str, str]:
    """The URLs that the application finds its services by; what is nowhere is left out."""
    # One Redis serves both; emptying the cache must not empty the queue.
    number = int(services["redis_number"])
    urls = {
        "DATABASE_URL": database_url(services),
        "REDIS_URL": broker_url(services, number),
        "CELERY_BROKER_URL": broker_url(services, number + 1),
    }
    return {name: url for name, url in urls.items() if url}


def carries_password(url: str) -> bool:
    """Must this URL be kept secret?"""
    return bool(PASSWORD.search(url))


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in values.items()}


def process_environment(
    own: Mapping[str, Any], urls: Mapping[str, str], environment: Mapping[str, Any], secrets: Mapping[str, Any]
) -> dict[str, str]:
    """The variables that may be shown. What the operator sets himself, here or among the secrets, wins."""
    plain = {name: url for name, url in urls.items() if not carries_password(url)}
    merged = {**_texts(own), **plain, **_texts(environment)}
    return {name: value for name, value in sorted(merged.items()) if name not in secrets}


def process_secrets(
    secrets: Mapping[str, Any], urls: Mapping[str, str], environment: Mapping[str, Any]
) -> dict[str, str]:
    """The variables that must not be shown: the operator's, and URLs that carry a password."""
    hidden = {name: url for name, url in urls.items() if carries_password(url) and name not in environment}
    return dict(sorted({**hidden, **_texts(secrets)}.items()))


def hosts_with_role(hosts: list[str], role: str, hostvars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Those of ``hosts`` that have ``role``; a host that says nothing about its roles has all of them."""
    return [host for host in hosts if role in hostvars[host].get("webapp_host_roles", (role,))]


def host_address(hosts: list[str], hostvars: Mapping[str, Mapping[str, Any]]) -> str:
    """The address by which the others reach the first of ``hosts``; '' for none."""
    for host in hosts:
        variables = hostvars[host]
        return str(variables.get("webapp_address", variables.get("ansible_host", host)))
    return ""


def reachable_address(hosts: list[str], hostvars: Mapping[str, Mapping[str, Any]]) -> str:
    """The address by which the controller reaches the first of ``hosts``, as it does by SSH; '' for none."""
    for host in hosts:
        return str(hostvars[host].get("ansible_host", "")) or host_address([host], hostvars)
    return ""


def controller_path(path: str) -> str:
    """A path on the controller, absolute. Ansible itself would begin where the playbook lies, in the collection."""
    return os.path.abspath(os.path.expanduser(path))
