#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: handover
short_description: Bring worker and beat to a slot
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Starts the new worker unless it is up already, waits until it takes tasks, and until the old one takes no more.
    The old one gives back what it has not begun, finishes what it has begun, and stays up until its slot is stopped, so
    that the way back needs no start. One that does not follow the route within ten seconds is stopped.
  - Starts the new beat, which waits for its turn, stops the old one, and waits until the new one works. A lock of the
    host makes two at a time impossible.
  - Worker and beat of a slot wait until the route leads to it, so M(slipway.webapp.route) comes before.
  - When a new process does not start or does not work, what was stopped before is started again.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
  - slipway.webapp.app.run
options:
  slot:
    description: The slot that the processes go to. A release must be assigned to it.
    type: str
    required: true
    choices: [blue, green]
  processes:
    description: Which processes of this host.
    type: list
    elements: str
    choices: [worker, beat]
    required: true
  timeout:
    description: How many seconds each process may take to be ready, and to work.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Bring worker and beat to the green slot
  slipway.webapp.handover:
    app: shop
    slot: green
    processes: [worker, beat]
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["Await worker in green", "Stop beat in blue", "Await beat in green", "Rest worker in blue"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _handover, _transaction
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import SLOTS, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._systemd import HostSystemd


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        "slot": {"type": "str", "required": True, "choices": list(SLOTS)},
        "processes": {"type": "list", "elements": "str", "choices": list(_handover.MOVABLE), "required": True},
        "timeout": {"type": "int", "default": 60},
        "run": {"type": "str", "default": ""},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    if not module.check_mode:
        # Each process may take its time, and the old worker a moment until it rests.
        patience = (len(given["processes"]) + 1) * given["timeout"]
        _transaction.alive(Layout(given["app"]), run=given["run"], clock=HostClock(), seconds=patience)
    doer = _handover.Doer(
        layout=Layout(given["app"]),
        systemd=HostSystemd(HostRunner(module)),
        clock=HostClock(),
        timeout=given["timeout"],
    )
    return _handover.hand_over(doer, slot=given["slot"], processes=given["processes"], check_mode=module.check_mode)


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
