# SPDX-License-Identifier: GPL-3.0-or-later
"""One test host: a container that boots systemd and answers SSH."""

from __future__ import annotations

import io
import socket
import tarfile
import time
from dataclasses import dataclass
from typing import Any

import docker
import docker.errors
from docker.types import EndpointConfig, Mount

from tests.hosts import images
from tests.hosts.engine import LABEL
from tests.hosts.fleet import Host
from tests.hosts.state import HostsError

CACHE_VOLUME = "slipway-dev-cache"
CACHE_PATH = "/var/cache/slipway-dev"
# Where an engine inside the host keeps its layers: they cannot lie on the host's own, which are layers themselves.
ENGINE_PATHS = ("/var/lib/docker", "/var/lib/containerd")
BOOT_TIMEOUT_S = 120
_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"


@dataclass(frozen=True)
class Place:
    """Where a host stands: the prefix that owns it, its fleet, its network and address."""

    prefix: str
    fleet: str
    network: str
    address: str


def name_of(prefix: str, host: Host) -> str:
    """Return the container's name."""
    return f"{prefix}-{host.name}"


def ensure(client: docker.DockerClient, host: Host, *, place: Place, public_key: str) -> tuple[str, bool]:
    """Create and boot the host where it is missing; return its public host key and whether it was made now."""
    found = find(client, name_of(place.prefix, host))
    if found is None:
        container = _create(client, host, place=place)
    else:
        container = found
        _check(container, host)
    # Also where the host was there: its checkout may have been cleaned, or be another one.
    _authorize(container, public_key)
    if container.status != "running":
        container.start()
    _await_boot(container)
    _await_ssh(place.address, container.name)
    return _read(container, _HOST_KEY), found is None


def find(client: docker.DockerClient, name: str) -> Any | None:
    """Return the container, or None."""
    try:
        return client.containers.get(name)
    except docker.errors.NotFound:
        return None


def of_prefix(client: docker.DockerClient, prefix: str | None) -> list[Any]:
    """Return the hosts of a prefix, or of all prefixes, running or not."""
    wanted = LABEL if prefix is None else f"{LABEL}={prefix}"
    return list(client.containers.list(all=True, filters={"label": wanted}))


def remove(container: Any) -> None:
    """Remove a host with its volumes, ending SSH sessions so that no client waits for a dead peer."""
    if container.status == "running":
        container.exec_run(["pkill", "-TERM", "sshd"])
    container.remove(force=True, v=True)


def state_of(container: Any) -> str:
    """Return what systemd says of the host."""
    if container.status != "running":
        return str(container.status)
    return _exec(container, "systemctl", "is-system-running").strip() or "booting"


def _create(client: docker.DockerClient, host: Host, *, place: Place) -> Any:
    options = _options(host, place=place)
    try:
        # Everything a server's root may do, but CAP_SYS_RESOURCE, which not every machine can give.
        return client.containers.create(**options, cap_drop=["SYS_RESOURCE"])
    except docker.errors.APIError as error:
        if "CapDrop" not in str(error):
            raise
    # A newer engine refuses to drop what the machine does not have, and leaves it out of ALL by itself.
    return client.containers.create(**options)


def _options(host: Host, *, place: Place) -> dict[str, Any]:
    name = name_of(place.prefix, host)
    return {
        "image": images.tag(host.os_name),
        "name": name,
        "hostname": host.name,
        "labels": {LABEL: place.prefix, f"{LABEL}.fleet": place.fleet, f"{LABEL}.os": host.os_name},
        "environment": {"SLIPWAY_HOST_ID": name},
        "network": place.network,
        "networking_config": {
            place.network: EndpointConfig(version="1.41", aliases=[host.name], ipv4_address=place.address)
        },
        "mounts": [
            Mount(target=CACHE_PATH, source=CACHE_VOLUME, type="volume", labels={LABEL: "cache"}),
            # Without a name, so that they go with the host.
            *(Mount(target=path, source=None, type="volume", labels={LABEL: "engine"}) for path in ENGINE_PATHS),
        ],
        # /run must be empty at boot; /tmp may run programs, as on a real server.
        "tmpfs": {"/run": "exec,mode=755", "/run/lock": "mode=1777", "/tmp": "exec,mode=1777"},
        "cap_add": ["ALL"],
        "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
        "cgroupns": "private",
        "stop_signal": "SIGRTMIN+3",
        "detach": True,
    }


def _check(container: Any, host: Host) -> None:
    runs = container.labels.get(f"{LABEL}.os")
    if runs != host.os_name:
        raise HostsError(f"{container.name} is there and runs {runs}, wanted is {host.os_name}. Take it down first.")


def _authorize(container: Any, public_key: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mode, content in ((".ssh", 0o700, None), (".ssh/authorized_keys", 0o600, public_key.encode())):
            member = tarfile.TarInfo(name)
            member.mode, member.uid, member.gid, member.mtime = mode, 1000, 1000, int(time.time())
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.size = len(content or b"")
            archive.addfile(member, io.BytesIO(content or b""))
    container.put_archive("/home/deploy", buffer.getvalue())


def _await_boot(container: Any) -> None:
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    state = ""
    while time.monotonic() < deadline:
        state = _exec(container, "systemctl", "is-system-running", "--wait").strip()
        if state == "running":
            return
        if state == "degraded":
            failed = _exec(container, "systemctl", "list-units", "--failed", "--plain", "--no-legend")
            raise HostsError(f"{container.name} booted, but units failed:\n{failed}")
        container.reload()
        if container.status != "running":
            logs = container.logs(tail=15).decode(errors="replace")
            raise HostsError(f"{container.name} ended while booting:\n{logs}")
        time.sleep(0.2)
    raise HostsError(f"{container.name} did not boot in {BOOT_TIMEOUT_S} s: systemd says {state!r}.")


def _await_ssh(address: str, name: str) -> None:
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    error: Exception | str = "no banner"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((address, 22), timeout=5) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError as reason:
            error = reason
        time.sleep(0.2)
    raise HostsError(f"{name} does not answer SSH at {address}:22: {error}")


def _exec(container: Any, *command: str) -> str:
    return str(container.exec_run(list(command)).output.decode(errors="replace"))


def _read(container: Any, path: str) -> str:
    chunks, _stat = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        member = archive.extractfile(archive.getmembers()[0])
        if member is None:
            raise HostsError(f"{container.name}: {path} is not a file")
        return member.read().decode()
