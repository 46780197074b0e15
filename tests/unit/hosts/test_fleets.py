# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventories in the repository name the hosts that the tool makes, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.hosts import fleet, images
from tests.hosts.state import CHECKOUT, HostsError

PLAN = fleet.load()
INVENTORIES = ("demo", "staging", "production")
SSH = "{{ inventory_dir }}/../../.build/ssh"


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CHECKOUT / "inventories" / name / "hosts.yml").read_text())
    return content


@pytest.mark.parametrize("name", INVENTORIES)
def test_inventory_and_fleet_are_in_step(name: str) -> None:
    expected = fleet.inventory(PLAN.fleet(name), network=PLAN.network, ssh=SSH)
    assert _read(name) == expected


@pytest.mark.parametrize("name", INVENTORIES)
def test_host_keys_are_checked(name: str) -> None:
    options = _read(name)[name]["vars"]["ansible_ssh_common_args"]
    assert "StrictHostKeyChecking=yes" in options
    assert "GlobalKnownHostsFile=/dev/null" in options


def test_names_and_addresses_are_unique() -> None:
    hosts = [host for each in PLAN.fleets.values() for host in each.hosts]
    assert len({host.name for host in hosts}) == len(hosts)
    assert len({host.address for host in hosts}) == len(hosts)
    # .0 is the network, .1 its gateway, .255 the broadcast address.
    assert all(2 <= host.address <= 254 for host in hosts)


def test_every_system_can_be_built() -> None:
    assert {host.os_name for each in PLAN.fleets.values() for host in each.hosts} <= set(images.SYSTEMS)


def test_production_carries_every_role_and_one_beat() -> None:
    roles = [role for host in PLAN.fleet("production").hosts for role in host.roles]
    assert set(roles) == {"edge", "web", "worker", "beat", "database", "broker"}
    assert roles.count("beat") == 1


def test_unknown_fleet_names_the_known_ones() -> None:
    with pytest.raises(HostsError, match="production"):
        PLAN.fleet("prodution")
