# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at Docker on this host and print what is found as one JSON object; nothing is changed, nothing is started.

Given to python3 as standard input, with two arguments: where it is noted what the engine runs with, and the record of
what is ours. The meaning of what it prints is in plugins/module_utils/_docker_host.py.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time

DOCKER = "/etc/docker"
PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT_S = 60
CAP_SYS_RESOURCE = 24


def said(*command: str) -> str:
    """What a command prints; nothing if it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def text_of(path: str) -> str | None:
    """A file's text; None if it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None


def shown(unit: str, name: str, *options: str) -> str:
    return said("systemctl", "show", unit, f"--property={name}", "--value", *options)


def owner(path: str) -> str:
    """The package that a program came with, or nothing."""
    for name in (path, os.path.realpath(path), path.replace("/usr/", "/", 1)):
        found = said("dpkg-query", "--search", name) if path else ""
        if found:
            return found.split(":", 1)[0].split(",")[0]
    return ""


def program(name: str) -> str:
    return shutil.which(name, path=PATH) or ""


def newer(path: str, started: str) -> bool:
    """Was the file changed after the engine was started? ``started``: microseconds since boot."""
    if not started.isdigit() or not os.path.exists(path):
        return False
    return os.stat(path).st_ctime > time.time() - (time.monotonic() - int(started) / 1e6)


def information(active: bool) -> str:
    """What the engine says; asking one that rests would start it, so then its files are counted."""
    if active:
        return said("docker", "--host", "unix:///run/docker.sock", "info", "--format", "{{json .}}") or "{}"
    return json.dumps({"Containers": len(glob.glob("/var/lib/docker/containers/*"))})


def modes(*files: str) -> list[dict[str, object]]:
    """Owner and mode of what the engine's configuration consists of."""
    kinds = dict.fromkeys((*files, "/etc/default/docker", f"{DOCKER}/daemon.json"), "file")
    kinds[DOCKER] = "directory"
    kinds.update(dict.fromkeys(glob.glob(f"{DOCKER}/certs.d/*/*.crt"), "certificate"))
    found = {path: os.stat(path) for path in kinds if path and os.path.exists(path)}
    return [
        {"path": path, "kind": kinds[path], "mode": stat.S_IMODE(at.st_mode), "uid": at.st_uid, "gid": at.st_gid}
        for path, at in found.items()
    ]


def files_limit() -> int:
    """How many open files a process of this host can be given; 0 if its root may give any number, as a server's may."""
    capabilities = re.search(r"^CapEff:\s*([0-9a-f]+)$", text_of("/proc/1/status") or "", re.MULTILINE)
    if capabilities and int(capabilities[1], 16) >> CAP_SYS_RESOURCE & 1:
        return 0
    limit = re.search(r"^Max open files\s+\d+\s+(\d+)", text_of("/proc/1/limits") or "", re.MULTILINE)
    return int(limit[1]) if limit else 0


def look(memory: str, record: str) -> dict[str, object]:
    dockerd, client = program("dockerd"), program("docker")
    active = shown("docker.service", "ActiveState") == "active"
    unit, socket = (shown(name, "FragmentPath") for name in ("docker.service", "docker.socket"))
    files = re.findall(r"^(\S+) \(", shown("docker.service", "EnvironmentFiles"), re.MULTILINE)
    return {
        "dockerd": dockerd,
        "package": owner(dockerd),
        "client": client,
        "client_package": owner(client),
        "snap": bool(shown("snap.docker.dockerd.service", "FragmentPath")),
        "unit": unit,
        "exec_start": shown("docker.service", "ExecStart"),
        "environment": shown("docker.service", "Environment"),
        "environment_files": {path: text_of(path) or "" for path in files},
        "listens": shown("docker.socket", "Listen"),
        "version": said(dockerd, "--version") if dockerd else "",
        "active": active,
        "invocation": shown("docker.service", "InvocationID"),
        "newer": newer(f"{DOCKER}/daemon.json", shown("docker.service", "ExecMainStartTimestampMonotonic")),
        "file": text_of(f"{DOCKER}/daemon.json"),
        "memory": text_of(memory),
        "record": text_of(record),
        "info": information(active),
        "members": said("getent", "group", "docker").rpartition(":")[2],
        "modes": modes(unit, socket),
        "files_limit": files_limit(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(look(*sys.argv[1:])) + "\n")
