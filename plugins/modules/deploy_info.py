#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: deploy_info
short_description: See everything about an application on a host
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - One look at what is live, what both slots run, what is retained, what happened, who works on it and how much room
    there is.
  - On a host that knows nothing of the application it says just that. Changes nothing.
  - A release whose image the engine has lost is not complete. An engine that does not answer is not believed to have
    lost anything.
  - With O(release), O(config) and O(processes) it also says whether a deploy of them has anything to do here. Then a
    host that was not provisioned, or only in part, is a failure that names every piece that is missing.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.info
options:
  release:
    description: The release that is about to be deployed.
    type: str
  config:
    description: The configuration that is about to be deployed.
    type: str
  processes:
    description: The processes that this host shall run.
    type: list
    elements: str
    choices: [web, worker, beat]
  frontend:
    description: Whether the release has a front end, of which Nginx must know where the web process is.
    type: bool
    default: false
  redis_number:
    description: The number of this host's Redis that the application's cache has, where the host has the role broker.
    type: int
  controller_time:
    description: What the controller's clock says at the moment, in seconds since the epoch.
    type: float
  lease_seconds:
    description:
      - Refuse a host whose clock is further from O(controller_time) than half of this, so that no two hosts of a run
        differ by more than the lease.
    type: int
"""

EXAMPLES = r"""
- name: See what every host serves
  slipway.webapp.deploy_info:
    app: shop
  register: info

- name: Is there anything to do
  slipway.webapp.deploy_info:
    app: shop
    release: 1.4.0-3f9a1c22d0
    config: 90c1f7a2be41
    processes: [web, worker, beat]
    controller_time: "{{ now().timestamp() }}"
    lease_seconds: 900
"""

RETURN = r"""
app:
  description: The application.
  returned: success
  type: str
  sample: shop
time:
  description: What the host's clock says, in seconds since the epoch.
  returned: success
  type: float
  sample: 1795259100.2
live:
  description:
    - What the users get. The slot is that with most of the traffic; C(since) and C(by) are those of the ledger's
      entry that proved it.
    - Null when nothing is live; C(since) and C(by) are null when no run recorded that it went well.
  returned: success
  type: dict
  sample: {slot: green, release: 1.4.0-3f9a1c22d0, config: 90c1f7a2be41, since: "2026-11-21T11:06:10Z", by: anna@ci}
slots:
  description:
    - What each slot is assigned to, and the state of the processes that this host has; C(says) is what a process last
      told systemd of itself.
  returned: success
  type: dict
  sample:
    green:
      release: 1.4.0-3f9a1c22d0
      config: 90c1f7a2be41
      processes: {web: {active: active, enabled: true, since: "2026-11-21T11:05:58Z", says: null}}
route:
  description: The route's number and the share of each slot in percent; null when there is none.
  returned: success
  type: dict
  sample: {number: 8, weights: {blue: 0, green: 100}}
releases:
  description: The releases on the host, as M(slipway.webapp.release_info) returns them.
  returned: success
  type: list
  elements: dict
  sample: [{id: 1.4.0-3f9a1c22d0, complete: true}]
artifacts:
  description: The SHA-256 of each artifact on the host.
  returned: success
  type: list
  elements: str
  sample: []
configs:
  description: The ids of the configurations on the host.
  returned: success
  type: list
  elements: str
  sample: [90c1f7a2be41]
lease:
  description: Who works on the environment, as M(slipway.webapp.lease) returns it; null when nobody does.
  returned: success
  type: dict
  sample: {owner: 20261121T110500-4b1f, by: anna@ci, reason: deploy of 1.4.0 by anna@ci, since: "2026-11-21T11:05:00Z",
    until: "2026-11-21T11:20:00Z", beat: "2026-11-21T11:05:10Z", silent_seconds: 12}
lease_turn:
  description: Whose turn it was last, for the option O(slipway.webapp.lease#module:after) of M(slipway.webapp.lease).
  returned: success
  type: str
  sample: 20261121T110500-4b1f
proven:
  description: The deploys and rollbacks that ended well, newest first, 200 at most.
  returned: success
  type: list
  elements: dict
  sample:
    - release: 1.4.0-3f9a1c22d0
      config: 90c1f7a2be41
      slot: green
      time: "2026-11-21T11:06:10Z"
      by: anna@ci
      action: deploy
      previous: {release: 1.3.2-77ab01c9de, config: 90c1f7a2be41, slot: blue}
ledger:
  description: The last 20 entries of the ledger, newest first, as M(slipway.webapp.ledger_info) returns them.
  returned: success
  type: list
  elements: dict
  sample: []
maintenance:
  description: Whether a run of ours shows the maintenance page here.
  returned: success
  type: bool
  sample: false
waiting:
  description: The migrations that the live release still has to run, because a run ended before it came to them.
  returned: success
  type: list
  elements: str
  sample: []
undone:
  description: What a restore has taken out of the database and no run has applied again, oldest first.
  returned: success
  type: list
  elements: dict
  sample: []
live_needs:
  description: The changes of RV(schema) that the live release was written for.
  returned: success
  type: list
  elements: dict
  sample: []
schema:
  description: What changed the database's schema and was not undone by a restore, oldest first.
  returned: success
  type: list
  elements: dict
  sample:
    - time: "2026-11-21T11:06:10Z"
      release: 1.4.0-3f9a1c22d0
      applied: [notes.0003_drop_mood]
      breaks_old_code: [notes.0003_drop_mood]
      irreversible: [notes.0003_drop_mood]
      backup: 20261121T110512Z-7d21ab03
      restored: ""
backups:
  description: The ids of the backups that stand behind what the retained releases did to the database.
  returned: success
  type: list
  elements: str
  sample: [20261121T110512Z-7d21ab03]
pending:
  description: What a broken run left to finish; null when there is nothing.
  returned: success
  type: dict
  sample: null
services:
  description:
    - Where the application runs in a swarm that this host conducts, what its services run and how far the engine is.
    - Null elsewhere.
  returned: success
  type: dict
  sample:
    web: {slot: green, release: 1.4.0-3f9a1c22d0, config: 90c1f7a2be41, replicas: 3, running: 3, update: completed}
services_need:
  description: What lies between these services and the live slot.
  returned: success
  type: list
  elements: str
  sample: []
access_log:
  description:
    - Whether Nginx's log, by which a release is judged, can be read. C(state) is V(ok), V(missing) or
      V(unreadable), and C(said) is why. Only a host with a web process has one.
  returned: success
  type: dict
  sample: {state: ok, said: ""}
disk:
  description: The room on the file system of the application.
  returned: success
  type: dict
  sample: {free_bytes: 51539607552, total_bytes: 64424509440}
python:
  description: The version of the Python that ran this module.
  returned: success
  type: str
  sample: 3.13.5
wanted:
  description:
    - Whether the host already is what is wanted, the slot for the next release, and what is missing.
    - C(needs) holds V(release) or V(config) (not on the host), V(pending) (a broken run), V(slot) (something else is
      live),
      V(start) (a process does not run), V(services) (those of a swarm are not as the live slot says),
      V(handover) (a worker or beat is in the other slot), V(route) (not all the traffic),
      V(proof) (no run recorded that it went well), V(migrations) (some still wait for the old release to be gone).
  returned: when O(release), O(config) and O(processes) are given
  type: dict
  sample: {up_to_date: false, target_slot: blue, needs: [release, slot]}
missing:
  description: What only provisioning brings and is not there.
  returned: when O(release), O(config) and O(processes) are given and the host lacks something
  type: list
  elements: str
  sample: [/etc/systemd/system/shop-web@.service]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _provisioned
from ansible_collections.slipway.webapp.plugins.module_utils._clock import require_clock
from ansible_collections.slipway.webapp.plugins.module_utils._engine import HostEngine
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._inspect import Wanted, inspect
from ansible_collections.slipway.webapp.plugins.module_utils._layout import PROCESSES, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._swarm import stack_here
from ansible_collections.slipway.webapp.plugins.module_utils._systemd import HostSystemd

_PATIENCE = 20  # seconds for an answer of the engine


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        "release": {"type": "str"},
        "config": {"type": "str"},
        "processes": {"type": "list", "elements": "str", "choices": list(PROCESSES)},
        "frontend": {"type": "bool", "default": False},
        "redis_number": {"type": "int"},
        "controller_time": {"type": "float"},
        "lease_seconds": {"type": "int"},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    layout, clock = Layout(given["app"]), HostClock()
    if given["lease_seconds"]:
        require_clock(here=clock.now(), controller=given["controller_time"], lease_seconds=given["lease_seconds"])
    wanted = Wanted(given["release"], given["config"], given["processes"]) if given["release"] else None
    if wanted:
        _provisioned.require(
            layout, processes=wanted.processes, frontend=given["frontend"], redis_number=given["redis_number"]
        )
    systemd = HostSystemd(HostRunner(module))
    stack = stack_here(layout, systemd=systemd, clock=clock)
    engine = HostEngine(timeout=_PATIENCE)
    found = inspect(layout, systemd=systemd, clock=clock, wanted=wanted, stack=stack, engine=engine)
    return {"changed": False, **found}


def main() -> None:
    module = AnsibleModule(
        argument_spec=spec(),
        required_together=[("release", "config", "processes"), ("controller_time", "lease_seconds")],
        supports_check_mode=True,
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
