# SPDX-License-Identifier: GPL-3.0-or-later
"""Real runs of ansible-playbook on this machine, by the Ansible of the environment that the tests run in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".build" / Path(sys.prefix).name.replace("venv", "collections")
SECONDS = 120

# Stands in for modules: it writes down what it was asked, [host, task, arguments] a line of the file `asked`. It cannot
# reach the host at the task `lost_at`, fails at `fails_at`, and says what later tasks read, or what `said` has for it.
ACTS = """\
import json
from ansible.plugins.action import ActionBase

SAYS = {"changed": True, "rc": 0, "lease": None, "ended": "", "stdout": "", "retained": []}


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result, name, given = super().run(tmp, task_vars), self._task.get_name(), dict(self._task.args)
        with open("asked", "a") as stream:
            stream.write(json.dumps([task_vars["inventory_hostname"], name, given]) + "\\n")
        if name.startswith(task_vars.get("lost_at", "nothing")):
            return {**result, "unreachable": True, "msg": "no route to it"}
        if name.startswith(task_vars.get("fails_at", "nothing")):
            return {**result, "failed": True, "msg": "it does not start"}
        return {**result, **SAYS, "asked": given.get("asked", 0), **task_vars.get("said", {})}
"""


def stand_in(place: Path) -> None:
    """The action `acts` for the playbooks of a directory."""
    (place / "action_plugins").mkdir()
    (place / "action_plugins" / "acts.py").write_text(ACTS)


@dataclass(frozen=True)
class Run:
    """How a run ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def everything(self) -> str:
        return self.stdout + self.stderr

    @property
    def lines(self) -> list[str]:
        """What it printed, with every duration as 0.0 s."""
        return re.sub(r" +\d+\.\d s", " 0.0 s", self.stdout).splitlines()


def playbook(
    name: str,
    *options: str,
    cwd: Path,
    inventory: Mapping[str, Any] | None = None,
    callback: str = "slipway.webapp.story",
    settings: Mapping[str, str] | None = None,
) -> Run:
    """Run a playbook by name or path in ``cwd``, with an inventory that is written there."""
    command, environment = prepared(name, *options, cwd=cwd, inventory=inventory, callback=callback, settings=settings)
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Run(done.returncode, done.stdout, done.stderr)


def prepared(
    name: str,
    *options: str,
    cwd: Path,
    inventory: Mapping[str, Any] | None = None,
    callback: str = "slipway.webapp.story",
    settings: Mapping[str, str] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """The words and the environment of such a run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {
        "ANSIBLE_HOME": str(cwd / ".ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_STDOUT_CALLBACK": callback,
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_NOCOLOR": "1",
        **(settings or {}),
    }
    command = [str(Path(sys.executable).with_name("ansible-playbook")), name, *options]
    if inventory is not None:
        (cwd / "hosts.yml").write_text(yaml.safe_dump(dict(inventory), sort_keys=False))
        command += ["-i", str(cwd / "hosts.yml")]
    return command, environment


def local(**variables: Any) -> dict[str, Any]:
    """A host that is this machine."""
    return {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
