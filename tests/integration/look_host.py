# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host: prints what files, units and processes say of an application, as JSON. Asks nothing of ours."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from typing import Any


def link(path: str) -> str:
    """Where a link points, by its last name; '' for none."""
    return os.path.basename(os.readlink(path)) if os.path.islink(path) else ""


def names(path: str) -> list[str]:
    """What is in a directory."""
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def text(path: str) -> str:
    """The content of a file; '' for none."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def variable(environment: str, name: str) -> str:
    """The value of a variable in an environment file."""
    found = re.search(rf'^{name}="?([^"\n]*)"?$', environment, re.MULTILINE)
    return found.group(1) if found else ""


def main_release(pid: str) -> str:
    """The release that a process was started with; '' when it is gone."""
    # The old slot's processes may end between the question and the look.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/environ", "rb") as stream:
        given = stream.read().split(b"\0")
        return next((one[16:].decode() for one in given if one.startswith(b"SLIPWAY_RELEASE=")), "")
    return ""


def units(names: list[str]) -> dict[str, dict[str, str]]:
    """State and release of the units' main processes, by two questions for all of them."""
    if not names:
        return {}
    words = ["systemctl", "show", "--property=ActiveState,MainPID", *names]
    shown = subprocess.check_output(words, text=True).strip().split("\n\n")
    # Not by UnitFileState, which systemd remembers until it reads its files again.
    asked = subprocess.run(["systemctl", "is-enabled", *names], stdout=subprocess.PIPE, text=True, check=False)
    found = {}
    for name, block, enabled in zip(names, shown, asked.stdout.splitlines(), strict=True):
        state = dict(line.split("=", 1) for line in block.splitlines())
        release = main_release(state["MainPID"]) if state["MainPID"] != "0" else ""
        found[name] = {"active": state["ActiveState"], "enabled": enabled, "release": release}
    return found


def look(app: str) -> dict[str, Any]:
    """Everything."""
    home, etc, state = f"/srv/{app}", f"/etc/{app}", f"/var/lib/slipway/{app}"
    route = Counter(
        os.readlink(f"{home}/route/{name}").split("/")[-2] for name in names(f"{home}/route") if name.endswith(".sock")
    )
    slots = {}
    there = [one for one in ("web", "worker", "beat") if os.path.exists(f"/etc/systemd/system/{app}-{one}@.service")]
    states = units([f"{app}-{process}@{slot}.service" for slot in ("blue", "green") for process in there])
    for slot in ("blue", "green"):
        environment = text(f"{etc}/slots/{slot}.env")
        slots[slot] = {
            "release": link(f"{home}/slots/{slot}"),
            "says": variable(environment, "SLIPWAY_RELEASE"),
            "config": variable(environment, "SLIPWAY_CONFIG"),
            "processes": {process: states[f"{app}-{process}@{slot}.service"] for process in there},
        }
    return {
        "route": route,
        "route_number": link(f"{home}/route"),
        "slots": slots,
        "releases": names(f"{home}/releases"),
        "venvs": names(f"{home}/venvs"),
        "artifacts": names(f"{home}/artifacts"),
        "static": sum(len(files) for _path, _directories, files in os.walk(f"{home}/static")),
        "configs": names(f"{etc}/environments"),
        "ledger": [json.loads(line) for line in text(f"{state}/ledger.jsonl").splitlines()],
        "lease": json.loads(text(f"{state}/lease.json") or "null"),
        "pending": json.loads(text(f"{state}/pending.json") or "null"),
    }


if __name__ == "__main__":
    print(json.dumps(look(sys.argv[1])))
