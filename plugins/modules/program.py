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
  - With O(modules=true) the package is the modules of this collection themselves. Where a host has them, compiled, a
    task needs to send its arguments only, and costs a fraction of its time. A host that has those of another version of
    the collection or of ansible-core is sent the module, as by any other collection.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
options:
  package:
    description: The directory of the package, on the controller. Its name is the package's.
    type: path
  launcher:
    description: The file that starts it, beside that directory.
    type: str
  domain:
    description: Files of the collection's own code, C(plugins/module_utils), that go along with all that they import.
    type: list
    elements: str
    default: []
  modules:
    description: Install what the modules of this collection need.
    type: bool
    default: false
  version:
    description: The directory that is named after the content. Set by the controller.
    type: str
  launcher_text:
    description: The text of the file that starts it. Set by the controller.
    type: str
  upload:
    description: Where the files are on the host, as one JSON document. Set by the controller, when the host asks for
      them.
    type: path
"""

EXAMPLES = r"""
- name: Install the program that makes backups
  slipway.webapp.program:
    app: shop
    package: "{{ role_path }}/files/slipway_backup"
    launcher: slipway-backup

- name: Spare the host to compile a module for each task
  slipway.webapp.program:
    app: shop
    modules: true
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
from ansible_collections.slipway.webapp.plugins.module_utils._files import locked, read_json
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostClock, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import LIBRARY_LOCK, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import carry_out

WAIT_SECONDS = 60.0


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    package = _installation.Package(
        library=Layout(given["app"]).library,
        name=_installation.MODULES if given["modules"] else os.path.basename(given["package"]),
        version=given["version"] or "",
        launcher=given["launcher"] or "",
        launcher_text=given["launcher_text"] or "",
    )
    if module.check_mode:
        there = os.path.isdir(package.library)
        return _told([step.summary for step in _installation.plan(package)] if there else [f"install {package.link}"])
    # Applications of one host share it, and may be provisioned at the same time.
    with locked(LIBRARY_LOCK, wait_seconds=WAIT_SECONDS, what="the installation of a program"):
        steps = _installation.plan(package)
        if steps and not given["upload"] and not _installation.is_whole(package):
            return {"changed": False, "actions": [], "needs_files": True}
        files, now = read_json(given["upload"]) if given["upload"] else {}, HostClock().now()
        return _told(carry_out(steps, lambda step: _installation.apply(package, step, files, now=now)))


def _told(actions: list[str]) -> dict[str, Any]:
    diff = {"before": "", "after": "".join(f"{action}\n" for action in actions)}
    return {"changed": bool(actions), "actions": actions, "diff": diff}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "package": {"type": "path"},
            "launcher": {"type": "str"},
            "domain": {"type": "list", "elements": "str", "default": []},
            "modules": {"type": "bool", "default": False},
            "version": {"type": "str"},
            "launcher_text": {"type": "str"},
            "upload": {"type": "path"},
        },
        required_if=[("modules", False, ("package", "launcher"))],
        supports_check_mode=True,
    )
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
