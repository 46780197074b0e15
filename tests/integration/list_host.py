# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host: prints every file that a deploy could have changed, with what tells one from another, as JSON."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys

SMALL = 1 << 20
PACKAGES = "/site-packages/"
# What lives on by itself while an application serves.
ALIVE = ("/shared/", "/__pycache__/", "/etc/mtab")


def describe(path: str) -> str:
    """Kind, mode, owner, time and content of one path."""
    status = os.lstat(path)
    text = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return f"{text} -> {os.readlink(path)}"
    if not stat.S_ISREG(status.st_mode):
        return f"{text} {status.st_mtime_ns}" if PACKAGES in path else text
    text += f" {status.st_size} {status.st_mtime_ns}"
    if status.st_size <= SMALL:
        with open(path, "rb") as stream:
            text += " " + hashlib.sha256(stream.read()).hexdigest()[:16]
    return text


def units(app: str) -> dict[str, str]:
    """State and main process of what serves. The slot without traffic is left out: it may stop at any time."""
    slot = os.readlink(f"/srv/{app}/route/00.sock").split("/")[-2] if os.path.exists(f"/srv/{app}/route") else "blue"
    words = ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{app}-*@{slot}.service", "nginx.service"]
    found = {}
    for line in subprocess.check_output(words, text=True).splitlines():
        name, _load, active, *_rest = line.split()
        main = subprocess.check_output(["systemctl", "show", "--property=MainPID", name], text=True)
        found[f"unit {name}"] = f"{active} {main.strip()}"
    return found


def listing(app: str) -> dict[str, str]:
    """By path; and by name of the units."""
    found = units(app)
    for root in ("/etc", f"/srv/{app}", "/usr/lib/slipway", f"/var/lib/slipway/{app}", "/usr/local"):
        for directory, directories, files in os.walk(root):
            if directory.endswith(PACKAGES.rstrip("/")):
                # Thousands of files: which packages there are, and since when, says enough.
                files += directories
                directories.clear()
            for name in (*directories, *files):
                path = os.path.join(directory, name)
                if not any(part in f"{path}/" for part in ALIVE):
                    found[path] = describe(path)
    return found


if __name__ == "__main__":
    print(json.dumps(listing(sys.argv[1])))
