#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgres_restore
short_description: Restore a backup beside a database, and swap the two
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Restores a verified backup into a database of another name, compares it with the manifest, and then, with O(mode)
    V(swap), renames it to the name of the live one, which is kept under a dated name.
  - Connections are ended for the swap only. A restore that fails, or is killed, leaves the live database as it was.
  - Says in numbers what is lost. In check mode it says that and changes nothing.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
  - slipway.webapp.app.lease
  - slipway.webapp.database
options:
  backup:
    description: The id of the backup.
    type: str
    required: true
  mode:
    description: V(swap) with the live database, or restore into a V(new) one.
    type: str
    default: swap
    choices: [swap, new]
  target:
    description: The name of the new database.
    type: str
    default: ''
  confirm:
    description: The name of the live database, to show that it is meant. Not needed in check mode.
    type: str
    default: ''
  identity_file:
    description: The file on the host with the private key of an encrypted backup.
    type: str
    default: ''
  other_cluster:
    description: The backup is of another server, which was lost.
    type: bool
    default: false
  jobs:
    description: Tables that are restored at the same time; 0 is one for each core, 8 at most.
    type: int
    default: 0
  why:
    description: Why it is restored.
    type: str
    default: ''
  who:
    description: Who restores it.
    type: str
    default: ''
  timeout:
    description: Seconds that all of it may take.
    type: int
    default: 7200
"""

EXAMPLES = r"""
- name: Go back to before the migration
  slipway.webapp.postgres_restore:
    app: shop
    backup: 20261121T110512Z-7d21ab03
    confirm: shop
    database:
      database_url: postgresql:///shop?host=/run/postgresql
      database_user: postgres
      directory: /var/backups/slipway/shop
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: [Restore backup 20261121T110512Z-7d21ab03 in the place of shop]
restored:
  description: The name of the restored database.
  returned: success, not in check mode
  type: str
  sample: shop
kept:
  description: The name under which the database that was live is kept.
  returned: success, not in check mode
  type: str
  sample: shop_before_20261121T113000Z
swap_seconds:
  description: How long the database could not be reached.
  returned: success, not in check mode
  type: float
  sample: 0.04
connections_ended:
  description: How many connections were ended for the swap.
  returned: success, not in check mode
  type: int
  sample: 9
told:
  description: In check mode what would be lost, else what was done, for people.
  returned: success
  type: str
  sample: "shop is backup 20261121T110512Z-7d21ab03: 5150 rows, compared"
begun:
  description: When the backup was begun, by the clock of this host.
  returned: success
  type: str
  sample: "2026-11-21T11:05:12Z"
lost:
  description: What was written since the backup and is not in it.
  returned: success
  type: dict
  sample: {seconds_since_snapshot: 812, wal_bytes: 4194304, tables: []}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _database, _lease
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        **_database.options(),
        "backup": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "swap", "choices": ["swap", "new"]},
        "target": {"type": "str", "default": ""},
        "confirm": {"type": "str", "default": ""},
        "identity_file": {"type": "str", "default": "", "no_log": False},
        "other_cluster": {"type": "bool", "default": False},
        "jobs": {"type": "int", "default": 0},
        "why": {"type": "str", "default": ""},
        "who": {"type": "str", "default": ""},
        "run": {"type": "str", "default": ""},
        "timeout": {"type": "int", "default": 7200},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given, layout = module.params, Layout(module.params["app"])
    program = _database.program(layout, HostRunner(module), given["database"], timeout=given["timeout"])
    names = ("backup", "mode", "target", "confirm", "identity_file", "other_cluster", "jobs", "why", "who", "run")
    request = {
        **_database.reach(layout, given["database"]),
        **{name: given[name] for name in names},
        "seconds": given["timeout"],
        "check": module.check_mode,
    }
    if given["mode"] == "new":
        request["confirm"] = given["target"]
    with _lease.kept(layout, owner="" if module.check_mode else given["run"]):
        done = program.ask("restore", request)
    told = _database.loss(given["backup"], done) if module.check_mode else _database.restored(done)
    where = f"into {given['target']}" if given["mode"] == "new" else "in the place of the live database"
    said = f"Restore backup {given['backup']} {where}"
    return {"changed": True, "actions": [said], "diff": {"before": "", "after": f"{said}\n"}, **done, "told": told}


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), required_if=[("mode", "new", ["target"])], supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
