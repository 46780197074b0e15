# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that the bench measures on, their inventories, and ways to look at them that are not ours."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.app.releases import make
from tests.hosts import fleet

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".build" / "bench"
KEY = ROOT / ".build" / "ssh" / "id_ed25519"
KNOWN_HOSTS = KEY.with_name("known_hosts")
APP = "board"
DOMAIN = "bench.board.example"
CHANGED = Path("board") / "urls.py"


def addresses() -> dict[str, str]:
    """The address of each bench host."""
    plan = fleet.load()
    return {host.name: str(plan.network.network_address + host.address) for host in plan.fleet("bench").hosts}


def ssh(host: str) -> list[str]:
    """The command that reaches a host, as ansible does but without ansible."""
    return [
        *("ssh", "-i", str(KEY), "-o", f"UserKnownHostsFile={KNOWN_HOSTS}", "-o", "BatchMode=yes"),
        f"deploy@{addresses()[host]}",
    ]


def on_host(host: str, command: str) -> str:
    """What a shell command prints on a host."""
    return subprocess.run([*ssh(host), command], check=True, capture_output=True, text=True).stdout


def tree(serial: int) -> Path:
    """A source tree that differs from every other one in a line of code, and in nothing else."""
    path = WORK / "app" / str(serial)
    shutil.rmtree(path, ignore_errors=True)
    make(release=2, destination=path)
    with (path / CHANGED).open("a", encoding="utf-8") as stream:
        stream.write(f"\n# build {serial}\n")
    return path


def inventory(count: int, *, name: str = "hosts", **settings: object) -> Path:
    """An inventory of the first ``count`` hosts; the first of them also carries database, broker, worker and beat.

    ``settings`` differ from what all have (None: it is not set), and ``name`` is what the file is called.
    """
    first = addresses()["bench1"]
    roles = {"bench1": ["edge", "web", "worker", "beat", "database", "broker"]}
    hosts = {
        name: {"ansible_host": address, "webapp_host_roles": roles.get(name, ["edge", "web"])}
        for name, address in list(addresses().items())[:count]
    }
    shared = {
        "ansible_user": "deploy",
        "ansible_ssh_private_key_file": str(KEY),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={KNOWN_HOSTS} -o StrictHostKeyChecking=yes",
        "webapp_name": APP,
        "webapp_domain": DOMAIN,
        "webapp_source": "",
        "webapp_settings_module": "board.settings",
        "webapp_celery": "board",
        "webapp_secrets": {"SECRET_KEY": "only-for-the-hosts-of-the-bench-0123456789abcdefghijk"},
        # The same for every number of hosts, so that the numbers differ in the hosts alone.
        "webapp_database_host": first,
        "webapp_database_password": "only-for-the-hosts-of-the-bench-database",
        "webapp_redis_host": first,
        "webapp_redis_password": "only-for-the-hosts-of-the-bench-broker",
        "webapp_public_address": first,
        **settings,
    }
    shared = {key: value for key, value in shared.items() if value is not None}
    path = WORK / f"{name}-{count}.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"staging": {"hosts": hosts, "vars": shared}}, indent=1), encoding="utf-8")
    return path


def invocations(host: str, since: float) -> int:
    """Modules that ran on a host since then, counted in its own journal."""
    return int(on_host(host, f"sudo journalctl --since=@{since:.3f} --output=cat | grep -c 'Invoked with' || true"))
