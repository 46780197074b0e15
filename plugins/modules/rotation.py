#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: rotation
short_description: Take web hosts out of an edge host's rotation, and put them back
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Runs on an edge host whose web hosts are other hosts. A host that is out is passed no new request; what it has been
    asked it may answer to the end.
  - What is out stays out until it is put back, also after a reboot and after the edge host is provisioned again.
  - The new configuration is tested together with all the rest before it takes its place. The last web host cannot be
    taken out.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
options:
  out:
    description: Web hosts to take out, by their names in the inventory.
    type: list
    elements: str
    default: []
  back:
    description: Web hosts to put back.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: No new requests for app2
  slipway.webapp.rotation:
    app: shop
    out: [app2]
  delegate_to: edge1
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: ["Take app2 out", "Load it"]
before:
  description: The web hosts that were out.
  returned: success
  type: list
  elements: str
  sample: []
out:
  description: The web hosts that are out now.
  returned: success
  type: list
  elements: str
  sample: [app2]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _rotation
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout


def spec() -> dict[str, Any]:
    names = {"type": "list", "elements": "str", "default": []}
    return {"app": {"type": "str", "required": True}, "out": dict(names), "back": dict(names)}


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    doer = _rotation.Doer(layout=Layout(given["app"]), runner=HostRunner(module))
    return _rotation.turn(doer, out=given["out"], back=given["back"], check_mode=module.check_mode)


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
