# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker Engine: use the one that answers, otherwise bring one up, and end only what was brought up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import docker
import docker.errors

from tests.hosts.packages import install_packages
from tests.hosts.state import STATE, HostsError, locked, root_command, run_as_root, say

SOCKET = Path("/var/run/docker.sock")
LABEL = "slipway.dev"
NOTE = STATE / "engine.json"
PIDFILE = STATE / "dockerd.pid"
LOG = STATE / "engine.log"
START_TIMEOUT_S = 60

# On a machine in hybrid cgroup mode containers with systemd would share one tree and stop each other's services, so
# the daemon gets a mount namespace of its own in which /sys/fs/cgroup is the unified hierarchy.
_START = """
set -e
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
exec "$@"
"""


def connect() -> docker.DockerClient | None:
    """Return a client of the engine that answers, or None."""
    try:
        client = docker.from_env(timeout=300)
        client.ping()
    except (docker.errors.DockerException, OSError):
        return None
    return client


def require() -> docker.DockerClient:
    """Return a client, or say how to get an engine."""
    client = connect()
    if client is None:
        raise HostsError("No Docker Engine answers. Start one: python -m tests.hosts engine up")
    return client


def up() -> docker.DockerClient:
    """Make an engine answer."""
    client = connect()
    if client is not None:
        return client
    if "DOCKER_HOST" in os.environ:
        raise HostsError(f"No engine answers at {os.environ['DOCKER_HOST']}. Unset DOCKER_HOST or start that engine.")
    with locked("engine"):
        client = connect()
        if client is not None:
            return client
        installed = _install()
        started = _start_by_systemd() if _systemd_manages() else _start_daemon()
        NOTE.write_text(json.dumps({"installed": installed, "started": started}) + "\n")
        return _wait()


def down() -> None:
    """End the engine if it was brought up here and serves nobody else."""
    note = json.loads(NOTE.read_text()) if NOTE.exists() else {}
    client = connect()
    if not note:
        say("engine: not started here, left as it is" if client else "engine: none")
        return
    if client is not None:
        others = [c.name for c in client.containers.list()]
        if others:
            say(f"engine: left running, containers still use it: {', '.join(sorted(others))}")
            return
    if note.get("started") == "systemd":
        verb = ["disable", "--now"] if note.get("installed") else ["stop"]
        # What came with the package goes with it; a containerd that was there before may serve others.
        units = ["docker.socket", "docker.service", *(["containerd.service"] if note.get("installed") else [])]
        run_as_root(["systemctl", *verb, *units])
    else:
        _stop_daemon()
    NOTE.unlink()
    say("engine: stopped")


def status() -> str:
    """Say in one line which engine answers and whose it is."""
    client = connect()
    if client is None:
        return "engine: none answers"
    whose = "brought up here" if NOTE.exists() else "was there before"
    return f"engine: {client.version()['Version']}, {whose}"


def _install() -> bool:
    if shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") and _has_iptables():
        return False
    say("engine: installing docker.io")
    install_packages("docker.io", "iptables")
    return True


def _has_iptables() -> bool:
    return shutil.which("iptables", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def _systemd_manages() -> bool:
    return Path("/run/systemd/system").is_dir()


def _start_by_systemd() -> str:
    say("engine: starting docker.service")
    run_as_root(["systemctl", "start", "docker.service"])
    return "systemd"


def _start_daemon() -> str:
    say("engine: starting dockerd")
    daemon = ["dockerd", "--data-root", str(STATE / "docker"), "--exec-root", "/run/slipway-dev"]
    daemon += ["--pidfile", str(PIDFILE), "--host", f"unix://{SOCKET}", "--log-level", "warn"]
    path = f"PATH={os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    command = root_command(["env", path, "unshare", "--mount", "sh", "-c", _START, "dockerd", *daemon])
    with LOG.open("a") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
    return "daemon"


def _wait() -> docker.DockerClient:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if os.geteuid() != 0 and SOCKET.exists() and not os.access(SOCKET, os.W_OK):
            # The socket belongs to root and group docker; the owner changes, so that group keeps its access.
            run_as_root(["chown", str(os.getuid()), str(SOCKET)])
        client = connect()
        if client is not None:
            return client
        time.sleep(0.3)
    tail = "\n".join(LOG.read_text().splitlines()[-15:]) if LOG.exists() else "see: journalctl -u docker"
    raise HostsError(f"Docker Engine does not answer on {SOCKET} after {START_TIMEOUT_S} s.\n{tail}")


def _stop_daemon() -> None:
    if not PIDFILE.exists():
        return
    pid = int(PIDFILE.read_text())
    name = Path(f"/proc/{pid}/comm")
    if not name.exists() or name.read_text().strip() != "dockerd":
        return
    run_as_root(["kill", "-TERM", str(pid)])
    deadline = time.monotonic() + START_TIMEOUT_S
    while name.exists():
        if time.monotonic() > deadline:
            raise HostsError(f"dockerd (process {pid}) does not end. Its log: {LOG}")
        time.sleep(0.2)
