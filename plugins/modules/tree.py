#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: tree
short_description: Make the directories of an application
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Makes every directory that an application has on a host, and corrects owners, groups and modes that differ.
  - The application's system user and group must exist.
  - Nothing inside the directories is touched. A symlink to a directory in place of one is left as it is.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
"""

EXAMPLES = r"""
- name: Make the directories
  slipway.webapp.tree:
    app: shop
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["make /srv/shop root:root 0755"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _tree
from ansible_collections.slipway.webapp.plugins.module_utils._host import guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import carry_out


def run(module: AnsibleModule) -> dict[str, Any]:
    """Probe, plan, apply."""
    directories = _tree.wanted(layout=Layout(module.params["app"]))
    found = _tree.probe(directories=directories)
    steps = _tree.plan(directories=directories, found=found)
    actions = carry_out(steps, _tree.apply, check_mode=module.check_mode)
    after = {wish.path: wish for wish in directories}
    diff = {"before": _tree.text(found, order=directories), "after": _tree.text(after, order=directories)}
    return {"changed": bool(actions), "actions": actions, "diff": diff}


def main() -> None:
    module = AnsibleModule(argument_spec={"app": {"type": "str", "required": True}}, supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
