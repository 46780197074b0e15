#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: lease
short_description: Take the lock on an environment, or give it back
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - One owner at a time may work on an environment. The lease says who, why and until when, and expires by itself.
  - Whoever holds it may take it again, which extends it. Somebody else is refused, and told who holds it and when that
    owner was last seen; or waits for it.
  - An expired lease is taken over, and a warning says from whom.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
options:
  state:
    description:
      - V(held) takes or extends the lease, or fails.
      - V(released) gives it back. With O(owner) the lease of another owner is left alone, without an error; without it,
        the lease must be one of O(by), and another one is a failure.
      - V(revoked) takes it away from O(owner), and fails when another one holds it.
    type: str
    default: held
    choices: [held, released, revoked]
  owner:
    description: Who takes or holds it. A run uses an id of its own.
    type: str
  by:
    description: The person who takes it, or gives back what their run holds.
    type: str
    default: ''
  reason:
    description: What for. Shown to whoever is refused.
    type: str
  seconds:
    description: After how many seconds it expires, at most a day.
    type: int
    default: 900
  after:
    description:
      - What M(slipway.webapp.deploy_info) said of C(lease_turn) when the run looked. When somebody else has held the
        lease since then, what the run has planned may be about what is no more, and it is refused.
    type: str
  wait:
    description:
      - For how many seconds somebody else's lease is waited for. The controller asks again every few seconds, so nobody
        waits for a controller that died. In check mode nobody waits.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Take the lease, wait for it ten minutes at most
  slipway.webapp.lease:
    app: shop
    owner: 20261121T110500-4b1f
    by: anna@ci
    reason: deploy of 1.4.0 by anna@ci
    wait: 600

- name: Give it back
  slipway.webapp.lease:
    app: shop
    state: released
    owner: 20261121T110500-4b1f

- name: Give back what a run of mine has left behind
  slipway.webapp.lease:
    app: shop
    state: released
    by: anna@ci
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["Take the lease until 2026-11-21T11:20:00Z"]
lease:
  description:
    - The lease as it is now; null when nobody holds it. Also returned with a refusal.
    - C(beat) is the last time that its owner was seen, C(silent_seconds) how long ago that is.
  returned: always
  type: dict
  sample:
    owner: 20261121T110500-4b1f
    by: anna@ci
    reason: deploy of 1.4.0 by anna@ci
    since: "2026-11-21T11:05:00Z"
    until: "2026-11-21T11:20:00Z"
    beat: "2026-11-21T11:05:00Z"
    silent_seconds: 0
took_over:
  description: The expired lease of somebody else that this one replaced.
  returned: when there was one
  type: dict
  sample:
    owner: 20261121T091200-77c0
    by: bert@desk
    reason: deploy of 1.3.9 by bert@desk
    since: "2026-11-21T09:12:00Z"
    until: "2026-11-21T09:27:00Z"
    beat: "2026-11-21T09:12:00Z"
    silent_seconds: 6780
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _lease
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        "state": {"type": "str", "default": "held", "choices": ["held", "released", "revoked"]},
        "owner": {"type": "str"},
        "by": {"type": "str", "default": ""},
        "reason": {"type": "str"},
        "seconds": {"type": "int", "default": 900},
        "after": {"type": "str"},
        "wait": {"type": "int", "default": 0},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    """``wait`` is the controller's half."""
    given, now = module.params, HostClock().now()
    layout, check_mode = Layout(given["app"]), module.check_mode
    if given["state"] == "revoked":
        return _lease.revoke(layout, owner=given["owner"], now=now, check_mode=check_mode)
    if given["state"] == "released" and given["owner"]:
        return _lease.release(layout, owner=given["owner"], now=now, check_mode=check_mode)
    if given["state"] == "released":
        return _lease.give_back(layout, by=given["by"], now=now, check_mode=check_mode)
    return _lease.hold(
        layout,
        owner=given["owner"],
        by=given["by"],
        reason=given["reason"],
        seconds=given["seconds"],
        after=given["after"],
        now=now,
        check_mode=check_mode,
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec=spec(),
        required_if=[
            ("state", "held", ("owner", "reason")),
            ("state", "released", ("owner", "by"), True),
            ("state", "revoked", ("owner",)),
        ],
        supports_check_mode=True,
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
