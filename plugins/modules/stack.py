#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: stack
short_description: Bring an application's services in a swarm to what a slot runs
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - On the host that conducts the application's swarm, a manager. Gives the services web, worker and beat the image and
    the configuration that a slot is assigned to, one service after the other, and waits until the engine has replaced
    their tasks.
  - The engine starts a new task first, waits until it is healthy, and takes the service back by itself when it is not;
    then this fails with what the tasks themselves said. What had moved before is for the caller to take back, as
    M(slipway.webapp.transaction) does.
  - When all is done the route of this host says which slot it was. A second run changes nothing.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
  - slipway.webapp.app.run
options:
  slot:
    description: The slot, which must be assigned to a release that is an image.
    type: str
    required: true
    choices: [blue, green]
  staged:
    description: The hosts, by their names in the inventory, that have the slot's release whole. Tasks run nowhere else.
    type: list
    elements: str
    default: []
requirements:
  - the Python package docker, on the host
"""

EXAMPLES = r"""
- name: Bring the services to the new release
  slipway.webapp.stack:
    app: shop
    slot: green
    staged: [app1, app2, app3]
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["Bring web to release 1.4.0-3f9a1c22d0 with configuration 90c1f7a2be41"]
services:
  description: What the services run now, as M(slipway.webapp.deploy_info) returns it.
  returned: success
  type: dict
  sample:
    web: {slot: green, release: 1.4.0-3f9a1c22d0, config: 90c1f7a2be41, replicas: 3, running: 3, update: completed}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _transaction
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import SLOTS, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._swarm import stack_here
from ansible_collections.slipway.webapp.plugins.module_utils._systemd import HostSystemd


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        "slot": {"type": "str", "required": True, "choices": list(SLOTS)},
        "staged": {"type": "list", "elements": "str", "default": []},
        "run": {"type": "str", "default": ""},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given, layout, clock = module.params, Layout(module.params["app"]), HostClock()

    def alive() -> None:
        if not module.check_mode:
            _transaction.alive(layout, run=given["run"], clock=clock)

    stack = stack_here(
        layout,
        systemd=HostSystemd(HostRunner(module)),
        clock=clock,
        check_mode=module.check_mode,
        alive=alive,
    )
    if stack is None:
        raise SlipwayError(
            "This host does not conduct a swarm",
            found=f"no {layout.stack_options}",
            next_step="run provision.yml with webapp_runtime: swarm",
        )
    return {**stack.move(given["slot"], staged=given["staged"]), "services": stack.services()}


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
