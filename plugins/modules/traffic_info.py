#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: traffic_info
short_description: See what users get from each slot of a host
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Reads Nginx's access log of the application for the last seconds, and if wanted some seconds more, and counts for
    each slot requests, answers with a status of 500 or more, and times.
  - A request counts when it began in that time. Files that Nginx serves itself, health checks, testers, and the lines
    of edge hosts about what web hosts answer do not count; a WebSocket counts without its time.
  - Where nothing answered, because nobody listens at a slot's socket or it was silent for too long, the slot is the one
    that the route led the client to.
  - With O(probes) it asks both slots itself when the new one gets too little traffic.
  - Changes nothing. A log that is missing or cannot be read is an answer and no failure;
    M(slipway.webapp.canary_analysis) judges.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.info
options:
  slot:
    description: The slot of the new release.
    type: str
    choices: [blue, green]
    required: true
  ago:
    description: Look at what began in so many seconds before now, by this host's clock.
    type: float
    required: true
  seconds:
    description: Go on looking for so many seconds.
    type: float
    default: 0
  minimum:
    description: End earlier when each slot that gets traffic has had so many requests.
    type: int
    default: 0
  enough:
    description: End earlier only when it has had so many, if that is more than O(minimum).
    type: int
    default: 0
  whole:
    description: Do not end earlier.
    type: bool
    default: false
  horizon:
    description: End earlier, too, when by the traffic of the minute before the new slot will not have half of
      O(minimum) within so many seconds. Needs O(before) to be a minute at least.
    type: float
    default: 0
  before:
    description: Look at what the old slot did in so many seconds before that time, too.
    type: float
    default: 0
  health_path:
    description: The path of health checks, which do not count.
    type: str
    default: /health
  host:
    description: The host name that probes ask for.
    type: str
    default: localhost
  probes:
    description: So many requests of our own for each slot, 200 at most, when the new slot gets too little traffic. They
      carry the header C(X-Slipway-Probe).
    type: int
    default: 0
  probe_paths:
    description: The pages that they ask for; without any the health path.
    type: list
    elements: str
    default: []
  last:
    description: Nobody will look again, so that probes are sent when there was too little until now.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: What did users get in the last minute
  slipway.webapp.traffic_info:
    app: shop
    slot: green
    ago: 60

- name: Watch until both sides have answered a hundred requests
  slipway.webapp.traffic_info:
    app: shop
    slot: green
    ago: 0
    seconds: 30
    minimum: 100
  register: traffic
"""

RETURN = r"""
slot:
  description: The slot of the new release.
  returned: success
  type: str
  sample: green
log:
  description: Whether there is a log (V(ok), V(missing), V(unreadable), and what the system said), how many lines were
    read, how many of them were no request, and whether all of the time is in it.
  returned: success
  type: dict
  sample: {state: ok, said: "", lines: 2210, broken: 0, whole: true}
slots:
  description: For each slot requests, answers with a status of 500 or more, and a histogram of the times.
  returned: when there is a log
  type: dict
  sample: {blue: {requests: 412, errors: 0, times: {"24": 398, "61": 14}}, green: {requests: 0, errors: 0, times: {}}}
before:
  description: The same of the old slot before that time.
  returned: when there is a log
  type: dict
  sample: {requests: 1490, errors: 1, times: {"24": 1490}}
same:
  description: The part of it by clients that the route leads to the new slot now.
  returned: when there is a log
  type: dict
  sample: {requests: 71, errors: 0, times: {"24": 71}}
unattributed:
  description: What no slot answered, in the instant of a switch.
  returned: when there is a log
  type: dict
  sample: {requests: 0, errors: 0, times: {}}
probes:
  description: The same of our own requests, by slot; empty when none were sent.
  returned: when there is a log
  type: dict
  sample: {}
hopeless:
  description: Whether the new slot will not have the minimum in time.
  returned: when there is a log
  type: bool
  sample: false
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _traffic
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._http import HttpAsker, target_of
from ansible_collections.slipway.webapp.plugins.module_utils._layout import SLOTS, Layout


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        "slot": {"type": "str", "choices": list(SLOTS), "required": True},
        "ago": {"type": "float", "required": True},
        "seconds": {"type": "float", "default": 0},
        "minimum": {"type": "int", "default": 0},
        "enough": {"type": "int", "default": 0},
        "whole": {"type": "bool", "default": False},
        "horizon": {"type": "float", "default": 0},
        "before": {"type": "float", "default": 0},
        "health_path": {"type": "str", "default": "/health"},
        "host": {"type": "str", "default": "localhost"},
        "probes": {"type": "int", "default": 0},
        "probe_paths": {"type": "list", "elements": "str", "default": []},
        "last": {"type": "bool", "default": False},
    }


def _askers(given: dict[str, Any], layout: Layout) -> dict[str, list[HttpAsker]]:
    headers = {_traffic.PROBE_HEADER: "1", "User-Agent": "slipway-probe"}
    return {
        slot: [
            HttpAsker(target_of(socket_path=layout.socket(slot), path=path, host=given["host"]), headers=headers)
            for path in given["probe_paths"] or [given["health_path"]]
        ]
        for slot in SLOTS
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    layout, clock = Layout(given["app"]), HostClock()
    own = {name: given[name] for name in _traffic.Wish.__dataclass_fields__ if name in given}
    wish = _traffic.Wish(since=clock.now() - given["ago"], **own)
    _traffic.check(wish, given["probes"])
    return _traffic.look(
        layout,
        wish,
        clock=clock,
        askers=_askers(given, layout),
        probes=given["probes"],
        last=given["last"],
    )


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
