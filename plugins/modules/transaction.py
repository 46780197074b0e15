#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: transaction
short_description: Go on with a run on a host, and end it there, so that all hosts end alike
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Before anything moves a host writes down what begins (the option O(slipway.webapp.slot#module:begun)), and starts
    a timer that ends the run when its controller is not heard of any more. Then the host asks the others how far they
    are, and goes back to what was live before, or stays with the new release when another host has been told to stay.
  - A run ends in two rounds. First every host is V(committing), then every host is V(committed). A host that was
    restarted before the first of them goes back at once.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
options:
  state:
    description:
      - V(armed) says that the controller will be silent for O(seconds). Refused when the run is over here.
      - V(committing) says that this host and all others are well. Refused when the run is over here.
      - V(committed) ends the run with the new release. The ledger says so, and the old slot is stopped when its time to
        stay warm is over, at once where migrations wait for it to go.
      - V(returned) ends it with what was live before; traffic first, then worker and beat, then what was started is
        stopped. Where nothing was begun yet only the ledger says that the run failed.
      - V(settled) ends what an earlier run has left, as the host itself would.
    type: str
    required: true
    choices: [armed, committing, committed, returned, settled]
  run:
    description: The run's own id.
    type: str
  action:
    description: What the run does, for the ledger.
    type: str
    choices: [deploy, rollback]
  release:
    description: The release that the run brings.
    type: str
  config:
    description: The configuration that it brings.
    type: str
  slot:
    description: The slot that it brings them to.
    type: str
    choices: [blue, green]
  previous:
    description: What is live before, with C(slot), C(release) and C(config); empty when nothing is.
    type: dict
    default: {}
  first:
    description: Whether no host of the fleet served anything before. Then there is nothing to go back to.
    type: bool
    default: false
  by:
    description: Who conducts the run, for the ledger.
    type: str
  processes:
    description: The processes that this host runs.
    type: list
    elements: str
    choices: [web, worker, beat]
    default: []
  hold:
    description: After how many seconds without a word of the controller the host ends the run by itself.
    type: int
    default: 120
  seconds:
    description:
      - For how long the controller will say nothing at the most, when that is longer than O(hold) of the run that was
        begun. The lease lasts as long.
    type: int
    default: 0
  asked:
    description: When the controller asked, by its own clock; it is returned as it is.
    type: float
  warm:
    description: Seconds that the old slot stays up after the run.
    type: int
    default: 0
  lease:
    description: On the host that keeps the lease, for how many seconds each word extends it at least.
    type: int
    default: 0
  peers:
    description: Where the hosts with a web process publish how far they are, as URLs.
    type: list
    elements: str
    default: []
  domain:
    description: The name to ask for there.
    type: str
    default: ''
  database:
    description: What the run does to the database, as M(slipway.webapp.ledger) takes it.
    type: dict
    default: {}
  detail:
    description: Why the run goes back, for the ledger.
    type: str
    default: ''
  timeout:
    description: Seconds that a process may take to start.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: The controller will be silent for five minutes
  slipway.webapp.transaction:
    app: shop
    state: armed
    run: 20261127T110500Z-4b1f22aa
    seconds: 300

- name: This host is well, and so are all others
  slipway.webapp.transaction:
    app: shop
    state: committing
    run: 20261127T110500Z-4b1f22aa

- name: End what an earlier run has left
  slipway.webapp.transaction:
    app: shop
    state: settled
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["Switch the traffic: blue 100 %, green 0 %", "Stop web in green"]
asked:
  description: As it was given.
  returned: success
  type: float
  sample: 1795259100.2
ended:
  description: How the host had ended the run by itself before it was told, V(returned) or V(committed); else empty.
  returned: success
  type: str
  sample: ""
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _begun, _peers, _settle, _transaction
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._swarm import stack_here
from ansible_collections.slipway.webapp.plugins.module_utils._systemd import HostSystemd


def spec() -> dict[str, Any]:
    return {
        **_begun.options(),
        "app": {"type": "str", "required": True},
        "state": {"type": "str", "required": True, "choices": [*_transaction.STATES, "settled"]},
        "seconds": {"type": "int", "default": 0},
        "asked": {"type": "float"},
        "detail": {"type": "str", "default": ""},
        "timeout": {"type": "int", "default": 60},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given, state = module.params, module.params["state"]
    layout, systemd, clock = Layout(given["app"]), HostSystemd(HostRunner(module)), HostClock()
    settler = _settle.Settler(
        layout=layout,
        systemd=systemd,
        clock=clock,
        timeout=given["timeout"],
        check_mode=module.check_mode,
        stack=stack_here(layout, systemd=systemd, clock=clock, check_mode=module.check_mode),
    )
    ended = ""
    if state == "settled":
        settler.settle_now(lambda begun: _peers.ask_all(begun.peers, domain=begun.domain))
    elif state == _transaction.ARMED:
        settler.wait_longer(given["run"], seconds=given["seconds"])
    elif state == _transaction.COMMITTING:
        settler.commit(given["run"])
    else:
        ended = _settle.end(settler, _begun.begun_of(given), state=state, why=given["detail"])
    return {
        "changed": bool(settler.actions),
        "actions": settler.actions,
        "ended": ended,
        "asked": given["asked"],
        "diff": {"before": "".join(settler.before), "after": "".join(settler.after)},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=spec(),
        required_if=[
            ("state", "armed", ("run",)),
            ("state", "committing", ("run",)),
            ("state", "committed", _begun.WHO),
            ("state", "returned", _begun.WHO),
        ],
        supports_check_mode=True,
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
