#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: migrate
short_description: Run the pending migrations of a release, behind a verified backup
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Runs what is pending in a phase, under an advisory lock, with a lock timeout and retries, so that no migration makes
    the application wait for longer than that.
  - Refuses to run without a backup of this very database, proven up to O(level), taken after the last change of the
    schema and no longer ago than O(max_age). The database is known by its cluster's system identifier and its own
    number, never by its name.
  - After a failure it says exactly what was applied and what was not. A run that was killed leaves no lock, and the
    next one goes on where it ended.
  - With nothing pending it looks at no backup.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
  - slipway.webapp.app.lease
  - slipway.webapp.database
  - slipway.webapp.database.release
  - slipway.webapp.database.migrations
options:
  phase:
    description: V(before) the traffic moves, or V(after) the old release is gone.
    type: str
    required: true
    choices: [before, after]
  backup:
    description: The id of the backup. Empty for the newest one.
    type: str
    default: ''
  level:
    description: What must have been proven of the backup.
    type: str
    default: full
    choices: [archive, data, constraints, full, amcheck]
  max_age:
    description: How many seconds ago it may have been taken, by the clock of the database server.
    type: int
    default: 10800
  without_backup:
    description: Run without one. What a bad migration destroys is gone.
    type: bool
    default: false
  timeout:
    description: Seconds that all migrations together may take.
    type: int
    default: 7200
"""

EXAMPLES = r"""
- name: Run what must come before the new release
  slipway.webapp.migrate:
    app: shop
    release: 1.4.0-3f9a1c22d0
    environment: {DJANGO_SETTINGS_MODULE: shop.settings}
    secrets: "{{ shop_secrets }}"
    phase: before
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
  sample: [Apply notes.0002_note_mood]
pending:
  description: What was pending in this phase.
  returned: success
  type: list
  elements: str
  sample: [notes.0002_note_mood]
applied:
  description: What was applied, how long each took and how often it had to step aside for a lock.
  returned: success
  type: list
  elements: dict
  sample: [{id: notes.0002_note_mood, seconds: 0.02, attempts: 1}]
waited:
  description: Whom a migration had to wait for.
  returned: when something was applied
  type: list
  elements: dict
  sample: []
backup:
  description: The id of the backup that stands behind it.
  returned: success
  type: str
  sample: 20261121T110512Z-7d21ab03
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _database, _lease, _manage, _migrations
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        **_migrations.release_options(),
        **_migrations.options(),
        **_database.options(),
        "phase": {"type": "str", "required": True, "choices": list(_migrations.PHASES)},
        "backup": {"type": "str", "default": ""},
        "level": {"type": "str", "default": "full", "choices": list(_database.LEVELS)},
        "max_age": {"type": "int", "default": 10800},
        "without_backup": {"type": "bool", "default": False},
        "run": {"type": "str", "default": ""},
        "timeout": {"type": "int", "default": 7200},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given, layout = module.params, Layout(module.params["app"])
    manager = _manage.manager_of(layout, HostRunner(module), given)
    gate = None
    if not given["without_backup"]:
        gate = _migrations.gate_of(
            manager,
            given["database"],
            backup=given["backup"],
            level=given["level"],
            max_age=given["max_age"],
            timeout=given["timeout"],
        )
    migrator = _migrations.Migrator(manager, given["migrations"], run=given["run"])
    with _lease.kept(layout, owner="" if module.check_mode else given["run"]):
        return _migrations.migrate(migrator, gate, phase=given["phase"], check_mode=module.check_mode)


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
