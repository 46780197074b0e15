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
  - Whoever holds it may take it again, which extends it. Somebody else is refused, and told who holds it.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
options:
  state:
    description:
      - V(held) takes or extends the lease, or fails.
      - V(released) gives it back. The lease of another owner is left alone, without an error.
    type: str
    default: held
    choices: [held, released]
  owner:
    description: Who takes or holds it. A run uses an id of its own.
    type: str
    required: true
  reason:
    description: What for. Shown to whoever is refused.
    type: str
  seconds:
    description: After how many seconds it expires, at most a day.
    type: int
    default: 900
"""

EXAMPLES = r"""
- name: Take the lease
  slipway.webapp.lease:
    app: shop
    owner: 20261121T110500-4b1f
    reason: deploy of 1.4.0 by anna@ci

- name: Give it back
  slipway.webapp.lease:
    app: shop
    state: released
    owner: 20261121T110500-4b1f
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["Take the lease until 2026-11-21T11:20:00Z"]
lease:
  description: The lease as it is now; null when nobody holds it. Also returned with a refusal.
  returned: always
  type: dict
  sample:
    owner: 20261121T110500-4b1f
    reason: deploy of 1.4.0 by anna@ci
    since: "2026-11-21T11:05:00Z"
    until: "2026-11-21T11:20:00Z"
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _lease
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        "state": {"type": "str", "default": "held", "choices": ["held", "released"]},
        "owner": {"type": "str", "required": True},
        "reason": {"type": "str"},
        "seconds": {"type": "int", "default": 900},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given, now = module.params, HostClock().now()
    layout, check_mode = Layout(given["app"]), module.check_mode
    if given["state"] == "released":
        return _lease.release(layout, owner=given["owner"], now=now, check_mode=check_mode)
    return _lease.hold(
        layout,
        owner=given["owner"],
        reason=given["reason"],
        seconds=given["seconds"],
        now=now,
        check_mode=check_mode,
    )


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), required_if=[("state", "held", ("reason",))], supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
