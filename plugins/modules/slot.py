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
      - V(web) is waited for. The others are only begun; M(slipway.webapp.health_check) can wait for them.
    type: list
    elements: str
    choices: [web, worker, beat]
    default: []
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
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _slot, _transaction
from ansible_collections.slipway.webapp.plugins.module_utils._assignment import Assignment
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, HostRunner, guarded, system_group
from ansible_collections.slipway.webapp.plugins.module_utils._layout import PROCESSES, SLOTS, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._systemd import HostSystemd


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
        "after": {"type": "int", "default": 0},
        "wait": {"type": "bool", "default": True},
        "timeout": {"type": "int", "default": 60},
        "drain": {"type": "int", "default": 0},
        "run": {"type": "str", "default": ""},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given, layout = module.params, Layout(module.params["app"])
    if not module.check_mode:
        patience = given["timeout"] + given["drain"]
        _transaction.alive(layout, run=given["run"], clock=HostClock(), seconds=patience)
    doer = _slot.Doer(
        layout=layout,
        systemd=HostSystemd(HostRunner(module)),
        slot=given["slot"],
        gid=-1 if module.check_mode else system_group(layout.app),
        timeout=given["timeout"],
    )
    if given["state"] == "stopped":
        return _slot.stop(doer, after=given["after"], wait=given["wait"], check_mode=module.check_mode)
    wish = _slot.wish_of(
        layout,
        assignment=Assignment(given["release"], given["config"]),
        environment=given["environment"],
        secrets=given["secrets"],
        processes=given["processes"],
    )
    return _slot.start(doer, wish=wish, check_mode=module.check_mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec=spec(),
        required_if=[("state", "started", ("release", "config"))],
        required_by={"secrets": "environment"},
        supports_check_mode=True,
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
