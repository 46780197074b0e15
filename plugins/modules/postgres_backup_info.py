#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgres_backup_info
short_description: List the backups of a database, and prove their files again
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Lists the catalogue, newest first.
  - With O(recheck) every file of a backup is read and hashed again. One whose bytes changed is marked as failed, with
    the reason, and is no way back any more.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
  - slipway.webapp.database
attributes:
  diff_mode:
    support: none
    description: There is no difference to show.
options:
  recheck:
    description: Read the files of all verified backups, or of O(backup), again.
    type: bool
    default: false
  backup:
    description: The id of the only backup to look at.
    type: str
    default: ''
  timeout:
    description: Seconds that it may take.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: See which backups there are
  slipway.webapp.postgres_backup_info:
    app: shop
    database:
      database_url: postgresql:///shop?host=/run/postgresql
      directory: /var/backups/slipway/shop
"""

RETURN = r"""
backups:
  description: The backups, newest first, as M(slipway.webapp.postgres_backup) returns one.
  returned: success
  type: list
  elements: dict
  sample: [{id: 20261121T110512Z-7d21ab03, status: verified, level: full}]
spoilt:
  description: The backups whose files are not what was verified, each with what differs.
  returned: success
  type: list
  elements: str
  sample: []
problems:
  description: What is wrong in the catalogue, such as a manifest that cannot be read.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _database
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._program import Program


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        **_database.options(),
        "recheck": {"type": "bool", "default": False},
        "backup": {"type": "str", "default": ""},
        "timeout": {"type": "int", "default": 3600},
    }


def recheck(program: Program, request: dict[str, Any]) -> list[str]:
    """Read the files again; what was found to be changed."""
    try:
        program.ask("recheck", request)
    except SlipwayError as error:
        if error.details.get("code") != "files_changed":
            raise
        return [f"{one['id']}: {one['reason']}" for one in error.details["checked"] if not one["verified"]]
    return []


def run(module: AnsibleModule) -> dict[str, Any]:
    given, layout = module.params, Layout(module.params["app"])
    program = _database.program(layout, HostRunner(module), given["database"], timeout=given["timeout"])
    catalogue = {"app": layout.app, "directory": given["database"]["directory"]}
    spoilt: list[str] = []
    if given["recheck"] and not module.check_mode:
        spoilt = recheck(program, {**catalogue, "backup": given["backup"]})
    found = program.ask("list", catalogue)
    return {
        "changed": bool(spoilt),
        "backups": [one for one in found["backups"] if given["backup"] in ("", one["id"])],
        "spoilt": spoilt,
        "problems": [f"{problem['path']}: {problem['message']}" for problem in found["problems"]],
    }


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
