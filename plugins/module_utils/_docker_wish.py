# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator wishes of a Docker host: the role's settings, checked, and the document that follows from them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._docker_daemon import (
    LOG_OPTS,
    Document,
    is_local,
    merged,
)

# From here on networks that applications make for themselves can be told where their ports are published.
NETWORK_DEFAULTS_SINCE = (24, 0)
_ADDRESS = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?$")
_MIRROR = re.compile(r"^https://[^/\s@]+/?$")


def document(settings: Mapping[str, Any], version: tuple[int, ...], files_limit: int = 0) -> Document:
    """The part of daemon.json that is ours. What ``settings.settings`` gives as null is left to others."""
    rotation = {"max-size": str(settings["log_max_size"]), "max-file": str(settings["log_max_files"])}
    # More than the host can give would keep every container from starting.
    files = min(int(settings["open_files"]), files_limit or int(settings["open_files"]))
    address = str(settings["publish_address"])
    ours: Document = {
        "live-restore": bool(settings["live_restore"]),
        "log-driver": str(settings["log_driver"]),
        "log-opts": {} if settings["log_driver"] == "journald" else rotation,
        "icc": bool(settings["icc"]),
        "userland-proxy": bool(settings["userland_proxy"]),
        "no-new-privileges": bool(settings["no_new_privileges"]),
        "default-ulimits": {"nofile": {"Name": "nofile", "Soft": files, "Hard": files}} if files else {},
        "userns-remap": str(settings["userns_remap"]),
        "registry-mirrors": [str(mirror) for mirror in settings["registry_mirrors"]],
        "ip": address,
    }
    if address and version >= NETWORK_DEFAULTS_SINCE:
        ours["default-network-opts"] = {"bridge": {"com.docker.network.bridge.host_binding_ipv4": address}}
    both = merged(ours, settings["settings"], {})
    return {name: value for name, value in both.items() if value not in (None, "", {}, [])}


def certificates(settings: Mapping[str, Any]) -> dict[str, str]:
    """By address, the text of who vouches for a registry; those that everybody trusts are left out."""
    texts = settings["certificates"]
    return {str(each["address"]): str(texts[each["ca"]]) + "\n" for each in settings["registries"] if each.get("ca")}


def problems(settings: Mapping[str, Any]) -> Iterator[str]:
    """One line for each setting that cannot be meant."""
    if settings["log_driver"] not in LOG_OPTS:
        yield _line("docker_host_log_driver", settings["log_driver"], f"one of {', '.join(sorted(LOG_OPTS))}")
    for mirror in settings["registry_mirrors"]:
        if not _MIRROR.match(str(mirror)):
            yield _line(
                "docker_host_registry_mirrors", mirror, "https://HOST or https://HOST:PORT, without a path or login"
            )
    trusted = certificates(settings)
    for registry in settings["registries"]:
        yield from _registry_problems(registry, trusted.get(str(registry["address"])))
    hosts = settings["settings"].get("hosts") or []
    for host in hosts if isinstance(hosts, list) else [hosts]:
        if not is_local(str(host)):
            yield _line(
                "docker_host_settings", f"hosts: {host}", "no socket that the network reaches: who reaches it is root"
            )


def _registry_problems(registry: Mapping[str, Any], authority: str | None) -> Iterator[str]:
    address = str(registry["address"])
    if not _ADDRESS.match(address):
        yield _line("docker_host_registries", address, "HOST or HOST:PORT, as it stands before an image's name")
    if authority is None:
        return
    if "-----BEGIN CERTIFICATE-----" not in authority:
        yield _line("docker_host_registries", registry.get("ca"), f"certificates in PEM, of who vouches for {address}")
    if re.search(r"-----BEGIN [A-Z ]*PRIVATE KEY-----", authority):
        yield _line("docker_host_registries", registry.get("ca"), "certificates only: this file holds a private key")


def _line(name: str, found: Any, expected: str) -> str:
    return f"{name}: found {str(found)!r}; expected {expected}"
