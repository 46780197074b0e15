# SPDX-License-Identifier: GPL-3.0-or-later
"""What a developer does with fleets: up, down, status, inventory, purge."""

from __future__ import annotations

import dataclasses
import ipaddress
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import docker.errors
import yaml

from tests.hosts import container, engine, fleet, images, keys, network
from tests.hosts.state import BUILD, SSH, STATE, HostsError, locked, run_as_root, say

_PARALLEL = 4
_STATE_FILES = ("images", "packages", "keyrings", "images.log", "apt.log")
_ENGINE_FILES = ("docker", "engine.log", "dockerd.pid")


def select(chosen: fleet.Fleet, *, only: str | None, os_name: str | None) -> fleet.Fleet:
    """Return the fleet with some of its hosts, or with another operating system."""
    if os_name is not None and os_name not in images.SYSTEMS:
        raise HostsError(f"There is no system {os_name}. Known: {', '.join(images.SYSTEMS)}")
    names = {host.name for host in chosen.hosts} if only is None else set(only.split(","))
    unknown = names - {host.name for host in chosen.hosts}
    if unknown:
        raise HostsError(f"Fleet {chosen.name} has no host {', '.join(sorted(unknown))}.")
    hosts = [dataclasses.replace(h, os_name=os_name or h.os_name) for h in chosen.hosts if h.name in names]
    return fleet.Fleet(name=chosen.name, hosts=tuple(hosts))


def build_images(names: Sequence[str]) -> None:
    """Build images that are missing or out of date."""
    unknown = set(names) - set(images.SYSTEMS)
    if unknown:
        raise HostsError(f"There is no system {', '.join(sorted(unknown))}. Known: {', '.join(images.SYSTEMS)}")
    client = engine.up()
    for name in names:
        images.ensure(client, name)


def up(plan: fleet.Plan, chosen: fleet.Fleet, *, prefix: str) -> None:
    """Bring every host of the fleet up and make it known to SSH."""
    started = time.monotonic()
    client = engine.up()
    for os_name in sorted({host.os_name for host in chosen.hosts}):
        images.ensure(client, os_name)
    # Whoever takes down another fleet of the prefix must not find the network without hosts, and remove it.
    with locked(f"prefix-{prefix}"):
        _bring_up(client, plan, chosen, prefix=prefix, started=started)


def _bring_up(
    client: docker.DockerClient, plan: fleet.Plan, chosen: fleet.Fleet, *, prefix: str, started: float
) -> None:
    _network, addresses = network.ensure(client, plan, prefix)
    public_key = keys.public_key()

    def bring(host: fleet.Host) -> tuple[str, str]:
        address = fleet.address_of(host, addresses)
        place = container.Place(prefix=prefix, fleet=chosen.name, network=prefix, address=address)
        # A client of its own for each thread: one client's connections are not safe to share.
        own = engine.require()
        key, made = container.ensure(own, host, place=place, public_key=public_key)
        say(f"host {host.name}: {host.os_name} at {address}{'' if made else ' (was there)'}")
        return address, key

    with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
        known = dict(pool.map(bring, chosen.hosts))
    keys.update_known_hosts(add=known)
    path = _write_inventory(plan, chosen.name, prefix=prefix, addresses=addresses)
    say(f"fleet {chosen.name}: up after {time.monotonic() - started:.1f} s, inventory {path}")


def down(chosen: fleet.Fleet, *, prefix: str) -> None:
    """Remove the fleet's hosts, and the network when nobody is left on it."""
    client = engine.connect()
    if client is not None:
        with locked(f"prefix-{prefix}"):
            _take_down(client, chosen, prefix=prefix)


def _take_down(client: docker.DockerClient, chosen: fleet.Fleet, *, prefix: str) -> None:
    found = network.find(client, prefix)
    wanted = {container.name_of(prefix, host): host for host in chosen.hosts}
    mine = [c for c in container.of_prefix(client, prefix) if c.name in wanted]
    with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
        list(pool.map(container.remove, mine))
    if found:
        attached, addresses = found
        keys.update_known_hosts(add={}, remove=[fleet.address_of(wanted[c.name], addresses) for c in mine])
        if not container.of_prefix(client, prefix):
            attached.remove()
    if not any(c.labels.get(f"{engine.LABEL}.fleet") == chosen.name for c in container.of_prefix(client, prefix)):
        path = _inventory_path(prefix, chosen.name)
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
    if mine:
        say(f"fleet {chosen.name}: {len(mine)} hosts removed")


def inventory(plan: fleet.Plan, chosen: fleet.Fleet, *, prefix: str) -> None:
    """Write the fleet's inventory and print its path."""
    found = network.find(engine.require(), prefix)
    if found is None:
        raise HostsError(f"There is no network {prefix}: bring the fleet up first.")
    print(_write_inventory(plan, chosen.name, prefix=prefix, addresses=found[1]))


def _inventory_path(prefix: str, name: str) -> Path:
    return BUILD / "hosts" / prefix / f"{name}.yml"


def _write_inventory(plan: fleet.Plan, name: str, *, prefix: str, addresses: ipaddress.IPv4Network) -> Path:
    path = _inventory_path(prefix, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = fleet.inventory(plan.fleet(name), network=addresses, ssh=str(SSH))
    path.write_text("---\n" + yaml.safe_dump(content, sort_keys=False, width=200))
    return path


def status(*, prefix: str | None) -> None:
    """Print the engine and every host."""
    print(engine.status())
    client = engine.connect()
    if client is None:
        return
    for found in container.of_prefix(client, prefix):
        networks = found.attrs["NetworkSettings"]["Networks"].values()
        address = next((n["IPAddress"] for n in networks if n["IPAddress"]), "-")
        os_name = found.labels.get(f"{engine.LABEL}.os", "-")
        print(f"{found.name:28} {os_name:10} {address:16} {container.state_of(found)}")


def purge(plan: fleet.Plan, *, prefix: str) -> None:
    """Remove everything of the prefix; what all prefixes share goes with the last of them."""
    client = engine.connect()
    if client is not None:
        for name in plan.fleets:
            down(plan.fleet(name), prefix=prefix)
        others = container.of_prefix(client, None)
        if others:
            users = ", ".join(sorted(c.name for c in others))
            say(f"purge: engine, images and caches stay, other hosts use them: {users}")
            return
        _remove_shared(client)
    brought_up_here = engine.NOTE.exists()
    engine.down()
    if STATE.exists():
        gone = brought_up_here and not engine.NOTE.exists()
        # Names, not the directory: a developer may have put it on a disk of its own, or pointed it at another place.
        names = _STATE_FILES + (_ENGINE_FILES if gone else ())
        locks = [str(path) for path in STATE.glob("*.lock")] if gone else []
        run_as_root(["rm", "-rf", *(str(STATE / name) for name in names), *locks])
        if gone and not STATE.is_mount():
            run_as_root(["rmdir", "--ignore-fail-on-non-empty", str(STATE)])


def _remove_shared(client: docker.DockerClient) -> None:
    for volume in client.volumes.list(filters={"label": engine.LABEL}):
        volume.remove(force=True)
    for image in client.images.list(filters={"label": f"{engine.LABEL}=image"}):
        client.images.remove(image.id, force=True)
    for attached in client.networks.list(filters={"label": engine.LABEL}):
        attached.remove()
    say("purge: networks, volumes and images removed")
