#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: ledger
short_description: Write down what happened to a release
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Appends one entry to the host's ledger, durably. Nothing in the ledger is ever changed.
  - The same run, action and outcome are written once, however often this is called.
  - Texts are cut to a bounded length. Never put a secret into one.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
options:
  state:
    description: The entry is there.
    type: str
    default: present
    choices: [present]
  action:
    description: What was done.
    type: str
    required: true
    choices: [deploy, rollback, migrate, restore]
  outcome:
    description: How it went.
    type: str
    required: true
    choices: [started, succeeded, failed]
  release:
    description: The release.
    type: str
    required: true
  config:
    description: The id of its configuration.
    type: str
    required: true
  slot:
    description: The slot that it ran in.
    type: str
    required: true
    choices: [blue, green]
  previous:
    description: What was live before. Its C(release), C(config) and C(slot) are written; empty when nothing was.
    type: dict
    default: {}
  by:
    description: Who did it.
    type: str
    required: true
  run:
    description: The id of the run.
    type: str
    required: true
  detail:
    description: What else to know, such as the step that failed.
    type: str
    default: ''
  database:
    description:
      - What happened to the database. C(applied) are the ids of migrations, C(breaks_old_code) and C(irreversible)
        those that are so, C(backup) the id of the backup behind them, C(restored) the time of the snapshot that a
        restore went back to.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Write down that the deploy went well
  slipway.webapp.ledger:
    app: shop
    action: deploy
    outcome: succeeded
    release: 1.4.0-3f9a1c22d0
    config: 90c1f7a2be41
    slot: green
    by: anna@ci
    run: 20261121T110500-4b1f
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["Write down deploy of 1.4.0-3f9a1c22d0: succeeded"]
entry:
  description: The entry as it is in the ledger.
  returned: success
  type: dict
  sample:
    time: "2026-11-21T11:06:10Z"
    action: deploy
    outcome: succeeded
    release: 1.4.0-3f9a1c22d0
    config: 90c1f7a2be41
    slot: green
    by: anna@ci
    run: 20261121T110500-4b1f
    previous: {release: 1.3.2-77ab01c9de, config: 90c1f7a2be41, slot: blue}
    detail: ""
    database: null
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _ledger
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import SLOTS, Layout


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        "state": {"type": "str", "default": "present", "choices": ["present"]},
        "action": {"type": "str", "required": True, "choices": list(_ledger.ACTIONS)},
        "outcome": {"type": "str", "required": True, "choices": list(_ledger.OUTCOMES)},
        "release": {"type": "str", "required": True},
        "config": {"type": "str", "required": True},
        "slot": {"type": "str", "required": True, "choices": list(SLOTS)},
        "previous": {"type": "dict", "default": {}},
        "by": {"type": "str", "required": True},
        "run": {"type": "str", "required": True},
        "detail": {"type": "str", "default": ""},
        "database": {"type": "dict", "default": {}},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    entry = _ledger.entry(now=HostClock().now(), fields=module.params)
    return _ledger.record(Layout(module.params["app"]), entry, check_mode=module.check_mode)


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
