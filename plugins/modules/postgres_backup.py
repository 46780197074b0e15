#!/usr/bin/python
# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgres_backup
short_description: Take a backup of a database and prove it by restoring it
version_added: "0.1.0"
author: The slipway.webapp contributors (@slipway-webapp)
description:
  - Dumps the database, restores the dump into a throwaway server of the same major version on this host, and compares
    both at the very snapshot of the dump, while users keep writing.
  - Needs nothing of the database but an SQL connection that may read everything.
  - With O(release) the release's pending migrations are rehearsed on the restored copy; they are run, timed, and their
    locks and rewrites recorded.
  - A backup that does not pass is kept as failed, without its files, and the module fails.
extends_documentation_fragment:
  - slipway.webapp.app
  - slipway.webapp.app.attributes
  - slipway.webapp.app.lease
  - slipway.webapp.database
  - slipway.webapp.database.migrations
options:
  level:
    description:
      - What is proven, each with all that stands before it.
      - V(archive), it is complete, readable and has checksums. V(data), every row restores and equals the source.
        V(constraints), keys, checks, triggers and materialized views hold. V(full), every index builds and schema,
        owners and privileges are equal. V(amcheck), the restored files are sound.
    type: str
    default: full
    choices: [archive, data, constraints, full, amcheck]
  jobs:
    description: Tables that are dumped and restored at the same time; 0 is one for each core, 8 at most.
    type: int
    default: 0
  why:
    description: Why it is taken.
    type: str
    default: ''
  who:
    description: Who takes it.
    type: str
    default: ''
  timeout:
    description: Seconds that all of it may take.
    type: int
    default: 7200
  retention:
    description: How many verified backups are kept afterwards, by the names V(last), V(daily), V(weekly), V(monthly)
      and V(yearly). Empty removes nothing. The last verified one always stays.
    type: dict
    default: {}
  keep:
    description: The ids of backups that must stay whatever O(retention) says.
    type: list
    elements: str
    default: []
  encryption:
    description: The C(tool), V(age) or V(gpg), its C(recipients), and for GnuPG their public C(keys).
    type: dict
    default: {}
  offsite:
    description: The C(tool), V(rclone) with its C(remote) or V(restic) with its C(repository).
    type: dict
    default: {}
  offsite_environment:
    description: The environment variables of that tool that are not secret.
    type: dict
    default: {}
  offsite_secrets:
    description: The environment variables of that tool that are secret.
    type: dict
    default: {}
  release:
    description: The release whose pending migrations are rehearsed. Without it none are.
    type: str
  environment:
    description: The environment variables of the release that are not secret.
    type: dict
    default: {}
  secrets:
    description: The environment variables of the release that are secret.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Take a backup, restore it, compare it
  slipway.webapp.postgres_backup:
    app: shop
    level: full
    why: before the fair
    database:
      database_url: postgresql:///shop?host=/run/postgresql
      database_user: postgres
      scratch_user: shop_scratch
      group: slipway-backup
      directory: /var/backups/slipway/shop
      scratch_directory: /var/lib/slipway/shop/scratch
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: str
  sample: [Take a backup of the database of shop and prove it up to full]
backup:
  description: The backup.
  returned: success, not in check mode
  type: dict
  sample:
    id: 20261121T110512Z-7d21ab03
    status: verified
    level: full
    at: "2026-11-21T11:05:12Z"
    tables: 12
    rows: 9300000
    database_bytes: 2121000000
    archive_bytes: 301000000
    seconds: {dump: 11.7, total: 45.2}
    exceptions: []
    rehearsal: {}
told:
  description: The same for people, with what each rehearsed migration did to the copy.
  returned: success, not in check mode
  type: str
  sample: "backup 20261121T110512Z-7d21ab03: verified, full; 12 tables, 9300000 rows, 2121.0 MB, in 45.2 s"
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.slipway.webapp.plugins.module_utils import _database, _lease, _manage, _migrations
from ansible_collections.slipway.webapp.plugins.module_utils._host import HostRunner, guarded
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout


def spec() -> dict[str, Any]:
    return {
        "app": {"type": "str", "required": True},
        **_database.options(),
        "level": {"type": "str", "default": "full", "choices": list(_database.LEVELS)},
        "jobs": {"type": "int", "default": 0},
        "why": {"type": "str", "default": ""},
        "who": {"type": "str", "default": ""},
        "run": {"type": "str", "default": ""},
        "timeout": {"type": "int", "default": 7200},
        "retention": {"type": "dict", "default": {}},
        "keep": {"type": "list", "elements": "str", "default": [], "no_log": False},
        "encryption": {"type": "dict", "default": {}, "no_log": False},
        "offsite": {"type": "dict", "default": {}},
        "offsite_environment": {"type": "dict", "default": {}},
        "offsite_secrets": {"type": "dict", "default": {}, "no_log": True},
        **_migrations.options(),
        "release": {"type": "str"},
        "environment": {"type": "dict", "default": {}},
        "secrets": {"type": "dict", "default": {}, "no_log": True},
    }


def rehearsal(module: AnsibleModule, layout: Layout) -> dict[str, Any]:
    """What the release's migrations are tried with; empty without a release."""
    given = module.params
    if not given["release"]:
        return {}
    manager = _manage.manager_of(layout, HostRunner(module), given)
    return _migrations.Migrator(manager, given["migrations"], run=given["run"]).rehearsal(
        scratch=given["database"]["scratch_directory"]
    )


def run(module: AnsibleModule) -> dict[str, Any]:
    given, layout = module.params, Layout(module.params["app"])
    said = f"Take a backup of the database of {layout.app} and prove it up to {given['level']}"
    result = {"changed": True, "actions": [said], "diff": {"before": "", "after": f"{said}\n"}}
    if module.check_mode:
        return result
    names = ("level", "jobs", "why", "who", "run", "retention", "keep", "encryption")
    environment = {**given["offsite_environment"], **given["offsite_secrets"]}
    offsite = {**given["offsite"], "environment": environment} if given["offsite"] else {}
    request = {
        "app": layout.app,
        **given["database"],
        **{name: given[name] for name in names},
        "seconds": given["timeout"],
        "offsite": offsite,
        "rehearse": rehearsal(module, layout),
    }
    program = _database.program(layout, HostRunner(module), given["database"], timeout=given["timeout"])
    with _lease.kept(layout, owner=given["run"]):
        backup = _database.summary(program.ask("take", request)["backup"])
    return {**result, "backup": backup, "told": _database.told(backup)}


def main() -> None:
    module = AnsibleModule(argument_spec=spec(), supports_check_mode=True)
    guarded(module, lambda: run(module))


if __name__ == "__main__":
    main()
