#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: program
short_description: Install a program of this collection on a host
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Installs a Python package and the file that starts it below C(/usr/lib/slipway), whole or not at all.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
options:
  package:
    description: The directory of the package, on the controller. Its name is the package's.
    type: path
    required: true
  launcher:
    description: The file that starts it, beside that directory.
    type: str
    required: true
  domain:
    description: Files of the collection's own code, C(plugins/module_utils), that go along with all that they import.
    type: list
    elements: str
    default: []
  files:
    description: The files of the package. Set by the controller.
    type: dict
  launcher_text:
    description: The text of the file that starts it. Set by the controller.
    type: str
"""

EXAMPLES = r"""
- name: Install the program that makes backups
  slipway.webapp.program:
    app: shop
    package: "{{ role_path }}/files/slipway_backup"
    launcher: slipway-backup
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: [install /usr/lib/slipway/slipway_backup]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _installation
from ansible_collections.slipway.webapp.plugins.module_utils._host import guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import carry_out


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    package = _installation.Package(
        library=Layout(given["app"]).library,
        name=os.path.basename(given["package"]),
        files=given["files"] or {},
        launcher=given["launcher"],
        launcher_text=given["launcher_text"] or "",
    )
    if module.check_mode and not os.path.isdir(package.library):
        actions = [f"install {package.link}"]
    else:
        steps = _installation.plan(package)
        actions = carry_out(steps, lambda step: _installation.apply(package, step), check_mode=module.check_mode)
    diff = {"before": "", "after": "".join(f"{action}\n" for action in actions)}
    return {"changed": bool(actions), "actions": actions, "diff": diff}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "package": {"type": "path", "required": True},
            "launcher": {"type": "str", "required": True},
            "domain": {"type": "list", "elements": "str", "default": []},
            "files": {"type": "dict"},
            "launcher_text": {"type": "str"},
        },
        supports_check_mode=True,
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
