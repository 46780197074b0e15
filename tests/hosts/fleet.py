# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleets, as data: which hosts there are, what they run and where they are reached."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.hosts.state import HostsError

FILE = Path(__file__).with_name("fleets.yml")


@dataclass(frozen=True)
class Host:
    """One host of a fleet."""

    name: str
    os_name: str
    address: int
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Fleet:
    """Hosts that make one environment; the name is the inventory group."""

    name: str
    hosts: tuple[Host, ...]


@dataclass(frozen=True)
class Plan:
    """All fleets, with the prefix and the network that the committed inventories name."""

    prefix: str
    network: ipaddress.IPv4Network
    fleets: Mapping[str, Fleet]

    def fleet(self, name: str) -> Fleet:
        """Return a fleet, or say which ones there are."""
        if name not in self.fleets:
            raise HostsError(f"There is no fleet {name}. Known: {', '.join(sorted(self.fleets))}")
        return self.fleets[name]


def load(path: Path = FILE) -> Plan:
    """Read the fleets."""
    data: dict[str, Any] = yaml.safe_load(path.read_text())
    fleets = {name: Fleet(name=name, hosts=_hosts(hosts)) for name, hosts in data["fleets"].items()}
    return Plan(prefix=data["prefix"], network=ipaddress.IPv4Network(data["network"]), fleets=fleets)


def _hosts(data: Mapping[str, Any]) -> tuple[Host, ...]:
    return tuple(
        Host(name=name, os_name=host["os"], address=host["address"], roles=tuple(host.get("roles", ())))
        for name, host in data.items()
    )


def address_of(host: Host, network: ipaddress.IPv4Network) -> str:
    """Return the host's address in a network."""
    return str(network[host.address])


def inventory(fleet: Fleet, *, network: ipaddress.IPv4Network, ssh: str) -> dict[str, Any]:
    """Return an Ansible inventory of the fleet; `ssh` is the directory with key and known hosts."""
    options = (
        f"-o UserKnownHostsFile={ssh}/known_hosts -o GlobalKnownHostsFile=/dev/null"
        " -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
    )
    hosts: dict[str, Any] = {}
    for host in fleet.hosts:
        hosts[host.name] = {"ansible_host": address_of(host, network)}
        if host.roles:
            hosts[host.name]["webapp_host_roles"] = list(host.roles)
    variables = {
        "ansible_user": "deploy",
        "ansible_become": True,
        "ansible_ssh_private_key_file": f"{ssh}/id_ed25519",
        "ansible_ssh_common_args": options,
    }
    return {fleet.name: {"hosts": hosts, "vars": variables}}
