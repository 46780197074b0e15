#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: migration_plan
short_description: See what the pending migrations of a release do
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Lists the pending migrations of a release in order, with their SQL, and for each operation what it locks, whether it
    rewrites the table, how many rows that touches, whether old code can run on the new schema, and whether it can be
    undone. Changes nothing.
  - V(before) migrations run before the traffic moves, V(after) ones when the old release is gone. V(unsafe) ones are
    refused, unless O(migrations.accept) names them.
  - In check mode, where the release may not be on the host yet, it says so and plans nothing.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
  - slipway.webapp.database.release
  - slipway.webapp.database.migrations
options:
  refuse:
    description: Fail when a pending migration is unsafe.
    type: bool
    default: true
  timeout:
    description: Seconds that the planning may take.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: What would this release do to the database
  slipway.webapp.migration_plan:
    app: shop
    release: 1.4.0-3f9a1c22d0
    environment: {DJANGO_SETTINGS_MODULE: shop.settings}
    secrets: "{{ shop_secrets }}"
  register: plan
"""

RETURN = r"""
release:
  description: The release.
  returned: success
  type: str
  sample: 1.4.0-3f9a1c22d0
pending:
  description: The pending migrations in the order in which they run.
  returned: success
  type: list
  elements: dict
  sample:
    - id: notes.0002_note_mood
      class: before
      sql: ALTER TABLE "notes_note" ADD COLUMN "mood" varchar(20) DEFAULT '' NOT NULL;
      old_code_ok: true
      reversible: true
      problems: []
before:
  description: The ids of those that run before the traffic moves.
  returned: success
  type: list
  elements: str
  sample: [notes.0002_note_mood]
after:
  description: The ids of those that run when the old release is gone.
  returned: success
  type: list
  elements: str
  sample: []
unsafe:
  description: The ids of those that are not accepted.
  returned: success
  type: list
  elements: str
  sample: []
table:
  description: All of it for people.
  returned: success
  type: str
  sample: ""
effect:
  description: What the ledger keeps of it.
  returned: success
  type: dict
  sample: {migrations: [notes.0002_note_mood], breaks_old_code: [], irreversible: []}
"""

from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _manage, _migrations
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        **_migrations.release_options(),
        **_migrations.options(),
        "refuse": {"type": "bool", "default": True},
        "timeout": {"type": "int", "default": 300},
    }


def run(module: AnsibleModule) -> dict[str, Any]:
    given = module.params
    manager = _manage.manager_of(Layout(given["app"]), HostRunner(module), given)
    manager = replace(manager, needs=("code",))
    if module.check_mode and manager.problem():
        return _migrations.describe(given["release"], _migrations.NOTHING)
    plan = _migrations.Migrator(manager, given["migrations"]).plan()
    refused = _migrations.refusal(plan)
    if refused and given["refuse"]:
        raise refused
    return _migrations.describe(given["release"], plan)


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
