#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: ledger_info
short_description: Read the ledger of a host
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Returns the newest entries of the host's ledger. Changes nothing.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.info
options:
  last:
    description: How many entries at most.
    type: int
    default: 50
"""

EXAMPLES = r"""
- name: Read the last ten entries
  slipway.webapp.ledger_info:
    app: shop
    last: 10
  register: history
"""

RETURN = r"""
entries:
  description: The entries, newest first.
  returned: success
  type: list
  elements: dict
  sample:
    - time: "2026-11-21T11:06:10Z"
      action: deploy
      outcome: succeeded
      release: 1.4.0-3f9a1c22d0
      config: 90c1f7a2be41
      slot: green
      by: anna@ci
      run: 20261121T110500-4b1f
      previous: {release: 1.3.2-77ab01c9de, config: 90c1f7a2be41, slot: blue}
      detail: ""
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _ledger
from ansible_collections.slipway.webapp.plugins.module_utils._host import guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout


def spec() -> dict[str, Any]:
    return {"app": {"type": "str", "required": True}, "last": {"type": "int", "default": 50}}


def run(module: AnsibleModule) -> dict[str, Any]:
    entries = _ledger.read(Layout(module.params["app"]))
    return {"changed": False, "entries": entries[::-1][: max(0, module.params["last"])]}


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
