#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: slot
short_description: Run a release in a slot, or stop it
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Gives a slot a release and a configuration, and starts its processes; or stops them, at once or later.
  - A slot that receives traffic is never reassigned and never stopped, whatever is asked.
  - What runs is stopped before the slot is reassigned, so what runs in a slot is always what the slot says.
  - When a process does not start, those that were started with it are stopped again and its last log lines are shown.
  - With O(begun) it first writes down on the host what begins, and with O(health) it waits until what it has started is
    healthy. Each of them could be a task of its own; a deploy does all three on every host, and each task costs time.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
  - slipway.webapp.app.run
options:
  slot:
    description: Which slot.
    type: str
    required: true
    choices: [blue, green]
  state:
    description:
      - V(started) assigns the release and the configuration, starts the processes that do not run and lets them start
        at boot.
      - V(stopped) stops all processes of the slot and lets none of them start at boot.
    type: str
    default: started
    choices: [started, stopped]
  release:
    description: The release, which must be complete on the host.
    type: str
  config:
    description: The id of the configuration.
    type: str
  environment:
    description:
      - The environment variables of the configuration that are not secret.
      - Leave it and O(secrets) out to use a configuration that is retained on the host.
    type: dict
  secrets:
    description: The environment variables of the configuration that are secret.
    type: dict
  processes:
    description:
      - The processes to start. None only assigns the slot.
      - V(web) is waited for. The others are only begun; O(health) waits for them.
    type: list
    elements: str
    choices: [web, worker, beat]
    default: []
  begun:
    description:
      - What begins, with the options of M(slipway.webapp.transaction) that say it, from
        O(slipway.webapp.transaction#module:run) to O(slipway.webapp.transaction#module:database). It is written down
        before the slot is touched, and a timer is started that ends the run when its controller is not heard of any
        more.
      - Refused where an earlier run has left something unfinished, and where it names another run, slot, release or
        configuration than this task.
    type: dict
  health:
    description:
      - Wait until the release answers well, and the other O(processes) are ready, with the options of
        M(slipway.webapp.health_check) that say what that is - C(path), C(host), C(status), C(json), C(successes),
        C(interval), C(deadline) and C(timeout).
      - Without V(web) among O(processes) nobody is asked, and without any nothing is waited for.
    type: dict
  after:
    description: With O(state=stopped), stop so many seconds from now. Starting the slot, or giving it traffic,
      cancels that.
    type: int
    default: 0
  wait:
    description:
      - With O(state=stopped), wait until the worker has finished its tasks, which takes C(webapp_worker_drain_seconds)
        at most. V(false) only tells it to stop.
      - Whoever changes what its code relies on waits.
    type: bool
    default: true
  drain:
    description: How many seconds a worker that still runs in the slot may need to finish its tasks; with O(run) the
      host has patience for so long.
    type: int
    default: 0
  timeout:
    description: How many seconds the processes may take to be ready.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Start a release in the green slot
  slipway.webapp.slot:
    app: shop
    slot: green
    release: 1.4.0-3f9a1c22d0
    config: 90c1f7a2be41
    environment:
      DJANGO_SETTINGS_MODULE: shop.settings
    secrets:
      SECRET_KEY: "{{ vault_secret_key }}"
    processes: [web]
    health: {path: /health, host: shop.example.org}

- name: Keep the blue slot warm for five minutes, then stop it
  slipway.webapp.slot:
    app: shop
    slot: blue
    state: stopped
    after: 300
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["Assign release 1.4.0-3f9a1c22d0 with configuration 90c1f7a2be41 to green", "Start web in green"]
slot:
  description: The slot.
  returned: success
  type: str
  sample: green
release:
  description: The release that the slot runs, if it was started.
  returned: success
  type: str
  sample: 1.4.0-3f9a1c22d0
config:
  description: The configuration that the slot runs with, if it was started.
  returned: success
  type: str
  sample: 90c1f7a2be41
health:
  description: What M(slipway.webapp.health_check) returns, with O(health) and processes.
  returned: when healthy
  type: dict
  sample: {asked: 4, successes: 3, seconds: 0.612, last: {status: 200, release: 1.4.0-3f9a1c22d0, body: ok}}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.slipway.webapp.plugins.module_utils import _begun, _gate, _settle, _slot, _transaction
from ansible_collections.slipway.webapp.plugins.module_utils._assignment import Assignment
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._health import Wish
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, HostRunner, guarded, system_group
from ansible_collections.slipway.webapp.plugins.module_utils._layout import PROCESSES, SLOTS, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._systemd import HostSystemd

# What this task says itself, and what begins must say alike.
ALIKE = ("run", "slot", "release", "config")


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        "slot": {"type": "str", "required": True, "choices": list(SLOTS)},
        "state": {"type": "str", "default": "started", "choices": ["started", "stopped"]},
        "release": {"type": "str"},
        "config": {"type": "str"},
        "environment": {"type": "dict"},
        "secrets": {"type": "dict", "no_log": True},
        "processes": {"type": "list", "elements": "str", "choices": list(PROCESSES), "default": []},
        "begun": {"type": "dict"},
        "health": {"type": "dict"},
        "after": {"type": "int", "default": 0},
        "wait": {"type": "bool", "default": True},
        "timeout": {"type": "int", "default": 60},
        "drain": {"type": "int", "default": 0},
        "run": {"type": "str", "default": ""},
    }


class Work:
    """What the module does, step by step on one host."""

    def __init__(self, module: AnsibleModule) -> None:
        self._given, self._check_mode = module.params, module.check_mode
        self._layout, self._clock = Layout(module.params["app"]), HostClock()
        self._systemd = HostSystemd(HostRunner(module))
        self._doer = _slot.Doer(
            layout=self._layout,
            systemd=self._systemd,
            slot=module.params["slot"],
            gid=-1 if module.check_mode else system_group(self._layout.app),
            timeout=module.params["timeout"],
        )

    def stopped(self) -> dict[str, Any]:
        """The slot, stopped."""
        given = self._given
        self._heard(given["timeout"] + given["drain"])
        return _slot.stop(self._doer, after=given["after"], wait=given["wait"], check_mode=self._check_mode)

    def started(self) -> dict[str, Any]:
        """The slot, started; and before it what begins, after it the gate."""
        given = self._given
        # All that was given is looked at before anything is begun.
        begun = begun_by(given) if given["begun"] else None
        health = checked("health", given["health"], options=_gate.OPTIONS) if given["health"] is not None else {}
        wish = _slot.wish_of(
            self._layout,
            assignment=Assignment(given["release"], given["config"]),
            environment=given["environment"],
            secrets=given["secrets"],
            processes=given["processes"],
        )
        began = self._begin(begun) if begun else []
        self._heard(given["timeout"] + given["drain"])
        result = _slot.start(self._doer, wish=wish, check_mode=self._check_mode)
        actions = [*began, *result["actions"]]
        if health and given["processes"]:
            passed = self._healthy(health)
            actions += passed.pop("actions")
            result["health"] = {name: value for name, value in passed.items() if name != "changed"}
        return {**result, "changed": result["changed"] or bool(began), "actions": actions}

    def _heard(self, seconds: float) -> None:
        """The controller lives, and this may take so long."""
        if not self._check_mode:
            _transaction.alive(self._layout, run=self._given["run"], clock=self._clock, seconds=int(seconds))

    def _begin(self, begun: _transaction.Begun) -> list[str]:
        settler = _settle.Settler(
            layout=self._layout, systemd=self._systemd, clock=self._clock, check_mode=self._check_mode
        )
        settler.arm(begun)
        return settler.actions

    def _healthy(self, health: Mapping[str, Any]) -> dict[str, Any]:
        given = self._given
        self._heard(health["deadline"] + 1)
        wanted = ("status", "json", "successes", "interval", "deadline", "timeout")
        return _gate.pass_gate(
            _gate.watch_of(self._layout, given["slot"], given["processes"], systemd=self._systemd),
            Wish(release=given["release"], **{name: health[name] for name in wanted}),
            socket=self._layout.socket(given["slot"]) if "web" in given["processes"] else "",
            path=health["path"] or "",
            host=health["host"] or "",
            clock=self._clock,
            check_mode=self._check_mode,
        )


def begun_by(given: Mapping[str, Any]) -> _transaction.Begun:
    """What begins with a task that was given all this."""
    begun = checked("begun", given["begun"], options=_begun.needed())
    others = [f"{name} {begun[name]}, not {given[name]}" for name in ALIKE if begun[name] != given[name]]
    if others:
        raise _unusable("begun", others)
    return _begun.begun_of(begun)


def checked(name: str, given: Mapping[str, Any], *, options: dict[str, Any]) -> dict[str, Any]:
    """The options of another module, given to this one in a dictionary."""
    found = ArgumentSpecValidator(options).validate(given)
    if found.error_messages:
        raise _unusable(name, found.error_messages)
    values: dict[str, Any] = found.validated_parameters
    return values


def _unusable(name: str, problems: Sequence[str]) -> SlipwayError:
    return SlipwayError(
        f"The option {name} cannot be used",
        found="; ".join(problems),
        expected="what ansible-doc -t module slipway.webapp.slot says of it",
        next_step=f"correct {name}; nothing was begun",
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec=spec(),
        required_if=[("state", "started", ("release", "config"))],
        required_by={"secrets": "environment"},
        supports_check_mode=True,
    )
    guarded(module, lambda: Work(module).stopped() if module.params["state"] == "stopped" else Work(module).started())


if __name__ == "__main__":
    main()
