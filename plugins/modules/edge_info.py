#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: edge_info
short_description: See what an edge host does with requests
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Returns the web hosts that this edge host passes requests to, those of them that are out of its rotation, and
    whether it shows the maintenance page. Changes nothing.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.info
"""

EXAMPLES = r"""
- name: See who is out
  slipway.webapp.edge_info:
    app: shop
  register: edge
"""

RETURN = r"""
hosts:
  description: The web hosts that it passes requests to; none where it serves its own.
  returned: success
  type: list
  elements: str
  sample: [app1, app2, app3]
out:
  description: Those that are out of its rotation.
  returned: success
  type: list
  elements: str
  sample: [app2]
maintenance:
  description: Whether it shows the maintenance page.
  returned: success
  type: bool
maintenance_words:
  description: Who has put the page there, and why.
  returned: success
  type: str
  sample: "anna@desk7: new disks"
maintenance_of_a_run:
  description: Whether that was a run, which takes it away again.
  returned: success
  type: bool
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _rotation
from ansible_collections.slipway.webapp.plugins.module_utils._host import guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout


def run(module: AnsibleModule) -> dict[str, Any]:
    return {"changed": False, **_rotation.edge(Layout(module.params["app"]))}


def main() -> None:
    module = AnsibleModule(argument_spec={"app": {"type": "str", "required": True}}, supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
