# SPDX-License-Identifier: GPL-3.0-or-later
"""One Docker network for each prefix, so that several people and test runs do not meet."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import docker
import docker.errors
from docker.types import IPAMConfig, IPAMPool

from tests.hosts.engine import LABEL
from tests.hosts.fleet import Plan
from tests.hosts.state import HostsError, locked

_Network = ipaddress.IPv4Network


def find(client: docker.DockerClient, prefix: str) -> tuple[Any, _Network] | None:
    """Return the prefix's network and its addresses, if it is there."""
    for network in client.networks.list(names=[f"^{prefix}$"]):
        return network, _Network(network.attrs["IPAM"]["Config"][0]["Subnet"])
    return None


def ensure(client: docker.DockerClient, plan: Plan, prefix: str) -> tuple[Any, _Network]:
    """Create the prefix's network where it is missing."""
    with locked("network"):
        found = find(client, prefix)
        if found:
            return found
        wanted = plan.network if prefix == plan.prefix else _free(client, plan)
        taken = [str(n) for n in _taken(client) if n.overlaps(wanted)]
        if taken:
            raise HostsError(f"The network {wanted} of the test hosts is in use on this machine: {', '.join(taken)}.")
        pool = IPAMConfig(pool_configs=[IPAMPool(subnet=str(wanted), gateway=str(wanted[1]))])
        created = client.networks.create(prefix, driver="bridge", ipam=pool, labels={LABEL: prefix})
        return created, wanted


def _free(client: docker.DockerClient, plan: Plan) -> _Network:
    taken = _taken(client)
    for candidate in plan.network.supernet(new_prefix=16).subnets(new_prefix=24):
        if candidate != plan.network and not any(n.overlaps(candidate) for n in taken):
            return candidate
    raise HostsError("No free network for test hosts: remove some (python -m tests.hosts status).")


def _taken(client: docker.DockerClient) -> list[_Network]:
    networks = [
        _Network(config["Subnet"])
        for network in client.networks.list()
        for config in (network.attrs["IPAM"]["Config"] or [])
        if ":" not in config.get("Subnet", ":")
    ]
    return networks + _routes()


def _routes() -> list[_Network]:
    table = Path("/proc/net/route")
    routes = []
    for line in table.read_text().splitlines()[1:] if table.exists() else []:
        fields = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(fields[n]), "little") for n in (1, 7))
        if mask:
            routes.append(_Network((address, bin(mask).count("1"))))
    return routes
