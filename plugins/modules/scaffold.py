#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: scaffold
short_description: Write the files of a new directory
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Writes every file that is not there yet, each of them atomically, and makes the directories it needs.
  - A file that is there is never touched, whatever it holds.
options:
  directory:
    description: Where the files belong.
    type: path
    required: true
  files:
    description: The text of each file by its path below O(directory).
    type: dict
    default: {}
  secret_files:
    description: Likewise, for files that only their owner may read (mode 0600). The texts are never shown.
    type: dict
    default: {}
extends_documentation_fragment:
  - slipway.webapp.app.attributes
attributes:
  diff_mode:
    description: Shows the paths that are written. Contents are not shown.
    support: full
"""

EXAMPLES = r"""
- name: Begin a directory
  slipway.webapp.scaffold:
    directory: ~/shop-operations
    files:
      ansible.cfg: "[defaults]\ninventory = inventories\n"
    secret_files:
      .vault-password: "{{ password }}\n"
  delegate_to: localhost
"""

RETURN = r"""
actions:
  description: What was written, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ["write /home/anna/shop-operations/ansible.cfg"]
kept:
  description: The paths that were there already.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _scaffold
from ansible_collections.slipway.webapp.plugins.module_utils._host import guarded
from ansible_collections.slipway.webapp.plugins.module_utils._plan import carry_out


def run(module: AnsibleModule) -> dict[str, Any]:
    """Probe, plan, apply."""
    directory = module.params["directory"]
    wanted = _scaffold.drafts(module.params["files"], module.params["secret_files"])
    taken = _scaffold.probe(directory, wanted)
    steps = _scaffold.plan(directory, wanted, taken)
    actions = carry_out(steps, lambda step: _scaffold.apply(directory, step), check_mode=module.check_mode)
    before = "".join(f"{path}\n" for path in sorted(taken))
    after = "".join(f"{draft.path}\n" for draft in wanted)
    return {
        "changed": bool(actions),
        "actions": actions,
        "kept": sorted(taken),
        "diff": {"before": before, "after": after},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "files": {"type": "dict", "default": {}},
            "secret_files": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
