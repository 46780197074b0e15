#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: route
short_description: Divide an application's traffic between its slots
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Moves traffic by one C(rename(2)). Nothing is reloaded, and a crash at any instant leaves the old or the new
    division, whole.
  - The traffic is divided into 20 buckets of clients, so shares are multiples of 5 %. A share above zero is at least
    one bucket,
    and a client stays where it is unless its bucket moves.
  - A slot whose web process does not listen is refused. On a host without web processes the route only says which
    slot is live.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
  - slipway.webapp.app.run
options:
  slot:
    description: The slot that receives all the traffic.
    type: str
    choices: [blue, green]
  weights:
    description: The share of each slot in percent, together 100.
    type: dict
  preview:
    description:
      - The slot that testers reach, who show the C(webapp_preview_token) of the environment.
      - Without it that is the slot with the most traffic.
    type: str
    choices: [blue, green]
"""

EXAMPLES = r"""
- name: Move all the traffic to the green slot
  slipway.webapp.route:
    app: shop
    slot: green

- name: Let one client in ten try it
  slipway.webapp.route:
    app: shop
    weights:
      blue: 90
      green: 10
    preview: green

- name: Show it to testers before anybody else
  slipway.webapp.route:
    app: shop
    slot: blue
    preview: green
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["Prepare route 8", "Switch the traffic: blue 0 %, green 100 %"]
before:
  description: The share of each slot before, in percent; null when there was no route.
  returned: success
  type: dict
  sample: {blue: 100, green: 0}
after:
  description: The share of each slot now, in percent.
  returned: success
  type: dict
  sample: {blue: 0, green: 100}
preview:
  description: The slot that testers reach now; null where there is no route.
  returned: success
  type: str
  sample: green
number:
  description: The number of the route, which grows with each change; null in check mode when there was none.
  returned: success
  type: int
  sample: 8
switch_ms:
  description: How long the switch itself took, in milliseconds; 0 when there was none.
  returned: success
  type: float
  sample: 0.041
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _route, _transaction
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import SLOTS, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._systemd import HostSystemd


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        "slot": {"type": "str", "choices": list(SLOTS)},
        "weights": {"type": "dict"},
        "run": {"type": "str", "default": ""},
        "preview": {"type": "str", "choices": list(SLOTS)},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    if not module.check_mode:
        _transaction.alive(Layout(given["app"]), run=given["run"], clock=HostClock())
    doer = _route.Doer(layout=Layout(given["app"]), clock=HostClock(), systemd=HostSystemd(HostRunner(module)))
    weights = _route.weights_of(slot=given["slot"] or "", weights=given["weights"])
    return _route.switch(doer, weights=weights, preview=given["preview"] or "", check_mode=module.check_mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec=spec(),
        mutually_exclusive=[("slot", "weights")],
        required_one_of=[("slot", "weights")],
        supports_check_mode=True,
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
